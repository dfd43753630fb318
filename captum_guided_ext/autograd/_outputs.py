"""What a model returns: a tensor, or something that holds the one to explain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from captum_guided_ext import _captum
from captum_guided_ext.autograd._tensors import tensors_in
from captum_guided_ext.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable


def check_output(returned: Any) -> Tensor:
    """Return the tensor to explain of what a model returned.

    That is what it returned, if it is a tensor; else its ``logits``, an attribute (transformers) or
    a key; else the first tensor of a tuple, a list or a dictionary, however deep.

    Raises:
        OutputError: where none of these is there, or it has no floating-point type.
    """
    output = _found(returned)
    if output is None:
        raise OutputError(
            f"the model returned {type(returned).__name__}, in which there is no tensor, no logits "
            "and no tuple, list or dictionary of tensors: wrap it in a function that returns the "
            "tensor to explain, such as lambda x: model(x).logits"
        )
    if not output.is_floating_point():
        raise OutputError(f"the model returned dtype {output.dtype}, which has no gradient")
    return output


def output_of(
    model: Callable[..., Any], inputs: tuple[Tensor, ...], further: object = None
) -> Tensor:
    """Return what a model returns, as :func:`check_output`, without a graph.

    It takes copies of ``inputs``, for it may write to them.

    Args:
        model: A module or any callable.
        inputs: What it takes.
        further: Its additional forward arguments, as in Captum.
    """
    with torch.no_grad():
        copies = tuple(x.detach().clone() for x in inputs)
        return check_output(_captum.run_forward(model, copies, None, further))


def _found(returned: Any) -> Tensor | None:
    if isinstance(returned, Tensor):
        return returned
    by_key = returned.get("logits") if isinstance(returned, dict) else None
    for logits in (getattr(returned, "logits", None), by_key):
        if isinstance(logits, Tensor):
            return logits
    return next(iter(tensors_in(returned)), None)


def returning_tensors(model: Callable[..., Any]) -> nn.Module:
    """Return a module that calls ``model`` and returns :func:`check_output` of what it returns.

    For Captum's own methods, which take tensors alone. The model, if it is a module, is a part of
    the module and stays as it is.
    """
    return _ReturningTensors(model)


class _ReturningTensors(nn.Module):
    def __init__(self, model: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any) -> Tensor:
        return check_output(self.model(*args))
