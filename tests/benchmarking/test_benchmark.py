"""benchmark(): what it takes, what it refuses, and on what its scores do not depend."""

import json

import numpy as np
import pytest
import small_benchmark as small
import torch
from chance import global_state, state_of
from floors import FLOORS, of_methods
from networks import Stateful, seeded
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, Subset, TensorDataset

import captum_guided_ext as cg
from captum_guided_ext.errors import DataError

QUICK = {"n_perturb_samples": 2, "show_progress": False}
X, Y = small.dataset().tensors


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Benchmark in a new folder each time; return the scores as they are on the disk."""
    runs = []
    # It takes most of the time.
    monkeypatch.setattr(
        "captum_guided_ext.benchmarking._benchmark_result.figure_bytes", lambda *_: b""
    )

    def benchmark(data, network=None, **options):
        runs.append(tmp_path / f"run-{len(runs)}")
        model = network or small.cnn()
        cg.benchmark(model, data, output=runs[-1], **QUICK | options)
        return (runs[-1] / "scores.csv").read_text()

    return benchmark


def values(text):
    return small.values(small.table(text))


def test_scores_do_not_depend_on_the_batch_size(run, tmp_path):
    masks = torch.arange(64).reshape(8, 8) % 7 < torch.arange(1, 8)[:, None, None]
    metrics = ["infidelity", "infidelity_square", "sensitivity_max", "relevance_mass"]
    expected, *found = (
        values(run(TensorDataset(X, Y, masks), batch_size=size, metrics=metrics))
        for size in (1, 3, 7)
    )
    # six methods and three maps under each metric, the best constant under both infidelities
    assert len(expected) == 7 * (9 * 4 + 2)
    for one in found:
        assert one == pytest.approx(expected, rel=1e-4, abs=1e-4)
    # Of methods that draw from the global generator, too.
    expected, found = (
        small.values(small.drawing(tmp_path / str(size), batch_size=size).rows) for size in (1, 4)
    )
    methods = {method for _, method, _ in expected} - set(FLOORS)
    assert methods == {"smooth", "shap", "guided_backprop"}
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_scores_belong_to_images_in_whatever_order(run):
    network = small.cnn()
    expected = values(run(small.dataset(), network, seed=4))
    for images in ([6, 5, 4, 3, 2, 1, 0], [5, 2]):
        subset = list(Subset(small.dataset(), images))
        compared = cg.compare(
            network, torch.stack([x for x, _ in subset]), [int(label) for _, label in subset],
            image_indices=images, seed=4, n_perturb_samples=2,
        )  # fmt: skip
        found = small.values(compared.rows)
        assert {image for image, *_ in found} == set(images)
        of_these = {key: value for key, value in expected.items() if key[0] in images}
        assert found == pytest.approx(of_these, rel=1e-4, abs=1e-4)


def test_a_seed_decides_the_scores_and_a_generator_gives_one(run):
    drawn = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(8)))
    assert run(small.dataset(), generator=torch.Generator().manual_seed(8)) == run(
        small.dataset(), seed=drawn
    )
    assert run(small.dataset()) == run(small.dataset(), seed=0)
    with torch.random.fork_rng():
        torch.manual_seed(8)
        assert run(small.dataset(), seed=None) == run(small.dataset(), seed=drawn)
    assert run(small.dataset()) != run(small.dataset(), seed=1)


def test_a_loader_gives_its_batch_size_and_workers_but_not_its_order(run, tmp_path):
    expected = run(small.dataset(), batch_size=3)
    for options in ({}, {"shuffle": True}, {"num_workers": 2}, {"drop_last": True}):
        loader = DataLoader(small.dataset(), batch_size=3, **options)
        assert run(loader) == expected
    assert run(DataLoader(small.dataset(), batch_size=2), batch_size=3) == expected
    run(small.dataset())
    for number, size in ((4, 3), (6, 8)):
        report = json.loads((tmp_path / f"run-{number}" / "summary.json").read_text())
        assert report["settings"]["batch_size"] == size


LOADERS = {
    "sampler": {"sampler": [5, 1]},
    "weights": {"sampler": torch.utils.data.WeightedRandomSampler([1.0] * 7, 3)},
    "batches": {"batch_sampler": [[5], [1, 2]]},
    "some at random": {"sampler": RandomSampler(range(7), num_samples=2)},
}


@pytest.mark.parametrize("case", LOADERS)
def test_a_loader_that_picks_images_is_refused(run, case):
    with pytest.raises(TypeError, match=r"the loader picks .*: pass a torch.utils.data.Subset"):
        run(DataLoader(small.dataset(), **LOADERS[case]))


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(X, Y, strict=True)


class LongStream(Stream):
    def __len__(self):
        return len(X)


@pytest.mark.parametrize("data", [Stream(), LongStream(), DataLoader(Stream()), iter(X), 3])
def test_data_without_length_or_numbers_is_refused(run, data):
    with pytest.raises(TypeError, match=r"data must have a length and numbered images|the loader"):
        run(data)


def test_items_may_have_any_of_the_forms(run):
    expected = run(small.dataset())
    pairs = list(zip(X, Y.tolist(), strict=True))
    assert run(pairs) == expected
    assert run([[x.numpy(), np.int64(y)] for x, y in pairs]) == expected
    assert run([(x, torch.tensor(y)) for x, y in pairs]) == expected
    with_masks = run([(x, y, np.ones((8, 8), np.uint8)) for x, y in pairs])
    assert values(with_masks) == values(expected)
    assert {row["object_area"] for row in small.table(with_masks)} == {"1.0"}
    predicted = run(small.dataset(), target="prediction")
    assert run(list(X), target="prediction") == predicted
    assert run(TensorDataset(X), target="prediction") == predicted
    highest = small.cnn()(X).argmax(dim=1).tolist()
    assert {int(r["image"]): int(r["target"]) for r in small.table(predicted)} == dict(
        enumerate(highest)
    )
    with pytest.raises(DataError, match=r"image 0 \(0\): there is no label: explain the predic"):
        run(list(X))


def test_data_without_an_image_is_refused(run):
    with pytest.raises(DataError, match="there is no image in the data"):
        run([])


@pytest.mark.parametrize("name", ["batch_size", "limit", "max_examples_per_batch"])
@pytest.mark.parametrize("data", [small.dataset(), DataLoader(small.dataset())])
def test_counts_must_be_one_or_more(run, name, data):
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, and is 0"):
        run(data, **{name: 0})


def test_a_network_with_batch_norm(run):
    assert len(of_methods(small.table(run(small.dataset(), seeded(Stateful))))) == 7 * 6 * 2


def test_nothing_outside_is_changed(tmp_path):
    network = small.cnn()
    network.last.bias.requires_grad_(False)  # noqa: FBT003 - torch's signature
    before = global_state(), state_of(network)
    small.drawing(tmp_path / "drawn", network)
    cg.benchmark(network, small.dataset(), output=tmp_path / "all", **QUICK)
    loader = DataLoader(small.dataset(), shuffle=True)
    cg.benchmark(network, loader, output=tmp_path / "loader", methods=["grad_cam"], **QUICK)
    assert (global_state(), state_of(network)) == before
