"""One forward pass, many backward passes.

:class:`ForwardPass` runs a model once on a batch, remembers the activations of the layers asked
for, and then answers any number of times: the gradient at the input under a rule, the gradient
and the activation at a layer. Every method of this package is built on it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Collection, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from captum_guided_ext import _captum
from captum_guided_ext.autograd import _checks as checks
from captum_guided_ext.autograd._eager import as_written
from captum_guided_ext.autograd._modules import modules_of
from captum_guided_ext.autograd._outputs import check_output
from captum_guided_ext.autograd._path import NO_FLOW, RulePath
from captum_guided_ext.autograd._recording import Call, own_records, recorded, watched_calls
from captum_guided_ext.autograd._remembered import known_of
from captum_guided_ext.autograd._rules import GRADIENT, BackwardRule, as_rule
from captum_guided_ext.autograd._second_look import Buffers, SecondLook
from captum_guided_ext.autograd._tensors import tensors_in
from captum_guided_ext.errors import ModelError, OpaqueGraphError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from torch import nn
    from torch.autograd.graph import Node

    from captum_guided_ext._captum import TargetType
    from captum_guided_ext.autograd._path import Flow, RectifierReport

    ChooseLayer = Callable[[Sequence[tuple[str, Call]], Tensor], Call]

    # Where a backward pass starts: a path, and scores, one tensor for each device.
    Question = tuple[RulePath, Sequence[Tensor]]

Override = Collection[str] | Mapping[str, bool]


class ForwardPass:
    """One forward pass of a model on a batch, from which backward passes are asked for.

    The inputs given are never written to: the model sees a clone of a detached leaf, so neither
    their ``requires_grad`` nor their values change, and several threads may run the same model
    on the same tensors. The graph lives as long as this object.

    The model runs exactly once, except in the first forward pass of a model whose graph does not
    show its rectifiers (in place on a view, or spelled by arithmetic) or whose layer is written to
    in place behind it. It runs twice then, with its buffers put back in between; state that it
    keeps elsewhere sees both calls. That is remembered as long as the model lives. It also runs
    again to say why a map is zero everywhere, where the answer had let the graph go.

    Args:
        forward_func: A module or any callable. It may return a tensor, an object with ``logits``,
            or a tuple, a list or a dictionary, of which the first tensor is explained.
        inputs: A tensor or a tuple of tensors, of a floating-point type, with the examples
            along dimension 0.
        additional_forward_args: Further arguments, as in Captum: one value or a tuple of them.
        layer: A submodule whose output is wanted too.
        choose_layer: Instead of ``layer``: takes the calls of the model's modules in this forward
            pass, by their dotted names and in the order in which they end, and the model's output,
            and returns the one whose output is wanted. A ``ModelError`` that it raises is the
            reason why none is.
        at_layer_input: Remember the input of ``layer`` instead of its output.
        device_ids: The order of the devices of a ``DataParallel`` model, if it is wrapped.
        override: Clamps at 0 to override wherever they stand, by the labels that
            :func:`rectifiers` prints, such as ``["clamp(min=0)"]``; or a mapping from labels to
            whether they are. Default: by where they stand. One on the input, in front of a root, a
            logarithm or a division, or multiplied with what it was made from is no activation.

    Attributes:
        output: The tensor that the model returned, or the one to explain of what it returned, with
            its graph.
        layer: The layer that was given, or that ``choose_layer`` chose.
        layer_name: Its dotted name, where it was chosen.
        no_layer: Why it chose none.

    Raises:
        TypeError: for inputs that are no floating-point tensors, or an output that holds none.
        ValueError: for NaN or infinity in an input, or a layer that was not called.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        inputs: Tensor | tuple[Tensor, ...],
        additional_forward_args: object = None,
        *,
        layer: nn.Module | None = None,
        choose_layer: ChooseLayer | None = None,
        at_layer_input: bool = False,
        device_ids: Sequence[int] | None = None,
        override: Override = (),
    ) -> None:
        self.inputs = checks.check_inputs(inputs)
        self._modules = modules_of(forward_func)
        self._training = _in_training(self._modules)
        checks.warn_if_training(self._training)
        self._forward_func = forward_func
        self._arguments = additional_forward_args
        self.layer = layer
        self._choose_layer = choose_layer
        self.layer_name: str | None = None
        self.no_layer = ""
        self._calls: list[Call] = []
        self._at_layer_input = at_layer_input
        self._device_ids = device_ids or getattr(forward_func, "device_ids", None)
        self._override = _by_label(override)
        self._lock = threading.RLock()  # hooks sit on this graph's nodes for one answer at a time
        self._run_until_seen()

    def _run_until_seen(self) -> None:
        model = self._forward_func
        known = known_of(model)
        buffers = None
        if not known.needs_a_second_look:
            # Few modules write to their buffers in evaluation mode.
            buffers = Buffers(self._training if known.has_run else self._modules)
        layer = self.layer
        if self._choose_layer is not None and known.layer is not None:
            layer = known.layer()
        look = SecondLook(self._data) if known.needs_a_second_look else None
        self._run(model, layer, look)
        again = self._choose_layer is not None and self._choose(self._choose_layer)
        if look is None and self._may_hide:
            look, again = SecondLook(self._data), True
            # For good: what makes a rectifier of arithmetic may change without a sign on the graph.
            known.needs_a_second_look = True
        if again:
            if buffers is not None:
                buffers.put_back()
            self._run(model, self.layer, look)
        known.has_run = True
        if self.layer is not None and again:
            known.layer = weakref.ref(self.layer)

    def _choose(self, choose: ChooseLayer) -> bool:
        """Choose the layer, and say whether the model has to run again to record its output."""
        names = self._modules
        calls = [(names[call.module], call) for call in self._calls if names.get(call.module)]
        self._calls = []  # and with them the outputs that are not wanted
        self._choose_layer = None
        try:
            layer = choose(calls, self.output).module
        except ModelError as error:
            self.no_layer = self.no_layer or str(error)
            self._record([])
            return False
        self.layer_name, self.layer = names[layer], layer
        # A module may be called many times: as a layer that was named, it is its last call.
        of_the_layer = [call for _, call in calls if call.module is layer]
        if self._recorded_layer is not layer:
            self._record([(call.output,) for call in of_the_layer if call.output is not None])
            return not all(call.is_intact for call in of_the_layer)
        return False

    def _run(
        self, model: Callable[..., Any], layer: nn.Module | None, look: SecondLook | None
    ) -> None:
        for name in ("output", "_path", "_recorded"):  # the graph of a run before this one
            vars(self).pop(name, None)
        self._scored: tuple[object, Tensor] | None = None
        self._at_layer: tuple[Tensor, Sequence[Tensor | None]] | None = None
        self._calls = []
        with (
            _autograd_on(),
            as_written() as lowered,
            recorded(layer, at_input=self._at_layer_input) as records,
            nullcontext() if self._choose_layer is None else self._watching(),
            look or nullcontext(),
        ):
            leaves = tuple(_leaf(x) for x in self.inputs)
            given = tuple(leaf.clone() for leaf in leaves)
            goals = tuple(map(_accumulator, leaves, given))
            further = _captum.format_additional_forward_args(self._arguments) or ()
            output = model(*given, *further)
        self.output = check_output(output)
        self._leaves, self._goals = leaves, goals
        self._met_scripts = lowered.was_asked
        self._not_opened = lowered.failures[0] if lowered.failures else None
        self._seen = lowered.seen if look is None else {**look.seen, **lowered.seen}
        self._has_looked = look is not None
        self._recorded_layer = layer
        self._path = self._path_from([self.output])
        self._records = records
        self._record(records)

    @property
    def _data(self) -> list[Tensor]:
        """What the model takes beside the inputs, which is no constant of its own."""
        return tensors_in(self._arguments)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Collect the calls that there is a layer to choose from, or why there are none."""
        with ExitStack() as stack:
            try:
                self._calls = stack.enter_context(watched_calls())
            except ModelError as error:
                self.no_layer = str(error)
            yield

    def _record(self, records: Sequence[tuple[Tensor, ...]]) -> None:
        self._recorded = own_records(records, self._goals, self._path.nodes)
        paths = [self._path]
        beside = [one for one in self._recorded_tensors if one.grad_fn not in self._path.nodes]
        if beside:
            paths.append(self._path_from(beside))
        self._may_hide = any(path.may_hide_a_rectifier for path in paths)

    def _path_from(self, tensors: Sequence[Tensor]) -> RulePath:
        return RulePath(
            tensors,
            self._goals,
            seen=self._seen,
            has_looked=self._has_looked,
            override=self._override,
        )

    @property
    def _recorded_tensors(self) -> list[Tensor]:
        return [tensor for record in self._recorded.values() for tensor in record]

    @property
    def _single_tensors(self) -> list[Tensor]:
        """What the layer put out on each device, where that is one tensor; else nothing."""
        records = self._layer_records() if self._recorded else []
        return [one for (one,) in records] if all(len(record) == 1 for record in records) else []

    def rectifiers(self) -> RectifierReport:
        """Return what lies between the output and the inputs."""
        return self._path.report()

    def scores(self, target: TargetType = None) -> Tensor:
        """Return the score of each example that ``target`` chooses, (N,), with its graph.

        Raises:
            ValueError: if ``target`` is missing or impossible; the message says what the range is.
        """
        with self._answering():
            return self._scores(target)

    def _scores(self, target: TargetType) -> Tensor:
        if isinstance(target, Tensor):  # whose numbers may be others the next time
            return checks.select_target(self.output, target)
        asked = type(target), tuple(target) if isinstance(target, list) else target
        if self._scored is None or self._scored[0] != asked:
            self._scored = asked, checks.select_target(self.output, target)
        return self._scored[1]

    def input_gradients(
        self,
        rule: BackwardRule | str = GRADIENT,
        target: TargetType = None,
        *,
        warn_if_zero: bool = False,
        retain_graph: bool = True,
    ) -> tuple[Tensor, ...]:
        """Return the gradient of the target's score at each input, under ``rule``.

        Costs one backward pass.

        Args:
            rule: What the rectifiers send back: a rule, or "gradient", "deconvolution" or
                "guided". Default: what autograd does.
            target: The score of each example to explain, as in Captum.
            warn_if_zero: Warn of examples whose map is zero everywhere, with the reason, which
                costs two more backward passes.
            retain_graph: Keep what further answers need. Without, memory is freed as the backward
                pass goes, and this answer is the last. Default: True.

        Returns:
            One tensor per input, of its shape and type.

        Raises:
            NoRectifierError: if ``rule`` overrides nothing on this network.
            OpaqueGraphError: if it may miss a rectifier on this network.
            ValueError: for a bad ``target``, an input with no path to the output, or a gradient
                with NaN or infinity.
        """
        rule = as_rule(rule)

        def ask() -> Question:
            return self._path, [self._scores(target)]

        return self._answer(ask, rule, warn_if_zero, retain_graph)

    def ignored_share(self, rule: BackwardRule | str, target: TargetType = None) -> float:
        """Return how much negative evidence ``rule`` ignored, as a share of magnitudes, 0 to 1.

        Of the gradient that the rectifiers' gates let pass while ``rule`` is applied, the share
        of its magnitude that is negative, over all rectifiers; 0 where nothing passes. Costs one
        backward pass.

        Raises:
            As :meth:`input_gradients`.
        """
        flows = self.flows(rule, target).values()
        magnitude = sum(flow.magnitude for flow in flows)
        return sum(flow.negative for flow in flows) / magnitude if magnitude else 0.0

    def flows(self, rule: BackwardRule | str, target: TargetType = None) -> dict[str, Flow]:
        """Return what each rectifier's gate lets pass while ``rule`` is applied to all of them.

        Costs one backward pass.

        Returns:
            Sums over the batch, by the rectifier's kind and its number in the order of their calls:
            "ReLU 1", "ReLU6 2", ...

        Raises:
            As :meth:`input_gradients`.
        """
        rule = as_rule(rule)
        with self._answering():
            scores = self.scores(target)
            self._require_inputs(self._path, "the output")
            self._path.check(rule, opening_error=self._not_opened)
            with self._path.watched(rule) as flows:
                gradients = self._of_inputs(self._backward(self._path, GRADIENT, [scores]))
        checks.check_maps(_named(GRADIENT, gradients))
        return {name: flows.get(name, NO_FLOW) for name in self._path.rectifiers}

    def neuron_gradients(
        self,
        rule: BackwardRule | str,
        selector: Any,
        *,
        warn_if_zero: bool = False,
        retain_graph: bool = True,
    ) -> tuple[Tensor, ...]:
        """Return the gradient of one neuron of the layer at each input, under ``rule``.

        Args:
            rule: What the rectifiers between the neuron and the inputs send back.
            selector: An index, a tuple of indices or slices, or a callable, as in Captum.
            warn_if_zero: As in :meth:`input_gradients`.
            retain_graph: As in :meth:`input_gradients`. Default: True.

        Returns:
            One tensor per input, of its shape and type.

        Raises:
            NoRectifierError: if activations lie below the neuron and no rectifier is among them.
                Below a network's first activation there is nothing to override: the gradient.
            OpaqueGraphError: if the rule may miss a rectifier.
            ValueError: for a layer that was not called, or a bad selector.
        """
        rule = as_rule(rule)

        def ask() -> Question:
            neurons = [_select_neuron(record, selector) for record in self._layer_records()]
            return self._path_from(neurons), neurons

        return self._answer(ask, rule, warn_if_zero, retain_graph, of_neuron=True)

    def layer_gradients(self, target: TargetType = None) -> tuple[Tensor, Tensor]:
        """Return the plain gradient of the target's score at the layer, and its activation.

        Costs a backward pass down to the layer only; none, right after the plain gradient of the
        same target at the input. Two tensors of the activation's shape.

        Raises:
            ValueError: for a bad ``target``, a layer that was not called in this forward pass,
                does not lead to the output, or holds several tensors.
        """
        records = self._layer_records()
        if any(len(record) != 1 for record in records):
            raise ModelError(
                f"layer {_name(self.layer)} holds {len(records[0])} tensors, and Grad-CAM needs "
                "a single feature map: choose a layer with one tensor"
            )
        with self._answering():
            scores = self._scores(target)
            if self._at_layer is not None and self._at_layer[0] is scores:
                gradients = self._at_layer[1]
            else:
                gradients = _gradients([scores], [record[0] for record in records])
        found = [g for g in gradients if g is not None]
        if len(found) < len(records):
            raise ModelError(f"layer {_name(self.layer)} does not lead to the output")
        return _captum.reduce_list(found), _captum.reduce_list([r[0].detach() for r in records])

    @contextmanager
    def _answering(self) -> Iterator[None]:
        # As written, for a checkpoint runs its part of the model again.
        with self._lock, _autograd_on(), as_written(may_be_scripts=self._met_scripts):
            yield

    def _answer(
        self,
        ask: Callable[[], Question],
        rule: BackwardRule,
        warn_if_zero: bool,
        retain_graph: bool,
        *,
        of_neuron: bool = False,
    ) -> tuple[Tensor, ...]:
        with self._answering():
            path, scores = ask()
            self._require_inputs(path, "the neuron" if of_neuron else "the output")
            path.check(rule, may_be_linear=of_neuron, opening_error=self._not_opened)
            # Of the plain gradient the layer's is a part, which may be asked for next.
            layer = self._single_tensors if rule.is_gradient and not of_neuron else []
            found = self._backward(path, rule, scores, layer, retain_graph=retain_graph)
            gradients = self._of_inputs(found)
            if layer:
                self._at_layer = scores[0], found[len(gradients) :]
            zero = checks.check_maps(_named(rule, gradients))
            if warn_if_zero and zero:
                if not retain_graph:
                    self._run_until_seen()
                    path, scores = ask()
                for examples, reason in self._why_zero(path, rule, scores, zero):
                    what = f"the {rule.name} attribution"
                    checks.warn_of_zero(what, examples, reason, batch=len(gradients[0]))
            return gradients

    def _backward(
        self,
        path: RulePath,
        rule: BackwardRule,
        scores: Sequence[Tensor],
        layer: Sequence[Tensor] = (),
        *,
        retain_graph: bool = True,
    ) -> tuple[Tensor | None, ...]:
        try:
            with path.applied(rule):
                return _gradients(scores, [*self._leaves, *layer], retain_graph=retain_graph)
        except RuntimeError as error:
            from torch.utils.checkpoint import CheckpointError  # noqa: PLC0415 - loads sympy

            if not isinstance(error, CheckpointError) and "TorchScript" not in str(error):
                raise
            raise OpaqueGraphError(
                "a checkpoint around a script computes it again in another way than the first "
                "time: explain the model without checkpoints"
            ) from error

    def _of_inputs(self, found: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        gradients = tuple(one for one in found[: len(self._leaves)] if one is not None)
        if len(gradients) < len(self._leaves):
            raise ModelError("an input receives no gradient: a function on the way sends none back")
        return gradients

    def _why_zero(
        self, path: RulePath, rule: BackwardRule, scores: Sequence[Tensor], zero: list[int]
    ) -> Iterator[tuple[list[int], str]]:
        """Find out, with two more backward passes for just these examples."""
        joined = _captum.reduce_list(scores)

        def scores_of(examples: list[int]) -> list[Tensor]:
            # A model may return one score for the whole batch.
            return [joined[examples] if len(joined) > max(examples) else joined]

        plain = self._of_inputs(self._backward(path, GRADIENT, scores_of(zero)))
        flat = [i for i in checks.check_maps(_named(GRADIENT, plain)) if i in zero]
        if flat:
            yield flat, "the plain gradient is zero too, the score does not change with the input"
        rest = [i for i in zero if i not in flat]
        if not rest:
            return
        with path.watched(rule) as flows:
            self._backward(path, GRADIENT, scores_of(rest))
        negative = sum(not flow.any_positive for flow in flows.values())
        reached = f"a gradient reached {len(flows)} of {len(path.rectifiers)} rectifiers"
        if negative:
            dropped = "received nothing but negative values, which the rule drops"
            yield rest, f"{reached}, and {negative} of those {dropped}"
        else:
            yield rest, f"{reached}, and what was positive met closed gates or cancelled"

    def _layer_records(self) -> list[tuple[Tensor, ...]]:
        if not self._recorded:
            raise ModelError(f"layer {_name(self.layer)} {self._records.why_none()}")
        devices = _captum.sort_key_list(list(self._recorded), self._device_ids)
        return [self._recorded[device] for device in devices]

    def _require_inputs(self, path: RulePath, what: str) -> None:
        for index, goal in enumerate(self._goals):
            if goal not in path.reached_inputs:
                raise ModelError(
                    f"inputs[{index}] has no path to {what}: it is unused, or detached inside the "
                    "model (detach(), .data, numpy(), torch.no_grad(), rounding or argmax, a "
                    "script that optimize_for_inference has frozen)"
                )


def rectifiers(
    forward_func: Callable[..., Any],
    inputs: Tensor | tuple[Tensor, ...],
    additional_forward_args: object = None,
    *,
    override: Override = (),
) -> RectifierReport:
    """Return what lies between a model's outputs and its inputs, as data.

    Costs one forward pass and no backward pass.

    Args:
        forward_func: A module or any callable. It may return a tensor, an object with ``logits``,
            or a tuple, a list or a dictionary, of which the first tensor is explained.
        inputs: A tensor or tuple of tensors, with the examples along dimension 0.
        additional_forward_args: Further arguments, as in Captum.
        override: Clamps at 0 that are overridden wherever they stand, by label, see
            :class:`ForwardPass`.

    Returns:
        What a rule overrides, what it leaves alone, and what cannot be looked into, each as
        counts by name.

    Example:
        >>> rectifiers(torchvision.models.mobilenet_v2(), torch.rand(1, 3, 224, 224)).overridden
        {'ReLU6': 35}
    """
    forward_pass = ForwardPass(forward_func, inputs, additional_forward_args, override=override)
    return forward_pass.rectifiers()


def _by_label(override: Override) -> dict[str, bool]:
    """Return whether a clamp is overridden, by its label."""
    if isinstance(override, str):  # ``"clamp(min=0)"`` is a collection of letters
        override = [override]
    return dict(override) if isinstance(override, Mapping) else dict.fromkeys(override, True)


def _autograd_on() -> AbstractContextManager[None]:
    """Record graphs, whatever mode (``no_grad``, ``inference_mode``) the caller is in."""
    is_on = torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    return nullcontext() if is_on else _autograd_switched_on()


@contextmanager
def _autograd_switched_on() -> Iterator[None]:
    # By position, as torch.compile wants it.
    with torch.inference_mode(False), torch.enable_grad():  # noqa: FBT003
        yield


def _leaf(x: Tensor) -> Tensor:
    # An inference tensor cannot require a gradient; its clone, made outside that mode, can.
    x = x.detach()
    return (x.clone() if x.is_inference() else x).requires_grad_()


def _gradients(
    scores: Sequence[Tensor], tensors: Sequence[Tensor], *, retain_graph: bool = True
) -> tuple[Tensor | None, ...]:
    """Return the gradient of all scores together at each tensor, None where there is no path."""
    # Of sums: asked for with grad_outputs, the first one of a process imports 419 modules.
    sums = [one.sum() for one in scores]
    return torch.autograd.grad(sums, tensors, retain_graph=retain_graph, allow_unused=True)


def _named(rule: BackwardRule, gradients: Sequence[Tensor]) -> dict[str, Tensor]:
    what = f"the {rule.name} attribution of inputs"
    return {f"{what}[{index}]": gradient for index, gradient in enumerate(gradients)}


def _in_training(modules: Iterable[nn.Module]) -> list[nn.Module]:
    # A frozen scripted module has no training flag.
    return [module for module in modules if getattr(module, "training", False)]


def _accumulator(leaf: Tensor, clone: Tensor) -> Node:
    """Return the node that accumulates the gradient of ``leaf``, of which there is a clone."""
    if type(leaf) is Tensor:
        return clone.grad_fn.next_functions[0][0]  # type: ignore[union-attr, return-value]
    with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001 - a subclass may add nodes
        return get_gradient_edge(leaf).node


def _select_neuron(record: tuple[Tensor, ...], selector: Any) -> Tensor:
    shapes = [tuple(tensor.shape) for tensor in record]
    try:
        neuron: Tensor = _captum.select_neuron(record, selector)
    except (AssertionError, IndexError) as error:
        raise checks.like(error)(
            f"neuron_selector {selector!r} does not fit the layer's shape {shapes}: {error}"
        ) from error
    return checks.one_per_example(neuron, record[0], f"neuron_selector {selector!r}")


def _name(layer: nn.Module | None) -> str:
    return "None" if layer is None else type(layer).__name__
