"""Infidelity of attributions (Yeh et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from captum_guided_ext import _captum
from captum_guided_ext.autograd import (
    check_finite,
    check_inputs,
    checked_copy,
    output_of,
    select_target,
)
from captum_guided_ext.metrics._utils.attributions import check_shapes
from captum_guided_ext.metrics._utils.perturbed import PerturbedSamples, check_made
from captum_guided_ext.metrics._utils.scratch import Scratch
from captum_guided_ext.metrics.perturbations import Perturbation
from captum_guided_ext.sampling import (
    find_draws,
    mean_standard_error,
    per_sample,
    resampled_interval,
    widened,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from captum_guided_ext._captum import BaselineType, TargetType
    from captum_guided_ext.sampling import Draws

    Attributions = Tensor | tuple[Tensor, ...]


def infidelity_perturb_func_decorator(
    multiply_by_inputs: bool = True,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function that returns perturbed inputs into one that returns perturbations as well.

    Args:
        multiply_by_inputs: Divide the perturbation by ``x - baseline``, for attributions that are
            multiplied by it (input x gradient, integrated gradients). Where that is 0, the
            perturbation is left as it is. Default: True, as in Captum.

    Returns:
        A decorator for ``perturb_func(inputs)`` or ``perturb_func(inputs, baselines)``.

    Example:
        >>> @infidelity_perturb_func_decorator(multiply_by_inputs=False)
        ... def perturb(inputs):
        ...     return inputs - 0.003 * torch.randn_like(inputs)
    """

    def decorate(perturb_func: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(perturb_func)
        def perturb(
            inputs: Attributions, baselines: BaselineType = None
        ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
            given = () if baselines is None else (baselines,)
            made = check_made(perturb_func, perturb_func(inputs, *given))
            perturbed = _captum.format_tensor_into_tuples(made)
            xs = _captum.format_tensor_into_tuples(inputs)
            perturbations = tuple(x - p for x, p in zip(xs, perturbed, strict=True))
            if multiply_by_inputs:
                perturbations = _per_unit_of_input(perturbations, xs, baselines)
            return perturbations, perturbed

        return perturb

    return decorate


def _per_unit_of_input(
    perturbations: tuple[Tensor, ...], xs: tuple[Tensor, ...], baselines: BaselineType
) -> tuple[Tensor, ...]:
    references = [0] * len(xs) if baselines is None else _captum.format_baseline(baselines, xs)
    return tuple(
        _captum.safe_div(perturbation, x - reference, default_denom=1.0)
        for perturbation, x, reference in zip(perturbations, xs, references, strict=True)
    )


def _safe_div(numerator: Tensor, denominator: Tensor) -> Tensor:
    quotient: Tensor = _captum.safe_div(numerator, denominator)
    return quotient


class InfidelitySamples(NamedTuple):
    """What one method's infidelity is made of, sample by sample.

    Attributes:
        predicted: What the attribution says the score falls by: the sum of ``I`` times
            attribution, shape (examples, samples).
        fall: What it falls by, ``f(x) - f(x - I)``, of that shape.
        is_sampled: Whether chance decided which perturbations were made.
    """

    predicted: Tensor
    fall: Tensor
    is_sampled: bool

    def best_constant(self) -> Tensor:
        """Return what would remain if every prediction of an example were one best constant.

        The constant is the mean fall of that example: the mean over its samples of
        ``(fall - mean fall)^2``, shape (examples,); 0 for a single sample.
        """
        return self.fall.var(dim=1, correction=0)

    def errors(self, *, normalize: bool) -> Tensor:
        """Return the squared error of each sample, after the optimal scaling if asked for."""
        predicted = self.predicted * self.scale()[:, None] if normalize else self.predicted
        return (predicted - self.fall).square()

    def scale(self) -> Tensor:
        """Return of each example the factor that brings the attribution closest to the falls."""
        return _safe_div((self.predicted * self.fall).sum(dim=1), self.predicted.pow(2).sum(dim=1))

    def infidelity(self, *, normalize: bool) -> Tensor:
        """Return the infidelity of each example, shape (examples,)."""
        return self.errors(normalize=normalize).mean(dim=1)

    def standard_error(self) -> Tensor | None:
        """Return the standard error of each infidelity that is not normalised.

        None where it has none: of one sample, or of perturbations that were not drawn.
        """
        if not self.is_sampled:
            return None
        return mean_standard_error(self.errors(normalize=False))

    def interval(self, *, normalize: bool, resamples: int = 1000) -> Tensor | None:
        """Return a 95 % interval of each infidelity, by resampling its samples, (examples, 2).

        The percentile bootstrap (Efron & Tibshirani 1993, chapter 13). From few samples it is too
        short: with Gaussian errors it held the truth in 85 % of the cases at 10 samples and in 92 %
        at 100; normalised, where the scale is fitted to the same samples, in 75 % and 91 %.
        None as in :meth:`standard_error`.
        """
        return infidelity_intervals([self], normalize=normalize, resamples=resamples)[0]


def infidelity_intervals(
    samples: Sequence[InfidelitySamples], *, normalize: bool, resamples: int = 1000
) -> list[Tensor | None]:
    """Return :meth:`InfidelitySamples.interval` of several, of one metric, resampled together."""
    first = samples[0]
    if not first.is_sampled or first.fall.shape[1] < 2:  # noqa: PLR2004
        return [None] * len(samples)
    if not normalize:
        errors = torch.cat([one.errors(normalize=False) for one in samples])
        found = resampled_interval(errors[None], lambda means: means[0], resamples)
        return list(found.chunk(len(samples)))
    # Of the residual, so that nothing cancels where the attribution is nearly faithful.
    predicted = torch.cat([one.predicted for one in samples]).double()
    scale = torch.cat([one.scale() for one in samples])
    residual = torch.cat([one.fall for one in samples]).double() - predicted * scale[:, None]
    products = torch.stack([predicted.square(), predicted * residual, residual.square()])

    def refitted(means: Tensor) -> Tensor:
        square, cross, left = means.unbind()
        return left - _safe_div(cross, square) * cross

    return list(resampled_interval(products, refitted, resamples).chunk(len(samples)))


@_captum.log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
def infidelity(
    forward_func: Callable[..., Tensor],
    perturb_func: Callable[..., Any],
    inputs: Attributions,
    attributions: Attributions | Mapping[str, Attributions],
    baselines: BaselineType = None,
    additional_forward_args: object = None,
    target: TargetType = None,
    n_perturb_samples: int = 10,
    max_examples_per_batch: int | None = None,
    normalize: bool = False,
    *,
    multiplies_by_inputs: bool | Collection[str] | Mapping[str, BaselineType] = False,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    image_indices: Sequence[int] | None = None,
    return_standard_error: bool = False,
    fast: bool = False,
    show_progress: bool = False,
) -> Any:
    """Return how far attributions are from saying what a perturbation does to the score.

    The expected squared difference of the sum of ``I`` times attribution and
    ``f(x) - f(x - I)``, over perturbations ``I`` (Yeh et al. 2019, arXiv:1901.09392, definition
    2.1). Costs one forward pass of ``inputs`` and one of each perturbed input, however many
    attributions are scored.

    Args:
        forward_func: A module or any callable that returns a tensor, or what holds one (see
            :class:`~captum_guided_ext.ForwardPass`).
        perturb_func: A :class:`~captum_guided_ext.metrics.Perturbation`, or a function of Captum's
            form: it takes inputs whose examples are repeated, and ``baselines`` where they are
            given, and returns perturbations and perturbed inputs.
        inputs: A tensor or a tuple of them, the examples along dimension 0.
        attributions: Of the form and shapes of ``inputs``; or several, by name. A map of one
            channel, as Grad-CAM's, counts for every channel.
        baselines: As in Captum: passed to ``perturb_func``. Default: None.
        additional_forward_args: As in Captum. Default: None.
        target: Which output was explained, as in Captum. Default: None, for a model with one
            output per example.
        n_perturb_samples: Number of perturbations of each example. Default: 10.
        max_examples_per_batch: Most perturbed inputs in one forward pass, at least one of each
            example. Default: ten of each example (Captum: all of them).
        normalize: Scale each example's attribution by the factor that makes its infidelity
            smallest, as the authors' code does. Fitted to the samples, it makes the score of n of
            them too small by about 1/n. Default: False.
        multiplies_by_inputs: Whether the attribution is multiplied by ``x - baseline`` already, or
            the names of those that are, with ``baselines`` as the baseline; or a mapping from their
            names to a baseline of each. They are scored with ``I / (x - baseline)``. Leave it out
            where ``perturb_func`` divides. Default: False.
        generator: Source of all randomness: one seed is drawn from it. Default: the global
            generators, used as Captum uses them.
        seed: Instead of ``generator``. The same seed gives an image the same perturbations,
            whatever batch it is in and however it is split. A function of Captum's form is then
            called for each of them alone, with torch's, numpy's and Python's global generators
            seeded for it and put back.
        image_indices: With ``generator`` or ``seed``, the number of each example's image. Default:
            its place in the batch.
        return_standard_error: Return the standard error as well. Default: False.
        fast: Compute on a copy of the module that takes less time, as
            :func:`captum_guided_ext.compare` does. Two forward passes more. Default: False.
        show_progress: Show a progress bar on standard error. Default: False.

    Returns:
        The infidelity of each example, shape (examples,), or by name; with
        ``return_standard_error`` each as a tuple ``(infidelity, standard_error)``. The standard
        error is that of a mean of ``n_perturb_samples`` samples, NaN for one sample, and 0 for
        perturbations that are not drawn.

    Raises:
        TypeError: for inputs, outputs or numbers of a wrong kind.
        ValueError: for shapes that do not match, a missing or impossible target, NaN or infinity;
            for a perturbation that returns them, or no tensors;
            for ``normalize`` with ``return_standard_error``: with a scale fitted to the samples,
            it is no mean of them; with ``fast``, for what is no module or cannot be copied, or a
            copy whose outputs differ.

    Differs from Captum on purpose:
        A missing target on several outputs is an error (Captum compares other numbers), so are
        several scores for one example. The unperturbed forward pass is made once, not once per
        chunk. Sums are in single precision at least, whatever the type of the inputs, and
        memory layouts other than the default work.

    Example:
        >>> maps = {"guided_backprop": GuidedBackprop(model).attribute(images, target=labels)}
        >>> infidelity(model, NoisyBaseline(), images, maps, target=labels, seed=0)
    """
    if normalize and return_standard_error:
        raise ValueError(
            "a normalised infidelity has no standard error, since its scale is fitted to the "
            "samples: leave out normalize or return_standard_error"
        )
    xs = check_inputs(inputs)
    named = attributions if isinstance(attributions, Mapping) else {"": attributions}
    multiplied = _multiplied(multiplies_by_inputs, named, baselines)
    if fast:
        forward_func = checked_copy(forward_func, xs, additional_forward_args).model
    samples = sample_infidelity(
        forward_func,
        perturb_func,
        xs,
        {name: _captum.format_tensor_into_tuples(one) for name, one in named.items()},
        baselines=baselines,
        additional_forward_args=additional_forward_args,
        target=target,
        n_perturb_samples=n_perturb_samples,
        max_examples_per_batch=max_examples_per_batch,
        multiplied=multiplied,
        draws=find_draws(generator, seed, image_indices, len(xs[0]), "infidelity"),
        show_progress=show_progress,
    )
    results: dict[str, Any] = {}
    for name, one in samples.items():
        value = one.infidelity(normalize=normalize)
        results[name] = value
        if return_standard_error:
            error = one.standard_error()
            results[name] = value, torch.zeros_like(value) if error is None else error
    return results if isinstance(attributions, Mapping) else results[""]


def _multiplied(
    multiplies_by_inputs: bool | Collection[str] | Mapping[str, BaselineType],
    named: Collection[str],
    baselines: BaselineType,
) -> dict[str, BaselineType]:
    """Return the baselines of each attribution that is a product."""
    if isinstance(multiplies_by_inputs, bool):
        return dict.fromkeys(named, baselines) if multiplies_by_inputs else {}
    given = multiplies_by_inputs
    if isinstance(given, Mapping):
        found = dict(given)
    else:
        found = dict.fromkeys([given] if isinstance(given, str) else given, baselines)
    if unknown := sorted(set(found) - set(named)):
        raise ValueError(
            f"multiplies_by_inputs names {', '.join(unknown)}, and the attributions' names are "
            f"{sorted(named)}"
        )
    return found


def sample_infidelity(
    forward_func: Callable[..., Tensor],
    perturb_func: Callable[..., Any],
    xs: tuple[Tensor, ...],
    attributions: Mapping[str, tuple[Tensor, ...]],
    *,
    baselines: BaselineType,
    additional_forward_args: object,
    target: TargetType,
    n_perturb_samples: int,
    max_examples_per_batch: int | None,
    multiplied: Mapping[str, BaselineType],
    draws: Draws | None,
    show_progress: bool,
    scores: Tensor | None = None,
) -> dict[str, InfidelitySamples]:
    """Make the perturbations, and measure each attribution on all of them.

    The arguments are those of :func:`infidelity`, formatted; ``multiplied``, the baselines of each
    attribution that is multiplied by ``x - baselines``; and ``scores``, the score of each
    unperturbed example, where it is known already.
    """
    for name, given in attributions.items():
        check_shapes(name, given, xs)
    if isinstance(perturb_func, Perturbation):
        perturb_func.check(xs)
        perturb_func.check_count(xs, n_perturb_samples)
    arguments = _captum.format_additional_forward_args(additional_forward_args)
    references = None if baselines is None else _captum.format_baseline(baselines, xs)
    perturbed_samples = PerturbedSamples(
        perturb_func, xs, () if references is None else (references,), draws
    )
    examples = len(xs[0])
    predictions = _Predictions(xs, attributions, multiplied)
    if scores is None:
        scores = _scores(forward_func, xs, target, arguments)
    before = widened(scores).flatten()[:, None]

    def measure(count: int) -> Tensor:
        made = perturbed_samples.take(count)
        perturbations, perturbed = (
            (None, made)
            if isinstance(perturb_func, Perturbation)
            else _checked(made, xs, examples * count)
        )
        after = _scores(
            forward_func,
            perturbed,
            _captum.expand_target(
                target, count, expansion_type=_captum.ExpansionTypes.repeat_interleave
            ),
            _captum.expand_additional_forward_args(
                arguments, count, expansion_type=_captum.ExpansionTypes.repeat_interleave
            ),
        )
        predicted = predictions.of(perturbed, perturbations)
        numbers = [before - after.view(-1, count), *predicted]
        return torch.stack([one.to(numbers[0].dtype) for one in numbers])

    fall, *predicted = per_sample(
        xs,
        n_perturb_samples,
        measure,
        max_examples_per_batch=max_examples_per_batch,
        show_progress=show_progress,
        label="infidelity",
    )
    is_sampled = not isinstance(perturb_func, Perturbation) or perturb_func.is_sampled
    return {
        name: InfidelitySamples(one, fall, is_sampled)
        for name, one in zip(attributions, predicted, strict=True)
    }


def _scores(
    forward_func: Callable[..., Tensor],
    xs: tuple[Tensor, ...],
    target: TargetType,
    arguments: tuple[object, ...] | None,
) -> Tensor:
    output = output_of(forward_func, xs, arguments)
    scores = select_target(output, target)
    if len(scores) != len(xs[0]):
        raise ValueError(
            f"the model returned {len(scores)} scores for {len(xs[0])} examples, and infidelity "
            "needs one for each"
        )
    check_finite(scores, "the model's score")
    return widened(scores).flatten()  # of (N, 1), too


class _Predictions:
    """What attributions say the score falls by, perturbation by perturbation.

    Args:
        xs: The inputs.
        attributions: By name.
        multiplied: The baselines of each of them that is multiplied by ``x - baselines``.
    """

    def __init__(
        self,
        xs: tuple[Tensor, ...],
        attributions: Mapping[str, tuple[Tensor, ...]],
        multiplied: Mapping[str, BaselineType],
    ) -> None:
        self._xs = [x[:, None] for x in xs]
        self._names = tuple(attributions)
        self._maps: dict[object, dict[str, list[Tensor]]] = {}
        self._differences: dict[object, list[Tensor]] = {}
        for name, given in attributions.items():
            key = None
            if name in multiplied:
                label = f"multiplies_by_inputs[{name!r}]" if name else "baselines"
                key, baselines = _factor(label, multiplied[name], xs)
                self._differences[key] = [
                    (x - baseline)[:, None] for x, baseline in zip(xs, baselines, strict=True)
                ]
            self._maps.setdefault(key, {})[name] = [widened(one.detach())[:, None] for one in given]

    def of(
        self, perturbed: tuple[Tensor, ...], perturbations: tuple[Tensor, ...] | None
    ) -> list[Tensor]:
        """Return the sum of attribution times perturbation, by attribution, (examples, samples).

        Args:
            perturbed: The perturbed inputs, as many of each example, those of one together.
            perturbations: The perturbations; None for what leads from the inputs to ``perturbed``.
        """
        if perturbations is None:
            steps = [x - self._of_each(one) for x, one in zip(self._xs, perturbed, strict=True)]
        else:
            steps = [self._of_each(one) for one in perturbations]
        by_name, products = {}, Scratch()
        for key, named in self._maps.items():
            per_unit = steps
            if key is not None:
                per_unit = [
                    _captum.safe_div(step, difference, default_denom=1.0)
                    for step, difference in zip(steps, self._differences[key], strict=True)
                ]
            per_unit = [widened(step) for step in per_unit]
            for name, maps in named.items():
                sums = [
                    products.of(torch.mul, one, step).view(-1, step[0, 0].numel()).sum(dim=1)
                    for one, step in zip(maps, per_unit, strict=True)
                ]
                whole = torch.stack(sums).sum(dim=0) if len(sums) > 1 else sums[0]
                by_name[name] = whole.view(len(self._xs[0]), -1)
        return [by_name[name] for name in self._names]

    def _of_each(self, steps: Tensor) -> Tensor:
        """Return what stands along one dimension by example and sample."""
        return steps.reshape(len(self._xs[0]), -1, *steps.shape[1:])


def _factor(
    label: str, given: Any, xs: tuple[Tensor, ...]
) -> tuple[tuple[object, ...], list[float | Tensor]]:
    """Return one baseline for each input of a product, behind what tells them from others."""
    parts = given if isinstance(given, tuple) else (0.0 if given is None else given,) * len(xs)
    if len(parts) != len(xs):
        raise ValueError(f"{label} holds {len(parts)} baselines, and inputs hold {len(xs)}")
    found: list[float | Tensor] = []
    for part, x in zip(parts, xs, strict=True):
        if isinstance(part, Tensor):
            fits = part.dim() <= x.dim() and all(
                one in (1, wanted)
                for one, wanted in zip(reversed(part.shape), reversed(x.shape), strict=False)
            )
            if not fits:
                raise ValueError(
                    f"{label} has shape {tuple(part.shape)}, which does not broadcast to that of "
                    f"the inputs, {tuple(x.shape)}"
                )
            found.append(part.to(x))
        elif isinstance(part, (int, float)):
            found.append(part)
        else:
            raise TypeError(f"{label} must be a number or a tensor, not {type(part).__name__}")
    return tuple(id(p) if isinstance(p, Tensor) else p for p in parts), found


def _checked(
    made: Any, xs: tuple[Tensor, ...], examples: int
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return what a perturbation made as two tuples, if it is two of the inputs' form."""
    if not (isinstance(made, tuple) and len(made) == 2):  # noqa: PLR2004
        raise TypeError(
            "perturb_func must return the perturbations and the perturbed inputs; one that returns "
            "perturbed inputs alone is decorated with infidelity_perturb_func_decorator"
        )
    formatted = []
    for name, given in zip(("perturbations", "perturbed inputs"), made, strict=True):
        tensors = _captum.format_tensor_into_tuples(given)
        shapes = [tuple(one.shape) for one in tensors]
        wanted = [(examples, *x.shape[1:]) for x in xs]
        if shapes != wanted:
            raise ValueError(f"perturb_func returned {name} of shapes {shapes}, not {wanted}")
        formatted.append(tensors)
    return formatted[0], formatted[1]
