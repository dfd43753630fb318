"""The scores of a batch; an image that cannot be scored does not keep the others from it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from captum_guided_ext.benchmarking._items import Item, WrongSizeError
from captum_guided_ext.benchmarking._records import BatchRecord, ScoredImage, SkippedImage
from captum_guided_ext.errors import CaptumGuidedError, DataError, brief, is_lack_of_memory
from captum_guided_ext.evaluation import compare_methods

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from captum_guided_ext.benchmarking._run import Run
    from captum_guided_ext.evaluation import Metric, ScoreRow
    from captum_guided_ext.methods import FastMethods, MethodSet
    from captum_guided_ext.networks import Network
    from captum_guided_ext.pictures import LoadedBatch

_CANARIES = 3
_NOT_FINITE = "NaN or infinity"
_OTHER_SIZE = (
    "pictures of another size than the first were skipped: give the network one size, by --size "
    "and --crop or by its transform, so that all inputs are alike"
)

Items = Mapping[int, Item]


@dataclass(frozen=True)
class _Scored:
    rows: tuple[ScoreRow, ...]
    targets: Mapping[int, Any]
    notes: tuple[str, ...]
    layer: str | None

    @classmethod
    def of_each(cls, alone: Sequence[_Scored]) -> _Scored:
        return cls(
            tuple(row for one in alone for row in one.rows),
            {image: target for one in alone for image, target in one.targets.items()},
            tuple(dict.fromkeys(note for one in alone for note in one.notes)),
            next((one.layer for one in alone if one.layer), None),
        )

    @property
    def are_mixed(self) -> bool:
        """Whether one image's NaN may have cost the others a method's map."""
        return any(_NOT_FINITE in row.reason for row in self.rows)

    @property
    def are_nothing(self) -> bool:
        """Whether a NaN has cost all methods their maps."""
        return self.are_mixed and all(row.value is None for row in self.rows)


@dataclass(frozen=True)
class Scorer:
    """Scores batches of a run.

    An image is at fault if it cannot be read, is not of the run's form, or cannot be scored on its
    own; it is left out and named. What no image can be scored for is the run's own fault: if
    nothing is left of a batch, the first images of the data are asked.

    Args:
        run: What is visited.
        network: Whose class names must be as many as its outputs.
        methods: The methods.
        metrics: The metrics.
        max_examples_per_batch: Most perturbed inputs at a time.
        strict: Raise for the first image that is at fault.
        fast: The methods with a faster copy of the network; the first batch is then scored by both.
            Default: None.
    """

    run: Run
    network: Network
    methods: MethodSet
    metrics: Sequence[Metric]
    max_examples_per_batch: int
    strict: bool
    fast: FastMethods | None = None

    def score(self, number: int, loaded: LoadedBatch) -> BatchRecord:
        """Return what a batch has to say.

        Raises:
            DataError: for what is not an image's fault; if ``strict``, for that as well.
        """
        unreadable: dict[int, Exception] = {i: DataError(reason) for i, reason in loaded.skipped}
        items, malformed = self._sorted_out(loaded)
        scores, unscorable = self._without_faults(items)
        faults = unreadable | malformed | unscorable
        if faults and self.strict:
            self._raise_first(faults)
        if scores is None and (malformed or unscorable) and not self._others_can_be_scored:
            self._raise_first(malformed | unscorable)
        skipped = [SkippedImage(i, self.run.name(i), _reason(faults[i])) for i in sorted(faults)]
        notes = [] if scores is None else [*scores.notes]
        if any(isinstance(error, WrongSizeError) for error in faults.values()):
            notes.append(_OTHER_SIZE)
        if scores is None:
            return BatchRecord.of(number, (), {}, skipped, notes)
        images = {
            image: ScoredImage(
                self.run.name(image),
                target,
                _area(items[image].mask),
                items[image].digest,
                self.run.stamp(image),
            )
            for image, target in scores.targets.items()
        }
        exact: Iterable[ScoreRow] = ()
        if self.fast is not None and number == 0:
            exact = self._scored({image: items[image] for image in images}, exactly=True).rows
        return BatchRecord.of(number, scores.rows, images, skipped, notes, scores.layer, exact)

    def _sorted_out(self, loaded: LoadedBatch) -> tuple[dict[int, Item], dict[int, Exception]]:
        items: dict[int, Item] = {}
        malformed: dict[int, Exception] = {}
        for image, raw in zip(loaded.images, loaded.items, strict=True):
            try:
                item = self.run.item(raw)
                item.check_finite()
                items[image] = item
            except DataError as error:
                malformed[image] = error
        return items, malformed

    def _without_faults(self, items: Items) -> tuple[_Scored | None, dict[int, Exception]]:
        """Return the scores of all images but those that cannot be scored, and why they cannot."""
        if not items:
            return None, {}
        together, error = self._tried(items)
        if together is not None and not together.are_mixed:
            return together, {}
        alone, faults = {}, {}
        for image, item in items.items():
            one, why = self._tried_alone(image, item)
            if why is None:
                alone[image] = one
            else:
                faults[image] = why
        if not alone:
            return None, faults
        if faults:
            together, error = self._tried({image: items[image] for image in alone})
        if together is None:  # each can be scored, and all of them cannot: a lack of memory, say
            assert error is not None  # noqa: S101 - for the type checker
            self._raise(f"images {_span(self.run, alone)}", error)
        if together.are_mixed:
            together = _Scored.of_each([one for one in alone.values() if one is not None])
        return together, faults

    def _tried(self, items: Items) -> tuple[_Scored | None, Exception | None]:
        try:
            return self._scored(items), None
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            return None, error

    def _tried_alone(self, image: int, item: Item) -> tuple[_Scored | None, Exception | None]:
        scores, error = self._tried({image: item})
        if scores is not None and scores.are_nothing:
            reason = next(row.reason for row in scores.rows if _NOT_FINITE in row.reason)
            return None, DataError(f"no method has a map of it: {reason}")
        return scores, error

    def _scored(self, items: Items, *, exactly: bool = False) -> _Scored:
        inputs = torch.stack([item.x for item in items.values()])
        masks = [item.mask for item in items.values() if item.mask is not None]
        labels = [item.label for item in items.values() if item.label is not None]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = compare_methods(
                self.methods,
                self.metrics,
                inputs.to(self.run.device),
                labels if self.run.target == "label" else self.run.target,
                network=self.network,
                masks=torch.stack(masks) if len(masks) == len(items) else None,
                seed=self.run.seed,
                images=list(items),
                max_examples_per_batch=max(self.max_examples_per_batch, len(inputs)),
                show_progress=False,
                fast=None if exactly else self.fast,
            )
        targets = found.target if isinstance(found.target, list) else [found.target] * len(items)
        notes = tuple(dict.fromkeys(str(one.message) for one in caught))
        return _Scored(found.rows, dict(zip(items, targets, strict=True)), notes, found.layer)

    @cached_property
    def _others_can_be_scored(self) -> bool:
        """Whether one of the first readable images of the data can be scored."""
        asked = 0
        for loaded in self.run.read([image] for image in range(self.run.images)):
            items, _ = self._sorted_out(loaded)
            if any(self._tried_alone(image, item)[1] is None for image, item in items.items()):
                return True
            asked += len(loaded.images)
            if asked == _CANARIES:
                break
        return False

    def _raise_first(self, faults: Mapping[int, Exception]) -> NoReturn:
        image = min(faults)
        self._raise(f"image {image} ({self.run.name(image)})", faults[image])

    def _raise(self, where: str, error: Exception) -> NoReturn:
        if isinstance(error, CaptumGuidedError) and isinstance(error, TypeError):
            raise error  # what the model returns is no image's matter
        raise DataError(f"{where}: {_reason(error)}{self._advice(error)}") from error

    def _advice(self, error: Exception) -> str:
        """Return what to do about an error that does not say so itself."""
        if isinstance(error, (CaptumGuidedError, TypeError)):
            return ""
        if is_lack_of_memory(error):
            return (
                "; fewer at a time need less: batch_size and max_examples_per_batch (--batch-size, "
                "--max-examples)"
            )
        return (
            f"; the network was given {self.run.form}, which --size and --crop or its transform "
            "change"
        )


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, CaptumGuidedError) else brief(error)


def _area(mask: Tensor | None) -> float | None:
    return None if mask is None else float(mask.float().mean())


def _span(run: Run, images: Iterable[int]) -> str:
    first, *_, last = [*images] * 2
    return f"{first} ({run.name(first)}) to {last} ({run.name(last)})"
