"""Sensitivity of attributions to small changes of the input (Yeh et al. 2019)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from captum_guided_ext import _captum
from captum_guided_ext.autograd import check_inputs
from captum_guided_ext.metrics._utils.fast_attribution import of_fast_copy
from captum_guided_ext.metrics._utils.perturbed import PerturbedSamples
from captum_guided_ext.metrics._utils.scratch import Scratch
from captum_guided_ext.metrics.perturbations import Perturbation, UniformBall
from captum_guided_ext.sampling import (
    RowByRow,
    find_draws,
    mean_standard_error,
    per_sample,
    widened,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from captum_guided_ext.sampling import Draws

    Inputs = Tensor | tuple[Tensor, ...]


class Sensitivity(NamedTuple):
    """How much one method's attribution changes, one number per example, shape (examples,).

    Attributes:
        maximum: The largest change over the perturbed inputs: SENS_MAX of Yeh et al. 2019. A
            maximum of samples has no standard error, and resampling cannot give it an interval
            (Bickel & Freedman 1981): it only grows with more samples.
        mean: The mean change over the same inputs.
        standard_error: Of the mean: NaN for one sample, 0 for perturbations that are not drawn.
    """

    maximum: Tensor
    mean: Tensor
    standard_error: Tensor


def default_perturb_func(inputs: Inputs, perturb_radius: float = 0.02) -> tuple[Tensor, ...]:
    """Return ``inputs`` with noise that is uniform in an L-infinity ball.

    Captum's function of that name, but the noise is drawn on the device of the inputs and in their
    type.

    Args:
        inputs: A tensor or a tuple of them.
        perturb_radius: In the inputs' units. Default: 0.02.
    """
    xs = _captum.format_tensor_into_tuples(inputs)
    _, perturbed = UniformBall(perturb_radius).of_batch(xs, None, [0] * len(xs[0]), None)
    return perturbed


def sensitivity(
    explanation_func: Callable[..., Any],
    inputs: Inputs,
    perturb_func: Callable[..., Any] = default_perturb_func,
    perturb_radius: float = 0.02,
    n_perturb_samples: int = 10,
    norm_ord: str | float = "fro",
    max_examples_per_batch: int | None = None,
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    image_indices: Sequence[int] | None = None,
    fast: bool = False,
    show_progress: bool = False,
    **kwargs: Any,
) -> Any:
    """Return the largest and the mean change of attributions under small changes of the inputs.

    ``|Phi(x') - Phi(x)| / |Phi(x)|`` over perturbed inputs ``x'`` (Yeh et al. 2019,
    arXiv:1901.09392, definition 3.1; divided by the norm as in the authors' code and in Captum,
    but where the norm is 0). Explains ``inputs`` once and each perturbed input once.

    Args:
        explanation_func: The ``attribute`` method of an attribution, or any function of that form.
            If it returns a mapping from names to attributions, each of them is scored, from the
            same perturbed inputs.
        inputs: A tensor or a tuple of them, the examples along dimension 0.
        perturb_func: A :class:`~captum_guided_ext.metrics.Perturbation`, or a function of Captum's
            form, which takes inputs whose examples are repeated (and, if it takes two arguments,
            the radius) and returns perturbed inputs. Default: uniform in an L-infinity ball.
        perturb_radius: The radius that such a function is given; a ``Perturbation`` has its own.
            Default: 0.02.
        n_perturb_samples: Number of perturbations of each example. Default: 10.
        norm_ord: Which vector norm: "fro" (the Euclidean one) or a number as
            ``torch.linalg.vector_norm`` takes it. Default: "fro".
        max_examples_per_batch: Most perturbed inputs explained at a time, at least one of each
            example. Default: ten of each example (Captum: all of them).
        generator: As in :func:`infidelity`. A function that draws from a global generator itself
            (``NoiseTunnel``) is then run example by example, with that generator seeded for each
            and put back.
        seed: As in :func:`infidelity`.
        image_indices: As in :func:`infidelity`.
        fast: Explain a copy of the network that takes less time, as
            :func:`captum_guided_ext.compare` does. ``explanation_func`` must be the ``attribute``
            of an attribution of a module. Three forward passes more. Default: False.
        show_progress: Show a progress bar on standard error. Default: False.
        **kwargs: Passed to ``explanation_func``; ``target``, ``additional_forward_args`` and
            ``baselines`` with each example's entries repeated.

    Returns:
        A :class:`Sensitivity`, or one by name.

    Raises:
        TypeError: for inputs, attributions or numbers of a wrong kind.
        ValueError: for shapes that do not match, an unknown norm, NaN or infinity in the inputs;
            for a perturbation that returns them, or no tensors; with ``fast``, for a function of
            whose network nothing is known, and as :func:`infidelity`.

    Differs from Captum on purpose:
        Noise is drawn on the device of the inputs and in their type. The function gets ``inputs``
        as they were given, not as a tuple. Norms are taken in single precision at least.

    Example:
        >>> sensitivity(GuidedBackprop(model).attribute, images, target=labels, seed=0).maximum
    """
    formatted = check_inputs(inputs)
    if fast:
        further = kwargs.get("additional_forward_args")
        explanation_func = of_fast_copy(explanation_func, formatted, further)
    draws = find_draws(generator, seed, image_indices, len(formatted[0]), "sensitivity")
    own = {"target", "additional_forward_args"}
    if _has_own_baselines(kwargs, formatted):
        own.add("baselines")
    function = RowByRow(explanation_func, own=own)

    def explain(xs: Inputs, arguments: dict[str, Any], samples: Sequence[int]) -> Any:
        if draws is None:
            return explanation_func(xs, **arguments)
        noise = dataclasses.replace(draws, purpose="attribution")
        return function(xs, arguments, noise.seeds(samples))

    scores = sample_sensitivity(
        explain,
        inputs,
        perturb_func,
        perturb_radius=perturb_radius,
        n_perturb_samples=n_perturb_samples,
        norm_ord=norm_ord,
        max_examples_per_batch=max_examples_per_batch,
        draws=draws,
        show_progress=show_progress,
        arguments=kwargs,
    )
    return scores.get("", scores)


def sensitivity_mean(
    explanation_func: Callable[..., Any], inputs: Inputs, *args: Any, **kwargs: Any
) -> Any:
    """Return the ``mean`` of :func:`sensitivity`, and with it its standard error, if asked for.

    Args:
        explanation_func: As in :func:`sensitivity`, and so are the other arguments.
        inputs: As in :func:`sensitivity`.
        *args: As in :func:`sensitivity`.
        **kwargs: As in :func:`sensitivity`; and ``return_standard_error``, to get tuples
            ``(mean, standard_error)``. Default: False.
    """
    wants_error = kwargs.pop("return_standard_error", False)
    scores = sensitivity(explanation_func, inputs, *args, **kwargs)

    def chosen(one: Sensitivity) -> Any:
        return (one.mean, one.standard_error) if wants_error else one.mean

    if isinstance(scores, Sensitivity):
        return chosen(scores)
    return {name: chosen(one) for name, one in scores.items()}


@_captum.log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
def sensitivity_max(
    explanation_func: Callable[..., Any],
    inputs: Inputs,
    perturb_func: Callable[..., Any] = default_perturb_func,
    perturb_radius: float = 0.02,
    n_perturb_samples: int = 10,
    norm_ord: str | float = "fro",
    max_examples_per_batch: int | None = None,
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    image_indices: Sequence[int] | None = None,
    fast: bool = False,
    show_progress: bool = False,
    **kwargs: Any,
) -> Any:
    """Return the ``maximum`` of :func:`sensitivity`, with Captum's signature.

    See :func:`sensitivity` for the arguments, the errors, and where it differs from
    ``captum.metrics.sensitivity_max``.

    Returns:
        The sensitivity of each example, shape (examples,), or by name.

    Example:
        >>> sensitivity_max(GuidedBackprop(model).attribute, images, target=labels)
    """
    scores = sensitivity(
        explanation_func,
        inputs,
        perturb_func,
        perturb_radius,
        n_perturb_samples,
        norm_ord,
        max_examples_per_batch,
        generator=generator,
        seed=seed,
        image_indices=image_indices,
        fast=fast,
        show_progress=show_progress,
        **kwargs,
    )
    if isinstance(scores, Sensitivity):
        return scores.maximum
    return {name: one.maximum for name, one in scores.items()}


def sample_sensitivity(
    explain: Callable[[Inputs, dict[str, Any], Sequence[int]], Any],
    inputs: Inputs,
    perturb_func: Callable[..., Any],
    *,
    perturb_radius: float,
    n_perturb_samples: int,
    norm_ord: str | float,
    max_examples_per_batch: int | None,
    draws: Draws | None,
    show_progress: bool,
    arguments: Mapping[str, Any],
    original: Any = None,
) -> dict[str, Sensitivity]:
    """Explain the perturbed inputs, and measure how far each attribution moves.

    ``explain`` takes inputs, keyword arguments, and which samples of each example the inputs are:
    0 for the unperturbed one, counted from 1 for the perturbed ones; those of one example stand
    together. ``original`` is what it returns for ``inputs``, where that is known already. The
    other arguments are those of :func:`sensitivity`.

    Returns:
        By name; the name of attributions that have none is "".
    """
    xs = check_inputs(inputs)
    order = _vector_norm(norm_ord)
    with torch.no_grad():
        originals = _by_name(
            explain(inputs, dict(arguments), [0]) if original is None else original, xs
        )
    further = _radius_for(perturb_func, perturb_radius)
    if perturb_func is default_perturb_func:
        perturb_func, further = UniformBall(perturb_radius), ()
    perturbed_samples = PerturbedSamples(perturb_func, xs, further, draws)
    examples, taken = len(xs[0]), 0
    norms = {name: _norm(maps, order) for name, maps in originals.items()}

    def measure(count: int) -> Tensor:
        nonlocal taken
        perturbed = _perturbed_inputs(perturbed_samples.take(count), xs, count)
        samples = range(taken + 1, taken + count + 1)
        taken += count
        as_given = perturbed if _captum.is_tuple(inputs) else perturbed[0]
        changed = _by_name(explain(as_given, _expanded(arguments, xs, count), samples), perturbed)
        if changed.keys() != originals.keys():
            raise ValueError(
                f"explanation_func returned {sorted(originals)} for the inputs and "
                f"{sorted(changed)} for perturbed ones"
            )
        changes, rooms = [], [Scratch() for _ in max(originals.values(), key=len)]
        for name, maps in originals.items():
            pairs = zip(maps, changed[name], strict=True)
            difference = [
                room.of(torch.sub, one[:, None], other.reshape(examples, count, *other.shape[1:]))
                for room, (one, other) in zip(rooms, pairs, strict=False)
            ]
            norm = norms[name][:, None]
            change = _norm([one.flatten(0, 1) for one in difference], order).view(examples, count)
            changes.append(change / torch.where(norm == 0, 1, norm))
        return torch.stack(changes)

    changes = per_sample(
        xs,
        n_perturb_samples,
        measure,
        max_examples_per_batch=max_examples_per_batch,
        show_progress=show_progress,
        label="sensitivity",
    )
    is_sampled = not isinstance(perturb_func, Perturbation) or perturb_func.is_sampled
    return {
        name: Sensitivity(
            change.amax(dim=1),
            change.mean(dim=1),
            mean_standard_error(change) if is_sampled else torch.zeros_like(change[:, 0]),
        )
        for name, change in zip(originals, changes, strict=True)
    }


def _vector_norm(norm_ord: str | float) -> float:
    if norm_ord == "fro":
        return 2.0
    if isinstance(norm_ord, bool) or not isinstance(norm_ord, (int, float)):
        raise ValueError(  # noqa: TRY004 - a string is of the right type, but not this one
            f"norm_ord {norm_ord!r} is no norm of a vector: give 'fro' or a number "
            "(float('inf') for the largest value)"
        )
    return float(norm_ord)


def _norm(maps: Sequence[Tensor], order: float) -> Tensor:
    """Return the norm of each example over all of its tensors, in single precision at least."""
    parts = [one.reshape(len(one), -1) for one in maps]
    flat = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    norm: Tensor = torch.linalg.vector_norm(widened(flat), ord=order, dim=1)
    return norm


def _by_name(attributions: Any, xs: tuple[Tensor, ...]) -> dict[str, tuple[Tensor, ...]]:
    named = attributions if isinstance(attributions, Mapping) else {"": attributions}
    formatted = {}
    for name, given in named.items():
        label = f"the attribution {name!r}" if name else "the attribution"
        maps = _captum.format_tensor_into_tuples(given)
        if not all(isinstance(one, Tensor) for one in maps):
            raise TypeError(f"{label} must be a tensor or a tuple of tensors")
        if any(len(one) != len(xs[0]) for one in maps):
            raise ValueError(
                f"{label} has shapes {[tuple(one.shape) for one in maps]} for {len(xs[0])} examples"
            )
        formatted[name] = tuple(one.detach() for one in maps)
    return formatted


def _radius_for(perturb_func: Callable[..., Any], radius: float) -> tuple[float, ...]:
    if isinstance(perturb_func, Perturbation):
        return ()
    return (radius,) if len(signature(perturb_func).parameters) > 1 else ()


def _perturbed_inputs(made: Any, xs: tuple[Tensor, ...], count: int) -> tuple[Tensor, ...]:
    perturbed: tuple[Tensor, ...] = _captum.format_tensor_into_tuples(made)
    shapes = [tuple(one.shape) for one in perturbed]
    wanted = [(len(x) * count, *x.shape[1:]) for x in xs]
    if shapes != wanted:
        raise ValueError(f"perturb_func returned inputs of shapes {shapes}, not {wanted}")
    return perturbed


def _expanded(arguments: Mapping[str, Any], xs: tuple[Tensor, ...], count: int) -> dict[str, Any]:
    """Repeat what an attribution takes for each example, as Captum does."""
    expanded = dict(arguments)
    _captum.expand_and_update_additional_forward_args(count, expanded)
    _captum.expand_and_update_target(count, expanded)
    if _has_own_baselines(arguments, xs):
        _captum.expand_and_update_baselines(xs, count, expanded)
    return expanded


def _has_own_baselines(arguments: Mapping[str, Any], xs: tuple[Tensor, ...]) -> bool:
    """Whether each example has a baseline of its own, as Captum tells; else all share them."""
    if "baselines" not in arguments:
        return False
    first, *_ = _captum.format_baseline(arguments["baselines"], xs)
    return isinstance(first, Tensor) and first.shape == xs[0].shape
