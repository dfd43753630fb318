"""Methods asked about a faster copy of their model."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from captum_guided_ext.autograd import FastCheck, FastCopy

if TYPE_CHECKING:
    from torch import Tensor

    from captum_guided_ext.methods._method_set import MethodSet


class FastMethods:
    """Methods of a model, and the same of a copy of it that is made once and computes faster.

    Methods by name are asked about the copy. Objects and functions run what they were made with.

    Args:
        exact: The methods of the model itself.
    """

    def __init__(self, exact: MethodSet) -> None:
        self.exact = exact
        self._made: tuple[FastCopy, MethodSet] | None = None
        self._known: tuple[Tensor, Tensor] | None = None  # a batch, and the model's output for it

    def of_copy(self, x: Tensor, additional_forward_args: object = None) -> MethodSet:
        """Return the methods of the copy, which is made on the first batch.

        Raises:
            ModelError: if the model cannot be copied, as :class:`FastCopy`.
        """
        return self._copied(x, additional_forward_args)[1]

    def check(
        self, x: Tensor, additional_forward_args: object, output: Tensor
    ) -> tuple[FastCheck, Tensor]:
        """Return how far the copy's output for a batch is from the model's, and that.

        Raises:
            ModelError: if it is too far.
        """
        copied, _ = self._copied(x, additional_forward_args)
        known, self._known = self._known, None
        exact = known[1] if known is not None and known[0] is x else None
        return copied.check((x,), additional_forward_args, output, exact)

    def _copied(self, x: Tensor, additional_forward_args: object) -> tuple[FastCopy, MethodSet]:
        if self._made is None:
            if self.exact.seeks_layer:  # it is the model's own, and has to keep its output
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # the copy says the same
                    exact = self.exact.forward_pass(x, additional_forward_args)
                self._known = x, exact.output.detach()
                del exact
            layer = self.exact.layer
            copied = FastCopy(
                self.exact.model,
                (x,),
                additional_forward_args,
                keep=() if layer is None else (layer,),
            )
            self._made = copied, self.exact.on_copy(copied.model, copied.memo)
        return self._made
