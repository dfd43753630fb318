"""The maps of a batch by several methods, step by step as the model's weights are randomised."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from captum_guided_ext import _captum
from captum_guided_ext.autograd import Buffers, ForwardPass
from captum_guided_ext.errors import nearest
from captum_guided_ext.methods import floor_maps
from captum_guided_ext.metrics._utils.randomized_copy import ORDERS, Order, RandomizedCopy
from captum_guided_ext.metrics._utils.reinitialization import REINITIALIZATIONS, Reinitialization
from captum_guided_ext.sampling import Draws, check_positive_count, of_rows, widened

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from captum_guided_ext._captum import TargetType
    from captum_guided_ext.methods import MethodSet

_SAMPLES_AT_A_TIME = 10  # noisy inputs of each example


class Plan(NamedTuple):
    """Which layers are randomised how, and how often.

    Attributes:
        order: Of the layers.
        reinitialization: How weights are drawn anew.
        every_nth_layer: Maps are made after the first layer, after every so many more, and after
            the last. None for the last alone.
        n_draws: How often all that is done.
        n_noise_samples: Noisy inputs over which each map is averaged; 0 for the input itself.
        noise_level: The deviation of the noise, as a part of each example's range.
    """

    order: Order = "cascading"
    reinitialization: Reinitialization = "permuted"
    every_nth_layer: int | None = 1
    n_draws: int = 3
    n_noise_samples: int = 0
    noise_level: float = 0.0

    def check(self) -> None:
        """Raise for what is no plan.

        Raises:
            TypeError: for a count that is no whole number.
            ValueError: for an unknown name, or a number out of range.
        """
        named: tuple[tuple[str, str, tuple[str, ...]], ...] = (
            ("order", self.order, ORDERS),
            ("reinitialization", self.reinitialization, REINITIALIZATIONS),
        )
        for label, given, known in named:
            if given not in known:
                near = nearest(str(given), known, otherwise=None)
                raise ValueError(f"no {label} is called {given!r}{near}")
        check_positive_count("n_draws", self.n_draws)
        if self.every_nth_layer is not None:
            check_positive_count("every_nth_layer", self.every_nth_layer)
        if self.n_noise_samples and not 0 < self.noise_level < math.inf:
            raise ValueError(f"noise_level must be above 0, and is {self.noise_level}")

    def steps(self, layers: Sequence[str]) -> tuple[str, ...]:
        """Return the layers after which maps are made."""
        every = self.every_nth_layer
        kept = () if every is None else layers[:-1:every]
        return (*kept, *layers[-1:])


class Step(NamedTuple):
    """The maps of some examples at one step.

    Attributes:
        draw: Which draw.
        step: Which step.
        rows: Which examples.
        maps: By method; NaN everywhere for an example that a method has no map of.
    """

    draw: int
    step: int
    rows: slice
    maps: Mapping[str, Tensor]


class RandomizedMaps:
    """The maps of a batch, and those of the model with other weights.

    All methods and as many examples as may be share one forward pass of each step.

    Args:
        methods: Of the model, which is copied once, and not touched.
        inputs: (N, ...).
        target: As in Captum.
        further: The model's further arguments.
        plan: What is done to the weights.
        seed: Of all randomness.
        images: The number of each example's image.
        max_examples_per_batch: Most examples in one forward pass. Default: all of them, and ten
            noisy inputs of each.
        floors: Names of floors that are to have maps too.
        show_progress: Show a progress bar on standard error.

    Attributes:
        layers: The layers after which maps are made.
        original: The maps with the model's own weights, by method.
        reasons: Why a method has no maps, by method.
        lost: Why an example lacks maps at steps, by method and example: the first reason.

    Raises:
        ModelError: for a model without weights, or that cannot be copied.
        ValueError: for a bad target.
    """

    def __init__(
        self,
        methods: MethodSet,
        inputs: Tensor,
        target: TargetType,
        further: object,
        *,
        plan: Plan,
        seed: int,
        images: Sequence[int],
        max_examples_per_batch: int | None,
        floors: Collection[str] = (),
        show_progress: bool = False,
    ) -> None:
        plan.check()
        if max_examples_per_batch is not None:
            check_positive_count("max_examples_per_batch", max_examples_per_batch)
        self._copy = RandomizedCopy(methods.model, plan.reinitialization, seed)
        self._methods = methods.rebound(self._copy.model, self._copy.memo)
        self._inputs, self._target, self._further = inputs.detach(), target, further
        self._plan, self._seed, self._images = plan, seed, images
        self._at_once = max_examples_per_batch
        self._floors = floors
        self._show_progress = show_progress
        self.reasons: dict[str, str] = {}
        self.lost: dict[str, dict[int, str]] = {}
        with self._copy.traceable():
            self.original = self._first_maps()
        self.layers = plan.steps(self._copy.layers)

    def __iter__(self) -> Iterator[Step]:
        """Yield the maps of each draw, step and part of the batch."""
        if not self.original:
            return
        plan, parts = self._plan, self.parts
        total = plan.n_draws * len(self.layers) * len(parts)
        bar = _captum.progress(
            desc="randomisation", total=total, leave=None, disable=not self._show_progress
        )
        with bar:
            for draw in range(plan.n_draws):
                self._copy.restore()
                for layer in self._copy.layers:
                    if plan.order == "independent":
                        self._copy.restore()
                    self._copy.randomize(layer, draw)
                    if layer not in self.layers:
                        continue
                    step = self.layers.index(layer)
                    number = 1 + draw * len(self.layers) + step
                    for rows in parts:
                        maps = self._maps_after(rows, number, f"after {layer} was randomised")
                        yield Step(draw, step, rows, maps)
                        bar.update(1)

    def _first_maps(self) -> dict[str, Tensor]:
        found = [self._maps(rows, 0) for rows in self.parts]
        self.reasons = {name: why for _, reasons in found for name, why in reasons.items()}
        parts = [maps for maps, _ in found]
        return {
            n: torch.cat([maps[n] for maps in parts]) for n in parts[0] if n not in self.reasons
        }

    def _maps_after(self, rows: slice, number: int, when: str) -> dict[str, Tensor]:
        """Return the maps at a step, NaN for examples that a method has none of."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of zero maps, which are seen
            maps, reasons = self._maps(rows, number)
            lost = [name for name in self.original if name not in maps]
            if lost and rows.stop - rows.start > 1:  # NaN of one example takes all of its batch
                alone = [slice(row, row + 1) for row in range(rows.start, rows.stop)]
                found = [self._maps_after(one, number, when) for one in alone]
                return {name: torch.cat([one[name] for one in found]) for name in self.original}
        for name in lost:
            why = f"{when}: {reasons.get(name, 'it has no map')}"
            self.lost.setdefault(name, {}).setdefault(rows.start, why)
            maps[name] = torch.full_like(self.original[name][rows], math.nan)
        return {name: maps[name] for name in self.original}

    def _maps(self, rows: slice, number: int) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return the maps of some examples, each averaged over its noisy inputs if there are any.

        Args:
            rows: Which examples.
            number: Of the step; 0 for the model's own weights.
        """
        examples, images = rows.stop - rows.start, self._images[rows]
        samples = self._plan.n_noise_samples or 1
        at_once = _SAMPLES_AT_A_TIME
        if self._at_once is not None:
            at_once = max(1, self._at_once // examples)
        sums: dict[str, Tensor] = {}
        reasons: dict[str, str] = {}
        for start in range(0, samples, at_once):
            block = range(start, min(start + at_once, samples))
            maps, why = self._maps_of(rows, block, warn_if_zero=number == 0)
            reasons |= why
            for name, one in maps.items():
                mean = widened(one).reshape(examples, len(block), *one.shape[1:]).sum(1) / samples
                sums[name] = sums[name] + mean if name in sums else mean
        x = self._inputs[rows]
        floors = floor_maps(x, self._seed, images, [number]) if self._floors else {}
        sums |= {name: one for name, one in floors.items() if name in self._floors}
        return {name: one for name, one in sums.items() if name not in reasons}, reasons

    def _maps_of(
        self, rows: slice, samples: Sequence[int], *, warn_if_zero: bool
    ) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return the maps of so many inputs of each example, made by one forward pass."""
        target, further = (
            of_rows(one, rows, len(self._inputs)) for one in (self._target, self._further)
        )
        images, x = self._images[rows], self._inputs[rows]
        if self._plan.n_noise_samples:
            x = self._noisy(x, images, samples)
            target, further = _repeated(target, further, len(samples))
        buffers = Buffers(self._copy.model.modules())
        try:
            forward_pass = self._methods.forward_pass(x, further)
            if not self._copy.layers:
                self._copy.find_layers(forward_pass.output, self._plan.order)
                self._copy.check_unseen(
                    lambda: ForwardPass(self._copy.model, x, further).output, forward_pass.output
                )
            seeds = self._methods.seeds(self._seed, images, samples)
            return self._methods.maps(
                forward_pass, target, seeds, further, warn_if_zero=warn_if_zero
            )
        finally:
            buffers.put_back()  # which a forward pass in training mode writes to

    def _noisy(self, x: Tensor, images: Sequence[int], samples: Sequence[int]) -> Tensor:
        """Return so many noisy inputs of each example."""
        draws = Draws(self._seed, images, "noisy inputs")
        noise = [
            torch.randn(one.shape, generator=draws.generator(row, s, torch.device("cpu")))
            * (self._plan.noise_level * (one.amax() - one.amin()).cpu())
            for row, one in enumerate(x)
            for s in samples
        ]
        return x.repeat_interleave(len(samples), dim=0) + torch.stack(noise).to(x)

    @property
    def parts(self) -> list[slice]:
        """The examples that share a forward pass."""
        count = len(self._inputs)
        at_once = min(self._at_once or count, count)
        return [slice(a, min(a + at_once, count)) for a in range(0, count, at_once)]


def _repeated(target: Any, further: Any, count: int) -> tuple[Any, Any]:
    """Return the arguments of so many inputs of each example, as Captum repeats them."""
    kind = _captum.ExpansionTypes.repeat_interleave
    arguments = _captum.format_additional_forward_args(further)
    return (
        _captum.expand_target(target, count, expansion_type=kind),
        None
        if arguments is None
        else _captum.expand_additional_forward_args(arguments, count, expansion_type=kind),
    )
