"""Which images a benchmark visits, in which batches, and what is explained of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from captum_guided_ext.errors import DataError, ModelError
from captum_guided_ext.networks import Network, rank_of
from captum_guided_ext.output import identity_of_data, identity_of_model, versions
from captum_guided_ext.pictures import LoadedBatch, load_batches
from captum_guided_ext.sampling import a_seed, check_positive_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch
    from torch.utils.data import Dataset


@dataclass(frozen=True)
class Run:
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
        network: Network,
        data: Any,
        target: str,
        batch_size: int | None,
        limit: int | None,
        *,
        generator: torch.Generator | None,
        seed: int | None,
    ) -> Run:
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
        if not numbered or isinstance(data, (IterableDataset, str)):
            raise TypeError(
                f"data must have a length and numbered images, not {type(data).__name__}; for a "
                "folder or the demo, PictureDataset(data, network) has"
            )
        rank = rank_of(str(target))
        if target != "label" and not rank:
            raise ModelError(f"target {target!r} is none of label, prediction, top2, top3, ...")
        if rank:
            target = "prediction" if rank == 1 else f"top{rank}"
        batch_size = 8 if batch_size is None else batch_size
        check_positive_count("batch_size", batch_size)
        if limit is not None:
            check_positive_count("limit", limit)
        images = len(data) if limit is None else min(limit, len(data))
        if images == 0:
            raise DataError("there is no image in the data")
        chosen = a_seed(generator, seed)
        return cls(data, network.device, target, chosen, images, batch_size, workers)

    @property
    def batches(self) -> int:
        return -(-self.images // self.batch_size)

    def settings(self, network: Network) -> dict[str, Any]:
        """Return what decides the rows, but for methods and metrics."""
        return {
            "data": identity_of_data(self.data),
            "images": self.images,
            "batch_size": self.batch_size,
            "target": self.target,
            "seed": self.seed,
            "model": identity_of_model(network.model, name=network.name, weights=network.weights),
            "device": self.device.type,
            "versions": versions(),
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

    def targets(self, loaded: LoadedBatch) -> Any:
        """Return what is explained of a batch: the labels, or the word for a place in the order."""
        if self.target != "label":
            return self.target
        labels = [item[1] if len(item) > 1 else None for item in loaded.items]
        if None in labels:
            image = loaded.images[labels.index(None)]
            raise DataError(
                f"image {image} ({self.name(image)}) has no label: explain the prediction "
                '(target="prediction")'
            )
        return [int(label) for label in labels if label is not None]
