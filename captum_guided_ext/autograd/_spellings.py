"""Rectifiers spelled by arithmetic: ``maximum(x, 0)``, ``x * (x > 0)``, ``h[h < 0] = 0``, ...

On the graph they are arithmetic like any other; among the calls they can be told. What is made from
one tensor by element-wise operations and constants is a function of one number, and a function is
known by what it makes of a few numbers. So each such value carries along what its operations make
of the probes; where that is what a rectifier makes of them, it is one. Operations and operands
decide, never the data of a pass.
"""

from __future__ import annotations

import dataclasses
import weakref
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from captum_guided_ext.autograd._tensors import tensors_in, version_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Exact in every floating-point type.
_MAGNITUDES = (2.0**-10, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 8.0, 1024.0)
_PROBES = torch.tensor([*(-m for m in reversed(_MAGNITUDES)), 0.0, *_MAGNITUDES]).double()
_KEPT = 8  # of what was made from one tensor, the latest that may be what a rectifier took
_RELATIVE = 1e-5  # what rounding may do to a probe

# What works element by element, by name_of.
_CASTS = frozenset((
    "bfloat16", "bool", "byte", "double", "float", "half", "int", "long", "short", "to", "to_copy",
    "type", "type_as",
))  # fmt: skip
_COPIES = frozenset(("alias", "clone", "contiguous", "data", "detach", "positive"))
_ASSIGNMENTS = frozenset(("index_put", "setitem"))
_ELEMENTWISE = _CASTS | _COPIES | _ASSIGNMENTS | {
    "abs", "absolute", "add", "addcmul", "and", "bitwise_and", "bitwise_not", "bitwise_or", "clamp",
    "clamp_max", "clamp_min", "clip", "copysign", "div", "divide", "eq", "fmax", "fmin", "ge",
    "greater", "greater_equal", "gt", "heaviside", "invert", "le", "less", "less_equal", "lerp",
    "logical_and", "logical_not", "logical_or", "lt", "masked_fill", "max", "maximum", "min",
    "minimum", "mul", "multiply", "ne", "neg", "negative", "not_equal", "or", "pow", "radd", "relu",
    "rmul", "rpow", "rsub", "sgn", "sign", "sqrt", "square", "sub", "subtract", "true_divide",
    "where",
}  # fmt: skip
_CONSTANTS = frozenset((
    "as_tensor", "full", "full_like", "lift_fresh_copy", "new_full", "new_ones", "new_tensor",
    "new_zeros", "ones", "ones_like", "scalar_tensor", "tensor", "zeros", "zeros_like",
))  # fmt: skip
_FLAT = frozenset(("heaviside", "sgn", "sign"))
_MAXIMA = frozenset(("amax", "max"))


def name_of(function: Any) -> str:
    """Return what a function of torch is called: "relu" for ``aten.relu_.default``, say."""
    name = getattr(function, "__name__", "")
    if name == "__get__":  # a property
        name = getattr(getattr(function, "__self__", None), "__name__", "")
    return str(name).partition(".")[0].strip("_")


class SpelledRectifier(torch.autograd.Function):
    """A node between a rectifier's input and its output, whatever arithmetic lies between them.

    The gradient takes the way of the arithmetic. Under a rule, while ``node.is_ruled``, it goes to
    the input at once, as a rectifier's does.
    """

    @staticmethod
    def forward(
        ctx: Any, taken: Tensor, returned: Tensor, scale: float, ceiling: float | None, label: str
    ) -> Tensor:
        """Return ``returned``, which is ``scale * min(relu(taken), ceiling)``, as it is."""
        # Not by save_for_backward: a checkpoint that computes its part again would miscount.
        ctx.gate = taken > 0 if ceiling is None else (taken > 0) & (taken < ceiling)
        ctx.scale, ctx.label, ctx.is_ruled = scale, label, False
        return returned.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Send the gradient to the arithmetic; under a rule, through the gate to ``taken``."""
        if ctx.is_ruled:
            return torch.where(ctx.gate, ctx.scale * gradient, 0), None, None, None, None
        return None, gradient, None, None, None


@dataclasses.dataclass(frozen=True)
class Spelling:
    """A call's result that is ``scale * min(relu(taken), ceiling)``; ``taken`` may be lost."""

    taken: Tensor | None
    scale: float
    ceiling: float | None

    def holds_for(self, result: Tensor) -> bool:
        """Whether the data say so too, as they must."""
        if self.taken is None:
            return False
        expected = self.scale * self.taken.detach().clamp(0, self.ceiling)
        return torch.allclose(result.detach(), expected.to(result.dtype), rtol=_RELATIVE, atol=0)


@dataclasses.dataclass
class _Base:
    """A tensor that others are functions of, as it was at one time."""

    tensor: Tensor
    version: int
    functions: list[weakref.ref[Tensor]] = dataclasses.field(default_factory=list)

    @property
    def is_intact(self) -> bool:
        return version_of(self.tensor) == self.version


@dataclasses.dataclass(frozen=True)
class _Value:
    """A tensor as a function of ``base``: ``probes`` is what its operations make of the probes.

    Where it ``is_flat``, as a mask or a sign is, it has no derivative to miss.
    ``stacked`` is the dimension along which several were stacked, whose probes are rows then.
    """

    base: _Base
    probes: Tensor
    version: int
    is_flat: bool
    stacked: int | None = None


class Spellings:
    """Follows the calls of one forward pass, and recognises the rectifiers among them.

    Args:
        data: Tensors that are no constants, though no gradient is asked of them.
    """

    def __init__(self, data: Iterable[Tensor] = ()) -> None:
        self._bases: Any = WeakTensorKeyDictionary()
        self._values: Any = WeakTensorKeyDictionary()
        self._computed: Any = WeakTensorKeyDictionary(dict.fromkeys(data, True))

    def before_writing(self, written: Tensor) -> Tensor | None:
        """Return what ``written`` holds now, which others may be functions of, for good.

        None where no gradient is asked of it: it is no constant from now on.
        """
        if not written.requires_grad:
            self._computed[written] = True
            return None
        kept = written.clone()
        base = self._bases.pop(written, None)
        if base is not None and base.is_intact:
            base.tensor, base.version = kept, version_of(kept)
            self._bases[kept] = base
        if (value := self._value_of(written)) is not None:
            self._values[kept] = dataclasses.replace(value, version=version_of(kept))
        return kept

    def after(  # noqa: PLR0911 - one for each kind of call
        self, function: Any, args: Any, kwargs: Any, result: Any
    ) -> Spelling | None:
        """Take note of a call; return the rectifier that it completes, if it does.

        Args:
            function: A function of torch.
            args: What it took; where it wrote to the first, that as it was before.
            kwargs: What it took by name.
            result: The tensor that it returned, or wrote to.
        """
        name = name_of(function)
        operands = tensors_in((args, kwargs))
        constant = name in _CONSTANTS or all(map(self._is_constant, operands))
        if not result.requires_grad and not constant:
            self._computed[result] = True
        if constant or not operands:
            return None
        if name == "stack":
            self._note_a_stack(operands, args, kwargs, result)
            return None
        if name in _MAXIMA and (value := self._maximum_of_a_stack(args, kwargs)) is not None:
            return self._conclude(value, result, ())
        if name not in _ELEMENTWISE:
            return None
        if name in _CASTS | _COPIES:
            operands = operands[:1]
        base = self._common_base(operands, result.shape, is_linked=result.requires_grad)
        if base is None:
            return None
        probes = self._evaluate(function, name, args, kwargs, result)
        if probes is None:
            return None
        varying = [one for one in operands if not self._is_constant(one)]
        values = map(self._value_of, varying)
        flat = result.dtype is torch.bool or name in _FLAT or all(v and v.is_flat for v in values)
        return self._conclude(_Value(base, probes, version_of(result), flat), result, operands)

    def knows(self, tensor: Tensor) -> bool:
        """Whether operations have told what a tensor is, and that it is no rectifier's."""
        return self._value_of(tensor) is not None

    def _is_constant(self, tensor: Tensor) -> bool:
        return not tensor.requires_grad and tensor not in self._computed

    def _value_of(self, tensor: Tensor) -> _Value | None:
        value: _Value | None = self._values.get(tensor)
        return value if value is not None and value.version == version_of(tensor) else None

    def _base_of(self, tensor: Tensor) -> _Base:
        base: _Base | None = self._bases.get(tensor)
        if base is None or not base.is_intact:
            base = self._bases[tensor] = _Base(tensor, version_of(tensor))
        return base

    def _common_base(
        self, operands: Iterable[Tensor], shape: Sequence[int], *, is_linked: bool
    ) -> _Base | None:
        """Return the one tensor that all operands are functions of, beside constants."""
        bases: dict[int, _Base] = {}
        for one in operands:
            if self._is_constant(one):
                if not _is_uniform(one):
                    return None
                continue
            value = self._value_of(one)
            if one.shape != shape or (value is not None and value.stacked is not None):
                return None
            if value is None and not one.is_floating_point():
                return None
            if is_linked and not one.requires_grad and (value is None or not value.is_flat):
                return None  # cut off from the graph: no gradient passes here
            base = self._base_of(one) if value is None else value.base
            bases[id(base)] = base
        return next(iter(bases.values())) if len(bases) == 1 else None

    def _probes_of(self, one: Any) -> Any:
        if isinstance(one, (tuple, list)):
            return type(one)(map(self._probes_of, one))
        if not isinstance(one, Tensor):
            return one
        if self._is_constant(one):
            return one.detach().flatten()[0].cpu().expand(_PROBES.shape)
        value = self._value_of(one)
        return _PROBES.to(one.dtype) if value is None else value.probes

    def _evaluate(
        self, function: Any, name: str, args: Any, kwargs: Any, result: Tensor
    ) -> Tensor | None:
        """Return what ``function`` makes of the probes of its operands."""
        first, *rest = self._probes_of(args) if args else (None,)
        named = {key: self._probes_of(value) for key, value in kwargs.items()}
        if name in _CASTS | _COPIES:
            return None if first is None else first.to(result.dtype)
        if name in ("max", "min") and not (rest and isinstance(rest[0], Tensor)):
            return None  # of all elements
        try:
            with torch.no_grad():
                if name in _ASSIGNMENTS:
                    return _assigned(first, *rest)
                if isinstance(first, Tensor):
                    first = first.clone()  # the function may write to it
                made = function(first, *rest, **named) if args else function(**named)
        except (RuntimeError, TypeError, ValueError, IndexError):
            return None
        return made if isinstance(made, Tensor) and made.shape == _PROBES.shape else None

    def _note_a_stack(
        self, parts: Sequence[Tensor], args: Any, kwargs: Any, result: Tensor
    ) -> None:
        dim = args[1] if len(args) > 1 else kwargs.get("dim", 0)
        shape = parts[0].shape
        base = self._common_base(parts, shape, is_linked=result.requires_grad)
        if base is not None:
            rows = torch.stack([self._probes_of(part).double() for part in parts])
            dim %= result.dim()
            self._values[result] = _Value(
                base, rows, version_of(result), is_flat=False, stacked=dim
            )

    def _maximum_of_a_stack(self, args: Any, kwargs: Any) -> _Value | None:
        stack = args[0] if args else kwargs.get("input")
        value = self._value_of(stack) if isinstance(stack, Tensor) else None
        dim = args[1] if len(args) > 1 else kwargs.get("dim")
        dim = dim[0] if isinstance(dim, (tuple, list)) and len(dim) == 1 else dim
        if value is None or not isinstance(dim, int) or dim % stack.dim() != value.stacked:
            return None
        return dataclasses.replace(value, probes=value.probes.amax(0), stacked=None)

    def _conclude(
        self, made: _Value, result: Tensor, operands: Iterable[Tensor]
    ) -> Spelling | None:
        """Return the rectifier that ``result`` is, or note what it is."""
        if result.requires_grad:
            base = made.base.tensor if made.base.is_intact else None
            of_base = _PROBES.to(made.base.tensor.dtype)
            # The nearest first: what the call itself took, then what was made from the base last.
            latest = reversed(made.base.functions[-_KEPT:])
            known = [one for ref in latest if (one := ref()) is not None]
            known = [one for one in known if self._value_of(one) is not None]
            nearest = [one for one in (*operands, *known) if one.requires_grad]
            for taken, probes in [(one, self._probes_of(one)) for one in nearest] + [
                (base, of_base),
                (None if base is None else -base, -of_base),
            ]:
                if (shape := _rectifier(probes, made.probes)) is not None:
                    return Spelling(taken, *shape)
            made.base.functions.append(weakref.ref(result))
        self._values[result] = dataclasses.replace(made, version=version_of(result))
        return None


def _assigned(written: Any, where: Any, value: Any, accumulate: Any = False) -> Tensor | None:
    mask = where[0] if isinstance(where, (tuple, list)) and len(where) == 1 else where
    if accumulate or not (isinstance(mask, Tensor) and mask.dtype == torch.bool):
        return None
    return torch.where(mask, torch.as_tensor(value, dtype=written.dtype), written)


def _is_uniform(constant: Tensor) -> bool:
    unlike = constant.is_meta, constant.is_nested, constant.is_quantized, constant.is_complex()
    if any(unlike) or constant.layout is not torch.strided or constant.numel() == 0:
        return False
    return bool((constant == constant.flatten()[0]).all())


def _rectifier(taken: Tensor, returned: Tensor) -> tuple[float, float | None] | None:
    """Return scale and ceiling where ``returned`` is ``scale * min(relu(taken), ceiling)``."""
    taken, returned = taken.double(), returned.double()
    rectified = taken.clamp(min=0)
    if not (rectified.any() and (taken < 0).any()):
        return None
    least = rectified[rectified > 0].argmin()
    scale = float(returned[rectified > 0][least] / rectified[rectified > 0][least])
    if not scale > 0:
        return None
    top = float(returned.max()) / scale
    for ceiling in (None, top):
        expected = scale * (rectified if ceiling is None else rectified.clamp(max=ceiling))
        if torch.allclose(returned, expected, rtol=_RELATIVE, atol=0):
            return scale, ceiling
    return None
