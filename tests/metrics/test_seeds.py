"""Seeds: the same noise whatever the batch, other noise for others, and no global state moved."""

import pytest
import torch
from captum.attr import GradientShap, NoiseTunnel
from chance import (
    draw_everywhere,
    for_infidelity,
    global_state,
    numpy_noise,
    python_noise,
    seen_by_the_method,
    seen_by_the_model,
    torch_noise,
)
from networks import Conv, seeded

from captum_guided_ext import GuidedBackprop
from captum_guided_ext.metrics import (
    GaussianNoise,
    NoisyBaseline,
    SquareRemoval,
    UniformBall,
    infidelity,
    sensitivity,
    sensitivity_mean,
)

NET = seeded(lambda: Conv(channels=2, classes=3), seed=3)  # no guided map of which is zero
with torch.random.fork_rng():
    torch.manual_seed(0)
    X, MAPS = torch.rand(4, 2, 6, 6), torch.randn(4, 2, 6, 6) * 0.1

OBJECTS = [UniformBall(), GaussianNoise(), NoisyBaseline(bounds=(0, 1)), SquareRemoval((1, 2, 3))]
FUNCTIONS = [torch_noise, numpy_noise, python_noise]
each_kind = pytest.mark.parametrize(
    "perturb", [*OBJECTS, *FUNCTIONS], ids=lambda one: str(one)[:20]
)
both_metrics = pytest.mark.parametrize("seen", [seen_by_the_model, seen_by_the_method])


@each_kind
@both_metrics
def test_a_seed_fixes_each_image_s_noise_to_the_last_bit(seen, perturb):
    whole = seen(perturb, X, 6, seed=7)
    for at_once in (4, 9, 1000):
        assert torch.equal(seen(perturb, X, 6, seed=7, max_examples_per_batch=at_once), whole)
    assert torch.equal(seen(perturb, X, 11, seed=7)[:, :6], whole)
    order = [2, 0, 3]
    assert torch.equal(seen(perturb, X[order], 6, seed=7, image_indices=order), whole[order])
    for k in range(4):
        alone = seen(perturb, X[k : k + 1], 6, seed=7, image_indices=torch.tensor([k]))
        assert torch.equal(alone, whole[k : k + 1])
    assert torch.equal(seen(perturb, X[:2], 6, seed=7), whole[:2])


@each_kind
@both_metrics
def test_other_seeds_images_samples_and_purposes_have_other_noise(seen, perturb):
    same = X[:1].repeat(3, 1, 1, 1)
    streams = [seen(perturb, same, 6, seed=seed) for seed in (7, 8, 2**40 + 7)]
    streams.append(seen(perturb, same, 6, seed=7, image_indices=[3, 4, 5]))
    other = seen_by_the_method if seen is seen_by_the_model else seen_by_the_model
    streams.append(other(perturb, same, 6, seed=7))
    noises = torch.stack(streams).flatten(0, 2)
    different = len({one.numpy().tobytes() for one in noises})
    # Of 36 + 50 + 32 squares some are bound to be drawn more than once by 90 draws.
    assert different == 90 if perturb is not OBJECTS[3] else different > 40


def test_inputs_of_one_example_have_noise_of_their_own():
    chunks = []

    def model(x, other):
        chunks.append((x - other).abs().flatten(1).sum(1))
        return chunks[-1]

    infidelity(model, GaussianNoise(), (X, X), (X, X), seed=1)
    assert not chunks[0].any()
    assert (chunks[1] > 0).all()


@each_kind
def test_a_generator_stands_for_the_seed_drawn_from_it(perturb):
    generator, same = (torch.Generator().manual_seed(3) for _ in range(2))
    first = seen_by_the_model(perturb, X, 6, generator=generator)
    second = seen_by_the_method(perturb, X, 6, generator=generator)
    seeds = [int(torch.randint(2**62, (), generator=same)) for _ in range(2)]
    assert torch.equal(first, seen_by_the_model(perturb, X, 6, seed=seeds[0]))
    assert torch.equal(second, seen_by_the_method(perturb, X, 6, seed=seeds[1]))
    assert torch.equal(generator.get_state(), same.get_state())


@each_kind
def test_scores_do_not_depend_on_the_batch(perturb):
    def scores(rows, **options):
        options = {"seed": 5, "image_indices": rows, "target": [k % 3 for k in rows]} | options
        maps = {"one": MAPS[rows], "other": X[rows]}
        scaled = {"multiplies_by_inputs": ["other"]} | options
        found = infidelity(NET, for_infidelity(perturb), X[rows], maps, **scaled)
        method = GuidedBackprop(NET).attribute
        changes = sensitivity(method, X[rows], perturb, perturb_radius=0.2, **options)
        return torch.stack([*found.values(), *changes])

    whole = scores([0, 1, 2, 3])
    for rows in ([3, 1], [2]):
        got = scores(rows, max_examples_per_batch=3)
        torch.testing.assert_close(got, whole[:, rows], rtol=1e-4, atol=1e-4 * float(whole.max()))


def draw_and_fail(inputs):
    draw_everywhere(inputs)
    raise ZeroDivisionError


@pytest.mark.parametrize("source", ["seed", "generator"])
def test_the_global_state_is_left_alone(source):
    def options():
        return {source: 3 if source == "seed" else torch.Generator().manual_seed(3), "target": 1}

    before = global_state()
    for perturb in (*OBJECTS, for_infidelity(draw_everywhere)):
        infidelity(NET, perturb, X, MAPS, n_perturb_samples=2, **options())
    for perturb in (*OBJECTS, draw_everywhere):
        sensitivity(METHODS["everywhere"], X, perturb, n_perturb_samples=2, **options())
    with pytest.raises(ZeroDivisionError):
        infidelity(NET, for_infidelity(draw_and_fail), X, MAPS, **options())
    with pytest.raises(ZeroDivisionError):
        sensitivity(METHODS["everywhere"], X, draw_and_fail, **options())
    with pytest.raises(ZeroDivisionError):
        sensitivity(lambda x, target: draw_and_fail(x), X, **options())
    assert global_state() == before


TUNNEL = NoiseTunnel(GuidedBackprop(NET))
SHAP = GradientShap(NET)


METHODS = {
    "tunnel": lambda x, target: TUNNEL.attribute(x, nt_samples=3, stdevs=0.1, target=target),
    "by name": lambda x, target: {
        "tunnel": METHODS["tunnel"](x, target),
        "gradient": GuidedBackprop(NET).attribute(x, 1),
    },
    "shap": lambda x, target: SHAP.attribute(
        x, torch.cat([X * 0, X * 0 + 1]), n_samples=3, target=target
    ),
    "numpy": lambda x, target: numpy_noise(x),
    "python": lambda x, target: python_noise(x),
    "everywhere": lambda x, target: draw_everywhere(x),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_methods_that_draw_do_not_depend_on_the_batch(method):
    def scores(rows, **options):
        targets = [1 + k % 2 for k in rows]
        options = {"target": targets, "seed": 2, "image_indices": rows} | options
        found = sensitivity(method, X[rows], n_perturb_samples=4, **options)
        return torch.stack(found if isinstance(found, tuple) else found["tunnel"])

    whole = scores([0, 1, 2, 3])
    assert not torch.allclose(scores([0, 1, 2, 3], seed=3), whole)
    for rows in ([3, 1], [2]):
        got = scores(rows, max_examples_per_batch=3)
        torch.testing.assert_close(got, whole[:, rows], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", [lambda one: one, lambda one: (one,)], ids=["tensor", "tuple"])
def test_baselines_to_draw_from_are_no_image_s_own(form):
    """Also where a chunk happens to have as many examples as there are baselines."""
    baselines = torch.linspace(0, 1, 4 * 72).view(4, 2, 6, 6) ** 2
    options = {"target": 1, "baselines": form(baselines), "n_samples": 3, "seed": 2}
    expected, *others = (
        sensitivity_mean(SHAP.attribute, X[:2], max_examples_per_batch=at_once, **options)
        for at_once in (2, 4, 6, 20)
    )
    for got in others:
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_a_method_s_noise_is_not_that_of_its_input():
    moves, drawn = [], []

    def perturb(inputs):
        moves.append(torch.randn_like(inputs))
        return inputs + moves[-1]

    def explain(inputs):
        drawn.append(torch.randn_like(inputs))
        return drawn[-1]

    sensitivity(explain, X, perturb, seed=3, n_perturb_samples=5, max_examples_per_batch=8)
    whole, *rows = drawn
    assert len(whole) == 4
    assert len(rows) == 4 * 6
    assert len(moves) == 4 * 5
    assert len({one.numpy().tobytes() for one in [*rows, *moves]}) == 4 * 11


def test_a_method_without_chance_runs_on_whole_batches():
    sizes = []

    def count(xs, target):
        sizes.append(len(xs))
        return xs * target

    options = {"target": 1, "seed": 0, "n_perturb_samples": 5, "max_examples_per_batch": 8}
    sensitivity(count, X, **options)
    assert sizes == [4, 8, 8, 4]
    sizes.clear()
    sensitivity(lambda xs, target: torch_noise(count(xs, target)), X, **options)
    assert sizes == [4] + [1] * 4 * 6  # the first result is dropped, for it drew
