"""Networks of transformers, with the preprocessing of their image processor and their class names.

Code that a network brings along is never run (``trust_remote_code=False``).
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_guided_ext.errors import ModelError, brief, nearest
from captum_guided_ext.networks._checkpoints import fill, read_state_dict
from captum_guided_ext.networks._network import Network, mode_of
from captum_guided_ext.networks._packages import needed
from captum_guided_ext.networks._preprocessing import Preprocessing, described

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from PIL import Image
    from torch import Tensor

_SQUASHED = 384  # pixels, from which on ConvNeXT's pictures are not cut


def find_hugging_face(name: str) -> Callable[[Path | None], Network]:
    """Return what builds the network that ``hf:name`` stands for, with a checkpoint or without.

    Args:
        name: A folder as ``save_pretrained`` writes it, or a name on huggingface.co.

    Raises:
        ModelError: if transformers is not installed.
    """
    return partial(_build, needed("transformers", f"hf:{name}", "hf"), name)


def _build(transformers: Any, name: str, checkpoint: Path | None) -> Network:
    auto = transformers.AutoModelForImageClassification
    if checkpoint is None:
        model, loaded = _had(name, auto.from_pretrained, output_loading_info=True)
        if missing := sorted(loaded["missing_keys"]):
            raise ModelError(
                f"hf:{name} lacks {len(missing)} parameters of an image classifier, the first is "
                f"{missing[0]}: it was trained for something else, or its folder is incomplete"
            )
        weights = f"folder {name}" if Path(name).is_dir() else name
    else:
        config = _had(name, transformers.AutoConfig.from_pretrained)
        model = auto.from_config(config, trust_remote_code=False)
        fill(model, read_state_dict(checkpoint, model.state_dict()), checkpoint, f"hf:{name}")
        weights = f"checkpoint {checkpoint.name}"
    return Network(
        model.float(),  # from half precision, as the inputs are
        _transform(transformers, name, mode_of(model)),
        _class_names(model.config),
        name=f"hf:{name}",
        weights=weights,
    )


def _had(name: str, from_pretrained: Callable[..., Any], **options: Any) -> Any:
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return from_pretrained(name, trust_remote_code=False, **options)
    except Exception as error:  # of transformers, of the hub's client, or of a damaged file
        if Path(name).is_dir():
            raise ModelError(
                f"transformers cannot make an image classifier of the folder {name} "
                f"({brief(error)}): it needs what save_pretrained writes of one"
            ) from error
        beside = Path(name).parent.glob("*")
        near = nearest(Path(name).name, [one.name for one in beside if one.is_dir()])
        raise ModelError(
            f"hf:{name} cannot be had ({brief(error)}): it is no folder here{near}; fetch it on a "
            "machine with a network, save it there with save_pretrained(FOLDER), model and image "
            "processor, and give the folder as hf:FOLDER"
        ) from error


def _transform(transformers: Any, name: str, mode: str) -> Callable[[Image.Image], Tensor] | None:
    """Return the image processor's; None if there is none."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            processor = transformers.AutoImageProcessor.from_pretrained(
                name, trust_remote_code=False
            )
    except (OSError, ValueError):  # the network was found: it brings no processor that is known
        return None
    return described(_Processor(processor), _numbers(processor.to_dict()), mode)


@dataclass(frozen=True, eq=False)
class _Processor:
    """An image processor, as a transform of one picture."""

    processor: Any

    def __call__(self, image: Image.Image) -> Tensor:
        pixels: Tensor = self.processor(images=image, return_tensors="pt")["pixel_values"][0]
        return pixels

    def __str__(self) -> str:
        return f"as the {type(self.processor).__name__} of transformers does it"


def _numbers(said: Mapping[str, Any]) -> Preprocessing | None:
    """Return what an image processor says of itself by numbers, as far as these can say it.

    What kind of processor it is may change what they mean: whether they agree has to be tried.
    """
    from PIL.Image import Resampling  # noqa: PLC0415

    try:
        size = _sides(said["size"]) if said.get("do_resize") else None
        crop = _sides(said["crop_size"]) if said.get("do_center_crop") else None
        if said.get("crop_pct") and isinstance(size, int):  # ConvNeXT's
            crop = (size, size)
            size = int(size / said["crop_pct"]) if size < _SQUASHED else crop
        resample = Resampling(said.get("resample") or 0).name.lower()
        # Of pixels in [0, 1], which are scaled to this.
        scale = 255 * said["rescale_factor"] if said.get("do_rescale") else 255
        normal = said.get("do_normalize")
        mean, std = (said["image_mean"], said["image_std"]) if normal else ([0.0], [1.0])
        scaled = (tuple(value / scale for value in values) for values in (mean, std))
        return Preprocessing(size, crop, resample, *scaled)
    except (KeyError, TypeError, ValueError):
        return None


def _sides(size: Mapping[str, int]) -> int | tuple[int, int]:
    given = {key: value for key, value in size.items() if value}
    if set(given) == {"shortest_edge"}:
        return given["shortest_edge"]
    return given["height"], given["width"]


def _class_names(config: Any) -> tuple[str, ...]:
    names = tuple(str(config.id2label.get(i)) for i in range(config.num_labels))
    made_up = tuple(f"LABEL_{i}" for i in range(config.num_labels))
    return () if names == made_up else names
