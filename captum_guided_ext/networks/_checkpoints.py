"""Reading parameters from a local file into a network of the right size."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from captum_guided_ext.errors import ModelError, brief, nearest
from captum_guided_ext.networks._packages import needed

if TYPE_CHECKING:
    from pathlib import Path

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")  # of colours and bold letters


def from_checkpoint(key: str, entry: Any, path: Path) -> tuple[nn.Module, int]:
    """Build torchvision's ``key`` for the file at ``path``; return it and its number of classes."""
    from torchvision import models  # noqa: PLC0415

    state = read_state_dict(path)
    config: dict[str, Any] = {}
    if key in ("googlenet", "inception_v3"):
        # As torchvision sets them up for its weights: they normalise their input once more.
        aux = any(name.startswith(("aux", "AuxLogits")) for name in state)
        config = {"transform_input": True, "aux_logits": aux, "init_weights": False}
    elif key.startswith("vit_"):
        config = {"image_size": entry.meta["min_size"][0]}
    elif key.startswith("densenet"):
        # torchvision's files still have the names of an older version; its loader renames them too.
        old = re.compile(r"(\.denselayer\d+\.(?:norm|conv))\.([12])\.")
        state = {old.sub(r"\1\2.", name): value for name, value in state.items()}
    build = partial(models.get_model, key, weights=None, **config)
    model: nn.Module = build()
    head = [n for n, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))][-1]
    classes = len(model.get_parameter(f"{head}.weight"))
    found = state.get(f"{head}.weight")
    if found is not None and found.ndim > 0 and len(found) not in (0, classes):
        classes = len(found)
        model = build(num_classes=classes)
    fill(model, state, path, key)
    return model, classes


def read_state_dict(path: Path, own: Iterable[str] = ()) -> dict[str, Tensor]:
    """Read a ``state_dict``; a prefix that all its keys have and none of ``own`` has goes."""
    loaded = _loaded(path)
    if isinstance(loaded, Mapping):
        inner = (loaded.get(wrapping) for wrapping in ("state_dict", "model_state_dict", "model"))
        loaded = next((found for found in inner if isinstance(found, dict)), loaded)
    if not (isinstance(loaded, dict) and loaded) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in loaded.items()
    ):
        raise ModelError(
            f"checkpoint {path} is not a state_dict (names to tensors) but a "
            f"{type(loaded).__name__}: write it with torch.save(model.state_dict(), file)"
        )
    for prefix in ("module.", "_orig_mod."):  # DataParallel, torch.compile
        if all(k.startswith(prefix) for k in loaded) and not any(k.startswith(prefix) for k in own):
            consume_prefix_in_state_dict_if_present(loaded, prefix)
    return loaded


def _loaded(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return needed("safetensors.torch", f"checkpoint {path}", "hf").load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except ModelError:
        raise
    except FileNotFoundError as error:
        near = nearest(path.name, [p.name for p in path.parent.glob("*")])
        raise ModelError(f"checkpoint {path} does not exist{near}") from error
    except OSError as error:
        raise ModelError(f"checkpoint {path} cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged file raises whatever the unpickler trips over
        # torch's message has escape codes and several lines; what it lacks is somewhere in it.
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        why = _ESCAPES.sub("", brief(error))
        if wanted:
            why = f"it is a pickle that needs code, {wanted[1]}, and code from a file is not run"
        elif isinstance(error, pickle.UnpicklingError):  # torch advises to let it run code
            why = "it is no file of torch.save, or it needs code, and code from a file is not run"
        raise ModelError(
            f"checkpoint {path} cannot be read ({why}): write the parameters alone, "
            "with torch.save(model.state_dict(), file)"
        ) from error


def fill(model: nn.Module, state: dict[str, Tensor], path: Path, name: str) -> None:
    """Load ``state`` into ``model``; the error says how many entries differ, and the first."""
    try:
        model.load_state_dict(state)
    except (RuntimeError, ValueError) as error:
        own = model.state_dict()
        differ = [
            f"{key} has shape {tuple(state[key].shape)} and not {tuple(value.shape)}"
            for key, value in own.items()
            if key in state and state[key].shape != value.shape
        ]
        # torch itself makes up for a missing num_batches_tracked.
        absent = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
        differ += [f"{key} is missing" for key in absent]
        differ += [f"{key} is in the file only" for key in state if key not in own]
        first = differ[0] if differ else brief(error)
        raise ModelError(
            f"checkpoint {path} does not fit {name}: {len(differ)} entries differ, first: {first}"
        ) from error
