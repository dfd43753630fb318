"""A data set of pictures as a network takes them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from captum_guided_ext.errors import DataError, ModelError, warn_user
from captum_guided_ext.networks import Network, find_target
from captum_guided_ext.pictures._sources import Pictures, open_data
from captum_guided_ext.sampling import check_positive_count

if TYPE_CHECKING:
    from collections.abc import Sequence


class PictureDataset(Dataset[tuple[Tensor, int | None, Tensor | None]]):
    """Pictures as a network takes them: ``(input, class, mask)``.

    The input is a float tensor (C, H, W); the class an index or None; the mask of the object a
    boolean tensor (H, W) or None.

    Args:
        data: A folder of pictures, or of one folder for each class, named as the network's classes
            are; ``"demo"``, the pictures that come with the package; ``"idx:IMAGES,LABELS"``, two
            files as MNIST's; or an object of the form of
            :class:`captum_guided_ext.pictures.Pictures`.
        network: Its preprocessing and its classes.
        masks: For a folder: another one, with a PNG for each picture, of its path and size, that is
            neither black nor transparent where the object is.
        limit: Only this many pictures, the first ones. Default: all of a folder, 300 of the demo.
        use_labels: Whether classes are wanted; without, they are None. Default: if there are any.

    Raises:
        DataError: if there is no such data, or one of its labels is no class of the network.

    Example:
        >>> network = load_network("resnet50")
        >>> found = benchmark(network, PictureDataset("photos", network), output="results")
    """

    def __init__(
        self,
        data: str | Path | Pictures,
        network: Network,
        *,
        masks: str | Path | None = None,
        limit: int | None = None,
        use_labels: bool | None = None,
    ) -> None:
        if not isinstance(network, Network):
            raise TypeError(f"network must be a Network, not {type(network).__name__}")
        if limit is not None:
            check_positive_count("limit", limit)
        pictures = _opened(data, masks, limit)
        if use_labels is None:
            use_labels = bool(pictures.labels)
        self._pictures = pictures
        self._length = len(pictures) if limit is None else min(limit, len(pictures))
        self._network = network
        if network.assumption:
            warn_user(network.assumption)
        self._classes: list[int] | None = None
        if use_labels:
            if not pictures.labels:
                raise DataError(
                    f"{pictures.description} has no labels: explain the prediction "
                    "(--target prediction), or put the pictures of each class in a folder"
                )
            self._classes = _classes(pictures.labels, network)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Tensor, int | None, Tensor | None]:
        case = self._pictures[range(self._length)[index]]
        label = None
        if self._classes is not None and case.label is not None:
            label = self._classes[case.label]
        mask = None
        if case.mask is not None:
            mask = torch.tensor(self._network.lay_mask(case.mask.astype(bool)))
        return self._network.prepare(case.image), label, mask

    def name(self, index: int) -> str:
        """Return the name of one picture."""
        return self._pictures.name(index)

    def stamp(self, index: int) -> str:
        """Return what one picture's files look like from outside; empty where there are none."""
        stamp = getattr(self._pictures, "stamp", None)
        return "" if stamp is None else str(stamp(index))

    @property
    def reads_files(self) -> bool:
        """Whether a picture is read from its file, which another process may do ahead of time."""
        return bool(getattr(self._pictures, "reads_files", False))

    def describe(self) -> dict[str, Any]:
        """Return what the data is, so that a change of it is noticed."""
        names = "\n".join(self.name(index) for index in range(len(self)))
        said = {
            "description": self._pictures.description,
            "digest of names": hashlib.sha256(names.encode()).hexdigest()[:16],
        }
        fingerprint = getattr(self._pictures, "fingerprint", None)
        if fingerprint is not None:
            said["digest of pictures, labels and masks"] = fingerprint()[:16]
        return said


def _opened(data: str | Path | Pictures, masks: str | Path | None, limit: int | None) -> Pictures:
    if isinstance(data, (str, Path)):
        return open_data(str(data), masks=masks, limit=limit)
    if not isinstance(data, Pictures):
        raise TypeError(
            f"data must be a folder, demo, idx:IMAGES,LABELS or have the form of Pictures, not "
            f"{type(data).__name__}"
        )
    if masks is not None:
        raise TypeError(f"masks go with a folder; {type(data).__name__} has its own")
    return data


def _classes(labels: Sequence[str], network: Network) -> list[int]:
    """Return the network's class for each label of the data, by name or by number."""
    if not network.classes:
        numbered = all(label.isdecimal() for label in labels)
        return [int(label) if numbered else place for place, label in enumerate(labels)]
    names = list(network.classes)
    if all(names.count(label) == 1 for label in labels):  # "1" to "10", say, are no indices then
        return [names.index(label) for label in labels]
    scores = torch.zeros(len(network.classes))
    classes = []
    for label in labels:
        try:
            wanted = label if label in names else label.replace("_", " ")
            classes.append(find_target(wanted, scores, network.classes))
        except ModelError as error:
            raise DataError(
                f"the data's class {label!r} is none of {network.name}'s ({error}): rename its "
                "folder, or explain the prediction (--target prediction)"
            ) from error
    return classes
