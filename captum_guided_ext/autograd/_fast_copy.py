"""A copy of a model that computes the same function faster: batch norms folded, channels last.

Nothing here touches the model. Its copy shares all parameters but those of a convolution, or a
linear layer, whose batch norm was folded into it, and kernels larger than 1 x 1, which are laid out
channels last as the pictures are. Which may be folded is seen in one run of the copy, by the
operations that use what each of them returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from captum_guided_ext import _captum
from captum_guided_ext.autograd._checks import check_inputs
from captum_guided_ext.autograd._eager import as_written
from captum_guided_ext.autograd._folding import TYPES, Way, fold, watched
from captum_guided_ext.autograd._outputs import output_of
from captum_guided_ext.autograd._tensors import tensors_in
from captum_guided_ext.autograd._wrapped import deep_copy, opened
from captum_guided_ext.errors import ModelError, brief, is_lack_of_memory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_PICTURES = 4  # dimensions
TOLERANCE = 1e-4
"""How far outputs may be apart, as a part of the largest magnitude in the batch."""


class FastCheck(NamedTuple):
    """What was done to compute a function faster, and how far its outputs are apart.

    Attributes:
        folded: How many batch norms were folded.
        channels_last: Whether pictures went through the model with their channels last.
        disagreement: The largest difference of the outputs, as a part of their largest magnitude.
    """

    folded: int
    channels_last: bool
    disagreement: float

    def __str__(self) -> str:
        done = [f"{self.folded} batch norm{'s' * (self.folded != 1)} folded"]
        done += ["channels last"] * self.channels_last
        return (
            f"fast arithmetic ({', '.join(done)}): the network's outputs are within "
            f"{self.disagreement:.0e} of the exact ones, as a part of the largest; a gate that "
            "flips changes a map"
        )


class FastCopy:
    """A copy that computes what a model does, within a tolerance, in less time.

    In evaluation mode, a batch norm is folded into the convolution or the linear layer in front of
    it, where that layer and the batch norm are torch's own, run once and without hooks, and
    nothing else uses what the layer returns. On a CPU, pictures go through the copy with their
    channels last, if the model takes them so, and meet kernels of that layout: with the usual one,
    each call would bring it over, and small pictures take longer than without all this.

    Args:
        model: An ``nn.Module``. What ``torch.compile`` or ``DistributedDataParallel`` wrapped is
            opened.
        inputs: A batch, on which the copy runs once.
        additional_forward_args: As in Captum.
        keep: Modules of the model whose outputs must stay what they are, as Grad-CAM's layer.
        at_input: Their inputs, too. Default: False.

    Attributes:
        model: The copy.
        memo: What ``copy.deepcopy`` filled: which object of the model became which of the copy.
        folded: How many batch norms were folded.
        channels_last: Whether pictures go through it with their channels last.

    Raises:
        ModelError: for what is no module or cannot be copied, or a copy that does not run.
    """

    def __init__(
        self,
        model: Any,
        inputs: tuple[Tensor, ...],
        additional_forward_args: object = None,
        *,
        keep: Collection[nn.Module] = (),
        at_input: bool = False,
    ) -> None:
        kind = self._kind = type(model).__name__
        if not isinstance(model, nn.Module):
            raise ModelError(
                f"fast=True computes on a copy of the network, and the model is a {kind}: give the "
                "nn.Module itself, not a function around it or a method of it, or leave fast out"
            )
        inputs = check_inputs(inputs)
        self._original = model
        inner = opened(model)
        self.memo: dict[int, Any] = {id(one): one for one in inner.parameters()}
        # What a forward pass left on a module, an activation say, which torch does not copy.
        self.memo |= {id(one): one.detach() for one in _left_behind(inner)}
        try:
            self.model = deep_copy(model, self.memo)
        except Exception as error:
            if is_lack_of_memory(error):
                raise
            raise ModelError(
                f"fast=True computes on a copy of the network, and {kind} cannot be copied "
                f"({brief(error)}): leave fast out"
            ) from error
        theirs = set(inner.modules())
        if shared := [name for name, one in self.model.named_modules() if one in theirs]:
            what = f"shares its {shared[0]}" if shared[0] else "is the network itself"
            raise ModelError(
                f"fast=True computes on a copy of the network, and a deep copy of {kind} {what}, "
                "which is not to be changed: leave fast out"
            )
        self.channels_last = any(
            x.dim() == _PICTURES and x.device.type == "cpu" and x.dtype in TYPES for x in inputs
        )
        kept = [self.memo[id(one)] for one in keep if id(one) in self.memo]
        self._at_input = at_input
        pairs = self._pairs(inputs, additional_forward_args, kept)
        way = Way(kind)
        for layer, norm in pairs:
            fold(layer, norm, channels_last=self.channels_last)
            way.lead(layer, norm)
        if pairs:
            nn.Module.register_forward_pre_hook(self.model, way.begin)
            nn.Module.register_forward_hook(self.model, way.end)
        self.folded = len(pairs)
        if self.channels_last:
            _lay_kernels(self.model)

    def check(
        self,
        inputs: tuple[Tensor, ...],
        additional_forward_args: object,
        output: Tensor,
        exact: Tensor | None = None,
    ) -> tuple[FastCheck, Tensor]:
        """Return how far an output of the copy is from the model's, and that.

        The model runs once for it, unless its output is given.

        Raises:
            ModelError: if it is further than :data:`TOLERANCE`.
        """
        if exact is None:
            with as_written():
                exact = output_of(self._original, inputs, additional_forward_args)
        found = _disagreement(output.detach(), exact)
        if not found <= TOLERANCE:
            raise ModelError(
                f"with fast=True, {self._kind} returns something else: {found:.1e} of its largest "
                f"value apart, and {TOLERANCE:g} is allowed. It may return something else each "
                "time (dropout in training mode), compute in half precision, or use a layer's "
                "weight or output in a way that its calls do not show. Leave fast out"
            )
        return FastCheck(self.folded, self.channels_last, found), exact

    def run(self, inputs: tuple[Tensor, ...], additional_forward_args: object = None) -> Tensor:
        """Return the copy's output, without a graph."""
        with as_written():
            return output_of(self.model, inputs, additional_forward_args)

    def _pairs(
        self, inputs: tuple[Tensor, ...], further: object, kept: Collection[nn.Module]
    ) -> list[tuple[nn.Module, nn.Module]]:
        """Return which layers a batch norm may be folded into, by a run of the copy."""
        hook = None
        if self.channels_last:
            # A script refuses its own method of that name, and runs the hook all the same.
            hook = nn.Module.register_forward_pre_hook(self.model, _with_channels_last)
            try:
                return self._seen(inputs, further, kept)
            except Exception as error:
                if is_lack_of_memory(error):
                    raise
                hook.remove()  # it asks for a view(), say, that only one layout allows
                self.channels_last = False
        try:
            return self._seen(inputs, further, kept)
        except Exception as error:
            if is_lack_of_memory(error):
                raise
            raise ModelError(
                f"a copy of {self._kind} does not run ({brief(error)}): leave fast out"
            ) from error

    def _seen(
        self, inputs: tuple[Tensor, ...], further: object, kept: Collection[nn.Module]
    ) -> list[tuple[nn.Module, nn.Module]]:
        # With a graph: who wants to change gradients on their way shows only then.
        with torch.inference_mode(False), torch.enable_grad():  # noqa: FBT003
            leaves = [x.detach().clone().requires_grad_() for x in inputs]
            arguments = _captum.format_additional_forward_args(further) or ()
            with as_written(), watched(self.model, kept, at_input=self._at_input) as watch:
                self.model(*(leaf.clone() for leaf in leaves), *arguments)
        return watch.pairs()


def checked_copy(
    model: Any,
    inputs: tuple[Tensor, ...],
    additional_forward_args: object = None,
    *,
    keep: Collection[nn.Module] = (),
    at_input: bool = False,
) -> FastCopy:
    """Return a :class:`FastCopy` whose output for this batch is the model's.

    Raises:
        ModelError: as there, and as its :meth:`FastCopy.check`.
    """
    made = FastCopy(model, inputs, additional_forward_args, keep=keep, at_input=at_input)
    made.check(inputs, additional_forward_args, made.run(inputs, additional_forward_args))
    return made


def _left_behind(model: nn.Module) -> Iterator[Tensor]:
    for module in model.modules():
        yield from (t for t in tensors_in(list(vars(module).values())) if t.grad_fn is not None)


def _disagreement(ours: Tensor, exact: Tensor) -> float:
    if ours.shape != exact.shape:
        return float("inf")
    largest = float(exact.abs().amax())
    difference = float((ours - exact).abs().amax())
    if not largest < float("inf"):
        return 0.0  # NaN or infinity, which whoever asked complains of
    if not difference:
        return 0.0
    return difference / largest if largest else float("inf")


def _with_channels_last(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        _laid(one) if isinstance(one, Tensor) and one.dim() == _PICTURES else one for one in args
    )


def _laid(pictures: Tensor) -> Tensor:
    laid = pictures.contiguous(memory_format=torch.channels_last)
    if laid.requires_grad:
        laid.register_hook(_as_usual)  # type: ignore[no-untyped-call]
    return laid


def _as_usual(gradient: Tensor) -> Tensor:
    return gradient.contiguous()


def _lay_kernels(model: nn.Module) -> None:
    """Lay out channels last what a copy's convolutions hold, tied where it was tied."""
    laid: dict[nn.Parameter, nn.Parameter] = {}
    for module in model.modules():
        if not isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            continue
        weight = module._parameters.get("weight")  # noqa: SLF001 - not one that is computed
        if weight is None:
            continue
        # Of 1 x 1, and of a single channel each, both layouts are the same.
        if not weight.is_contiguous(memory_format=torch.channels_last):
            if weight not in laid:
                found = weight.detach().contiguous(memory_format=torch.channels_last)
                laid[weight] = nn.Parameter(found, requires_grad=weight.requires_grad)
            module.weight = laid[weight]
