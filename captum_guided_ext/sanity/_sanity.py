"""Sanity checks of attribution methods on pictures: resumable, on one process or many."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from torch.utils.data import DataLoader

from captum_guided_ext.attr import METHODS
from captum_guided_ext.benchmarking import Run, collect, visit
from captum_guided_ext.errors import CaptumGuidedError, DataError, ModelError, brief, warn_user
from captum_guided_ext.methods import MethodSet
from captum_guided_ext.metrics import randomized_layers, why_no_ssim
from captum_guided_ext.networks import as_network, check_class_names, find_target, rank_of
from captum_guided_ext.sampling import check_positive_count
from captum_guided_ext.sanity._checks import NOISE_SAMPLES, SanityChecks
from captum_guided_ext.sanity._names import MEASURES
from captum_guided_ext.sanity._numbers import Numbers
from captum_guided_ext.sanity._result import Sanity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from torch import Tensor, nn
    from torch.utils.data import Dataset

    from captum_guided_ext.benchmarking import BatchRecord
    from captum_guided_ext.methods import Method
    from captum_guided_ext.networks import Network

_TRIED = 3  # pictures, to find the layers by
_SMOOTH_STEPS = 4
_BATCH = 4  # pictures; each of them takes its time, and a kill loses a batch
_OTHERS = {
    "top2": "the best other class",
    "prediction": "the best other class",
    "random": "a random other class",
}


def sanity(
    model: Callable[..., Any] | Network,
    data: Dataset[Any] | DataLoader[Any],
    *,
    output: str | Path | None = None,
    methods: Iterable[Method] | Mapping[str, Method] = METHODS,
    target: str | int = "prediction",
    other_target: str | int = "top2",
    layers: int | Literal["all"] = "all",
    draws: int = 3,
    layer: nn.Module | str | None = None,
    interpolate_mode: str = "bilinear",
    seed: int | None = 0,
    batch_size: int | None = None,
    limit: int | None = None,
    max_examples_per_batch: int = 32,
    strict: bool = False,
    show_progress: bool = True,
) -> Sanity | None:
    """Ask how far the maps of a model can be trusted, and say it in a few sentences.

    For each picture and method: how alike the map stays as the layers are randomised one after the
    other from the output down, their trained weights permuted (Adebayo et al. 2018,
    arXiv:1810.03292), by rank correlation, signed and of magnitudes, and by SSIM, beside a random
    map (Binder et al. 2023); that of maps averaged over noisy inputs, and the rise of the map's
    entropy when all layers are random (Hedström et al. 2024, arXiv:2401.06465); the rank
    correlation of the maps for two classes; the correlation of the map with the picture and its
    edges (Nie et al. 2018, arXiv:1805.07039); and of each two methods' maps (Krishna et al. 2022,
    arXiv:2202.01602). Each is a function in :mod:`captum_guided_ext.metrics`, which says what it is
    exactly. The model itself is never changed.

    Numbers of the same seed are the same whatever the batch, as a benchmark's are. A run that was
    killed goes on, under ``torchrun`` batches are shared out, and what cannot be used is skipped
    and listed, all as in :func:`captum_guided_ext.benchmark`. Smoothed maps are compared at four
    steps, in one draw, over four noisy inputs each.

    Without torchmetrics there is no SSIM, and a warning says so.

    Args:
        model: As in :func:`captum_guided_ext.benchmark`; a module, whose weights can be seen.
        data: As in :func:`captum_guided_ext.benchmark`.
        output: The folder for ``sanity.csv``, ``.json``, ``.png`` and ``.html``, and the rows as
            they come, with which a run goes on. Default: None, nothing is kept.
        methods: As in :func:`captum_guided_ext.compare`.
        target: Which class is explained: a class index or name; "prediction" (the same as "top1"),
            the network's; "top2", ...; or "label", the data's. Default: "prediction".
        other_target: Which class it is compared with: an index or a name; "top2", the best other
            one; or "random", drawn for each picture. Default: "top2".
        layers: "all", maps are compared after each layer is randomised; or after the first layer,
            every so many more, and the last: fewer maps in less time. Default: "all".
        draws: How often all layers are randomised. Default: 3.
        layer: As in :func:`captum_guided_ext.compare`.
        interpolate_mode: As in :func:`captum_guided_ext.compare`.
        seed: As in :func:`captum_guided_ext.benchmark`. Default: 0.
        batch_size: Pictures at a time. Default: the loader's, or 4.
        limit: Only this many pictures, the first ones. Default: all.
        max_examples_per_batch: Most inputs in one forward pass, at least one of each picture.
            Default: 32.
        strict: As in :func:`captum_guided_ext.benchmark`. Default: False.
        show_progress: Show progress bars on standard error. Default: True.

    Returns:
        The numbers and what they mean; None in all processes but the first.

    Raises:
        TypeError: for data or methods of a wrong kind.
        ValueError: as :func:`captum_guided_ext.compare`.
        ModelError: for a class that is not there, an output that is not (N, classes), or a model
            without weights.
        DataError: as :func:`captum_guided_ext.benchmark`.

    Example:
        >>> network = load_network("resnet50")
        >>> found = sanity(network, PictureDataset("photos", network), layers=10, output="sane")
        >>> print(found)
    """
    every = 1 if layers == "all" else layers
    check_positive_count("layers", every)
    check_positive_count("draws", draws)
    check_positive_count("max_examples_per_batch", max_examples_per_batch)
    network = as_network(model)
    is_word = target == "label" or rank_of(str(target)) is not None
    if batch_size is None and not isinstance(data, DataLoader):
        batch_size = _BATCH
    words = str(target) if is_word else "prediction"
    run = Run.of(network, data, words, batch_size, limit, generator=None, seed=seed)
    asked = MethodSet(network.model, methods, layer=layer, interpolate_mode=interpolate_mode)
    probe = _probe(run, network, asked)
    if not is_word:
        run = dataclasses.replace(run, target=find_target(target, probe.scores, network.classes))
    other = _other(other_target, run.target, probe.scores, network)
    module: Any = network.model  # what is none has no weights, and is refused
    stepped = partial(randomized_layers, module, probe.x)
    every_layer = stepped(every_nth_layer=1)
    smooth = max(1, -(-(len(every_layer) - 1) // (_SMOOTH_STEPS - 1)))
    no_ssim = why_no_ssim(tuple(probe.x.shape))
    if no_ssim:
        warn_user(no_ssim)
    checks = SanityChecks(
        methods=asked.names,
        other=other if len(probe.scores) > 1 else None,
        layers=stepped(every_nth_layer=every) if every > 1 else every_layer,
        every_nth_layer=every,
        smooth_layers=stepped(every_nth_layer=smooth),
        smooth_every=smooth,
        measures=tuple(one for one in MEASURES if one != "ssim" or not no_ssim),
        draws=draws,
        show_progress=show_progress,
    )

    def make_settings() -> dict[str, Any]:
        return run.with_form().settings(network) | {
            "other_target": other,
            "methods": asked.describe(),
            "layers": list(checks.layers),
            "layers in all": len(every_layer),
            "every_nth_layer": every,
            "draws": draws,
            "weights": "permuted within each tensor, layer by layer from the output down",
            "measures": list(checks.measures),
            "smoothed maps": {"layers": list(checks.smooth_layers), "noisy inputs": NOISE_SAMPLES},
            "layer": asked.describe_layer(),
            "interpolate_mode": interpolate_mode,
            "max_examples_per_batch": max_examples_per_batch,
        }

    def sum_up(folder: Path, settings: Mapping[str, Any], records: Iterable[BatchRecord]) -> Sanity:
        collected = collect(folder, records)
        used = {"layer": collected.layer} if collected.layer else {}
        numbers = Numbers(collected.scores, asked.names, checks.layers, checks.smooth_layers, draws)
        return Sanity(numbers, collected, dict(settings) | used, _words(numbers, other, network))

    with ExitStack() as kept:
        folder = output or kept.enter_context(TemporaryDirectory(prefix="captum-guided-"))
        return visit(
            run,
            network,
            asked,
            [checks],
            Path(folder),
            make_settings=make_settings,
            sum_up=sum_up,
            max_examples_per_batch=max_examples_per_batch,
            strict=strict,
            show_progress=show_progress,
            label="sanity",
            saves=output is not None,
        )


class _Probe(NamedTuple):
    """The first picture that the network takes: its input, (1, ...), and its scores, (classes,)."""

    x: Tensor
    scores: Tensor


def _probe(run: Run, network: Network, methods: MethodSet) -> _Probe:
    """Run the network on one picture.

    Raises:
        ModelError: if it does not give a score for each class.
        DataError: if none of the first pictures can be read, or the network fails on all of them.
    """
    why: dict[int, str] = {}
    for loaded in run.read([image] for image in range(run.images)):
        why |= dict(loaded.skipped)
        for image, raw in zip(loaded.images, loaded.items, strict=True):
            try:
                item = dataclasses.replace(run, target="prediction").item(raw)
                item.check_finite()
                x = item.x[None].to(run.device)
                output = methods.forward_pass(x).output.detach()
            except CaptumGuidedError as error:
                why[image] = str(error)
            except Exception as error:  # noqa: BLE001 - somebody's network may raise anything
                why[image] = brief(error)
            else:
                _check_output(network, output)
                return _Probe(x, output[0])
        if len(why) > _TRIED and loaded.images:
            break
    first = min(why)
    raise DataError(
        f"none of the pictures can be used, the first, image {first} ({run.name(first)}), since: "
        f"{why[first]}"
    )


def _check_output(network: Network, output: Tensor) -> None:
    if output.dim() != 2:  # noqa: PLR2004 - (examples, classes)
        raise ModelError(
            f"{network.name} returned shape {tuple(output.shape)}, and what is checked here is one "
            "score for each class, (N, classes)"
        )
    check_class_names(network.classes, output.shape[1], network.name)


def _other(spec: str | int, target: str | int, scores: Tensor, network: Network) -> str | int:
    """Return the class to compare with: an index, "top2" or "random"."""
    if str(spec) in _OTHERS or rank_of(str(spec)) == 1:
        return "random" if spec == "random" else "top2"
    if rank_of(str(spec)) or spec == "label":
        raise ModelError(
            f"other_target {spec!r} is none of top2 (the best other class), random, a name or an "
            "index"
        )
    try:
        found = find_target(spec, scores, network.classes)
    except ModelError as error:
        raise ModelError(f"other_target: {error}") from None
    if found == target:
        raise ModelError(
            f"other_target {spec!r} is the class that is explained, {network.category(found)} "
            f"({found}): name another, or top2 for the best other one"
        )
    return found


def _words(numbers: Numbers, other: str | int, network: Network) -> str:
    """Return the other class in words: by its name where it is one for all pictures."""
    found = {*numbers.other_classes(), *([other] if isinstance(other, int) else [])}
    return network.category(found.pop()) if len(found) == 1 else _OTHERS[str(other)]
