"""Networks of timm, with the preprocessing of its data configuration and its class names."""

from __future__ import annotations

import contextlib
import math
import re
import sys
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


_SOURCES = ("hf-hub:", "local-dir:")  # timm's own ways to say where a network is


def find_timm(name: str) -> Callable[[Path | None], Network]:
    """Return what builds the network that ``timm:name`` stands for, with a checkpoint or without.

    Args:
        name: A name of timm's, with the tag of its weights or without; a folder as timm's
            ``save_for_hf`` writes it; or what timm's ``create_model`` takes with a colon.

    Raises:
        ModelError: if timm is not installed or knows no such network.
    """
    timm = needed("timm", f"timm:{name}", "timm")
    tagged = timm.list_models(pretrained=True)
    plain, dot, _ = name.partition(".")
    if name in tagged or (not dot and timm.is_model(name)) or name.startswith(_SOURCES):
        return partial(_build, timm, name, name)
    if Path(name).is_dir():
        return partial(_build, timm, name, f"local-dir:{name}")
    known = [one for one in tagged if one.startswith(f"{plain}.")] if timm.is_model(plain) else []
    near = f"; choose from {', '.join(known)}" if known else nearest(name, timm.list_models())
    raise ModelError(f"timm has no network called {name!r}, nor is it a folder{near}")


def _build(timm: Any, name: str, source: str, checkpoint: Path | None) -> Network:
    create = partial(_create, timm, name, source)
    if checkpoint is None:
        model = create(pretrained=True)
        weights = model.pretrained_cfg.get("hf_hub_id") or model.pretrained_cfg.get("tag") or name
        weights = f"folder {name}" if source.startswith("local-dir:") else weights
    else:
        model = create(pretrained=False)
        state = read_state_dict(checkpoint, model.state_dict())
        head = model.pretrained_cfg.get("classifier") or ""
        head = state.get(f"{head if isinstance(head, str) else head[0]}.weight")
        if head is not None and head.ndim > 0 and len(head) not in (0, model.num_classes):
            model = create(pretrained=False, num_classes=len(head))
        fill(model, state, checkpoint, f"timm:{name}")
        weights = f"checkpoint {checkpoint.name}"
    if not model.num_classes:
        raise ModelError(f"timm:{name} has no classes: it returns features, and no scores")
    config = timm.data.resolve_data_config({}, model=model)
    return Network(
        model,
        described(timm.data.create_transform(**config), _numbers(config), mode_of(model)),
        _class_names(timm, model),
        name=f"timm:{name}",
        weights=weights,
    )


def _create(timm: Any, name: str, source: str, **config: Any) -> Any:
    try:
        # What is downloaded may be announced on standard output, where results belong.
        with contextlib.redirect_stdout(sys.stderr):
            return timm.create_model(source, **config)
    except Exception as error:  # of timm, of the hub's client, or of a damaged file
        if source.startswith("local-dir:"):
            raise ModelError(
                f"timm cannot make a network of the folder {name} ({brief(error)}): it needs the "
                "config.json and the weights that timm.models.save_for_hf writes"
            ) from error
        raise ModelError(
            f"the weights of timm:{name} cannot be had ({brief(error)}): fetch them on a machine "
            "with a network and give their file as checkpoint (--checkpoint FILE), or a folder "
            "that timm.models.save_for_hf has written, as timm:FOLDER"
        ) from error


def _numbers(config: Mapping[str, Any]) -> Preprocessing | None:
    """Return timm's preprocessing by its numbers, as far as these can say it."""
    crop = tuple(config["input_size"][1:])
    size: Any = tuple(math.floor(side / config["crop_pct"]) for side in crop)
    if config["crop_mode"] == "center" and size[0] == size[1]:
        size = size[0]
    elif config["crop_mode"] != "squash":
        return None
    mean, std = tuple(config["mean"]), tuple(config["std"])
    return Preprocessing(size, crop, config["interpolation"], mean, std)


def _class_names(timm: Any, model: Any) -> tuple[str, ...]:
    """Return the names of the classes: the network's own, else ImageNet's if it is of ImageNet."""
    config: Mapping[str, Any] = model.pretrained_cfg
    names, words = (config.get(f"label_{kind}") or () for kind in ("names", "descriptions"))
    if not names and re.search(r"in\d+k", config.get("tag") or ""):
        subset = timm.data.infer_imagenet_subset(model)
        names = timm.data.ImageNetInfo(subset).label_descriptions() if subset else ()
    if isinstance(names, dict):  # where some have none
        names = [names.get(str(i), f"class {i}") for i in range(model.num_classes)]
    if len(names) != model.num_classes:
        return ()
    return tuple(str(words.get(name, name) if isinstance(words, dict) else name) for name in names)
