"""Checks of what goes into an attribution and what comes out; errors name the offender."""

from __future__ import annotations

import cmath
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from captum_guided_ext import _captum
from captum_guided_ext.errors import DataError, TargetError, TargetRangeError, warn_user

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from captum_guided_ext._captum import TargetType


def check_inputs(inputs: Any) -> tuple[Tensor, ...]:
    """Return ``inputs`` as a tuple of tensors that can carry a gradient.

    Raises:
        TypeError: for anything but floating-point tensors.
        DataError: for no example at all, NaN or infinity.
    """
    if not isinstance(inputs, (Tensor, tuple)):
        raise TypeError(f"inputs must be a tensor or a tuple of tensors, not {_type(inputs)}")
    formatted: tuple[Any, ...] = _captum.format_tensor_into_tuples(inputs)
    if not formatted:
        raise DataError("inputs is an empty tuple: there is nothing to explain")
    for index, x in enumerate(formatted):
        name = f"inputs[{index}]"
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} must be a tensor, not {_type(x)}")
        if (kind := _kind_of_tensor(x)) is not None:
            raise TypeError(f"{name} is {kind[0]}, and attributions are of dense ones: {kind[1]}")
        if not x.is_floating_point():
            raise TypeError(
                f"{name} has dtype {x.dtype}, and only real floating-point tensors have the "
                "gradients attributions are made of: convert it with .float(), or attribute to "
                "the output of the embedding that takes it"
            )
        if x.dim() == 0:
            raise DataError(f"{name} is a single number: the examples lie along dimension 0")
        if x.numel() == 0:
            raise DataError(f"{name} has shape {tuple(x.shape)}: there is nothing to explain")
        check_finite(x, name)
    return formatted


def _kind_of_tensor(x: Tensor) -> tuple[str, str] | None:
    """Return what a tensor is that no attribution is made of, and what to do."""
    if (
        type(x) is not Tensor
        and type(x).__module__.startswith("torch.distributed.")
        and hasattr(x, "full_tensor")
    ):
        return "a DTensor", "pass .full_tensor()"
    if x.is_meta:
        return "a meta tensor", "it has no values"
    if x.is_nested:
        return (
            "a nested tensor",
            "pass the examples one by one, or padded with .to_padded_tensor(0.0)",
        )
    if x.layout is not torch.strided:
        return f"a tensor of layout {x.layout}", "convert it with .to_dense()"
    return None


def check_finite(values: Tensor, name: str) -> None:
    """Raise ``DataError`` where ``values`` holds NaN or infinity, with the first place.

    Reads one number where they are finite.
    """
    if cmath.isfinite(_detached(values).sum().item()):  # as no sum with one of them is
        return
    finite = torch.isfinite(_detached(values))
    if not finite.all():  # and they are not just large
        first = tuple((~finite).nonzero()[0].tolist())
        raise DataError(
            f"{name} holds NaN or infinity in {int((~finite).sum())} of {finite.numel()} places, "
            f"first at index {first}"
        )


def select_target(output: Tensor, target: TargetType) -> Tensor:
    """Return one score per example, chosen as Captum chooses it.

    Args:
        output: The model's output, of shape (N, ...).
        target: An index, a tuple of indices, or one of those per example; None where the model
            returns one value per example.

    Raises:
        TargetError: if ``target`` is missing, of a wrong kind or length, or out of range; the
            message says what the range is.
    """
    if isinstance(target, Tensor):
        target = target.to(output.device)
    _check_range(output, target)
    try:
        scores: Tensor = _captum.select_targets(output, target)
    except (AssertionError, IndexError, RuntimeError) as error:
        raise like(error)(
            f"target {target!r} does not fit an output of shape {tuple(output.shape)}: {error}"
        ) from error
    if target is None and (per_example := _values_per_example(scores)) > 1:
        raise TargetError(
            f"target is missing: the output has shape {tuple(output.shape)}, {per_example} values "
            f"per example, and one of them is explained at a time. Pass target={_range(output)}"
        )
    return one_per_example(scores, output, f"target {target!r}")


def like(error: Exception) -> type[TargetError]:
    """Return the error of ours that a caller who catches Captum's ``error`` catches, too."""
    return TargetRangeError if isinstance(error, IndexError) else TargetError


def one_per_example(chosen: Tensor, whole: Tensor, choice: str) -> Tensor:
    """Return ``chosen`` if it holds one value per example, as a gradient needs.

    Args:
        chosen: What was selected.
        whole: What it was selected from.
        choice: The selector, for the message.

    Raises:
        TargetError: if it holds more.
    """
    per_example = _values_per_example(chosen)
    if per_example > 1:
        raise TargetError(
            f"{choice} leaves {per_example} values per example of shape {tuple(whole.shape)}: "
            "give one index for each dimension after the first"
        )
    return chosen if chosen.dim() else chosen.unsqueeze(0)


def _values_per_example(values: Tensor) -> int:
    return math.prod(values.shape[1:])


def _range(output: Tensor) -> str:
    if output.dim() == 2:  # noqa: PLR2004 - (examples, classes)
        return f"0 ... {output.shape[1] - 1} ({output.shape[1]} classes)"
    return " x ".join(f"0 ... {size - 1}" for size in output.shape[1:])


def _check_range(output: Tensor, target: TargetType) -> None:
    """Refuse an index out of range by name: on a GPU, ``gather`` would end the process instead."""
    if isinstance(target, Tensor):
        if target.is_floating_point() or target.is_complex():
            raise TargetError(f"target has dtype {target.dtype}: class indices are integers")
        indices: Sequence[Any] = target.flatten().tolist()
    else:
        indices = target if isinstance(target, list) else [target]
    sizes = output.shape[1:]
    for index in indices:
        places = index if isinstance(index, tuple) else (index,)
        for place, size in zip(places, sizes, strict=False):
            if isinstance(place, int) and not -size <= place < size:
                raise TargetRangeError(
                    f"target {index!r} is out of range: it must be {_range(output)}"
                )


def check_maps(maps: Mapping[str, Tensor]) -> list[int]:
    """Check that maps are finite, and return the examples of which all are zero everywhere.

    Reads the sum of the magnitudes of each example, all of them at once.

    Args:
        maps: By the name to call them by, the examples along dimension 0.

    Returns:
        Positions along dimension 0; none, where the maps have different numbers of examples.

    Raises:
        DataError: where one holds NaN or infinity.
    """
    device = next(iter(maps.values())).device
    sums = [_magnitudes(one).to(device) for one in maps.values()]
    read: list[float] = (torch.cat(sums) if len(sums) > 1 else sums[0]).tolist()
    if not all(map(math.isfinite, read)):
        for name, one in maps.items():
            check_finite(one, name)
    if len({len(one) for one in maps.values()}) > 1:
        return []
    examples = len(sums[0])
    return [i for i in range(examples) if not any(read[i::examples])]


def _magnitudes(values: Tensor) -> Tensor:
    """Return the sum of the magnitudes of each example, (N,); NaN or infinity where one is."""
    values, rest = _detached(values), tuple(range(1, values.dim()))
    return torch.linalg.vector_norm(values, 1, dim=rest) if rest else values.abs()


def _detached(values: Tensor) -> Tensor:
    return values.detach() if values.requires_grad else values


def warn_of_zero(what: str, examples: list[int], reason: str, *, batch: int) -> None:
    """Warn that ``what`` is zero everywhere for ``examples`` of a batch, with the reason."""
    named = ", ".join(map(str, examples[:5])) + (", ..." if len(examples) > 5 else "")  # noqa: PLR2004
    where = "" if batch == 1 else f" in example {named}"
    warn_user(f"{what} is zero everywhere{where}: {reason}.")


def warn_if_training(training: Iterable[nn.Module]) -> None:
    """Warn where one of the modules in training mode makes the attribution random."""
    restless = sorted({_type(module) for module in training if _is_restless(module)})
    if restless:
        warn_user(
            f"the model is in training mode with {', '.join(restless)}: its output depends on "
            "chance or on the rest of the batch. Call model.eval() first."
        )


def _is_restless(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001
        return True
    # Recurrent and attention layers have a number of that name.
    drops = isinstance(module, nn.modules.dropout._DropoutNd)  # noqa: SLF001
    probability = vars(module).get("p" if drops else "dropout")
    return isinstance(probability, (int, float)) and probability > 0


def _type(value: object) -> str:
    return type(value).__name__
