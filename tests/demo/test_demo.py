"""The picture world, the network that is trained on it, and its training."""

import dataclasses
import json
import math
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from chance import global_state
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import python
from sources import PACKAGE
from torch import nn

from captum_guided_ext.demo import (
    CATEGORIES,
    PARTS,
    DemoNetwork,
    PictureWorld,
    draw_picture,
    load_demo_network,
    prepare,
)
from captum_guided_ext.demo import _network as network_module
from captum_guided_ext.demo import train as train_module
from captum_guided_ext.demo._canvas import SIZE, Frame, circle

FRESH_SEED = 987_654  # neither trained on nor tested on
TINY = {"train_pictures": 40, "test_pictures": 12, "epochs": 2, "batch_size": 16}
TINY_OPTIONS = ["--train-pictures", "12", "--test-pictures", "6", "--epochs", "1"]
WEIGHTS = PACKAGE / "demo" / network_module.WEIGHTS_FILE


@pytest.fixture(scope="module")
def fresh():
    return list(PictureWorld(900, seed=FRESH_SEED))


@pytest.fixture(scope="module")
def record():
    return json.loads(WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))


def predictions(network, pictures):
    batches = torch.stack([prepare(picture.image) for picture in pictures]).split(150)
    with torch.inference_mode():
        return torch.cat([network(batch).argmax(dim=1) for batch in batches]).numpy()


def grown(mask, pixels):
    """The mask and everything within so many pixels of it."""
    padded = np.pad(mask, pixels)
    steps = range(2 * pixels + 1)
    return np.any([padded[i : i + SIZE, j : j + SIZE] for i in steps for j in steps], axis=0)


def from_one_state(seed):
    return [draw_picture(np.random.default_rng(seed), label) for label in range(len(CATEGORIES))]


def test_categories_are_every_pair_of_fur_and_face():
    pairs = {tuple(name.split()) for name in CATEGORIES}
    assert len(CATEGORIES) == 6
    assert pairs == {(f, a) for f in ("striped", "spotted") for a in ("cat", "dog", "rabbit")}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**63), label=st.integers(0, 5) | st.none())
def test_masks_partition_the_picture(seed, label):
    picture = draw_picture(np.random.default_rng(seed), label)
    assert picture.image.shape == (SIZE, SIZE, 3)
    assert picture.image.dtype == np.uint8
    assert label is None or picture.label == label
    assert tuple(picture.masks) == PARTS
    assert all(mask.dtype == np.bool_ for mask in picture.masks.values())
    assert (sum(mask.astype(int) for mask in picture.masks.values()) == 1).all()
    assert picture.masks["face"].sum() > 500
    assert picture.masks["fur"].sum() > 500


def test_the_animal_takes_a_quarter_to_under_a_half(fresh):
    animal = np.array([1 - picture.masks["background"].mean() for picture in fresh])
    assert animal.min() > 0.25
    assert animal.max() < 0.45


def test_a_picture_depends_on_seed_and_index_alone():
    forwards, backwards = PictureWorld(9, seed=4), PictureWorld(5_000, seed=4)
    first = [forwards[i] for i in range(9)]
    again = [backwards[i] for i in reversed(range(9))][::-1]
    np.testing.assert_equal([vars(one) for one in first], [vars(one) for one in again])
    assert not np.array_equal(first[0].image, PictureWorld(9, seed=5)[0].image)


def test_another_process_draws_the_same_picture():
    world = PictureWorld(9, seed=4)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        elsewhere = pool.submit(world.__getitem__, 3).result()
    np.testing.assert_array_equal(elsewhere.image, world[3].image)


def test_drawing_leaves_global_randomness_alone():
    before = global_state()
    draw_picture(np.random.default_rng(0))
    assert global_state() == before


@pytest.mark.parametrize("index", [-1, 3, 100])
def test_an_index_outside_of_the_world_raises(index):
    with pytest.raises(IndexError, match=rf"from 0 to 2, got {index}"):
        PictureWorld(3)[index]


def test_a_world_has_a_length_and_ends():
    world = PictureWorld(7, seed=1)
    assert len(world) == 7
    assert [picture.label for picture in world] == [0, 1, 2, 3, 4, 5, 0]
    with pytest.raises(ValueError, match="got length=-1, seed=0"):
        PictureWorld(-1)
    with pytest.raises(ValueError, match="got length=1, seed=-2"):
        PictureWorld(1, seed=-2)


@pytest.mark.parametrize("label", [-1, 6])
def test_an_unknown_label_raises(label):
    with pytest.raises(ValueError, match=rf"from 0 to 5 .* got {label}"):
        draw_picture(np.random.default_rng(0), label)


def test_without_a_label_every_class_comes_up():
    generator = np.random.default_rng(3)
    assert {draw_picture(generator).label for _ in range(60)} == set(range(6))


@pytest.mark.parametrize("seed", range(12))
def test_the_background_is_the_same_pixels_whatever_the_class(seed):
    pictures = from_one_state(seed)
    # An edge pixel that an animal covers by less than half counts as background, but shows it.
    animals = grown(~np.logical_and.reduce([p.masks["background"] for p in pictures]), 2)
    assert (~animals).mean() > 0.3
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture.image[~animals], pictures[0].image[~animals])
        assert not np.array_equal(picture.image[animals], pictures[0].image[animals])


@pytest.mark.parametrize("seed", range(12))
def test_face_and_fur_know_nothing_of_each_other(seed):
    pictures = dict(zip(CATEGORIES, from_one_state(seed), strict=True))
    cat, other_fur, other_face = (
        pictures[name] for name in ("striped cat", "spotted cat", "striped dog")
    )
    np.testing.assert_array_equal(cat.masks["face"], other_fur.masks["face"])
    inner_face = ~grown(~cat.masks["face"], 2)
    np.testing.assert_array_equal(cat.image[inner_face], other_fur.image[inner_face])
    below = ~grown(cat.masks["face"] | other_face.masks["face"], 2) & cat.masks["fur"]
    assert below.sum() > 300
    np.testing.assert_array_equal(cat.image[below], other_face.image[below])
    assert not np.array_equal(cat.image[below], other_fur.image[below])


def test_classes_are_balanced_over_the_kinds_of_background(fresh):
    kinds = sorted({picture.background for picture in fresh})
    assert len(kinds) == 11
    counts = np.zeros((len(kinds), len(CATEGORIES)))
    for picture in fresh:
        counts[kinds.index(picture.background), picture.label] += 1
    assert counts.sum(axis=0).tolist() == [150] * 6
    expected = counts.sum(axis=1, keepdims=True) / len(CATEGORIES)
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected)).all()


def test_the_mean_background_colour_tells_no_class(fresh):
    colours = np.array([p.image[p.masks["background"]].mean(axis=0) for p in fresh])
    labels = np.array([picture.label for picture in fresh])
    for label in range(len(CATEGORIES)):
        chosen = colours[labels == label]
        error = colours.std(axis=0) / math.sqrt(len(chosen))
        assert (np.abs(chosen.mean(axis=0) - colours.mean(axis=0)) < 4 * error).all()


def test_a_circle_covers_its_area():
    frame = Frame((40.3, 51.8), 20.0, angle=0.4, mirrored=True)
    distance = circle((0.2, -0.1), 0.9).distance(frame.x, frame.y) * frame.unit
    assert np.clip(0.5 - distance, 0, 1).sum() == pytest.approx(math.pi * 18**2, rel=0.005)


def test_windows_cut_nothing_off(monkeypatch):
    world = PictureWorld(60, seed=8)
    windowed = [picture.image.astype(int) for picture in world]
    everything = (slice(0, SIZE), slice(0, SIZE))
    monkeypatch.setattr(Frame, "window", lambda *_: everything)
    for image, picture in zip(windowed, world, strict=True):
        # One level of rounding is left to numpy, which takes another path at the end of an array.
        assert np.abs(image - picture.image).max() <= 1


def test_prepare_normalises_as_documented():
    image = np.zeros((4, 5, 3), dtype=np.uint8)
    image[1, 2] = (255, 51, 0)
    prepared = prepare(image)
    assert prepared.shape == (3, 4, 5)
    assert prepared.dtype == torch.float32
    torch.testing.assert_close(prepared[:, 1, 2], torch.tensor([2.0, -1.2, -2.0]))


@pytest.mark.parametrize(
    ("shape", "kind"), [((4, 5, 3), "float32"), ((3, 4, 5), "uint8"), ((4, 5), "uint8")]
)
def test_prepare_names_what_it_got(shape, kind):
    found = rf"{re.escape(str(shape))} of {kind}"
    with pytest.raises(ValueError, match=rf"\(H, W, 3\) of uint8, got .*{found}"):
        prepare(np.zeros(shape, kind))


def test_every_rectifier_is_a_module_called_once_and_not_in_place(fresh):
    network = load_demo_network()
    rectifiers = [module for module in network.modules() if isinstance(module, nn.ReLU)]
    calls = []
    for module in rectifiers:
        module.register_forward_hook(lambda module, *_: calls.append(module))
    logits = network(prepare(fresh[0].image)[None])
    assert logits.shape == (1, len(CATEGORIES))
    assert not any(module.inplace for module in rectifiers)
    assert calls == rectifiers
    nodes = [logits.grad_fn]
    for node in nodes:  # which grows on the way
        nodes += [parent for parent, _ in node.next_functions if parent is not None]
    assert [node.name() for node in nodes].count("ReluBackward0") == len(rectifiers) == 6


def test_the_last_feature_map_is_fit_for_grad_cam(fresh):
    network = load_demo_network()
    assert network.features(prepare(fresh[0].image)[None]).shape[-2:] == (12, 12)


def test_loading_is_in_evaluation_mode_trainable_and_draws_no_random_numbers():
    before = global_state()
    network = load_demo_network()
    assert global_state() == before
    assert not network.training
    assert all(p.requires_grad and not p.is_meta for p in network.parameters())


def test_the_shipped_accuracy_is_what_fresh_pictures_give(fresh, record):
    labels = np.array([picture.label for picture in fresh])
    right = int((predictions(load_demo_network(), fresh) == labels).sum())
    assert right / len(fresh) > 0.95
    pictures = len(fresh) + record["test_pictures"]
    pooled = (right + record["test_accuracy"] * record["test_pictures"] + 1) / (pictures + 2)
    error = math.sqrt(pooled * (1 - pooled) * (1 / len(fresh) + 1 / record["test_pictures"]))
    assert abs(right / len(fresh) - record["test_accuracy"]) < 4 * error


def test_a_change_of_face_or_fur_alone_changes_the_prediction():
    network = load_demo_network()
    found = np.array([predictions(network, from_one_state(1_000 + seed)) for seed in range(30)])
    assert (found == np.arange(len(CATEGORIES))).mean() > 0.95


def test_the_gradient_lies_on_the_animal_and_not_on_the_background(fresh):
    inputs = torch.stack([prepare(picture.image) for picture in fresh[:120]]).requires_grad_()
    network = load_demo_network()
    labels = torch.tensor([picture.label for picture in fresh[:120]])
    logits = network(inputs).gather(1, labels[:, None])
    (gradient,) = torch.autograd.grad(logits.sum(), inputs)
    strength = gradient.abs().sum(dim=1).numpy()
    strength /= strength.sum(axis=(1, 2), keepdims=True)
    masks = {part: np.stack([p.masks[part] for p in fresh[:120]]) for part in PARTS}
    density = {
        part: (strength * mask).sum() / len(mask) / mask.mean() for part, mask in masks.items()
    }
    assert density["face"] > 1.3
    assert density["fur"] > 1.3
    assert density["background"] < 0.7


def test_weights_are_small_and_their_record_complete(record):
    assert WEIGHTS.stat().st_size < 500_000
    assert set(record) == {f.name for f in dataclasses.fields(train_module.TrainingRecord)}
    assert record["train_seed"] != record["test_seed"]
    assert record["test_pictures"] >= 2_000


def test_training_twice_gives_the_same_bits_and_leaves_no_trace():
    torch.use_deterministic_algorithms(mode=False)
    threads, before = torch.get_num_threads(), global_state()
    lines = []
    first, first_record = train_module.train_demo_network(**TINY, report=lines.append)
    second, second_record = train_module.train_demo_network(**TINY, report=lines.append)
    other, _ = train_module.train_demo_network(**TINY, init_seed=1, report=lines.append)
    assert global_state() == before
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    assert first_record == second_record
    assert not first.training
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert any("epoch 2 of 2" in line for line in lines)
    assert f"{first_record.test_accuracy:.2%} of 12 pictures" in "\n".join(lines)


def test_training_restores_settings_after_a_failure():
    threads = torch.get_num_threads()

    def fail(line):
        if "epoch" in line:
            raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        train_module.train_demo_network(**TINY, report=fail)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_training_refuses_what_would_measure_nothing():
    with pytest.raises(ValueError, match="must differ, got 7 for both"):
        train_module.train_demo_network(train_seed=7, test_seed=7)
    with pytest.raises(ValueError, match="must be positive, got 10, 0, 6 and 32"):
        train_module.train_demo_network(train_pictures=10, test_pictures=0)


def test_the_command_line_writes_where_told(tmp_path, capsys):
    output = tmp_path / "mine.pt"
    assert train_module.main(["--output", str(output), *TINY_OPTIONS]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.json", "mine.pt"]
    DemoNetwork().load_state_dict(torch.load(output, weights_only=True))
    written = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    assert written["train_pictures"] == 12
    assert f"wrote {output}" in capsys.readouterr().out


@pytest.mark.parametrize(("options", "folder"), [([], None), (["--install"], WEIGHTS.parent)])
def test_only_install_writes_into_the_package(options, folder, tmp_path, monkeypatch):
    places = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train_module, "train_demo_network", lambda **_: (None, None))
    monkeypatch.setattr(train_module, "save", lambda *arguments: places.append(arguments[-1]))
    train_module.main(options)
    weights = (folder or tmp_path).resolve() / network_module.WEIGHTS_FILE
    assert [place.resolve() for place in places] == [weights]


@pytest.mark.parametrize("failing", [".pt", ".json"])
def test_a_failure_while_writing_leaves_what_was_there(failing, tmp_path, monkeypatch):
    output = tmp_path / "mine.pt"
    output.write_bytes(b"old weights")
    write = Path.write_bytes

    def fail(path, content):
        if failing in path.name:
            write(path, content[:10])
            raise OSError("disk full")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        train_module.main(["--output", str(output), *TINY_OPTIONS])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.pt"]
    assert output.read_bytes() == b"old weights"


@pytest.mark.parametrize(
    ("output", "words"),
    [("missing/mine.pt", "there is no folder"), ("mine.json", "names the weights")],
)
def test_an_impossible_output_is_refused_before_training(output, words, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        train_module.main(["--output", str(tmp_path / output)])
    assert caught.value.code == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_it_runs_as_a_module_without_a_warning(tmp_path):
    done = python("-m", "captum_guided_ext.demo.train", *TINY_OPTIONS, cwd=tmp_path)
    assert "test accuracy" in done.stdout
    assert len(list(tmp_path.iterdir())) == 2


def test_the_room_itself_imports_no_heavy_library():
    # A bare stand-in for the parent package: Captum, which that imports, loads matplotlib itself.
    code = f"""
import sys, types
parent = types.ModuleType("captum_guided_ext")
parent.__path__ = [{str(PACKAGE)!r}]
sys.modules["captum_guided_ext"] = parent
import captum_guided_ext.demo
heavy = {{"torchvision", "matplotlib", "captum", "PIL"}} & set(sys.modules)
assert not heavy, heavy
"""
    python("-c", code)
