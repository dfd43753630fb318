"""benchmark(), from Python and as a command: what it takes, what it refuses and what it writes."""

import functools
import json
import platform
import random
import re

import captum
import numpy as np
import pytest
import small_benchmark as small
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, Subset, TensorDataset

import captum_guided_ext as cg
from captum_guided_ext import cli
from captum_guided_ext.attr import METHODS
from captum_guided_ext.demo import PictureWorld
from captum_guided_ext.errors import DataError
from captum_guided_ext.networks import load_network
from captum_guided_ext.pictures import DEMO_SEED

QUICK = {"n_perturb_samples": 2, "show_progress": False}
X, Y = small.dataset().tensors


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Benchmark in a new folder each time; return the scores as they are on the disk."""
    runs = []
    # It takes most of the time.
    monkeypatch.setattr("captum_guided_ext.evaluation._benchmark_result.png", lambda _: b"")

    def benchmark(data, network=None, **options):
        runs.append(tmp_path / f"run-{len(runs)}")
        model = network or small.cnn()
        cg.benchmark(model, data, output=runs[-1], **QUICK | options)
        return (runs[-1] / "scores.csv").read_text()

    return benchmark


@pytest.fixture
def program(tmp_path, capsys):
    return functools.partial(small.called, capsys, tmp_path / "out")


def values(rows):
    return {
        (int(r["image"]), r["method"], r["metric"]): float(r["value"]) if r["value"] else None
        for r in rows
    }


def test_scores_do_not_depend_on_the_batch_size(run, tmp_path):
    masks = torch.arange(64).reshape(8, 8) % 7 < torch.arange(1, 8)[:, None, None]
    metrics = ["infidelity", "infidelity_square", "sensitivity_max", "relevance_mass"]
    found = [
        values(small.table(run(TensorDataset(X, Y, masks), batch_size=size, metrics=metrics)))
        for size in (1, 3, 7)
    ]
    assert len(found[0]) == 7 * 6 * 4
    assert found[1] == pytest.approx(found[0], rel=1e-4, abs=1e-4)
    assert found[2] == pytest.approx(found[0], rel=1e-4, abs=1e-4)
    # Of methods that draw from the global generator, too.
    drawn = [
        {
            (r.image, r.method, r.metric): r.value
            for r in small.drawing(tmp_path / str(size), batch_size=size).rows
        }
        for size in (1, 4)
    ]
    assert {method for _, method, _ in drawn[0]} == {"smooth", "shap", "guided_backprop"}
    assert drawn[1] == pytest.approx(drawn[0], rel=1e-4, abs=1e-4)


def test_scores_belong_to_images_in_whatever_order(run):
    network = small.cnn()
    expected = values(small.table(run(small.dataset(), network, seed=4)))
    for images in ([6, 5, 4, 3, 2, 1, 0], [5, 2]):
        subset = list(Subset(small.dataset(), images))
        compared = cg.compare(
            network, torch.stack([x for x, _ in subset]), [int(label) for _, label in subset],
            image_indices=images, seed=4, n_perturb_samples=2,
        )  # fmt: skip
        found = {(r.image, r.method, r.metric): r.value for r in compared.rows}
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
    settings = json.loads((tmp_path / "run-4" / "summary.json").read_text())["settings"]
    assert settings["batch_size"] == 3
    assert run(DataLoader(small.dataset(), batch_size=2), batch_size=3) == expected
    run(small.dataset())
    settings = json.loads((tmp_path / "run-6" / "summary.json").read_text())["settings"]
    assert settings["batch_size"] == 8


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
    assert values(small.table(with_masks)) == values(small.table(expected))
    assert {row["object_area"] for row in small.table(with_masks)} == {"1.0"}
    predicted = run(small.dataset(), target="prediction")
    assert run(list(X), target="prediction") == predicted
    assert run(TensorDataset(X), target="prediction") == predicted
    highest = small.cnn()(X).argmax(dim=1).tolist()
    assert {int(r["image"]): int(r["target"]) for r in small.table(predicted)} == dict(
        enumerate(highest)
    )
    with pytest.raises(DataError, match=r"image 0 \(0\) has no label: explain the prediction"):
        run(list(X))


def test_data_that_cannot_be_a_batch_names_its_images(run):
    with pytest.raises(DataError, match=r"images 0 \(0\) to 1 \(1\): .*\[3, 8, 8\].*\[3, 7, 8\]"):
        run([(X[0], 0), (X[1, :, 1:], 0)])
    with pytest.raises(DataError, match="there is no image in the data"):
        run([])
    with pytest.raises(DataError, match=r"images 6 \(6\) to 6 \(6\): target 4 is out of range"):
        run(TensorDataset(X, torch.tensor([0] * 6 + [4])), batch_size=3)


@pytest.mark.parametrize("name", ["batch_size", "limit", "max_examples_per_batch"])
@pytest.mark.parametrize("data", [small.dataset(), DataLoader(small.dataset())])
def test_counts_must_be_one_or_more(run, name, data):
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, and is 0"):
        run(data, **{name: 0})


def test_a_network_with_batch_norm(run):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 4)).eval()
    assert len(small.table(run(small.dataset(), network))) == 7 * 6 * 2


def test_nothing_outside_is_changed(tmp_path):
    network = small.cnn()
    network.head.bias.requires_grad_(False)  # noqa: FBT003 - torch's signature

    def state():
        return (
            torch.get_rng_state().tolist(), random.getstate(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002 - what Captum draws from
            [(p.requires_grad, p.grad) for p in network.parameters()], network.training,
            [
                len(hooks)
                for module in network.modules()
                for name, hooks in vars(module).items()
                if name.endswith("_hooks")
            ],
        )  # fmt: skip

    before = state()
    small.drawing(tmp_path / "drawn", network)
    cg.benchmark(network, small.dataset(), output=tmp_path / "all", **QUICK)
    loader = DataLoader(small.dataset(), shuffle=True)
    cg.benchmark(network, loader, output=tmp_path / "loader", methods=["grad_cam"], **QUICK)
    assert state() == before


def test_what_is_written(program, tmp_path):
    data = small.save_pictures(tmp_path / "data")
    options = ("--metrics", "sensitivity_mean,infidelity", "--seed", "11")
    assert program(data, *options)[0] == 0
    out = tmp_path / "out"
    text = (out / "scores.csv").read_text()
    assert text.startswith("image,method,metric,value,standard_error,")
    rows = small.table(text)
    keys = [(int(r["image"]), r["method"], r["metric"]) for r in rows]
    names = ["infidelity", "sensitivity_mean"]
    assert keys == [(i, m, n) for i in range(8) for m in sorted(METHODS) for n in names]
    assert [r["name"] for r in rows[::12]] == [f"{i % 4}/{i}.png" for i in (0, 4, 1, 5, 2, 6, 3, 7)]
    assert [int(r["target"]) for r in rows[::12]] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert all(bool(r["standard_error"]) == (r["metric"] == names[1]) for r in rows)

    lines = small.table((out / "summary.csv").read_text())
    report = json.loads((out / "summary.json").read_text())
    assert len(lines) == len(report["summary"]) == 6 * 2
    for line, reported in zip(lines, report["summary"], strict=True):
        scores = [
            float(r["value"]) for r in rows if all(r[k] == line[k] for k in ("method", "metric"))
        ]
        assert float(line["mean"]) == reported["mean"] == pytest.approx(sum(scores) / 8)
        assert line["images"] == "8"
    settings = report["settings"]
    assert settings["versions"] == {
        "captum_guided_ext": cg.__version__, "captum": captum.__version__,
        "torch": torch.__version__, "python": platform.python_version(),
    }  # fmt: skip
    assert (settings["seed"], settings["batch_size"], settings["processes"]) == (11, 2, 1)
    assert settings["model"]["name"] == "small_benchmark:cnn"
    assert list(settings["methods"]) == list(METHODS)
    assert all("n_perturb_samples=2" in words for words in settings["metrics"].values())
    with Image.open(out / "summary.png") as image:
        assert min(image.size) > 300
        assert len(np.unique(np.asarray(image.convert("L")))) > 50  # something is drawn


def test_a_method_that_does_not_apply_has_rows_that_say_so(program, tmp_path):
    data = small.save_pictures(tmp_path / "data", 2)
    code, out, _ = program(data, model="small_benchmark:gelu")
    assert code == 0
    rows = small.table((tmp_path / "out" / "scores.csv").read_text())
    assert len(rows) == 2 * 6 * 2
    refused = {"deconvolution", "guided_backprop", "guided_grad_cam"}
    for row in rows:
        assert (row["value"] == "") == (row["method"] in refused)
        assert ("no rectifier" in row["reason"]) == (row["method"] in refused)
    assert "guided_backprop has no score: no rectifier" in " ".join(out.split())


def test_localisation_is_that_of_a_slow_count(program, tmp_path):
    layer, count = "features.relu5", 3
    code, out, _ = program(
        "demo", "--limit", count, "--metrics", "relevance_mass,pointing_game", "--layer", layer,
        model="demo",
    )  # fmt: skip
    assert code == 0
    found = values(small.table((tmp_path / "out" / "scores.csv").read_text()))
    network, world = load_network("demo"), PictureWorld(count, seed=DEMO_SEED)
    x = torch.stack([network.prepare(Image.fromarray(picture.image)) for picture in world])
    labels = [picture.label for picture in world]
    maps = {
        "deconvolution": cg.Deconvolution(network.model).attribute(x, labels),
        "guided_backprop": cg.GuidedBackprop(network.model).attribute(x, labels),
        "guided_grad_cam": cg.GuidedGradCam(
            network.model, network.model.get_submodule(layer)
        ).attribute(x, labels, interpolate_mode="bilinear"),
    }
    areas = []
    for image, picture in enumerate(world):
        background = picture.masks["background"].tolist()
        areas.append(sum(not b for row in background for b in row) / 96**2)
        for method, of_all in maps.items():
            channels = of_all[image].double().tolist()
            inside, whole, largest, hits = 0.0, 0.0, -1.0, []
            for i in range(96):
                for j in range(96):
                    strength = sum(abs(channel[i][j]) for channel in channels)
                    whole += strength
                    inside += 0 if background[i][j] else strength
                    if strength >= largest:
                        hits = [*(hits if strength == largest else []), not background[i][j]]
                        largest = strength
            assert found[image, method, "relevance_mass"] == pytest.approx(inside / whole, rel=1e-5)
            assert found[image, method, "pointing_game"] == sum(hits) / len(hits)
    assert f"the object covers {sum(areas) / count:.0%}".replace("%", " %") in out


NAMED, DEMO = {"model": "small_benchmark:named"}, {"model": "demo"}
MISTAKES = {
    "empty folder": ("{tmp}/empty", [], {}, "folder .*empty holds no picture"),
    "no folder": ("{tmp}/picturs", [], {}, "there is no folder .*picturs; .*nearest are pictures"),
    "no class": ("{tmp}/pictures", [], NAMED, "the data's class 'puma' is none of named's"),
    "class number": ("{tmp}/numbers", [], NAMED, "class '9' is none of .*from 0 to 3"),
    "label": ("{tmp}/numbers", [], {}, r"\(9/1\.png\): target 9 is out of range"),
    "no masks": ("{tmp}/pictures", ["--metrics", "relevance_mass"], {}, "relevance_mass .*--masks"),
    "masks": ("{tmp}/pictures", ["--masks", "{tmp}/empty"], {}, "2 of 2 pictures have no mask"),
    "no mask folder": ("{tmp}/pictures", ["--masks", "{tmp}/n"], {}, "2 of 2 .* be .*n/0/0.png"),
    "demo's masks": ("demo", ["--masks", "{tmp}/empty"], DEMO, "masks go with a folder"),
    "idx": ("idx:{tmp}/pictures/a,{tmp}/b", [], {}, "pictures/a cannot be read"),
    "method": (
        "{tmp}/pictures",
        ["--methods", "gradcam"],
        {},
        "'gradcam'; the near.* grad_cam",
    ),
    "metric": (
        "{tmp}/pictures",
        ["--metrics", "fidelity"],
        {},
        "'fidelity'; the nea.* infide",
    ),
    "no limit": ("{tmp}/pictures", ["--limit", "0"], {}, "--limit: '0' is no number of 1 or more"),
    "limit": ("{tmp}/pictures", ["--limit", "x"], {}, "--limit: 'x' is no number of 1 or more"),
    "samples": ("{tmp}/pictures", ["--samples", "0"], {}, "--samples: '0' is no number of 1"),
    "batch": ("{tmp}/pictures", ["--batch-size", "-2"], {}, "--batch-size: '-2' is no number"),
    "seed": ("{tmp}/pictures", ["--seed", "-1"], {}, "--seed must not be negative, and is -1"),
    "layer": ("{tmp}/pictures", ["--layer", "secnd"], {}, "'secnd'; the nearest are second"),
    "device": ("{tmp}/pictures", ["--device", "abacus"], {}, "device 'abacus' is not available"),
    "model": ("{tmp}/pictures", [], {"model": "small_benchmark:cn"}, "no 'cn'; the nearest are"),
    "target": ("{tmp}/pictures", ["--target", "best"], {}, "'best'.*label.*prediction"),
    "option": ("{tmp}/pictures", ["--sede", "1"], {}, "no option '--sede'; the nearest are --seed"),
    "output": ("{tmp}/pictures", ["--output", "{tmp}/file"], {}, "file cannot be written to"),
    "in a file": ("{tmp}/pictures", ["--output", "{tmp}/file/out"], {}, "out cannot be written to"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(program, tmp_path, case):
    small.save_pictures(tmp_path / "pictures", 2, labels=("0", "puma"))
    small.save_pictures(tmp_path / "numbers", 2, labels=("0", "9"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")
    data, more, options, words = MISTAKES[case]
    code, out, err = program(
        data.format(tmp=tmp_path), *(one.format(tmp=tmp_path) for one in more), **options
    )
    assert (code, out) == (2, "")
    assert re.search(words, small.complaint(err)), err
    assert not (tmp_path / "out" / "scores.csv").exists()


def test_a_mistyped_option_is_named_before_what_is_missing(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["benchmark", "--data", "demo", "--outptu", "x"])
    assert stopped.value.code == 2
    assert "no option '--outptu'; the nearest are --output" in capsys.readouterr().err


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["benchmark", "--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    for option in ("--data", "--masks", "--output", "--model", "--weights", "--checkpoint",
                   "--layer", "--device", "--target", "--methods", "--metrics", "--samples",
                   "--limit", "--seed", "--batch-size", "--max-examples", "torchrun"):  # fmt: skip
        assert option in text
