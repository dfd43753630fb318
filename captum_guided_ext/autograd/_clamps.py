"""Which clamps at 0 are no activations: guards of a number, and gates.

The papers' rules are for activations. A clamp at 0 is one of the spellings of a ReLU, but clamps
are also written for other reasons, and autograd's own derivative is right there. Which it is, is
decided by where it stands in the graph and never by the data of a pass: a batch must not change
the map of an image. A clamp is no activation

* on the input: it keeps a picture in its range;
* in front of a root, a logarithm or a division: it keeps a number in the range of those;
* multiplied with what it was made from, up to constants: it is a gate, as in a hard-swish,
  ``x * relu6(x + 3) / 6``. So is a clamp of a sum with a constant, with a ceiling, that does
  nothing but multiply: a hard-sigmoid, ``relu6(s + 3) / 6``.

A call of ReLU is never taken for one of these, and a call of ReLU6 for a gate only; what is spelled
by arithmetic, as ``maximum(x, 0)`` is, counts as a clamp.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from captum_guided_ext.autograd._nodes import is_spelled, operation_of, saved

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from torch.autograd.graph import Node

    Edge = tuple[Node, int]
    Users = Mapping[Node, Sequence[Node]]

_CLAMPS = ("Clamp", "ClampMin")
_MOVEMENTS = frozenset(
    "Alias AsStrided Clone Copy Expand Permute Select Slice Squeeze T ToCopy Transpose Unsafe_View "
    "UnsafeView Unsqueeze View Reshape ReshapeAlias".casefold().split()
)
_SELECTIONS = frozenset(("AsStrided", "Select", "Slice"))
_AFFINE = frozenset(("Add", "Sub", "Rsub", "Mul", "Div", "Neg"))
_CEILINGS = frozenset(("Clamp", "ClampMax", "Minimum"))
_IN_FRONT = {
    "Sqrt": "a root",
    "Rsqrt": "a root",
    "Reciprocal": "a division",
    "Log": "a logarithm",
    "Log2": "a logarithm",
    "Log10": "a logarithm",
    "Log1P": "a logarithm",
}


def may_be_none(node: Node) -> bool:
    """Whether ``node``, a rectifier, is of a kind that may be no activation."""
    return operation_of(node) == "Hardtanh" or is_clamp(node)


def is_clamp(node: Node) -> bool:
    """Whether ``node``, a rectifier, is no call of one: its derivative need not have its gate."""
    return operation_of(node) in _CLAMPS or is_spelled(node)


def why_no_activation(node: Node, users: Users, inputs: Collection[Node]) -> str | None:
    """Return where a clamp stands that makes it no activation; None where it is one.

    Args:
        node: A rectifier for which :func:`may_be_none`.
        users: Of each node, the nodes that send it a gradient.
        inputs: The nodes that accumulate the inputs' gradients.
    """
    ends = _ends(node, users)
    if is_clamp(node):
        taken = _stripped(node.next_functions[0], _is_movement)
        if taken is not None and taken[0] in inputs:
            return "on the input"
        if ends and None not in (places := {_guarded(user, edge) for user, edge in ends}):
            return f"in front of {' and '.join(sorted(map(str, places)))}"
    if not ends or any(operation_of(user) != "Mul" for user, _ in ends):
        return None
    source = _stripped(node.next_functions[0], _keeps_elements)
    if source is not None and all(_is_gate(user, edge, source) for user, edge in ends):
        return "as a gate"
    if _is_shifted(node) and _has_a_ceiling(node, users) and all(_multiplies(*end) for end in ends):
        return "as a gate"
    return None


def _edges(node: Node) -> list[Edge]:
    return [(child, index) for child, index in node.next_functions if child is not None]


def _is_movement(node: Node) -> bool:
    return _moves(operation_of(node)) and len(_edges(node)) == 1


@cache
def _moves(operation: str) -> bool:
    return operation.casefold() in _MOVEMENTS


@cache  # a network has hundreds of nodes, of a few names
def _may_pass(operation: str) -> bool:
    """Whether a node of that operation may make of each element another."""
    return _moves(operation) or operation in _AFFINE or operation in _CEILINGS


def _is_affine(node: Node) -> bool:
    """Whether a node adds or multiplies one tensor with constants."""
    operation = operation_of(node)
    if operation not in _AFFINE or len(_edges(node)) != 1:
        return False
    return operation != "Div" or node.next_functions[0][0] is not None  # as the numerator


def _is_ceiling(node: Node) -> bool:
    operation = operation_of(node)
    if operation not in _CEILINGS:
        return False
    return saved(node, "min") is None if operation == "Clamp" else len(_edges(node)) == 1


def _keeps_elements(node: Node) -> bool:
    """Whether a node makes of each element another: by constants, a ceiling, or by moving all."""
    moves = _is_movement(node) and operation_of(node) not in _SELECTIONS
    return moves or _is_affine(node) or _is_ceiling(node)


def _stripped(edge: tuple[Node | None, int], passes: Callable[[Node], bool]) -> Edge | None:
    """Follow an edge down through the nodes that ``passes`` lets pass."""
    node, index = edge
    while node is not None and passes(node):
        ((node, index),) = _edges(node)
    return None if node is None else (node, index)


def _ends(node: Node, users: Users) -> list[tuple[Node, Node]]:
    """Return where ``node`` ends up, behind movements and constants, each with the way it came."""
    ends, waiting = [], [(user, node) for user in users.get(node, ())]
    while waiting:
        user, came_from = waiting.pop()
        if _may_pass(operation_of(user)) and (
            _is_movement(user) or _is_affine(user) or _is_ceiling(user)
        ):
            above = users.get(user, ())
            waiting += [(one, user) for one in above]
            if not above:
                ends.append((user, came_from))
        else:
            ends.append((user, came_from))
    return ends


def _guarded(user: Node, came_from: Node) -> str | None:
    """Return what ``user`` is, if it is one that needs a number guarded."""
    operation = operation_of(user)
    if operation == "Pow":
        exponent = saved(user, "exponent")
        if exponent is None or (exponent > 0 and float(exponent).is_integer()):
            return None
        return "a division" if float(exponent).is_integer() else "a root"
    if operation == "Div":
        below = [child for child, _ in user.next_functions]
        return "a division" if below[-1] is came_from and below[0] is not came_from else None
    return _IN_FRONT.get(operation)


def _is_gate(user: Node, came_from: Node, source: Edge) -> bool:
    if operation_of(user) != "Mul" or len(_edges(user)) != 2:  # noqa: PLR2004
        return False
    others = [edge for edge in _edges(user) if edge[0] is not came_from]
    return len(others) == 1 and _stripped(others[0], _keeps_elements) == source


def _multiplies(user: Node, came_from: Node) -> bool:
    children = [child for child, _ in _edges(user)]
    return operation_of(user) == "Mul" and len(children) == 2 and children.count(came_from) == 1  # noqa: PLR2004


def _is_shifted(node: Node) -> bool:
    below = _stripped(node.next_functions[0], lambda one: _is_movement(one) or _is_ceiling(one))
    return below is not None and _is_affine(below[0]) and operation_of(below[0]) in ("Add", "Sub")


def _has_a_ceiling(node: Node, users: Users) -> bool:
    if operation_of(node) == "Hardtanh" or saved(node, "max") is not None:
        return True
    below = _stripped(node.next_functions[0], _is_movement)
    above = users.get(node, ())
    return (below is not None and _is_ceiling(below[0])) or any(map(_is_ceiling, above))
