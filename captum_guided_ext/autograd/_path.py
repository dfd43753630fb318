"""From outputs to inputs: find the rectifiers on the way, and apply a rule while a backward runs.

Autograd has recorded every rectifier call as a node, in whatever style it was written. Only the
nodes on a path from the outputs to the inputs count, and only hooks on those nodes are set: the
model itself is never touched.
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.autograd.graph import get_gradient_edge

from captum_guided_ext.autograd._clamps import is_clamp, may_be_none, why_no_activation
from captum_guided_ext.autograd._nodes import Role, classify, gate, is_spelled, scale_of
from captum_guided_ext.errors import ModelError, NoRectifierError, OpaqueGraphError, warn_user

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from torch import Tensor
    from torch.autograd.graph import Node

    from captum_guided_ext.autograd._clamps import Users
    from captum_guided_ext.autograd._rules import BackwardRule

    # What a look at the calls has found out about nodes; None where they are nothing to a rule.
    Seen = dict[Node | None, tuple[Role, str] | None]

    # What autograd sends back for each of a node's inputs, and what arrived; None where nothing.
    Gradients = tuple[Tensor | None, ...]
    NodeHook = Callable[[Gradients, Gradients], Gradients | None]


# The kind of node that parameters have, half of all; without, a walk is longer and finds the same.
_LEAF: Any = getattr(torch._C._functions, "AccumulateGrad", None)  # noqa: SLF001


def nodes_between(outputs: Iterable[Tensor], inputs: Collection[Node]) -> dict[Node, list[Node]]:
    """Return the nodes on any path from ``outputs`` down to the nodes ``inputs``, both included.

    Each comes with the nodes between outputs and it that send it a gradient, its users.

    Args:
        outputs: Tensors of any shape; those without a graph have no nodes.
        inputs: The nodes that accumulate the inputs' gradients. What lies behind them is not
            visited.
    """
    users: dict[Node, list[Node]] = {}  # node -> the nodes that send it a gradient
    waiting = [output.grad_fn for output in outputs if output.grad_fn is not None]
    users.update({node: [] for node in waiting})
    while waiting:
        node = waiting.pop()
        if node in inputs:
            continue
        for child, _ in node.next_functions:
            if child is None or (type(child) is _LEAF and child not in inputs):
                continue
            if child in users:
                users[child].append(node)
            else:
                users[child] = [node]
                waiting.append(child)
    on_path = {node: users[node] for node in inputs if node in users}
    waiting = list(on_path)
    while waiting:
        for user in users[waiting.pop()]:
            if user not in on_path:
                on_path[user] = users[user]
                waiting.append(user)
    return on_path


def listed(counts: Mapping[str, int]) -> str:
    """Return ``{"ReLU": 2, "GELU": 1}`` as ``"2 ReLU, 1 GELU"``."""
    return ", ".join(f"{count} {label}" for label, count in counts.items())


@dataclass(frozen=True)
class RectifierReport:
    """What lies between a model's outputs and its inputs, as counts by name.

    Attributes:
        overridden: Rectifiers a rule overrides, such as ``{"ReLU6": 35}``.
        left_alone: Other activations, which keep their gradient (``{"Hardswish": 21}``).
        opaque: Parts that cannot be looked into and may hide a rectifier.
    """

    overridden: Mapping[str, int] = field(default_factory=dict)
    left_alone: Mapping[str, int] = field(default_factory=dict)
    opaque: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [f"overridden: {listed(self.overridden) or 'nothing'}"]
        if self.left_alone:
            parts.append(f"left alone: {listed(self.left_alone)}")
        if self.opaque:
            parts.append(f"opaque: {listed(self.opaque)}")
        return "; ".join(parts)


@dataclass(frozen=True)
class Flow:
    """What one rectifier received, and what autograd's own derivative would have sent back.

    Attributes:
        any_positive: Whether any of the gradient that arrived was positive.
        magnitude: Sum of the absolute values the gate lets pass.
        negative: The part of it that is negative.
    """

    any_positive: bool
    magnitude: float
    negative: float

    @classmethod
    def of(cls, passed: Tensor, arrived: Tensor) -> Flow:
        """Measure one node's backward step."""
        passed = passed.float()  # half types overflow; some accelerators have no double
        return cls(
            any_positive=bool((arrived > 0).any()),
            magnitude=float(passed.abs().sum()),
            negative=float(passed.clamp(max=0).abs().sum()),
        )


NO_FLOW = Flow(any_positive=False, magnitude=0.0, negative=0.0)
"""Of a rectifier that no gradient reaches."""
_OPAQUE = Role.OPAQUE, Role.IN_PLACE
_OVERRIDDEN = "as override says"


class _Found(NamedTuple):
    """A node with what it is to a rule, its name for people, and where it stands, if that tells."""

    node: Node
    role: Role
    label: str
    where: str = ""


class RulePath:
    """The nodes between outputs and inputs that a backward rule has something to say about.

    Args:
        outputs: Where the backward pass starts.
        inputs: The nodes that accumulate the inputs' gradients.
        seen: What a look at the calls has found out about nodes.
        has_looked: Whether a second look was made. A suspect that it did not see is warned of.
        override: By label, whether a clamp is overridden; others by where they stand, see
            :mod:`_clamps`.

    Attributes:
        nodes: All nodes between, each with those that send it a gradient.
        reached_inputs: Those of ``inputs`` that a path leads to.
    """

    def __init__(
        self,
        outputs: Iterable[Tensor],
        inputs: Collection[Node],
        *,
        seen: Seen | None = None,
        has_looked: bool = False,
        override: Mapping[str, bool] | None = None,
    ) -> None:
        self.nodes = nodes = nodes_between(outputs, inputs)
        seen = seen or {}
        self.reached_inputs = frozenset(inputs).intersection(nodes)
        self._override = override or {}
        self._found: list[_Found] = []
        for node in nodes:
            kind = seen[node] if seen and node in seen else classify(node)
            if kind is None:
                continue
            found = _Found(node, *kind)
            if found.role is Role.SUSPECT and has_looked:
                found = found._replace(role=Role.ALIKE, label=f"{found.label} (out of sight)")
            if found.role is Role.RECTIFIER and may_be_none(node):
                found = self._clamp(found, nodes, inputs)
            self._found.append(found)
        self._roles = frozenset(found.role for found in self._found)

    def _clamp(self, found: _Found, users: Users, inputs: Collection[Node]) -> _Found:
        if found.label in self._override:
            where = None if self._override[found.label] else _OVERRIDDEN
        else:
            where = why_no_activation(found.node, users, inputs)
        return found if where is None else found._replace(role=Role.CLAMP, where=where)

    def _count(self, *roles: Role) -> Counter[str]:
        if self._roles.isdisjoint(roles):
            return Counter()
        return Counter(found.label for found in self._found if found.role in roles)

    @property
    def rectifiers(self) -> dict[str, Node]:
        """The nodes of the rectifiers in the order of their calls: "ReLU 1", "ReLU6 2", ..."""
        found = [one for one in self._found if one.role is Role.RECTIFIER]
        found.sort(key=lambda one: int(one.node._sequence_nr()))  # noqa: SLF001 - there is no other
        return {f"{one.label} {number}": one.node for number, one in enumerate(found, start=1)}

    @property
    def may_hide_a_rectifier(self) -> bool:
        """Whether there is anything that a second look may bring a rectifier to light from."""
        return not self._roles.isdisjoint((*_OPAQUE, Role.SUSPECT))

    @property
    def opaque(self) -> Counter[str]:
        """What cannot be looked into, counted by name."""
        return self._count(*_OPAQUE)

    def report(self) -> RectifierReport:
        """Return what is on the path as data."""
        return RectifierReport(
            overridden=dict(self._count(Role.RECTIFIER)),
            left_alone=dict(self._count(Role.ACTIVATION, Role.GATED_UNIT, Role.CLAMP)),
            opaque=dict(self.opaque + self._count(Role.FUNCTION)),
        )

    def check(
        self,
        rule: BackwardRule,
        *,
        may_be_linear: bool = False,
        opening_error: Exception | None = None,
    ) -> None:
        """Raise or warn where ``rule`` does not apply to this path as its papers define it.

        Args:
            rule: The rule about to be applied.
            may_be_linear: Accept a path with no activation at all, as below a network's first
                rectifier, where every rule gives the gradient.
            opening_error: Why an attempt to open the opaque part failed, if one did.

        Raises:
            OpaqueGraphError: if a rectifier may hide in a part that cannot be looked into.
            NoRectifierError: if there is nothing to override.
        """
        if rule.is_gradient or (self._roles == {Role.RECTIFIER} and not self._override):
            return
        if self.opaque:
            raise OpaqueGraphError(
                f"a rectifier may hide between output and input in: {listed(self.opaque)}. The "
                f"{rule.name} rule cannot be applied there. Run that part eagerly, written as "
                "separate out-of-place torch operations."
            ) from opening_error
        self._check_override()
        others = self._count(Role.GATED_UNIT)
        activations = self._count(Role.ACTIVATION)
        functions = self._count(Role.FUNCTION)
        overridden = self._count(Role.RECTIFIER)
        by_place = [f for f in self._found if f.role is Role.CLAMP and f.where != _OVERRIDDEN]
        clamps = Counter(f"{found.label} {found.where}" for found in by_place)
        if rule.extends_to_activations:
            overridden += activations
        else:
            others += activations
        alike = self._count(Role.ALIKE)
        if not overridden and not functions and (others or not may_be_linear):
            left = others + clamps + alike
            there = f"what is there is {listed(left)}" if left else "nor any activation"
            raise NoRectifierError(
                f"no rectifier (ReLU, ReLU6, clamp at 0, ...) lies between output and input, "
                f"{there}: the {rule.name} rule would return the plain gradient. Use Saliency, "
                "InputXGradient or Grad-CAM for this network."
            )
        if functions:
            warn_user(
                f"custom autograd functions lie between output and input ({listed(functions)}); "
                f"if one of them is a rectifier, the {rule.name} rule does not reach it."
            )
        if alike:
            warn_user(
                f"these operations may be ReLUs, spelled by arithmetic: {listed(alike)}. The "
                f"{rule.name} rule does not reach them: write them as torch.relu if they are."
            )
        if others:
            warn_user(
                f"the {rule.name} rule is defined for rectifiers only: overrode "
                f"{listed(overridden)}; left alone, with their own gradient: {listed(others)}."
            )
        if clamps:
            labels = sorted({found.label for found in by_place})
            warn_user(
                f"left alone, as no activations where they stand: {listed(clamps)}. Pass "
                f"override={labels} to have the {rule.name} rule override them."
            )

    def _check_override(self) -> None:
        known = {found.label for found in self._found if may_be_none(found.node)}
        for label in self._override:
            if label not in known:
                there = f"choose from {', '.join(sorted(known))}" if known else "there is none"
                raise ModelError(
                    f"override names {label!r}, and no such clamp lies between output and input; "
                    f"{there}"
                )

    @contextmanager
    def applied(
        self, rule: BackwardRule, watching: Iterable[tuple[Node, NodeHook]] = ()
    ) -> Iterator[None]:
        """Apply ``rule`` to the backward passes run inside the ``with`` block.

        Args:
            rule: What the rectifiers send back.
            watching: Hooks that see what autograd itself would send back, by node.
        """
        roles = {Role.RECTIFIER}
        if rule.extends_to_activations:
            roles.add(Role.ACTIVATION)
        found = [] if rule.is_gradient else [f for f in self._found if f.role in roles]
        spelled: list[Any] = [one.node for one in found if is_spelled(one.node)]
        handles: list[Any] = []
        try:
            for node in spelled:
                node.is_ruled = True
            handles.extend(node.register_hook(hook) for node, hook in watching)
            usual = _override(rule, None, 1, owns=True)
            handles.extend(one.node.register_hook(_hook_of(one, rule, usual)) for one in found)
            yield
        finally:
            for handle in handles:
                handle.remove()
            for node in spelled:
                node.is_ruled = False

    @contextmanager
    def watched(self, rule: BackwardRule) -> Iterator[dict[str, Flow]]:
        """Apply ``rule``, and collect what passes each rectifier that a gradient reaches."""
        flows: dict[str, Flow] = {}

        def watch(name: str, passed: Gradients, arrived: Gradients) -> None:
            if passed[0] is not None and arrived[0] is not None and arrived[0].any():
                flows[name] = Flow.of(passed[0], arrived[0])

        hooks = [(node, partial(watch, name)) for name, node in self.rectifiers.items()]
        with self.applied(rule, hooks):
            yield flows


def _hook_of(found: _Found, rule: BackwardRule, usual: NodeHook) -> NodeHook:
    """Return the hook that makes a node follow ``rule``; ``usual`` where there is but one call."""
    if found.role is Role.RECTIFIER and not is_clamp(found.node):
        return usual
    mask, scale = gate(found.node), scale_of(found.node)
    # What autograd's own derivative of a rectifier returns is a new tensor each time.
    owns = found.role is Role.RECTIFIER and mask is None and not is_spelled(found.node)
    return _override(rule, mask, scale, owns=owns)


def _override(rule: BackwardRule, gate: Tensor | None, scale: float, *, owns: bool) -> NodeHook:
    owns = owns and rule.clips_gradient
    fresh = _references_of_fresh() if owns else ()

    # The closure holds no node and no output: a hook that reached its own graph would be a
    # cycle that Python's garbage collector cannot see through.
    def hook(passed: Gradients, arrived: Gradients) -> Gradients | None:
        if passed[0] is None or arrived[0] is None:
            return None
        if owns and _references(passed) == fresh:
            source = passed[0] if rule.gated_by_input else arrived[0]
            return torch.clamp_min(source, 0, out=passed[0]), *passed[1:]
        reached = arrived[0] if scale == 1 else scale * arrived[0]
        return (rule(passed[0], reached, gate), *passed[1:])

    return hook


def _references(gradients: Gradients) -> tuple[int, ...]:
    """Return how many hold the first gradient and its memory, from Python and from C++."""
    one: Any = gradients[0]
    memory = one.untyped_storage()
    in_use: Any = torch._C._storage_Use_Count  # noqa: SLF001
    holders = sys.getrefcount(one), one._use_count(), sys.getrefcount(memory)  # noqa: SLF001
    return (*holders, in_use(memory._cdata))  # noqa: SLF001


@cache
def _references_of_fresh() -> tuple[int, ...]:
    """Return what :func:`_references` says of a result that only autograd and the hook hold."""
    found: list[tuple[int, ...]] = []

    def hook(passed: Gradients, arrived: Gradients) -> Gradients | None:
        if passed[0] is None or arrived[0] is None:
            return None
        found.append(_references(passed))
        return None

    with torch.inference_mode(False), torch.enable_grad():  # noqa: FBT003
        x = torch.zeros(1, requires_grad=True)
        rectified = x.relu()
        get_gradient_edge(rectified).node.register_hook(hook)
        torch.autograd.backward(rectified, inputs=[x])
    return found[0]
