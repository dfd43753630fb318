"""What each way of writing a network gives: the README's table, made from the tables of the tests.

A line has the names of rows that are tested, so that none stands in the README that is not, and
each table stands in one line. ``python tests/helpers/answers.py`` prints it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from arithmetic import CLAMPS, HINTED, NONE, SPELLED
from topologies import REFUSED, RIGHT_OR_REFUSED, SPELLINGS, TOPOLOGIES, WAYS

if TYPE_CHECKING:
    from collections.abc import Collection

EXACT = "the method, bit for bit"
NETWORKS = {  # as in test_torchvision
    "no rectifier": ("ViT", "Swin", "ConvNeXt", "EfficientNet"),
    "other activations": ("MobileNetV3", "RegNetY"),
}


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of the README's table.

    Attributes:
        words: What the networks have in common, with ``{}`` for those that are ``shown``.
        table: The names of all rows the line stands for.
        shown: Some of them.
        answer: What they give.
        code: Whether the names are code.
    """

    words: str
    table: Collection[str]
    shown: tuple[str, ...]
    answer: str
    code: bool = True

    def __str__(self) -> str:
        unknown = [name for name in self.shown if name not in self.table]
        assert not unknown, f"{unknown} are in no table"
        shown = (f"`{name}`" if self.code else name for name in self.shown)
        return f"| {self.words.format(', '.join(shown))} | {self.answer} |".replace("|x|", "abs(x)")


LINES = [
    Line(
        "{}, in place or not, on a view, reused; `nn.RNN` with ReLU, transformer layers with ReLU",
        {*SPELLINGS, *TOPOLOGIES},
        (
            "nn.ReLU",
            "F.relu",
            "torch.relu_",
            "nn.ReLU6",
            "Tensor.clamp(min=0)",
            "F.threshold(0, 0)",
        ),
        EXACT,
    ),
    Line(
        "ReLUs spelled by arithmetic: {}, ...",
        SPELLED,
        (
            "maximum",
            "where(x > 0, x, 0)",
            "x * (x > 0)",
            "h[h < 0] = 0",
            "(x + |x|) / 2",
            "x - x.clamp(max=0)",
        ),
        EXACT,
    ),
    Line(
        "{}, any callable",
        WAYS,
        (
            "traced",
            "scripted",
            "a scripted function",
            "fx-traced",
            "exported",
            "checkpointed",
            "compiled",
            "data parallel",
        ),
        f"{EXACT}; your own modules run, as they were written",
        code=False,
    ),
    Line(
        "arithmetic that is no ReLU: {}, ...",
        NONE,
        ("leaky by where", "another's mask", "a straight-through estimator"),
        "its own gradient",
        code=False,
    ),
    Line(
        "clamps at 0 that are no activations, on the input, or for: {}, ...",
        CLAMPS,
        ("a root", "a logarithm", "a division", "hard-swish"),
        "their own gradient, and a warning that names them; `override=` decides otherwise",
        code=False,
    ),
    Line(
        "ReLUs that only their values show, or that no look can reach: {}, ...",
        HINTED,
        ("assignment by indices", "maximum in vmap", "in a script"),
        "a warning with the operation and its line",
        code=False,
    ),
    Line(
        "{}: no rectifier between output and image",
        NETWORKS["no rectifier"],
        NETWORKS["no rectifier"],
        "`NoRectifierError`, with the names of the activations",
        code=False,
    ),
    Line(
        "{}: rectifiers and other activations",
        NETWORKS["other activations"],
        NETWORKS["other activations"],
        "the method on the rectifiers, and a warning that names the others",
        code=False,
    ),
    Line(
        "{}; cuDNN's ReLU RNN",
        {*REFUSED, *RIGHT_OR_REFUSED},
        ("scripted on a view", "reentrant checkpoint"),
        "`OpaqueGraphError`, with the name of the part",
        code=False,
    ),
]
TABLE = "\n".join(["| the network | the answer |", "|---|---|", *map(str, LINES)])

if __name__ == "__main__":
    print(TABLE)  # noqa: T201 - what it is for
