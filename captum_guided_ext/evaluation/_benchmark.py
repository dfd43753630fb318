"""Attribution methods on a whole data set: resumable, on one process or many."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import warnings
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import captum
import torch
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

import captum_guided_ext
from captum_guided_ext import _captum
from captum_guided_ext.attr._utils.methods import METHODS
from captum_guided_ext.errors import DataError
from captum_guided_ext.evaluation._comparison import DEFAULT_METRICS, ScoreRow, compare_methods
from captum_guided_ext.evaluation._journal import Journal, start_run
from captum_guided_ext.evaluation._methods import MethodSet
from captum_guided_ext.evaluation._metrics import find_metrics
from captum_guided_ext.evaluation._processes import joined_processes
from captum_guided_ext.evaluation._summary import SummaryLine, summarise
from captum_guided_ext.metrics._utils.perturbed import check_positive_count
from captum_guided_ext.networks._network import Network
from captum_guided_ext.output._files import write_whole
from captum_guided_ext.output._provenance import described
from captum_guided_ext.output._tables import csv_text
from captum_guided_ext.pictures._batches import LoadedBatch, load_batches, masks_of
from captum_guided_ext.sampling._draws import seed_from

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from torch.utils.data import Dataset

    from captum_guided_ext.evaluation._methods import Method
    from captum_guided_ext.evaluation._metrics import Metric

__all__ = ["Benchmark", "SkippedImage", "benchmark"]

_ROW = tuple(column.name for column in dataclasses.fields(ScoreRow))
_COLUMNS = (*_ROW[:-1], "name", "target", "object_area", "reason")


class SkippedImage(NamedTuple):
    """An image that could not be read."""

    image: int
    name: str
    reason: str


@dataclass(frozen=True)
class Benchmark:
    """What :func:`benchmark` found.

    Attributes:
        rows: The scores, sorted by image, method and metric.
        summary: A line for each metric and method, the best first.
        skipped: The images that could not be read.
        notes: What the methods warned of, and in how many batches.
        object_area: The mean share of the picture that the object covers, which is what a map
            without direction would score in relevance_mass; None without masks.
        folder: Where it is on disk.
    """

    rows: tuple[ScoreRow, ...]
    summary: tuple[SummaryLine, ...]
    skipped: tuple[SkippedImage, ...]
    notes: Mapping[str, int]
    object_area: float | None
    folder: Path


def benchmark(
    model: Callable[..., Any] | Network,
    data: Dataset[Any] | DataLoader[Any],
    *,
    output: str | Path,
    methods: Iterable[Method] | Mapping[str, Method] = METHODS,
    metrics: Iterable[str | Metric] = DEFAULT_METRICS,
    target: str = "label",
    layer: nn.Module | str | None = None,
    n_perturb_samples: int = 10,
    interpolate_mode: str = "bilinear",
    generator: torch.Generator | None = None,
    seed: int | None = None,
    batch_size: int | None = None,
    limit: int | None = None,
    max_examples_per_batch: int = 32,
    show_progress: bool = True,
) -> Benchmark | None:
    """Score attribution methods on a data set, image by image, and sum up.

    Rows are written as they come. A run that was killed goes on where it was when it is called
    again with the same arguments, and ends with the rows it would have had. An image's scores come
    from the seed and its number alone: not from the batch (within rounding), nor the order. Under
    ``torchrun`` batches are shared out among the processes, and the rows are those of a single
    process, to the bit where each process has as many threads.

    Args:
        model: A network from :func:`captum_guided_ext.networks.load_network`, a module, or any
            callable that returns (N, classes).
        data: A data set of ``(input, label)``, ``(input, label, mask)``, ``(input,)`` or ``input``,
            whose length is known. Of a ``DataLoader`` the data set, the batch size and the number
            of workers are taken; its images are always visited in the order of the data set. An
            item that raises ``OSError`` is skipped and listed.
        output: The folder for ``scores.csv``, ``summary.csv``, ``summary.json``, ``summary.png``,
            and the rows as they come.
        methods: As in :func:`captum_guided_ext.compare`.
        metrics: As in :func:`captum_guided_ext.compare`.
        target: Which class is explained: "label", the data's, or "prediction", the network's.
            Default: "label".
        layer: As in :func:`captum_guided_ext.compare`.
        n_perturb_samples: As in :func:`captum_guided_ext.compare`. Default: 10.
        interpolate_mode: As in :func:`captum_guided_ext.compare`.
        generator: As in :func:`captum_guided_ext.compare`.
        seed: As in :func:`captum_guided_ext.compare`. Default: 0.
        batch_size: Images at a time. Default: the loader's, or 8.
        limit: Only this many images, the first ones. Default: all.
        max_examples_per_batch: Most perturbed inputs at a time, at least one of each image.
            Default: 32.
        show_progress: Show a progress bar with the time left on standard error. Default: True.

    Returns:
        The scores and their summary; None in all processes but the first.

    Raises:
        TypeError: for data, methods or metrics of a wrong kind.
        ValueError: as :func:`captum_guided_ext.compare`.
        DataError: for no image, labels the model does not have, a folder that holds a run with
            other settings or cannot be written to.

    Example:
        >>> network = load_network("resnet50")
        >>> found = benchmark(network, ImageFolder("photos", network.prepare), output="results")
        >>> print(summary_table(found.summary))
    """
    run = _Run.of(model, data, target, batch_size, limit, generator=generator, seed=seed)
    function = model.model if isinstance(model, Network) else model
    asked = MethodSet(function, methods, layer=layer, interpolate_mode=interpolate_mode)
    scored = find_metrics(metrics, n_perturb_samples=n_perturb_samples)
    check_positive_count("max_examples_per_batch", max_examples_per_batch)
    folder = Path(output)
    settings: dict[str, Any] = {}

    def start() -> tuple[int, dict[int, dict[str, Any]]]:
        settings.update(
            run.settings(model)
            | {
                "methods": asked.describe(),
                "metrics": {", ".join(metric.names): described(metric) for metric in scored},
                "layer": asked.describe_layer(layer),
                "interpolate_mode": interpolate_mode,
                "max_examples_per_batch": max_examples_per_batch,
            }
        )
        return run.seed, start_run(folder, settings)

    with joined_processes(run.device) as processes:
        first_seed, finished = processes.from_first(start)
        run = dataclasses.replace(run, seed=first_seed)
        mine = [b for b in range(run.batches) if b not in finished]
        mine = mine[processes.rank :: processes.size]
        found: list[dict[str, Any]] = []
        shown = show_progress and processes.is_first
        # The folder is this run's until its last file is written.
        with closing(Journal(folder, processes.rank)) as journal:
            with closing(_with_progress(run.load(mine), run, mine, show_progress=shown)) as batches:
                for number, loaded in batches:
                    record = run.record(number, loaded, asked, scored, max_examples_per_batch)
                    journal.append(record)
                    found.append(record)
            everything = processes.gather(found)
            if not processes.is_first:
                return None
            records = [*finished.values(), *(record for part in everything for record in part)]
            higher = {name: metric.higher_is_better for metric in scored for name in metric.names}
            records.sort(key=lambda record: record["batch"])
            return _finish(folder, records, higher, settings | {"processes": processes.size})


@dataclass(frozen=True)
class _Run:
    """Which images are visited, and how they are cut into batches."""

    data: Dataset[Any]
    device: torch.device
    target: str
    seed: int
    images: int
    batch_size: int
    workers: int

    @classmethod
    def of(
        cls,
        model: Any,
        data: Any,
        target: str,
        batch_size: int | None,
        limit: int | None,
        *,
        generator: torch.Generator | None,
        seed: int | None,
    ) -> _Run:
        workers = 0
        if isinstance(data, DataLoader):
            picks = data.sampler if type(data.batch_sampler) is BatchSampler else data.batch_sampler
            whole = not isinstance(picks, RandomSampler) or picks.num_samples == len(
                picks.data_source
            )
            if not isinstance(picks, (SequentialSampler, RandomSampler)) or not whole:
                raise TypeError(
                    f"the loader picks its images by a {type(picks).__name__}: pass a "
                    "torch.utils.data.Subset of those you want"
                )
            batch_size = data.batch_size if batch_size is None else batch_size
            workers, data = data.num_workers, data.dataset
        numbered = hasattr(data, "__len__") and hasattr(data, "__getitem__")
        if not numbered or isinstance(data, IterableDataset):
            raise TypeError(
                f"data must have a length and numbered images, not {type(data).__name__}"
            )
        if target not in ("label", "prediction"):
            raise ValueError(f"target {target!r} must be label or prediction")
        batch_size = 8 if batch_size is None else batch_size
        check_positive_count("batch_size", batch_size)
        if limit is not None:
            check_positive_count("limit", limit)
        images = len(data) if limit is None else min(limit, len(data))
        if images == 0:
            raise DataError("there is no image in the data")
        module = model.model if isinstance(model, Network) else model
        parameters = module.parameters() if isinstance(module, nn.Module) else iter(())
        device = next((p.device for p in parameters), torch.device("cpu"))
        found = seed_from(generator, seed)
        return cls(data, device, target, found or 0, images, batch_size, workers)

    @property
    def batches(self) -> int:
        return -(-self.images // self.batch_size)

    def settings(self, model: Any) -> dict[str, Any]:
        """Return what decides the rows, but for methods and metrics."""
        describe = getattr(self.data, "describe", None)
        return {
            "data": describe() if describe else {"description": described(type(self.data))},
            "images": self.images,
            "batch_size": self.batch_size,
            "target": self.target,
            "seed": self.seed,
            "model": _identity(model),
            "device": self.device.type,
            "versions": {
                "captum_guided_ext": captum_guided_ext.__version__,
                "captum": captum.__version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        }

    def load(self, batches: Sequence[int]) -> Iterator[tuple[int, LoadedBatch]]:
        """Read these batches, in order."""
        size = self.batch_size
        indices = [list(range(b * size, min((b + 1) * size, self.images))) for b in batches]
        return zip(batches, load_batches(self.data, indices, workers=self.workers), strict=True)

    def name(self, image: int) -> str:
        """Return what the data calls an image."""
        name = getattr(self.data, "name", None)
        return str(name(image)) if callable(name) else str(image)

    def record(
        self,
        number: int,
        loaded: LoadedBatch,
        methods: MethodSet,
        metrics: Sequence[Metric],
        max_examples_per_batch: int,
    ) -> dict[str, Any]:
        """Return what a batch has to say, as JSON can hold it."""
        record: dict[str, Any] = {
            "batch": number,
            "rows": [],
            "images": {},
            "skipped": [[image, self.name(image), reason] for image, reason in loaded.skipped],
            "notes": [],
        }
        if not loaded.items:
            return record
        first, last = loaded.images[0], loaded.images[-1]
        where = f"images {first} ({self.name(first)}) to {last} ({self.name(last)})"
        try:
            inputs = torch.stack([torch.as_tensor(item[0]) for item in loaded.items])
            masks = masks_of(loaded.items)
            target = self._target(loaded)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                comparison = compare_methods(
                    methods,
                    metrics,
                    inputs.to(self.device),
                    target,
                    masks=masks,
                    seed=self.seed,
                    images=loaded.images,
                    max_examples_per_batch=max(max_examples_per_batch, len(inputs)),
                    show_progress=False,
                )
        except (ValueError, RuntimeError) as error:
            raise DataError(f"{where}: {error}") from error
        targets = comparison.target
        record["rows"] = [list(dataclasses.astuple(row)) for row in comparison.rows]
        record["images"] = {
            image: [
                self.name(image),
                targets[place] if isinstance(targets, list) else targets,
                None if masks is None else float(masks[place].float().mean()),
            ]
            for place, image in enumerate(loaded.images)
        }
        record["notes"] = list(dict.fromkeys(str(one.message) for one in caught))
        return record

    def _target(self, loaded: LoadedBatch) -> Any:
        if self.target == "prediction":
            return "prediction"
        labels = [item[1] if len(item) > 1 else None for item in loaded.items]
        if None in labels:
            image = loaded.images[labels.index(None)]
            raise DataError(
                f"image {image} ({self.name(image)}) has no label: explain the prediction "
                '(target="prediction")'
            )
        return [int(label) for label in labels if label is not None]


def _identity(model: Any) -> dict[str, Any]:
    """Return the model's name and a digest of its parameters and buffers."""
    module = model.model if isinstance(model, Network) else model
    digest = hashlib.sha256()
    for name, values in module.state_dict().items() if isinstance(module, nn.Module) else ():
        digest.update(name.encode())
        if isinstance(values, Tensor):
            digest.update(
                values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            )
    return {
        "name": model.name if isinstance(model, Network) else described(type(model)),
        "weights": model.weights if isinstance(model, Network) else "",
        "digest": digest.hexdigest()[:16],
    }


def _with_progress(
    batches: Iterator[tuple[int, LoadedBatch]],
    run: _Run,
    mine: Sequence[int],
    *,
    show_progress: bool,
) -> Generator[tuple[int, LoadedBatch], None, None]:
    """Show images done and the time left; of many processes, this one's share."""
    size = run.batch_size
    total = sum(min((b + 1) * size, run.images) - b * size for b in mine)
    bar = _captum.progress(desc="benchmark", total=total, unit="image", disable=not show_progress)
    with bar:
        for number, loaded in batches:
            yield number, loaded
            bar.update(len(loaded.images) + len(loaded.skipped))


def _finish(
    folder: Path,
    records: Sequence[Mapping[str, Any]],
    higher_is_better: Mapping[str, bool],
    settings: Mapping[str, Any],
) -> Benchmark:
    from captum_guided_ext.output._figures import draw_summary, save_figure  # noqa: PLC0415

    rows = [ScoreRow(*row) for record in records for row in record["rows"]]
    rows.sort(key=lambda one: (one.image, one.method, one.metric))
    images = {int(i): found for record in records for i, found in record["images"].items()}
    areas = [area for _, _, area in images.values() if area is not None]
    notes: dict[str, int] = {}
    for record in records:
        for note in record["notes"]:
            notes[note] = notes.get(note, 0) + 1
    found = Benchmark(
        rows=tuple(rows),
        summary=tuple(summarise(rows, higher_is_better)),
        skipped=tuple(SkippedImage(*one) for record in records for one in record["skipped"]),
        notes=notes,
        object_area=sum(areas) / len(areas) if areas else None,
        folder=folder,
    )
    lines = [dataclasses.asdict(line) for line in found.summary]
    report = {
        "summary": lines,
        "settings": settings,
        "skipped": [one._asdict() for one in found.skipped],
        "notes": notes,
        "object_area": found.object_area,
        "threads": torch.get_num_threads(),
    }
    try:
        write_whole(folder / "scores.csv", csv_text(_COLUMNS, _csv_rows(rows, images)).encode())
        columns = [column.name for column in dataclasses.fields(SummaryLine)]
        write_whole(folder / "summary.csv", csv_text(columns, lines).encode())
        write_whole(folder / "summary.json", json.dumps(report, indent=2).encode())
        save_figure(draw_summary(found.summary), folder / "summary.png")
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written to ({error.strerror}): the rows are kept; make room and "
            "run the same command again"
        ) from error
    return found


def _csv_rows(
    rows: Iterable[ScoreRow], images: Mapping[int, Sequence[Any]]
) -> Iterator[dict[str, Any]]:
    for row in rows:
        name, target, area = images[row.image]
        yield dataclasses.asdict(row) | {"name": name, "target": target, "object_area": area}
