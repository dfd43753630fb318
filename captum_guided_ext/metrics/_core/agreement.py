"""How far methods agree about one prediction: the disagreement problem."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_guided_ext.attr import method_title
from captum_guided_ext.autograd import check_finite
from captum_guided_ext.metrics._utils.attributions import per_place
from captum_guided_ext.metrics._utils.correlation import ranks, standardized
from captum_guided_ext.output import Matrix, counted, draw_matrices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far each two of M methods agree about each of N examples.

    Attributes:
        names: The methods', M of them.
        rank_correlation: Shape (N, M, M), from -1 to 1; NaN for a map that is the same everywhere.
        overlap: Shape (N, M, M), from 0 to 1; NaN likewise. By chance it is ``top_share``.
        top_share: The share of places that are a map's top.
    """

    names: tuple[str, ...]
    rank_correlation: Tensor
    overlap: Tensor
    top_share: float

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each example and each two methods; None where there is no number."""
        return list(self._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        for example in range(len(self.overlap)):
            for one, method in enumerate(self.names):
                for two in range(one + 1, len(self.names)):
                    yield {
                        "example": example,
                        "method": method,
                        "other": self.names[two],
                        "rank_correlation": _number(self.rank_correlation[example, one, two]),
                        "overlap": _number(self.overlap[example, one, two]),
                    }

    def to_dict(self) -> dict[str, Any]:
        """Return it as data that JSON can hold."""
        return {"methods": list(self.names), "top_share": self.top_share, "rows": self.rows()}

    def plot(self) -> Figure:
        """Draw both matrices, each the mean over the examples that have a number."""
        titles = [method_title(name) for name in self.names]
        share = f"{100 * self.top_share:g} %"
        return draw_matrices(
            [
                Matrix("Rank correlation", titles, self.rank_correlation.nanmean(dim=0)),
                Matrix(
                    f"Overlap of the top {share}",
                    titles,
                    self.overlap.nanmean(dim=0),
                    f"by chance {share}",
                ),
            ],
            caption=f"mean over {counted(len(self.overlap), 'example')}",
        )


def agreement(attributions: Mapping[str, Tensor], *, top_share: float = 0.1) -> Agreement:
    """Return how far attributions of the same prediction agree with one another.

    Krishna et al. 2022 (arXiv:2202.01602): Spearman's rank correlation of how much attribution the
    places hold, and the share of the top places that two maps have in common (their feature
    agreement). A place holds the sum of its channels' magnitudes. Neither is a quality: methods can
    agree because they are wrong together.

    Where places of equal strength compete for the last places of a top, the overlap is what is
    expected if each map draws lots among them, so that no corner is preferred; a map has itself in
    common all the same.

    Args:
        attributions: Two or more by name, (N, C, H, W) with any number of channels each; or of any
            other shape that is the same for all, where each number of an example is a place.
        top_share: The share of places that are a map's top, above 0 and below 1; at least one place
            is. Default: 0.1.

    Returns:
        Both measures of each two maps of each example.

    Raises:
        TypeError: for what is no mapping, no tensor or no number.
        ValueError: for fewer than two attributions, shapes that do not match, NaN or infinity, or
            another ``top_share``.

    Example:
        >>> found = agreement({"gradient": gradient, "guided_backprop": guided})
        >>> found.plot().savefig("agreement.png")
    """
    strengths = _strengths(attributions)
    if isinstance(top_share, bool) or not isinstance(top_share, (int, float)):
        raise TypeError(f"top_share must be a number, not {type(top_share).__name__}")
    if not 0 < top_share < 1:
        raise ValueError(f"top_share must be a share above 0 and below 1, and is {top_share}")
    examples = range(len(strengths[0]))
    found = [_of_example(torch.stack([s[i] for s in strengths]), top_share) for i in examples]
    return Agreement(
        tuple(attributions),
        torch.stack([correlation for correlation, _ in found]),
        torch.stack([overlap for _, overlap in found]),
        float(top_share),
    )


def _strengths(attributions: object) -> list[Tensor]:
    if not isinstance(attributions, Mapping):
        raise TypeError(
            f"attributions must be a mapping from names to tensors, not "
            f"{type(attributions).__name__}"
        )
    if len(attributions) < 2:  # noqa: PLR2004
        raise ValueError(
            f"attributions holds {len(attributions)}, and agreement is between two or more"
        )
    found: list[Tensor] = []
    places: dict[str, tuple[int, ...]] = {}
    for name, one in attributions.items():
        label = f"attributions[{name!r}]"
        if not isinstance(one, Tensor):
            raise TypeError(f"{label} must be a tensor, not {type(one).__name__}")
        if one.dim() < 2 or not one.numel():  # noqa: PLR2004 - examples and places
            raise ValueError(f"{label} has shape {tuple(one.shape)}: it must be (N, places ...)")
        check_finite(one, label)
        found.append(per_place(one))
        places[label] = tuple(one.shape[:1] + one.shape[2:] if one.dim() > 3 else one.shape)  # noqa: PLR2004
    (first, wanted), *others = places.items()
    for label, shape in others:
        if shape != wanted:
            raise ValueError(
                f"{first} has examples and places {wanted}, and {label} has {shape}: all must be "
                "of the same inputs"
            )
    return found


def _of_example(strengths: Tensor, top_share: float) -> tuple[Tensor, Tensor]:
    """Return rank correlation and overlap, (M, M) each, from the strengths, (M, places)."""
    order = standardized(ranks(strengths))
    correlation = (order @ order.T).clamp(-1, 1)
    count = max(1, round(top_share * strengths.shape[1]))
    tops = _tops(strengths, count)
    overlap = tops @ tops.T / count
    both = torch.full_like(overlap, 1).fill_diagonal_(0)
    overlap = overlap * both + torch.eye(len(overlap), dtype=overlap.dtype)
    return correlation, overlap.masked_fill(correlation.isnan(), math.nan)


def _tops(strengths: Tensor, count: int) -> Tensor:
    """Return the chance of each place to be among the ``count`` strongest, lots drawn for ties."""
    last = strengths.topk(count, dim=1).values[:, -1:]
    above, level = strengths > last, strengths == last
    left = count - above.sum(dim=1, keepdim=True)
    return above.double() + level * left / level.sum(dim=1, keepdim=True)


def _number(value: Tensor) -> float | None:
    number = float(value)
    return None if math.isnan(number) else number
