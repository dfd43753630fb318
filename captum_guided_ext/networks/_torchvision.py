"""Networks of torchvision, with the preset and the class names of their weights.

torchvision's registry and weights presets do the work. torchvision is imported inside the functions
that need it, so that importing this module stays light.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import torch

from captum_guided_ext.errors import ModelError, brief, nearest
from captum_guided_ext.networks._checkpoints import from_checkpoint
from captum_guided_ext.networks._network import Network
from captum_guided_ext.networks._preprocessing import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


def find_torchvision(name: str) -> Callable[[str, Path | None], Network]:
    """Return what builds torchvision's network of that name, with these weights or a checkpoint.

    Raises:
        ModelError: if torchvision has no classification network of that name.
    """
    from torchvision import models  # noqa: PLC0415

    key, known = name.lower(), models.list_models(module=models)
    if key not in known:
        raise ModelError(
            f"no network is called {name!r}{nearest(key, [*known, 'demo'])}; choose one of "
            "torchvision's classification networks, demo, timm:NAME, hf:NAME_OR_FOLDER, or "
            "module:factory for your own"
        )
    return partial(_build, key)


def _build(key: str, weights: str, checkpoint: Path | None) -> Network:
    from torchvision import models  # noqa: PLC0415

    listed = models.get_model_weights(key)
    # vgg16's IMAGENET1K_FEATURES has neither class names nor a classifier.
    usable = {n: entry for n, entry in listed.__members__.items() if entry.meta.get("categories")}
    entry = usable.get(weights.removeprefix(f"{listed.__name__}.").upper())
    if entry is None:
        file = "; a file is a checkpoint (--checkpoint)" if os.path.isfile(weights) else ""  # noqa: PTH113 - which raises of long ones
        raise ModelError(f"{key} has no weights {weights!r}: choose from {', '.join(usable)}{file}")
    categories = tuple(entry.meta["categories"])
    if checkpoint is None:
        model, source = _download(key, entry), entry.name
    else:
        model, classes = from_checkpoint(key, entry, checkpoint)
        categories = categories if classes == len(categories) else ()
        source = f"checkpoint {checkpoint.name}"
    preset = entry.transforms()
    return Network(
        model,
        Preprocessing(
            preset.resize_size[0],
            preset.crop_size[0],
            preset.interpolation.value,
            tuple(preset.mean),
            tuple(preset.std),
        ),
        categories,
        name=key,
        weights=source,
    )


def _download(key: str, entry: Any) -> nn.Module:
    from torchvision import models  # noqa: PLC0415

    file = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(entry.url).path).name)
    try:
        # torch.hub announces a download on standard output, where results belong.
        with contextlib.redirect_stdout(sys.stderr):
            model: nn.Module = models.get_model(key, weights=entry)
    except (OSError, HTTPException) as error:
        raise ModelError(
            f"cannot download the weights {entry.name} of {key} ({brief(error)}): fetch "
            f"{entry.url} on a machine with a network and put it at {file}, or give the file as "
            "checkpoint (--checkpoint FILE)"
        ) from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"the weights {entry.name} of {key} cannot be loaded ({brief(error)}): if there is a "
            f"{file}, it is damaged; delete it and try again"
        ) from error
    return model
