"""Pictures to benchmark on: a folder, the demo's picture world, or IDX files."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from captum_guided_ext.errors import DataError, nearest, warn_user
from captum_guided_ext.pictures._names import printable
from captum_guided_ext.pictures._reading import open_mask, open_picture

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

DEMO_SEED = 2026  # of the world the commands draw from; training saw other seeds
_DEMO_LENGTH = 300
_FURTHER = (".gif", ".jfif", ".apng")  # pictures' names that torchvision's ImageFolder leaves out


@dataclass(frozen=True)
class Case:
    """One picture with what is known about it.

    Attributes:
        image: The picture.
        label: The index of its class in the data; None where it has none.
        mask: Where the object is, (H, W); None where that is not known.
    """

    image: Image.Image
    label: int | None
    mask: npt.NDArray[np.bool_] | None = None


@runtime_checkable
class Pictures(Protocol):
    """A data set of pictures.

    It may have a ``fingerprint()`` as well, which changes when the pictures, labels or masks do; a
    ``stamp(index)`` in words, which changes when a picture's files do; and ``reads_files``, which
    says that another process should read them ahead.

    Attributes:
        description: Where it comes from, in words.
        labels: Names of the classes that labels are indices of; empty where there are none.
    """

    @property
    def description(self) -> str: ...

    @property
    def labels(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Case:
        """Return one picture; raises ``OSError`` where it cannot be read."""

    def name(self, index: int) -> str:
        """Return the name of one picture, without reading it."""


def open_data(spec: str, *, masks: str | Path | None = None, limit: int | None = None) -> Pictures:
    """Return the data that ``spec`` names.

    Args:
        spec: ``"demo"``; ``"idx:IMAGES,LABELS"``, two files as MNIST's, gzipped or not; or a
            folder, with a folder for each class in it (torchvision's ``ImageFolder``) or with the
            pictures themselves, which then have no labels.
        masks: A folder with a PNG for each picture of a folder, of its path and size, that is
            neither black nor transparent where the object is.
        limit: How many pictures are wanted at the most; the first of a folder; the demo's
            world draws as many.

    Raises:
        DataError: if there is no such data, or nothing in it.
    """
    if masks is not None and (spec == "demo" or spec.startswith("idx:")):
        raise DataError("masks go with a folder of pictures: leave them out")
    if spec == "demo":
        return _Demo(limit or _DEMO_LENGTH)
    if spec.startswith("idx:"):
        return _Idx(spec.removeprefix("idx:"))
    return _Folder(Path(spec), None if masks is None else Path(masks), limit)


class _Demo:
    def __init__(self, length: int) -> None:
        from captum_guided_ext.demo import CATEGORIES, PictureWorld  # noqa: PLC0415

        self._world = PictureWorld(length, seed=DEMO_SEED)
        self.description = "the demo's picture world"
        self.labels = CATEGORIES

    def __len__(self) -> int:
        return len(self._world)

    def __getitem__(self, index: int) -> Case:
        picture = self._world[index]
        return Case(Image.fromarray(picture.image), picture.label, ~picture.masks["background"])

    def name(self, index: int) -> str:
        return f"demo {index}"

    def fingerprint(self) -> str:
        return f"{DEMO_SEED} {len(self)}"


class _Folder:
    reads_files = True

    def __init__(self, folder: Path, masks: Path | None, limit: int | None) -> None:
        if folder.is_file():
            raise DataError(f"{folder} is a file: data is a folder, demo or idx:IMAGES,LABELS")
        if not folder.is_dir():
            beside = [p.name for p in folder.parent.glob("*") if p.is_dir()]
            near = nearest(folder.name, beside)
            raise DataError(f"there is no folder {folder}{near}; data is a folder, demo or idx:")
        self.description = f"folder {printable(folder.name)}"
        self._folder, self._masks = folder, masks
        self.labels, samples = _labelled(folder, masks)
        self._samples = samples[:limit]
        if not self._samples:
            raise DataError(f"folder {folder} holds no picture, nor do the folders in it")
        if masks is not None:
            absent = [path for path, _ in self._samples if not self._mask_path(path).is_file()]
            if absent:
                raise DataError(
                    f"{len(absent)} of {len(self._samples)} pictures have no mask, first "
                    f"{absent[0].relative_to(folder)}: it should be {self._mask_path(absent[0])}"
                )

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Case:
        path, label = self._samples[index]
        image = open_picture(path)
        if self._masks is None:
            return Case(image, label)
        mask = open_mask(self._mask_path(path))
        if mask.shape[::-1] != image.size:
            size = mask.shape[::-1]
            raise OSError(f"its mask is of {size} pixels, and the picture of {image.size}")
        return Case(image, label, mask)

    def name(self, index: int) -> str:
        return printable(self._samples[index][0].relative_to(self._folder).as_posix())

    def stamp(self, index: int) -> str:
        """Return sizes and times of the picture's file and its mask's; empty if one is not there.

        They cost no reading.
        """
        path, _ = self._samples[index]
        files = (path,) if self._masks is None else (path, self._mask_path(path))
        return stamp_of(files)

    def _mask_path(self, path: Path) -> Path:
        assert self._masks is not None  # noqa: S101 - asked for only where there are masks
        return self._masks / path.relative_to(self._folder).with_suffix(".png")


def stamp_of(files: Iterable[Path]) -> str:
    """Return sizes and times of files; empty if one is not there."""
    try:
        found = [file.stat() for file in files]
    except OSError:
        return ""
    return ":".join(f"{one.st_size}:{one.st_mtime_ns}" for one in found)


def _labelled(folder: Path, masks: Path | None) -> tuple[list[str], list[tuple[Path, int | None]]]:
    from torchvision.datasets import ImageFolder  # noqa: PLC0415
    from torchvision.datasets.folder import IMG_EXTENSIONS  # noqa: PLC0415

    suffixes = {*IMG_EXTENSIONS, *_FURTHER}
    flat = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes)
    if flat:
        inner = [p for p in folder.iterdir() if p.is_dir() and not (masks and p.samefile(masks))]
        left_out = sorted(
            one.name for one in inner if any(p.suffix.lower() in suffixes for p in one.iterdir())
        )
        if left_out:
            warn_user(
                f"{folder} holds pictures, and folders of pictures ({', '.join(left_out)}): those "
                "in the folders are left out"
            )
        return [], [(path, None) for path in flat]
    if not any(path.is_dir() for path in folder.iterdir()):
        return [], []
    found = ImageFolder(
        folder, is_valid_file=lambda path: Path(path).suffix.lower() in suffixes, allow_empty=True
    )
    return found.classes, [(Path(path), label) for path, label in found.samples]


class _Idx:
    def __init__(self, files: str) -> None:
        images, comma, labels = files.partition(",")
        if not comma or not images or not labels:
            raise DataError(f"idx:{files} must name two files, idx:IMAGES,LABELS")
        self._images = _read_idx(Path(images), dimensions=3)
        self._labels = _read_idx(Path(labels), dimensions=1)
        if len(self._images) != len(self._labels):
            raise DataError(
                f"{images} holds {len(self._images)} pictures, and {labels} holds "
                f"{len(self._labels)} labels"
            )
        if not len(self._images):
            raise DataError(f"{images} holds no picture")
        self.description = f"IDX files {Path(images).name} and {Path(labels).name}"
        self.labels = [str(number) for number in range(int(self._labels.max()) + 1)]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Case:
        return Case(Image.fromarray(self._images[index]), int(self._labels[index]))

    def name(self, index: int) -> str:
        return f"idx {index}"

    def fingerprint(self) -> str:
        return hashlib.sha256(self._images.tobytes() + self._labels.tobytes()).hexdigest()


def _read_idx(path: Path, *, dimensions: int) -> npt.NDArray[np.uint8]:
    """Read an IDX file of bytes: 0, 0, the type (8), the dimensions, their sizes, the bytes."""
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    header = 4 + 4 * dimensions
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) < header:
        raise DataError(f"{path} is no IDX file of bytes with {dimensions} dimensions")
    shape = np.frombuffer(content[4:header], ">u4").astype(int).tolist()
    if len(content) != header + math.prod(shape):
        raise DataError(
            f"{path} should hold {math.prod(shape)} bytes, and has {len(content) - header}"
        )
    values: npt.NDArray[np.uint8] = np.frombuffer(content, np.uint8, offset=header).reshape(shape)
    return values
