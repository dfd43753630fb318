"""Finding a network by name: torchvision's, the demo's, or what a function of one's own returns.

torchvision's registry and weights presets do the work. torchvision is imported inside the functions
that need it, so that importing this module stays light.
"""

from __future__ import annotations

import contextlib
import importlib
import operator
import pickle
import sys
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import torch
from torch import nn

from captum_guided_ext.errors import ModelError, brief, nearest
from captum_guided_ext.networks._checkpoints import fill, from_checkpoint, read_state_dict
from captum_guided_ext.networks._network import Network
from captum_guided_ext.networks._preprocessing import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def load_network(
    name: str,
    *,
    weights: str = "DEFAULT",
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    overrides: Mapping[str, Any] | None = None,
    classes: Sequence[str] | None = None,
) -> Network:
    """Find a network by name, with its parameters, in eval mode and on ``device``.

    Args:
        name: Any of torchvision's classification networks; ``"demo"``, the small network inside
            this package; or ``"module:factory"``, a function without arguments (or a class) in a
            module importable from the current directory, which returns a :class:`Network` or an
            ``nn.Module``. A plain ``nn.Module`` has unknown preprocessing, and its classes have no
            names.
        weights: Which of torchvision's weights; ``"DEFAULT"`` is the best. With ``checkpoint``, the
            weights whose preprocessing (and, for ViT, picture size) the checkpoint shares.
        checkpoint: File with a ``state_dict`` for the network, bare or under ``"state_dict"`` or
            ``"model"``. Only tensors are read from it, never code. Another number of classes than
            ImageNet's 1000 is taken from the file, and such classes have no names.
        device: As :func:`find_device` takes it.
        overrides: Parts of the preprocessing that take the place of the network's own: ``size``,
            ``crop``, ``interpolation``, ``mean`` and ``std``, as :class:`Preprocessing` has them.
        classes: Names that take the place of the network's own.

    Raises:
        ModelError: if any of these cannot be had, with what could be had instead.
    """
    where = find_device(device)
    # The random values a network starts from are overwritten; the caller's generator is left alone.
    with torch.random.fork_rng(devices=[]):
        if ":" not in name and name != "demo":
            network = _torchvision(name, weights, checkpoint)
        else:
            if weights != "DEFAULT":
                raise ModelError(f"{name} has no choice of weights: leave weights={weights!r} out")
            network = _demo() if name == "demo" else _from_factory(name)
            if checkpoint is not None and not isinstance(network.model, nn.Module):
                raise ModelError(f"{name} is a function, which no checkpoint can be read into")
            if checkpoint is not None:
                assert isinstance(network.model, nn.Module)  # noqa: S101 - for the type checker
                state = read_state_dict(Path(checkpoint), network.model.state_dict())
                fill(network.model, state, Path(checkpoint), name)
                network = replace(network, weights=f"checkpoint {Path(checkpoint).name}")
    if overrides:
        network = replace(network, transform=_overridden(network, overrides))
    if classes is not None:
        network = replace(network, classes=classes)
    model = network.model
    return replace(network, model=model.to(where).eval() if isinstance(model, nn.Module) else model)


def _overridden(network: Network, overrides: Mapping[str, Any]) -> Preprocessing:
    own = network.transform or Preprocessing()
    if not isinstance(own, Preprocessing):
        raise ModelError(
            f"{network.name} has a transform of its own ({network.preprocessing}), of which "
            f"{', '.join(overrides)} cannot be changed from outside: leave it out"
        )
    return replace(own, **overrides)


def _torchvision(name: str, weights: str, checkpoint: str | Path | None) -> Network:
    from torchvision import models  # noqa: PLC0415

    key, known = name.lower(), models.list_models(module=models)
    if key not in known:
        raise ModelError(
            f"no network is called {name!r}{nearest(key, [*known, 'demo'])}; choose one "
            "of torchvision's classification networks, demo, or module:factory for your own"
        )
    listed = models.get_model_weights(key)
    # vgg16's IMAGENET1K_FEATURES has neither class names nor a classifier.
    usable = {n: entry for n, entry in listed.__members__.items() if entry.meta.get("categories")}
    entry = usable.get(weights.removeprefix(f"{listed.__name__}.").upper())
    if entry is None:
        raise ModelError(f"{key} has no weights {weights!r}: choose from {', '.join(usable)}")
    categories = tuple(entry.meta["categories"])
    if checkpoint is None:
        model, source = _download(key, entry), entry.name
    else:
        model, classes = from_checkpoint(key, entry, Path(checkpoint))
        categories = categories if classes == len(categories) else ()
        source = f"checkpoint {Path(checkpoint).name}"
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


def _demo() -> Network:
    from captum_guided_ext import demo  # noqa: PLC0415 - drawing takes its time to import

    record = demo.training_record()
    right = round(record["test_accuracy"] * record["test_pictures"])
    return Network(
        demo.load_demo_network(),
        Preprocessing(size=96, crop=96, mean=(0.5,), std=(0.25,)),
        demo.CATEGORIES,
        name="demo",
        weights=(
            f"comes with the package; right on {right} of {record['test_pictures']} pictures "
            "it never saw"
        ),
    )


def _from_factory(name: str) -> Network:
    module_name, _, attribute = name.partition(":")
    with _current_directory_importable():
        try:
            module = importlib.import_module(module_name)
        except Exception as error:  # the user's own module may raise anything
            near = nearest(module_name, [path.stem for path in Path.cwd().glob("*.py")])
            raise ModelError(
                f"cannot import {module_name!r} of {name!r} ({brief(error)}){near}"
            ) from error
        try:
            made = operator.attrgetter(attribute)(module)
        except AttributeError as error:
            near = nearest(attribute, vars(module))
            raise ModelError(f"module {module_name!r} has no {attribute!r}{near}") from error
        if not isinstance(made, (nn.Module, Network)):
            try:
                made = made()
            except Exception as error:  # so may the user's own factory
                raise ModelError(
                    f"{name!r} could not be called without arguments ({brief(error)})"
                ) from error
    if isinstance(made, nn.Module):
        return Network(made, name=name, weights=f"as {name} makes it")
    if not isinstance(made, Network):
        raise ModelError(
            f"{name!r} returned a {type(made).__name__}: it must return a torch.nn.Module or a "
            "captum_guided_ext.Network"
        )
    return made


@contextlib.contextmanager
def _current_directory_importable() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the user's module may have edited the path too
            sys.path.remove(here)


def find_device(spec: str = "auto") -> torch.device:
    """Return the device called ``spec``; ``"auto"`` is CUDA, else MPS, else the CPU.

    Raises:
        ModelError: if this machine has no such device.
    """
    there = ["cuda"] if torch.cuda.is_available() else []
    there += ["mps", "cpu"] if torch.backends.mps.is_available() else ["cpu"]
    try:
        device = torch.device(there[0] if spec == "auto" else spec)
    except RuntimeError:
        device = torch.device("meta")  # no such name; refused below
    beyond = device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    if device.type not in there or beyond:
        raise ModelError(f"device {spec!r} is not available: choose auto, {', '.join(there)}")
    return device
