"""A picture to explain, with the regions of it that are known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from captum_guided_ext.errors import DataError, nearest
from captum_guided_ext.pictures._names import printable
from captum_guided_ext.pictures._reading import open_picture
from captum_guided_ext.pictures._region_files import load_regions
from captum_guided_ext.pictures._sources import DEMO_SEED, Case, stamp_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from captum_guided_ext.pictures._regions import Mask


class Photo(NamedTuple):
    """One picture.

    Attributes:
        name: What to call it: the file's name, with what cannot be printed written out.
        image: RGB, upright, at its own size.
        regions: Masks of it by name, (H, W) each; None where none are known.
    """

    name: str
    image: Image.Image
    regions: Mapping[str, Mask] | None = None


def open_photo(path: str | Path, *, regions: str | Path | None = None) -> Photo:
    """Read a picture, and the file of its regions if there is one.

    Args:
        path: The picture.
        regions: A label image or a COCO file, as :func:`load_regions` reads it.

    Raises:
        DataError: if one of them is not there, cannot be read or does not fit the other.
    """
    if not isinstance(path, (str, Path)):
        raise TypeError(f"a photo is a path or a Photo, not {type(path).__name__}")
    if "://" in str(path):
        raise DataError(f"{path} is an address, and pictures are read from files: download it")
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder: name the pictures in it, such as {path / '*.jpg'}")
    try:
        image = open_picture(path)
    except FileNotFoundError:
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"there is no picture {path}{nearest(path.name, beside)}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read as a picture: {error}") from None
    return _with_regions(Photo(printable(path.name), image), regions, path.name)


def demo_photo(*, regions: str | Path | None = None) -> Photo:
    """Return the package's own picture, its parts as regions unless others are given."""
    from captum_guided_ext.demo import CATEGORIES, PictureWorld  # noqa: PLC0415

    picture = PictureWorld(1, seed=DEMO_SEED)[0]
    image = Image.fromarray(picture.image)
    return _with_regions(Photo(CATEGORIES[picture.label], image, picture.masks), regions)


def _with_regions(photo: Photo, file: str | Path | None, file_name: str | None = None) -> Photo:
    if file is None:
        return photo
    return photo._replace(regions=load_regions(file, photo.image.size, file_name=file_name))


class PhotoFiles:
    """Pictures of the given paths, without labels, as :class:`PictureDataset` takes them."""

    reads_files = True

    def __init__(self, paths: Sequence[str | Path]) -> None:
        self._paths = [Path(one) for one in paths]
        self.description = f"photos: {', '.join(printable(one.name) for one in self._paths)}"
        self.labels: Sequence[str] = ()

    def check(self) -> None:
        """Raise ``DataError`` with the first one's reason if none of them can be opened."""
        reason: DataError | None = None
        for path in self._paths:
            try:
                open_photo(path)
            except DataError as error:
                reason = reason or error
            else:
                return
        if reason is not None:
            raise reason

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Case:
        try:
            return Case(open_photo(self._paths[index]).image, None)
        except DataError as error:
            raise OSError(str(error)) from None

    def name(self, index: int) -> str:
        return printable(self._paths[index].name)

    def stamp(self, index: int) -> str:
        """Return size and time of the file; empty if it is not there."""
        return stamp_of([self._paths[index]])
