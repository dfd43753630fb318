"""What is explained: a path, a picture, an array or a tensor, as a network takes it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from captum_guided_ext.errors import DataError, ModelError, brief, is_lack_of_memory
from captum_guided_ext.networks import check_not_random
from captum_guided_ext.output import as_picture
from captum_guided_ext.pictures import (
    Photo,
    as_rgb,
    grid_regions,
    lay_regions,
    load_regions,
    open_photo,
)

if TYPE_CHECKING:
    from captum_guided_ext.networks import Network
    from captum_guided_ext.pictures import Mask

_BYTES = 255
_READY = (
    "the tensor is the network's input as it is: it was not resized, cut or normalised; pixels go "
    "in as a PIL picture, an array or a tensor of bytes"
)


@dataclass(frozen=True)
class Given:
    """One picture, as the network takes it.

    Attributes:
        name: What it is called.
        x: The input, (1, C, H, W).
        view: What the network sees of it.
        masks: The regions of the view, (H, W) each.
        seen: The share of each region that lies inside the view.
        preprocessing: How the picture became the input, in words.
        assumed: What nobody said.
    """

    name: str
    x: Tensor
    view: Image.Image
    masks: Mapping[str, Mask]
    seen: Mapping[str, float]
    preprocessing: str
    assumed: tuple[str, ...]

    @classmethod
    def of(
        cls,
        network: Network,
        image: Any,
        name: str | None,
        regions: Mapping[str, Mask] | str | Path | None,
    ) -> Given:
        """Return what ``network`` takes of an image.

        Raises:
            TypeError: for an image or regions of another kind.
            DataError: for one that cannot be read, or regions that do not fit it.
        """
        if not (regions is None or isinstance(regions, (Mapping, str, Path))):
            raise TypeError(
                "regions must be a file or masks by name, such as {'face': mask}, not "
                f"{type(regions).__name__}"
            )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            photo, assumed = _opened(image)
        assumed += dict.fromkeys(str(one.message) for one in caught)
        file_name = None
        if isinstance(photo, Tensor):
            x, view = photo, _view_of_input(network, photo)
            size, said = view.size, "none: a tensor is taken as it is"
        else:
            x, size, said = network.prepare(photo.image), photo.image.size, network.preprocessing
            view = network.view_of(x, size)
            assumed += [network.assumption] if network.assumption else []
            file_name = photo.name or None
            name = name or photo.name
            regions = photo.regions if regions is None else regions
            check_not_random(network.name, network.prepare(photo.image), x)
        if isinstance(regions, (str, Path)):
            regions = load_regions(regions, size, file_name=file_name)
        if regions is None:
            masks = grid_regions(view.height, view.width)
            seen = dict.fromkeys(masks, 1.0)
        elif not regions:
            raise DataError("regions is empty: leave it out for a 3 x 3 grid")
        else:
            masks = {key: _mask(key, one, size) for key, one in regions.items()}
            seen = dict.fromkeys(masks, 1.0)
            if isinstance(photo, Photo):
                masks, seen = lay_regions(masks, network)
        inputs = x.unsqueeze(0).to(network.device)
        return cls(name or "picture", inputs, view, masks, seen, said, tuple(assumed))


def _opened(image: Any) -> tuple[Photo | Tensor, list[str]]:
    """Return a picture, or an input that is ready, and what was assumed of it."""
    if isinstance(image, Photo):
        return image, []
    if isinstance(image, (str, Path)):
        return open_photo(image), []
    if isinstance(image, Image.Image):
        return Photo("", _rgb(image)), []
    if isinstance(image, Tensor):
        x = image[0] if image.dim() == 4 and len(image) == 1 else image  # noqa: PLR2004 - (N, C, H, W)
        if x.dtype != torch.uint8:
            return _input(x), [_READY]
        if x.dim() == 3:  # noqa: PLR2004
            image = x.permute(1, 2, 0)
        return Photo("", _rgb(_from_array(image.cpu().numpy()))), []
    if isinstance(image, np.ndarray):
        return Photo("", _rgb(_from_array(image))), _assumed_of(image)
    raise TypeError(
        f"image must be a path, a PIL picture, an array or a tensor, not {type(image).__name__}"
    )


def _rgb(image: Image.Image) -> Image.Image:
    try:
        return as_rgb(image)
    except OSError as error:
        raise DataError(f"image cannot be read as a picture: {error}") from error


def _input(x: Tensor) -> Tensor:
    if x.dim() != 3 or not x.is_floating_point() or not x.numel():  # noqa: PLR2004
        raise DataError(
            f"image is a tensor of {x.dtype} and shape {tuple(x.shape)}, and one input is "
            "explained, (C, H, W) of a floating-point type: compare takes batches"
        )
    return x.detach()


def _from_array(pixels: Any) -> Image.Image:
    """Return an array (H, W) or (H, W, channels) of bytes, or of floats from 0 to 1, as a picture.

    Raises:
        DataError: for anything else.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:  # noqa: PLR2004
        pixels = pixels[..., 0]
    is_picture = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))  # noqa: PLR2004
    is_share = np.issubdtype(pixels.dtype, np.floating)
    if not is_picture or not pixels.size or not (pixels.dtype == np.uint8 or is_share):
        raise DataError(
            f"image is an array of {pixels.dtype} and shape {pixels.shape}, and a picture is "
            "(H, W) or (H, W, 3), of bytes or of floats from 0 to 1"
        )
    if is_share:
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= 0 and high <= 1):
            raise DataError(
                f"image holds numbers from {low:g} to {high:g}, and floats are pixels from 0 to 1: "
                "scale them, or give a tensor (C, H, W) for an input that is ready"
            )
        pixels = np.rint(pixels * _BYTES).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels))


def _assumed_of(pixels: Any) -> list[str]:
    channels = "grey" if pixels.ndim == 2 else "RGB"  # noqa: PLR2004
    scale = "bytes" if pixels.dtype == np.uint8 else "from 0 to 1"
    return [f"the array's numbers are {channels} pixels, {scale}"]


def _view_of_input(network: Network, x: Tensor) -> Image.Image:
    """Return an input as a picture: as the network's transform has it, else black to white."""
    size = (x.shape[2], x.shape[1])
    if network.transform is not None:
        try:
            return network.view_of(x.detach().cpu(), size)
        except ModelError:  # its pictures are of another form
            pass
    pixels = (as_picture(x) * _BYTES).round().astype(np.uint8)
    if pixels.shape[2] not in (1, 3):
        pixels = pixels.mean(axis=2, keepdims=True).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _mask(name: str, given: Any, size: tuple[int, int]) -> Mask:
    mask: Mask = np.asarray(given.cpu() if isinstance(given, Tensor) else given).astype(bool)
    if mask.shape != size[::-1]:
        raise DataError(
            f"region {name!r} has shape {mask.shape}, and the picture {size[::-1]} (height, "
            "width): give masks of the picture as it is, before it is resized or cut"
        )
    return mask


def refusal(network: Network, given: Given, error: Exception) -> DataError:
    """Return the error for a network that fails on an input, with what to do."""
    x, shape = given.x, " x ".join(map(str, given.x.shape[1:]))
    advice = "If it wants another size, say so: --size and --crop, or Network(model, transform=...)"
    if is_lack_of_memory(error):
        advice = "A smaller input needs less memory: --size and --crop"
    elif isinstance(error, TypeError):
        advice = (
            "If it takes more than pictures, give a function of pictures alone that calls it. "
            f"{advice}"
        )
    parameters = network.model.parameters() if isinstance(network.model, nn.Module) else ()
    types = {one.dtype for one in parameters if one.is_floating_point()}
    if types and x.dtype not in types:
        advice = (
            f"Its parameters are {', '.join(map(str, types))}, and the input is {x.dtype}: make "
            "both the same, by model.float() or by the last step of its transform"
        )
    return DataError(
        f"{network.name} fails on an input of {shape} ({brief(error)}); its preprocessing is: "
        f"{given.preprocessing}. {advice}"
    )
