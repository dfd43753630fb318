"""Names of classes, from a file or a list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_guided_ext.errors import ModelError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence


def read_class_names(given: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes, in the order of their indices.

    Args:
        given: The names; or a UTF-8 file with one name a line, a JSON list of names, or a JSON
            object from indices to names. For a name may stand a list that ends in it, as in
            ImageNet's ``{"0": ["n01440764", "tench"], ...}``.

    Raises:
        ModelError: for a file that is none of these, with the place.
    """
    if not isinstance(given, (str, Path)):
        return tuple(map(str, given))
    path = Path(given)
    text = _text(path)
    where = f"the class names in {path}"
    if text.lstrip()[:1] in ("[", "{"):
        try:
            names = _from_json(json.loads(text), where)
        except json.JSONDecodeError as error:
            raise ModelError(f"{where} are no JSON ({error})") from error
    else:
        names = [line.strip() for line in text.rstrip().splitlines()]
    if not any(names):
        raise ModelError(f"{where}: there are none; write one a line")
    if "" in names:
        raise ModelError(
            f"{where}: number {names.index('')} of 0 to {len(names) - 1} is empty, and each class "
            "needs its line: give it a name, or take the line out if there is no such class"
        )
    return tuple(names)


def check_class_names(names: Sequence[str], outputs: int, network: str) -> None:
    """Raise ``ModelError`` where a network has another number of outputs than of class names."""
    if names and len(names) != outputs:
        raise ModelError(
            f"{network} has {outputs} outputs and {len(names)} class names, of which the first is "
            f"{names[0]!r} and the last {names[-1]!r}: give one for each output (--classes)"
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        near = nearest(path.name, [p.name for p in path.parent.glob("*")])
        raise ModelError(f"the file of class names {path} does not exist{near}") from error
    except OSError as error:
        raise ModelError(
            f"the file of class names {path} cannot be read ({error.strerror})"
        ) from error
    except UnicodeDecodeError as error:
        raise ModelError(
            f"the file of class names {path} is no text in UTF-8: save it as UTF-8"
        ) from error


def _from_json(found: Any, where: str) -> list[str]:
    if isinstance(found, dict):
        wanted = [str(index) for index in range(len(found))]
        if missing := [index for index in wanted if index not in found]:
            raise ModelError(
                f"{where}: {len(found)} are given, and none for index {missing[0]}; the keys must "
                f"be 0 to {len(found) - 1}"
            )
        found = [found[index] for index in wanted]
    last = [one[-1] if isinstance(one, list) and one else one for one in found]
    if wrong := [index for index, one in enumerate(last) if not isinstance(one, str)]:
        raise ModelError(
            f"{where}: number {wrong[0]} is {json.dumps(found[wrong[0]])[:60]}, and not a name"
        )
    return [name.strip() for name in last]
