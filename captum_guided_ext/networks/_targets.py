"""Finding the class a person names."""

from __future__ import annotations

import re
from itertools import combinations
from typing import TYPE_CHECKING

from captum_guided_ext.errors import ModelError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from captum_guided_ext._captum import TargetType


def by_score(scores: Tensor) -> list[int]:
    """Return the classes of one example, the highest score first; of equal ones, the first first.

    Raises:
        ModelError: for NaN or infinity; minus infinity is the lowest score.
    """
    if scores.isnan().any() or scores.isposinf().any():
        raise ModelError("a prediction needs scores, and the network returned NaN or infinity")
    found: list[int] = scores.sort(descending=True, stable=True).indices.tolist()
    return found


def rank_of(target: str) -> int | None:
    """Return the place that a word for a target asks for, or None where it asks for none.

    1 for "prediction" and "top1", which are the class with the highest score; 2 for "top2"; ...
    """
    text = target.strip()
    if text.casefold() == "prediction":
        return 1
    word = re.fullmatch(r"top(\d{1,9})", text, re.IGNORECASE | re.ASCII)
    return int(word[1]) if word else None


def find_target(spec: str | int, scores: Tensor, categories: Sequence[str] = ()) -> int:
    """Return the index of the class that ``spec`` names.

    Args:
        spec: ``"prediction"`` or ``"top1"``, the class with the highest score; ``"top2"``, ...; a
            class index, counted from 0 (a number is always an index, even where classes are named
            by numbers); or a name: as it is written, else in any case, else one of its
            comma-separated parts, else some of its words, as long as one class only fits.
        scores: One example's scores or probabilities, shape ``(classes,)``.
        categories: Names of the classes.

    Raises:
        ModelError: if no class or more than one fits, with the nearest names.
    """
    text = str(spec).strip()
    if scores.ndim != 1:
        raise ModelError(f"a target needs one example's scores, not shape {tuple(scores.shape)}")
    rank = rank_of(text)
    if rank is not None:
        if not 1 <= rank <= len(scores):
            raise ModelError(f"target {text!r} is not one of top1 to top{len(scores)}")
        return by_score(scores)[rank - 1]
    if text.casefold() == "label":
        raise ModelError(
            "target 'label' is the class that a data set gives: here there is none; give "
            "prediction, top2, a name or an index"
        )
    if re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        if not 0 <= int(text) < len(scores):
            raise ModelError(f"target {text} is not a class index from 0 to {len(scores) - 1}")
        return int(text)
    return _class_called(text, categories)


def find_targets(target: TargetType | str, output: Tensor) -> TargetType:
    """Return a target as Captum takes it: the class of each example for "prediction", "top2", ...

    Args:
        target: As in Captum, which is returned as it is; or as :func:`find_target` takes it.
        output: Of the model, (N, classes) for a text.

    Raises:
        ModelError: for a text and an output of another shape, and as :func:`find_target`.
    """
    if not isinstance(target, str):
        return target
    if output.dim() != 2:  # noqa: PLR2004 - (examples, classes)
        raise ModelError(
            f"there is no {target} in an output of shape {tuple(output.shape)}, but in one score "
            "for each class, (N, classes): give the target's indices"
        )
    return [find_target(target, scores) for scores in output.detach()]


def _class_called(text: str, categories: Sequence[str]) -> int:
    if not categories:
        raise ModelError(
            f"target {text!r}: the classes have no names; give an index, prediction or top2"
        )
    if list(categories).count(text) == 1:  # ImageNet has a Cardigan (a dog) and a cardigan
        return list(categories).index(text)
    wanted = text.casefold()
    for readings in (_whole, _parts, _runs_of_words):
        found = [i for i, name in enumerate(categories) if wanted in readings(name.casefold())]
        if len(found) == 1:
            return found[0]
        if found:
            some = ", ".join(f"{categories[i]} ({i})" for i in found)
            raise ModelError(f"target {text!r} fits {len(found)} classes: {some}; give an index")
    near = nearest(text, [part for name in categories for part in (name, *_parts(name))])
    raise ModelError(f"no class is called {text!r}{near}; or give an index, prediction or top2")


# How a name may be asked for, the strictest reading first.
def _whole(name: str) -> list[str]:
    return [name]


def _parts(name: str) -> list[str]:
    return [part.strip() for part in name.split(",")]


def _runs_of_words(name: str) -> list[str]:
    words = re.findall(r"[^\W_]+", name)
    return [" ".join(words[i:j]) for i, j in combinations(range(len(words) + 1), 2)]
