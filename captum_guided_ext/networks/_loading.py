"""Finding a network by name, whoever has it, and what of it is given anew."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from captum_guided_ext.errors import ModelError, nearest, warn_user
from captum_guided_ext.networks._checkpoints import fill, read_state_dict
from captum_guided_ext.networks._class_names import check_class_names, read_class_names
from captum_guided_ext.networks._factories import find_factory
from captum_guided_ext.networks._hugging_face import find_hugging_face
from captum_guided_ext.networks._network import Network
from captum_guided_ext.networks._preprocessing import Described, Preprocessing
from captum_guided_ext.networks._timm import find_timm
from captum_guided_ext.networks._torchvision import find_torchvision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Build = Callable[[Path | None], Network]


def load_network(
    name: str,
    *,
    weights: str = "DEFAULT",
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    overrides: Mapping[str, Any] | None = None,
    classes: str | Path | Sequence[str] | None = None,
) -> Network:
    """Find a network by name, with its parameters, in eval mode and on ``device``.

    ===================  =========================================================================
    name                 what it stands for
    ===================  =========================================================================
    ``resnet50``, ...    any of torchvision's classification networks, with its weights' preset
    ``timm:NAME``        a network of timm, with the preprocessing of its data configuration; with
                         the tag of its weights or without. ``timm:FOLDER`` is one on disk
    ``hf:NAME``          an image classifier of transformers with its image processor, from a folder
                         or from huggingface.co. Code that it brings along is never run
    ``demo``             the small network inside this package
    ``module:factory``   something in a module that can be imported from the current directory: an
                         ``nn.Module``, a :class:`Network`, or a function or class that gives one
                         of these, or a function from pictures to scores, when it is called without
                         arguments
    ===================  =========================================================================

    Of what is no :class:`Network` from a factory, the preprocessing is unknown, and a warning says
    what is assumed.

    Args:
        name: As above.
        weights: Which of torchvision's weights; ``"DEFAULT"`` is the best. With ``checkpoint``, the
            weights whose preprocessing (and, for ViT, picture size) the checkpoint shares.
        checkpoint: File with a ``state_dict`` for the network, bare or under ``"state_dict"`` or
            ``"model"``, or a ``.safetensors``. Only tensors are read from it, never code. For
            torchvision's and timm's networks, another number of classes is taken from the file, and
            such classes have no names.
        device: As :func:`find_device` takes it.
        overrides: Parts of the preprocessing that take the place of the network's own: ``size``,
            ``crop``, ``interpolation``, ``mean`` and ``std``, as :class:`Preprocessing` has them.
        classes: Names that take the place of the network's own: a list, or a file with one a line,
            a JSON list, or a JSON object from indices to names.

    Raises:
        ModelError: if any of these cannot be had, with what could be had instead. A wrong name is
            said before anything else.

    Warns:
        UserWarning: if the preprocessing is unknown.
    """
    build = _found(name)
    where = find_device(device)
    names = None if classes is None else read_class_names(classes)
    # The random values a network starts from are overwritten; the caller's generator is left alone.
    with torch.random.fork_rng(devices=[]):
        network = build(weights, None if checkpoint is None else Path(checkpoint))
    model = network.model
    if overrides:
        network = _overridden(network, overrides)
    elif network.assumption and network.name == name:  # a Network of one's own has one of its own
        warn_user(network.assumption)
    if names is not None:
        check_class_names(names, _outputs(network) or len(names), network.name)
        network = dataclasses.replace(network, classes=names)
    if isinstance(model, nn.Module):
        model = model.to(where).eval()
    return dataclasses.replace(network, model=model)


def check_network_name(name: str) -> None:
    """Raise ``ModelError`` if no network is called so, before anything of it is loaded."""
    _found(name)


def _found(name: str) -> Callable[[str, Path | None], Network]:
    """Return what builds the network called so, from a choice of weights and a checkpoint."""
    family, colon, rest = name.partition(":")
    if name == "demo":
        return partial(_build, name, partial(_filled, name, _demo))
    if not colon:
        return find_torchvision(name)
    if not family or not rest:
        raise ModelError(f"{name!r} lacks a name: timm:NAME, hf:NAME or module:factory, say")
    if family == "timm":
        return partial(_build, name, find_timm(rest))
    if family == "hf":
        return partial(_build, name, find_hugging_face(rest))
    return partial(_build, name, partial(_filled, name, find_factory(name)))


def _build(name: str, build: Build, weights: str, checkpoint: Path | None) -> Network:
    if weights != "DEFAULT":
        raise ModelError(f"{name} has no choice of weights: leave out {weights!r} (--weights)")
    return build(checkpoint)


def _filled(name: str, make: Callable[[], Network], checkpoint: Path | None) -> Network:
    network = make()
    if checkpoint is None:
        return network
    if not isinstance(network.model, nn.Module):
        raise ModelError(f"{name} is a function, which no checkpoint can be read into")
    fill(network.model, read_state_dict(checkpoint, network.model.state_dict()), checkpoint, name)
    return dataclasses.replace(network, weights=f"checkpoint {checkpoint.name}")


def _overridden(network: Network, overrides: Mapping[str, Any]) -> Network:
    from PIL import Image  # noqa: PLC0415

    fields = [field.name for field in dataclasses.fields(Preprocessing)]
    for given in overrides:
        if given not in fields:
            near = nearest(given, fields, otherwise=None)
            raise ModelError(f"a preprocessing has no {given!r}{near}")
    own = network.transform or Preprocessing()
    own = own.numbers if isinstance(own, Described) else own
    if not isinstance(own, Preprocessing):
        raise ModelError(
            f"{network.name} has a transform of its own ({network.preprocessing}), of which "
            f"{', '.join(overrides)} cannot be changed from outside: leave it out"
        )
    network = dataclasses.replace(network, transform=dataclasses.replace(own, **overrides))
    network.prepare(Image.new(network.mode, (8, 8)))  # numbers for other channels than it has
    return network


def _outputs(network: Network) -> int | None:
    """Return how many outputs a network has, where it says so without being run."""
    model: Any = network.model
    said = getattr(getattr(model, "config", None), "num_labels", getattr(model, "num_classes", 0))
    return said if isinstance(said, int) and said > 0 else len(network.classes) or None


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
