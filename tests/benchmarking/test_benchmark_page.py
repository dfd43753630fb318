"""The page of HTML of a benchmark and of a comparison, and what notebooks show of them."""

import ast
from dataclasses import replace

import pytest
import small_benchmark as small
import torch
from pages import HOSTILE, Page, check, shown

import captum_guided_ext as cg
from captum_guided_ext.benchmarking._records import ScoredImage, SkippedImage
from captum_guided_ext.benchmarking._report import summary_tables
from captum_guided_ext.evaluation import InfidelityMetric

FEW = {"methods": ["gradient", "guided_backprop"], "n_perturb_samples": 2}


def run(folder, seed=0):
    return cg.benchmark(
        small.cnn(), small.dataset(9), output=folder, seed=seed, batch_size=4, layer="second",
        show_progress=False, **FEW,
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs") / "one")


def cells(page):
    return [data for where, data in page.words if where in ("th", "td")]


def test_the_folder_has_the_page(found):
    page = (found.folder / "summary.html").read_text(encoding="utf-8")
    assert page == found.to_html()
    drawn = check(page).all("img")
    (png,) = check(page).pictures()
    assert (found.folder / "summary.png").stat().st_size > 1000
    assert png.size[0] > 500
    assert "2 metrics" in drawn[0]["alt"]


def test_it_has_the_tables_and_the_words_of_the_report(found):
    page = check(found.to_html())
    text = " ".join(page.text.split())
    in_page = cells(page)
    for line in summary_tables(found.summary).splitlines():
        if line.startswith("| ") and "method" not in line:
            for cell in line.strip("| ").split("|"):
                assert not cell.strip() or cell.strip() in in_page
        elif line and not line.startswith("|"):
            assert ("h2", line) in page.words  # infidelity (lower is better)
    _, _, words = str(found).rpartition("|\n")
    for line in words.replace("\n  ", " ").splitlines():
        assert line in text
    assert torch.__version__ in text
    assert "float32 3 x 8 x 8" in text


def test_what_could_not_be_scored_is_listed(found):
    skipped = (SkippedImage(3, "broken.png", "cut off"),)
    page = check(replace(found, skipped=skipped, notes={"a warning": 2}).to_html())
    items = [data for where, data in page.words if where == "li"]
    assert "broken.png: cut off" in items
    assert "a warning (2 batches)" in items
    headings = [data for where, data in page.words if where == "h2"]
    assert {"Skipped images", "Notes", "How to read it"} <= set(headings)


def called(code, name):
    calls = [one for one in ast.walk(ast.parse(code)) if isinstance(one, ast.Call)]
    found = [one for one in calls if ast.unparse(one.func) == f"cg.{name}"]
    return [{one.arg: ast.literal_eval(one.value) for one in call.keywords} for call in found]


def test_what_makes_it_again_does(found, tmp_path):
    (code,) = (data for where, data in check(found.to_html()).words if where == "code")
    (said,) = called(code, "benchmark")
    data = small.dataset(9)
    again = cg.benchmark(small.cnn(), data, show_progress=False,
                         **said | {"output": tmp_path / "again"})  # fmt: skip
    assert again.rows == found.rows
    assert again.settings == found.settings


def test_what_makes_it_again_names_metrics_that_have_settings_of_their_own(tmp_path):
    def page(*metrics, **settings):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        found = cg.benchmark(
            small.cnn(), small.dataset(2), output=folder, methods=["gradient"], metrics=metrics,
            show_progress=False, **settings,
        )  # fmt: skip
        return check(found.to_html()).text

    own = "# as they are under settings: ['infidelity']"
    assert own in page(InfidelityMetric(n_perturb_samples=2, normalize=False))
    assert own in page(InfidelityMetric(n_perturb_samples=2), "sensitivity_max")
    named = ("infidelity", "sensitivity_max", "sensitivity_mean")
    assert "under settings" not in page(*named, n_perturb_samples=2)
    assert "under settings" not in page("infidelity")


def test_several_runs_are_put_together_again(found, tmp_path):
    run(tmp_path / "two", seed=7)
    together = cg.summarize(found.folder, tmp_path / "two")
    page = check(together.to_html())
    assert "over seeds" in cells(page)
    (code,) = (data for where, data in page.words if where == "code")
    assert [one["seed"] for one in called(code, "benchmark")] == [0, 7]
    outputs = [one["output"] for one in called(code, "benchmark")]
    assert f"cg.summarize(*{outputs!r})" in code


def with_names(found, name):
    summary = tuple(replace(one, method=name, metric=name, reason=name) for one in found.summary)
    model = found.settings["model"] | {"name": name, "weights": name}
    settings = found.settings | {
        "model": model, "data": {"description": name}, "methods": {name: name},
        "metrics": {name: name}, "layer": name, "target": name, "inputs": name, name: name,
    }  # fmt: skip
    images = {0: ScoredImage(name, 0, None)}
    return replace(
        found, summary=summary, settings=settings, images=images, notes={name: 1},
        skipped=(SkippedImage(1, name, name),),
    )  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_only_names(found, name, monkeypatch):
    monkeypatch.setattr(type(found), "plot", lambda self: small_figure())  # which takes a second
    plain, hostile = (with_names(found, one) for one in ("a name", name))
    page = check(hostile.to_html())
    assert page.structure == check(plain.to_html()).structure
    assert page.text.count(shown(name)) > 15
    fragments = [Page(one._repr_html_()) for one in (plain, hostile)]
    assert fragments[0].structure == fragments[1].structure


def small_figure():
    from matplotlib.figure import Figure

    return Figure(figsize=(1, 1))


def test_a_notebook_shows_tables_and_figure(found):
    page = Page(found._repr_html_())
    assert len(page.pictures()) == 1
    assert found._headline() in page.text
    assert "infidelity (lower is better)" in page.text
    assert "guided_backprop" in cells(page)


@pytest.fixture(scope="module")
def comparison():
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return cg.compare(small.cnn(), x, [0, 1], metrics=["infidelity"], **FEW)


def test_the_page_of_a_comparison(comparison, tmp_path):
    page = check(comparison.to_html())
    for line in str(comparison).splitlines():
        if line.startswith("| ") and "method" not in line:
            for cell in line.strip("| ").split("|"):
                assert not cell.strip() or cell.strip() in cells(page)
    assert "means over 2 images" in page.text
    assert len(page.pictures()) == 1
    assert "Gradient, Guided backprop" in page.all("img")[0]["alt"]
    (code,) = (data for where, data in page.words if where == "code")
    (said,) = called(code, "compare")
    assert said == {"methods": FEW["methods"], "metrics": ["infidelity"], "target": [0, 1]}
    bad = HOSTILE[0]
    named = replace(comparison, reasons={bad: bad}, layer=bad, target=bad,
                    maps={bad: comparison.maps["gradient"]})  # fmt: skip
    plain = replace(named, reasons={"a": "b"}, layer="c", target="d",
                    maps={"e": comparison.maps["gradient"]})  # fmt: skip
    assert check(named.to_html()).structure == check(plain.to_html()).structure


def test_a_comparison_that_cannot_be_drawn_still_has_page_and_notebook(comparison):
    flat = replace(comparison, inputs=comparison.inputs.flatten(1))
    assert not check(flat.to_html()).all("img")
    page = Page(flat._repr_html_())
    assert "no figure: inputs of shape (2, 192) are no pictures to draw" in page.text
    assert "guided_backprop" in cells(page)
