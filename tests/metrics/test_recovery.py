"""How far a map is the picture, or its edges: by hand, and number by number."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats

from captum_guided_ext.metrics import edge_recovery, input_recovery

# Less its mean: -1.5, -0.5, 0.5 and 1.5.
PICTURE = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def test_input_recovery_by_hand():
    maps = torch.stack([
        PICTURE,
        10 - 3 * PICTURE,
        torch.tensor([[1.0, -1.0], [-1.0, 1.0]]),  # -1.5 + 0.5 - 0.5 + 1.5 = 0
        torch.tensor([[0.0, 0.0], [0.0, 1.0]]),  # 1.5 over the root of 5 * 0.75
        torch.full((2, 2), 0.1),
    ])[:, None]  # fmt: skip
    found = input_recovery(maps, PICTURE.expand(5, 1, 2, 2))
    expected = [1, -1, 0, 1.5 / (5 * 0.75) ** 0.5, float("nan")]
    assert found.tolist() == pytest.approx(expected, nan_ok=True)
    assert input_recovery(PICTURE[None, None], torch.ones(1, 1, 2, 2)).isnan().all()


def test_a_map_without_colours_is_compared_with_the_mean_of_the_channels():
    colours = torch.stack([PICTURE, torch.tensor([[3.0, 2.0], [1.0, 9.0]])])[None]
    grey = torch.tensor([[[[4.0, 4.0], [4.0, 13.0]]]])  # twice their mean
    assert float(input_recovery(grey, colours)) == pytest.approx(1)
    assert float(input_recovery(colours, colours)) == pytest.approx(1)


def test_edge_recovery_by_hand():
    # Sobel's gradient from left to right of rows 0 0 1 is 0 4 4, from top to bottom nothing.
    picture = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]).expand(4, 2, 2, 3)
    on_edges = torch.tensor([[0.0, 1.0, -1.0], [0.0, -1.0, 1.0]])  # their magnitudes are
    beside = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    # Less their means, 0 1 0 is -1 2 -1 and 0 4 4 is -2 1 1, but for factors: 3 / root of 36.
    half = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    maps = torch.stack([on_edges, beside, half, torch.ones(2, 3)])[:, None].repeat(1, 2, 1, 1)
    found = edge_recovery(maps, picture)
    assert found.tolist() == pytest.approx([1, -1, 0.5, float("nan")], nan_ok=True)
    assert edge_recovery(maps[:1], torch.ones(1, 2, 2, 3)).isnan().all()  # no edge anywhere


@given(seed=st.integers(0, 99), channels=st.integers(1, 3), is_grey=st.booleans())
def test_number_by_number(seed, channels, is_grey):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(2, channels, 4, 5, generator=generator)
    maps = torch.randn(2, 1 if is_grey else channels, 4, 5, generator=generator)
    inputs, on_edges = input_recovery(maps, x), edge_recovery(maps, x)
    for example in range(2):
        picture, one = x[example].double().numpy(), maps[example].double().numpy()
        seen = picture.mean(0)
        slopes = [ndimage.sobel(seen, axis, mode="nearest") for axis in (0, 1)]
        compared = seen if is_grey else picture
        expected = stats.pearsonr(one.ravel(), compared.ravel())[0]
        assert float(inputs[example]) == pytest.approx(expected, abs=1e-7)
        strength = np.abs(one).sum(0)
        expected = stats.pearsonr(strength.ravel(), np.hypot(*slopes).ravel())[0]
        assert float(on_edges[example]) == pytest.approx(expected, abs=1e-6)


def test_several_by_name_and_an_example_alone():
    x = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    named = {"one": x.flip(0), "two": x[:, :1] ** 2}
    for measure in (input_recovery, edge_recovery):
        found = measure(named, x)
        assert list(found) == ["one", "two"]
        for name, one in named.items():
            alone = torch.cat([measure(one[i : i + 1], x[i : i + 1]) for i in range(3)])
            assert torch.equal(found[name], alone)


def test_scale_and_precision_do_not_matter():
    x = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(2)).double()
    for factor in (1e-170, 1e-3, 1e170):
        assert float(input_recovery(factor * x, x)) == pytest.approx(1)
    assert float(input_recovery(x.half(), x)) == pytest.approx(1, abs=1e-3)


def test_rows_of_numbers_have_no_edges():
    x = torch.tensor([[1.0, 2.0, 4.0]])
    assert float(input_recovery(-x, x)) == pytest.approx(-1)
    with pytest.raises(ValueError, match=r"needs pictures, \(N, C, H, W\), .* shape \(1, 3\)"):
        edge_recovery(x, x)


@pytest.mark.parametrize("measure", [input_recovery, edge_recovery])
@pytest.mark.parametrize(
    ("attributions", "inputs", "kind", "words"),
    [
        (torch.ones(1, 1, 2, 2), [[1.0]], TypeError, "inputs must be a tensor, not list"),
        ([1.0], torch.ones(1, 1, 2, 2), TypeError, "attributions must be tensors, not list"),
        ({"m": torch.ones(2, 1, 2, 2)}, torch.ones(1, 1, 2, 2), ValueError, r"attributions\['m'\]"),
        (torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), torch.nan), ValueError, "holds NaN"),
        (torch.full((1, 1, 2, 2), torch.inf), torch.ones(1, 1, 2, 2), ValueError, "holds NaN or"),
        (torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2).int(), TypeError, "dtype torch.int32"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(measure, attributions, inputs, kind, words):
    with pytest.raises(kind, match=words):
        measure(attributions, inputs)
