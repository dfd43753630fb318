"""A network, with how a picture becomes its input and what its classes are called."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from captum_guided_ext.errors import ModelError, brief
from captum_guided_ext.networks._preprocessing import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

_FORM = 'Network(model, transform=None, classes=(), *, name="")'
_HALF = 0.5 + 1 / 255  # a pixel on an edge is rounded up on both sides, and belongs to neither
_LEAST_SPAN = 1e-6  # between black and white, relative to the largest: less is padding
_FAR = 4.0  # from black, in spans from black to white: beyond what any resizing overshoots
_REPEATS = 20  # of a transform that draws random numbers, to see whether it uses them


@dataclass(frozen=True, eq=False)
class Network:
    """A classifier, with how a picture becomes its input and what its classes are called.

    What the network sees of a picture, and where a mask of it goes, is found by asking the
    transform about a black and a white picture of the same size. That is exact for a transform that
    resizes, cuts, pads, turns or mirrors, and then scales each channel linearly. Of one that
    scales each picture by itself, to a mean of 0 or from 0 to 1, the whole picture counts as seen.

    Args:
        model: The network: ``(N, C, H, W)`` to scores ``(N, classes)``. A module or any callable.
            It is explained as it is: call ``.eval()`` first.
        transform: From a PIL picture of ``mode`` to a float tensor ``(C, H, W)``: a transform of
            torchvision, the preset of its weights, or any callable without randomness. Default:
            None, unknown: pixels in [0, 1] at the picture's own size.
        classes: The name of each class. Default: none.
        name: What to call it. Default: the name of its type.
        weights: Where its parameters come from, for people to read.
        mode: What PIL turns a picture into first: "RGB", or "L" for a network of one channel.
            Default: by the number of channels that its first convolution takes.

    Raises:
        TypeError: for a model that cannot be called or a transform that cannot.
        ModelError: by its methods, for a transform that does not give a float tensor (C, H, W), or
            gives another one each time.

    Example:
        >>> weights = torchvision.models.ResNet50_Weights.DEFAULT
        >>> model = torchvision.models.resnet50(weights=weights).eval()
        >>> network = Network(model, weights.transforms(), weights.meta["categories"])
    """

    model: Callable[..., Any]
    transform: Callable[[Image.Image], Tensor] | None = None
    classes: Sequence[str] = ()
    name: str = field(default="", kw_only=True)
    weights: str = field(default="", kw_only=True)
    mode: str = field(default="", kw_only=True)
    _ends: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        for what, given in (("model", self.model), ("transform", self.transform)):
            if given is not None and not callable(given):
                raise TypeError(
                    f"{what} is a {type(given).__name__}, which cannot be called: {_FORM}"
                )
        if isinstance(self.classes, str):
            raise TypeError(f"classes is one text, {self.classes!r}: give a list of names")
        object.__setattr__(self, "classes", tuple(map(str, self.classes)))
        object.__setattr__(self, "name", self.name or _name(self.model))
        object.__setattr__(self, "mode", self.mode or mode_of(self.model))

    @property
    def device(self) -> torch.device:
        """Where the parameters are; the CPU for a network without any."""
        parameters = self.model.parameters() if isinstance(self.model, nn.Module) else iter(())
        return next((p.device for p in parameters), torch.device("cpu"))

    @property
    def preprocessing(self) -> str:
        """How a picture becomes the input, in words."""
        return _words(self.transform or Preprocessing())

    @property
    def assumption(self) -> str:
        """What is assumed of the preprocessing where it is unknown; empty where it is known."""
        if self.transform is not None:
            return ""
        return (
            f"no preprocessing is known for {self.name}: it gets pixels in [0, 1] at the picture's "
            "own size, without mean and std. Say what it was trained with: --mean, --std, --size "
            "and --crop, or Network(model, transform=...)"
        )

    def prepare(self, image: Image.Image) -> Tensor:
        """Return the network's input for ``image``: float, ``(C, H, W)``, on the CPU, no batch."""
        if not isinstance(image, Image.Image):
            raise TypeError(f"image must be a PIL picture, not {type(image).__name__}")
        drawn = _random_states()
        x = self._prepared(image)
        repeats = 0 if _random_states() == drawn else _REPEATS
        for _ in range(repeats):
            check_not_random(self.name, x, self._prepared(image))
        return x

    def _prepared(self, image: Image.Image) -> Tensor:
        try:
            x = (self.transform or Preprocessing())(image.convert(self.mode))
        except ModelError:
            raise
        except Exception as error:  # somebody else's transform may raise anything
            raise ModelError(
                f"the transform of {self.name} fails on a {self.mode} picture of {image.width} x "
                f"{image.height} pixels ({brief(error)})"
            ) from error
        if not isinstance(x, Tensor) or x.dim() != 3 or not x.is_floating_point():  # noqa: PLR2004
            found = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x)
            raise ModelError(
                f"the transform of {self.name} gives {found}, and a float tensor (C, H, W) is "
                "needed: let it end in ToTensor and Normalize, or the like"
            )
        return x.detach().cpu()

    def view(self, image: Image.Image) -> Image.Image:
        """Return what the network sees of ``image``: in its mode, resized and cut."""
        return self.view_of(self.prepare(image), image.size)

    def view_of(self, x: Tensor, size: tuple[int, int]) -> Image.Image:
        """Return the input ``x`` of a picture of ``size`` (width, height) as a picture."""
        pixels = (self._shares(x, size).clamp(0, 1) * 255).round().byte().numpy()
        return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels[:3].transpose(1, 2, 0))

    def lay_mask(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Return where the network sees a mask (H, W) of a picture: boolean, of the view's size."""
        size = (mask.shape[1], mask.shape[0])
        picture = Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0)))
        shares = self._shares(self.prepare(picture), size)
        if mask.all() and not shares.any():  # it was scaled by itself, and has no brightest part
            shares = torch.ones_like(shares)
        laid: npt.NDArray[np.bool_] = (shares.mean(dim=0) > _HALF).numpy()
        return laid

    def window(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return which part of a picture of ``size`` (width, height) the network sees.

        Returns:
            Left, top, right and bottom as shares of its sides, to about a pixel or 0.002.
        """
        width, height = size
        across = np.tile(_ramp(width), (height, 1))
        down = np.tile(_ramp(height)[:, None], (1, width))
        ends = [self._end(ramp, size) for ramp in (across, down)]
        (left, right), (top, bottom) = ends
        return left, top, right, bottom

    def category(self, index: int) -> str:
        """Return the name of class ``index``, or ``"class 7"`` where it has none."""
        return self.classes[index] if 0 <= index < len(self.classes) else f"class {index}"

    def _end(self, ramp: npt.NDArray[np.uint8], size: tuple[int, int]) -> tuple[float, float]:
        """Return from where to where along its ramp a picture is seen."""
        shares = self._shares(self.prepare(Image.fromarray(ramp)), size).mean(dim=0)
        is_seen = self._is_seen(size)
        if not is_seen.any():
            return 0.0, 1.0
        seen = shares[is_seen]
        low, high = float(seen.min()), float(seen.max())
        # Along the side of the view that the ramp runs along, whichever it is.
        lines = [shares.amax(dim=d)[is_seen.any(dim=d)] for d in (0, 1)]
        spreads = [float(line.max() - line.min()) for line in lines]
        places = int(is_seen.any(dim=spreads.index(max(spreads))).sum())
        half = max((high - low) / max(places - 1, 1) / 2, 0.5 / len(np.unique(ramp)))
        return max(low - half, 0.0), min(high + half, 1.0)

    def _shares(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Return how far each value of an input lies from black (0) to white (1); 0 in padding.

        A channel that says nothing of that, such as a hue or an alpha, gets the mean of the others.
        """
        black, span = self._range(size)
        if x.shape != span.shape:
            raise ModelError(
                f"the transform of {self.name} gives shapes {tuple(x.shape)} and "
                f"{tuple(span.shape)} for pictures of one size: it must not be random"
            )
        telling = span.abs() > _LEAST_SPAN * span.abs().max().clamp(min=_LEAST_SPAN)
        shares = torch.where(telling, (x - black) / span, torch.nan)
        if not telling.any() or shares.nan_to_num().abs().max() > _FAR:  # scaled by itself
            x = x.nan_to_num()
            return (x - x.min()) / (x.max() - x.min()).clamp(min=1e-12)
        return torch.where(telling, shares, shares.nanmean(dim=0)).nan_to_num()

    def _is_seen(self, size: tuple[int, int]) -> Tensor:
        """Return where an input depends on the picture, (H, W): all but padding."""
        span = self._range(size)[1].abs().amax(dim=0)
        return span > _LEAST_SPAN * span.max().clamp(min=_LEAST_SPAN)

    def _range(self, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the input for a black picture, and how far a white one's lies from it."""
        found = self._ends.get(size)
        if found is None:
            black, white = (self.prepare(Image.new("L", size, value)) for value in (0, 255))
            found = black, (white - black).nan_to_num()
            self._ends.clear()  # of the last size only: they are as large as an input
            self._ends[size] = found
        return found


def as_network(model: object) -> Network:
    """Return ``model`` if it is a :class:`Network`, else one around it of unknown preprocessing."""
    if isinstance(model, Network):
        return model
    if not callable(model):
        raise TypeError(
            f"model must be a Network, a module or another callable, not {type(model).__name__}"
        )
    return Network(model)


def _name(model: object) -> str:
    name = getattr(model, "__name__", "")
    return str(name) if name and name != "<lambda>" else type(model).__name__


def mode_of(model: object) -> str:
    """Return the mode of the pictures that a model takes: by its first convolution's channels."""
    modules = model.modules() if isinstance(model, nn.Module) else ()
    first = next((m for m in modules if isinstance(m, nn.Conv2d)), None)
    return "L" if first is not None and first.in_channels == 1 else "RGB"


def _words(transform: object) -> str:
    words = " ".join(str(transform).split())
    words = re.sub(r"<(?:function )?(\S+)(?: object)? at 0x[0-9a-f]+>", r"\1", words)
    if " at 0x" in words:  # nobody gave it words
        words = getattr(transform, "__qualname__", type(transform).__qualname__)
    return words


def check_not_random(name: str, one: Tensor, other: Tensor) -> None:
    """Raise ``ModelError`` where a transform gave two inputs of one picture; NaN is as NaN."""
    if not torch.equal(one.nan_to_num(), other.nan_to_num()):
        raise ModelError(
            f"the transform of {name} gives another input each time: leave out what is random in "
            "it (flips, crops, jitter)"
        )


def _random_states() -> tuple[object, ...]:
    """Return the states of the global generators that a transform may draw from."""
    own = np.random.get_state(legacy=False)["state"]  # noqa: NPY002 - nothing is drawn
    at = torch.get_rng_state().numpy().tobytes()
    return random.getstate(), own["key"].tobytes(), own["pos"], at


def _ramp(length: int) -> npt.NDArray[np.uint8]:
    ramp: npt.NDArray[np.uint8] = np.round((np.arange(length) + 0.5) / length * 255).astype(
        np.uint8
    )
    return ramp
