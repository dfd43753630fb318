"""Views of a map: what its pixels become, on a scale of its own, without a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from captum_guided_ext.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""A picture, (H, W, 3), red, green and blue."""

SIGNED, OVERLAY, COLOURS = "signed", "overlay", "colours"
VIEWS = (SIGNED, OVERLAY, COLOURS)
_BEYOND = 0.02  # of a map's values, drawn as the ends of its scale
_HELD = 0.5  # of a map's magnitude; few values that hold it are not drawn as equal
_RGB = 3  # channels
_SIGNED_COLOURS = "RdBu_r"
_STRENGTH_COLOURS = "YlOrRd"
_COVER = 0.85  # of the picture, hidden where a map is strongest
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as PIL turns colours into grey
_DARKEST = 0.35  # grey that black becomes under an overlay, so that what lies over it is seen

_RULE = (
    "the strongest 2 % of its {values}, or fewer where fewer hold half of its magnitude, are "
    "drawn as {ends}."
)
HOW_DRAWN = {
    SIGNED: "Attribution, summed over colour channels. Each panel has its own scale: "
    + _RULE.format(values="pixels", ends="1 or −1"),
    OVERLAY: "Overlay: strength, the magnitude of the attribution without its sign, summed over "
    "colour channels, over the picture in pale grey. Each panel has its own scale: "
    + _RULE.format(values="pixels", ends="1"),
    COLOURS: "Colours: the attribution of the red, green and blue channel as red, green and blue: "
    "mid-grey is 0, brighter is positive, darker is negative. Each panel has its own scale: "
    + _RULE.format(values="values (of all channels together)", ends="0 or 255"),
}
"""Of each view what is drawn and how its scale is chosen, for people to read."""


def views_of(values: Tensor, views: Iterable[str]) -> tuple[str, ...]:
    """Return those of the ``views`` that a map has; the signed one if it has none of them.

    Only a map of three channels has colours.

    Args:
        values: The map, (C, H, W).
        views: Of ``"signed"``, ``"overlay"`` and ``"colours"``.

    Raises:
        ValueError: for an unknown view, or for none.
    """
    asked = list(dict.fromkeys([views] if isinstance(views, str) else views))
    if not asked:
        raise ValueError(f"views is empty: choose from {', '.join(VIEWS)}")
    for view in asked:
        check_view(view)
    return tuple(one for one in asked if one != COLOURS or len(values) == _RGB) or (SIGNED,)


def check_view(view: str) -> None:
    """Raise ``ValueError`` for a view that there is not."""
    if view not in VIEWS:
        raise ValueError(f"no view is called {view!r}{nearest(view, VIEWS, otherwise=None)}")


def map_picture(values: Tensor, picture: Any, view: str = SIGNED) -> Pixels:
    """Return a map as pixels of its own height and width, in the colours and scale of its panel.

    Values that are NaN or infinite are drawn as 0.

    Args:
        values: The map, (C, H, W), of any device and dtype.
        picture: What it is a map of, as :func:`as_pixels` takes it; only an overlay shows it.
        view: ``"signed"``: the sum of the channels, red where it is positive and blue where it is
            negative. ``"overlay"``: the sum of the channels' magnitudes, over the picture in grey.
            ``"colours"``: three channels as red, green and blue, grey where they are 0.

    Returns:
        (H, W, 3), of bytes. The map's scale ends at its 98th percentile of magnitude, or at the
        magnitude from which on its values hold half of the total, if that is larger.

    Raises:
        ValueError: for an unknown view, or for colours of a map that has not three channels.
    """
    check_view(view)
    finite = np.nan_to_num(values.detach().double().cpu().numpy(), nan=0, posinf=0, neginf=0)
    if view == COLOURS:
        if len(finite) != _RGB:
            raise ValueError(
                f"a map of {len(finite)} channels has no colours, but 3 have: choose signed or "
                "overlay"
            )
        return _bytes(0.5 + _scaled(finite).transpose(1, 2, 0) / 2)
    if view == SIGNED:
        return _coloured(_SIGNED_COLOURS, (_scaled(finite.sum(axis=0)) + 1) / 2)
    strength = _scaled(np.abs(finite).sum(axis=0))
    return _laid_over(_pale(as_pixels(picture, strength.shape)), strength)


def scale_pixels(view: str) -> Pixels:
    """Return the colours of a view's scale, of one line of pixels from its lowest to its highest.

    That of the overlay is over white.
    """
    along = np.linspace(0, 1, 256)[None]
    if view == OVERLAY:
        return _laid_over(np.ones((*along.shape, 3)), along)
    return _coloured(_SIGNED_COLOURS, along)


def as_picture(x: Tensor) -> npt.NDArray[np.float64]:
    """Return an input, (C, H, W), as a picture: its lowest value black and its highest white."""
    values = x.double().cpu().permute(1, 2, 0)
    spread = values.max() - values.min()
    picture: npt.NDArray[np.float64] = ((values - values.min()) / spread.clamp(min=1e-12)).numpy()
    return picture


def as_pixels(picture: Any, size: tuple[int, ...] | None = None) -> Pixels:
    """Return a picture as bytes, (H, W, 3); one without colours is grey.

    Args:
        picture: A PIL picture, or an array (H, W), (H, W, 1) or (H, W, 3): bytes, or floats from
            0 to 1.
        size: Height and width that it is resized to if it has others. Default: its own.
    """
    from PIL import Image  # noqa: PLC0415 - Captum's matplotlib has loaded it

    if not isinstance(picture, Image.Image):
        array = np.asarray(picture)
        array = array if array.dtype == np.uint8 else _bytes(array.astype(float))
        picture = Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array)
    picture = picture.convert("RGB")
    if size is not None and picture.size != size[::-1]:
        picture = picture.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(picture)


def _scaled(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return values from −1 to 1, on the scale that :func:`map_picture` tells of."""
    magnitudes = np.sort(np.abs(values), axis=None)
    largest = magnitudes[-1] if magnitudes.size else 0
    if not largest:
        return values
    magnitudes /= largest  # so that no sum is too large
    held = np.cumsum(magnitudes)
    half = magnitudes[np.searchsorted(held, held[-1] * (1 - _HELD))]
    end = max(np.quantile(magnitudes, 1 - _BEYOND), half)
    scaled: npt.NDArray[np.float64] = np.clip(values / largest / end, -1, 1)
    return scaled


def _bytes(shares: npt.NDArray[np.float64]) -> Pixels:
    return np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)


def _coloured(name: str, shares: npt.NDArray[np.float64]) -> Pixels:
    return _bytes(_colours(name, shares))


def _colours(name: str, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    from matplotlib import colormaps  # noqa: PLC0415

    found: npt.NDArray[np.float64] = colormaps[name](shares)[..., :3]
    return found


def _pale(picture: Pixels) -> npt.NDArray[np.float64]:
    grey = picture @ np.array(_GREY) / 255
    return np.repeat((_DARKEST + (1 - _DARKEST) * grey)[..., None], 3, axis=2)


def _laid_over(picture: npt.NDArray[np.float64], strength: npt.NDArray[np.float64]) -> Pixels:
    cover = _COVER * strength[..., None]
    return _bytes((1 - cover) * picture + cover * _colours(_STRENGTH_COLOURS, strength))
