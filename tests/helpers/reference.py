"""A slow second implementation of the three backward rules, for the tests to compare with.

Written from the papers, and by a mechanism of its own: a ``TorchFunctionMode`` stands between the
network and torch, and every call of a rectifier, however it is spelled, is answered by a
``torch.autograd.Function`` whose backward is the rule. Nothing here looks at autograd's graph.

What a rectifier that was fed ``x``, and receives ``g`` from above, sends on:

* ``gradient``: ``g`` where ``x > 0``. Simonyan, Vedaldi & Zisserman 2013, "Deep Inside
  Convolutional Networks" (arXiv:1312.6034), the derivative of ``max(x, 0)``.
* ``deconvnet``: ``relu(g)``, whatever ``x`` was. Zeiler & Fergus 2013, "Visualizing and
  Understanding Convolutional Networks" (arXiv:1311.2901), section 2.1: the rectifier itself is
  applied on the way down.
* ``guided``: ``relu(g)`` where ``x > 0``. Springenberg, Dosovitskiy, Brox & Riedmiller 2014,
  "Striving for Simplicity" (arXiv:1412.6806), figure 1 c: both conditions.

A rectifier with a ceiling (ReLU6) is flat above it too, so its gate is ``0 < x < ceiling``; the
DeconvNet rule has no gate. A clamp with another floor, and any other activation, is arithmetic.

The mode is off inside the functions it replaces, so it sees only what is called from Python:
``nn.RNN(nonlinearity="relu")``, one single call, is answered by a loop over its time steps
instead. What it cannot see into at all (scripted, traced, exported and compiled modules, a
function that re-runs under a checkpoint) is compared with the reference of the eager network.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

Rule = Literal["gradient", "deconvolution", "guided"]


def _simonyan(g: Tensor, gate: Tensor) -> Tensor:
    return torch.where(gate, g, 0.0)


def _zeiler_fergus(g: Tensor, gate: Tensor) -> Tensor:
    return torch.where(g > 0, g, 0.0)


def _springenberg(g: Tensor, gate: Tensor) -> Tensor:
    return torch.where((g > 0) & gate, g, 0.0)


RULES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradient": _simonyan,
    "deconvolution": _zeiler_fergus,
    "guided": _springenberg,
}


def gate_of(x: Tensor, ceiling: float) -> Tensor:
    """Where a rectifier with this ceiling (infinite for a plain ReLU) lets the gradient through."""
    return (x > 0) & (x < ceiling)


class _Rectify(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, ceiling, rule):
        ctx.save_for_backward(gate_of(x, ceiling))
        ctx.rule = rule
        return x.clamp(min=0, max=None if math.isinf(ceiling) else ceiling)

    @staticmethod
    def backward(ctx, g):
        (gate,) = ctx.saved_tensors
        return RULES[ctx.rule](g, gate), None, None


def _is_zero(bound) -> bool:
    return isinstance(bound, (int, float)) and bound == 0


# One parser a family: the arguments after the tensor, as the call spells them, to the ceiling of
# the rectifier it is (None: it is no rectifier).


def _relu(inplace=False) -> float | None:
    return math.inf


def _relu6(inplace=False) -> float | None:
    return 6.0


def _hardtanh(min_val=-1.0, max_val=1.0, inplace=False) -> float | None:
    return float(max_val) if _is_zero(min_val) and max_val > 0 else None


def _threshold(threshold, value, inplace=False) -> float | None:
    return math.inf if _is_zero(threshold) and _is_zero(value) else None


def _clamp(min=None, max=None) -> float | None:  # noqa: A002
    if not _is_zero(min) or isinstance(max, torch.Tensor):
        return None
    return math.inf if max is None else float(max)


def _clamp_min(min) -> float | None:  # noqa: A002
    return math.inf if _is_zero(min) else None


_PARSERS: dict[str, Callable[..., float | None]] = {
    "relu": _relu,
    "relu6": _relu6,
    "hardtanh": _hardtanh,
    "threshold": _threshold,
    "clamp": _clamp,
    "clip": _clamp,
    "clamp_min": _clamp_min,
}


class RectifierMode(TorchFunctionMode):
    """Answers every rectifier call made under it by the rule; ``calls`` names what it answered."""

    def __init__(self, rule: Rule):
        super().__init__()
        self.rule = rule
        self.calls: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        # "relu", "relu_", "relu.default", "_threshold" (the name F.threshold goes by)
        name = getattr(func, "__name__", "").split(".")[0]
        if name in ("rnn_relu", "rnn_relu_cell"):
            return (self._rnn if name == "rnn_relu" else self._rnn_cell)(*args, **kwargs)
        parser = _PARSERS.get(name.removesuffix("_").removeprefix("_"))
        if parser is None or "out" in kwargs:
            return func(*args, **kwargs)
        named = dict(kwargs)
        x = args[0] if args else named.pop("input")
        ceiling = parser(*args[1:], **named)
        if ceiling is None:
            return func(*args, **kwargs)
        rectified = self._rectify(x, ceiling, name)
        in_place = name.endswith("_") or kwargs.get("inplace", False)
        return x.copy_(rectified) if in_place else rectified

    def _rectify(self, x: Tensor, ceiling: float = math.inf, name: str = "rnn_relu") -> Tensor:
        self.calls.append(name)
        return _Rectify.apply(x, ceiling, self.rule)

    def _rnn_cell(self, x, h, *weights):
        w_ih, w_hh, b_ih, b_hh = (*weights, None, None)[:4]
        return self._rectify(F.linear(h, w_hh, b_hh) + F.linear(x, w_ih, b_ih))

    def _rnn(self, x, hx, weights, *options):
        """Elman's recurrence, ``h_t = relu(W_hh h_t-1 + b_hh + W_ih x_t + b_ih)``, step by step."""
        has_biases, layers, dropout, training, bidirectional, batch_first = options
        if isinstance(weights, torch.Tensor) or (training and dropout):
            raise NotImplementedError("packed sequences and dropout have no hand-written loop")
        x = x.transpose(0, 1) if batch_first else x
        states = iter(hx.unbind(0))
        per_direction = 4 if has_biases else 2
        parameters = iter(
            weights[i : i + per_direction] for i in range(0, len(weights), per_direction)
        )
        last_states = []
        for _ in range(layers):
            directions = []
            for reverse in (False, True)[: 2 if bidirectional else 1]:
                w_ih, w_hh, b_ih, b_hh = (*next(parameters), None, None)[:4]
                h, outputs = next(states), []
                steps = F.linear(x, w_ih, b_ih).unbind(0)
                for step in reversed(steps) if reverse else steps:
                    h = self._rectify(F.linear(h, w_hh, b_hh) + step)
                    outputs.append(h)
                last_states.append(h)
                directions.append(torch.stack(outputs[::-1] if reverse else outputs))
            x = torch.cat(directions, dim=-1) if bidirectional else directions[0]
        return (x.transpose(0, 1) if batch_first else x), torch.stack(last_states)


def _one_score_per_example(output: Tensor, target) -> Tensor:
    """Captum's convention for targets: one index for all examples, or a list of one for each."""
    if target is None:
        return output.reshape(-1)
    if isinstance(target, torch.Tensor):
        target = target.item() if target.numel() == 1 else target.tolist()
    if not isinstance(target, list):
        target = [target] * len(output)
    columns = [t if isinstance(t, tuple) else (t,) for t in target]
    return torch.stack([row[column] for row, column in zip(output, columns, strict=True)])


def reference_gradient(
    model: Callable[..., Tensor],
    inputs: Tensor | tuple[Tensor, ...],
    rule: Rule,
    target=None,
    additional_forward_args=None,
) -> Tensor | tuple[Tensor, ...]:
    """Backpropagate the target scores to the inputs under a rule: tensor in, tensor out."""
    several = isinstance(inputs, tuple)
    extra = additional_forward_args
    extra = () if extra is None else extra if isinstance(extra, tuple) else (extra,)
    with torch.inference_mode(mode=False), torch.enable_grad():
        leaves = [x.detach().clone().requires_grad_() for x in (inputs if several else (inputs,))]
        with RectifierMode(rule):
            # clones, for a network may start with an in-place rectifier
            output = model(*[leaf.clone() for leaf in leaves], *extra)
        scores = _one_score_per_example(output, target)
        gradients = torch.autograd.grad(scores.sum(), leaves)
    return gradients if several else gradients[0]


def rectifier_calls(model: Callable[..., Tensor], *inputs: Tensor) -> list[str]:
    """The names of the rectifier calls the network makes, whether or not the input reaches them."""
    with torch.no_grad(), RectifierMode("gradient") as mode:
        model(*inputs)
    return mode.calls
