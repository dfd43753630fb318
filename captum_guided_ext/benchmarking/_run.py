"""Which images a benchmark visits, in which batches, and what is explained of each."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from captum_guided_ext.benchmarking._items import form_of, item_of
from captum_guided_ext.errors import DataError, ModelError
from captum_guided_ext.networks import Network, rank_of
from captum_guided_ext.output import described, identity_of_data, identity_of_model, versions
from captum_guided_ext.pictures import PictureDataset, load_batches
from captum_guided_ext.sampling import a_seed, check_positive_count

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    import torch
    from torch.utils.data import Dataset

    from captum_guided_ext.benchmarking._items import Item
    from captum_guided_ext.pictures import LoadedBatch


@dataclass(frozen=True)
class Run:
    """Which images are visited, and how they are cut into batches.

    ``target`` is "label", "prediction", "top2", ..., or one class for all, by its index. ``form``
    is that of every input, in the words of ``form_of``; None where nothing is known.
    """

    data: Dataset[Any]
    device: torch.device
    target: str | int
    seed: int
    images: int
    batch_size: int
    workers: int
    form: str | None = None

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
        # Files are read while the network computes.
        workers = 1 if getattr(data, "reads_files", False) else 0
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
            "inputs": self.form,
            "batch_size": self.batch_size,
            "target": self.target,
            "seed": self.seed,
            "model": identity_of_model(network.model, name=network.name, weights=network.weights),
            "preprocessing": _preprocessing(network, self.data),
            "device": self.device.type,
            "versions": versions(),
        }

    def with_form(self) -> Run:
        """Return the run with the form of the first input that can be read."""
        for loaded in self.read([image] for image in range(self.images)):
            for raw in loaded.items:
                with suppress(DataError):
                    return dataclasses.replace(self, form=form_of(item_of(raw, None).x))
        return self

    def read(self, batches: Iterable[Sequence[int]]) -> Generator[LoadedBatch, None, None]:
        """Read these images, in order."""
        return load_batches(self.data, list(batches), workers=self.workers)

    def load(self, batches: Sequence[int]) -> Iterator[tuple[int, LoadedBatch]]:
        """Read these batches, in order."""
        size = self.batch_size
        indices = [range(b * size, min((b + 1) * size, self.images)) for b in batches]
        return zip(batches, self.read(indices), strict=True)

    def item(self, raw: Sequence[Any]) -> Item:
        """Return what is scored of an image; raise ``DataError`` if it cannot be."""
        return item_of(raw, self.form, with_label=self.target == "label")

    def name(self, image: int) -> str:
        """Return what the data calls an image."""
        name = getattr(self.data, "name", None)
        return str(name(image)) if callable(name) else str(image)

    def stamp(self, image: int) -> str:
        """Return what an image looks like from outside; empty where the data does not say."""
        stamp = getattr(self.data, "stamp", None)
        return str(stamp(image)) if callable(stamp) else ""


def _preprocessing(network: Network, data: object) -> dict[str, Any]:
    """Return how a picture becomes the network's input."""
    is_laid = network.transform is not None or isinstance(data, PictureDataset)
    return {
        "words": network.preprocessing if is_laid else "inputs as the data gives them",
        "transform": network.transform and described(network.transform),
        "mode": network.mode,
    }
