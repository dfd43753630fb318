"""What the README, the pages and the examples say is what happens."""

import re
import shlex

import answers
import captum.attr
import pytest
import quiet
import torch
from floors import FLOORS
from places import ROOT
from programs import python
from torchvision.models import ResNet50_Weights

import captum_guided_ext
from captum_guided_ext import cli
from captum_guided_ext.evaluation import METRICS
from captum_guided_ext.networks import find_target

# of untrained weights
pytestmark = pytest.mark.filterwarnings("ignore:the .* is zero everywhere")


def test_drop_in():
    lines = python("examples/drop_in.py", warnings="ignore").stdout.splitlines()
    assert len(lines) == 5
    assert all("the same numbers" in line for line in lines)


def test_where_captum_differs(printed):
    out = printed("where_captum_differs")
    rows = [line for line in out.splitlines() if re.search(r"\d\.\d{4}", line)]
    assert [("<- Captum differs" in row) for row in rows] == [False] + 7 * [True]
    assert "Captum returns a tensor of shape (0,)" in out
    assert "this package raises: interpolate_mode 'bilinaer' is none of" in out


def run_blocks(page):
    """Run the Python of a page from top to bottom; return the names it has made."""
    text = (ROOT / page).read_text(encoding="utf-8")
    names = {}
    torch.manual_seed(0)
    with quiet.captum():
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(compile(block, page, "exec"), names)
    return names


def table_of(page, heading):
    """Return the cells of each row but the head of the first table below a heading."""
    _, _, text = (ROOT / "examples" / page).read_text(encoding="utf-8").partition(heading)
    rows = re.search(r"^\|(?:.+\n\|)+.+\n", text, re.MULTILINE)[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_readme(capsys):
    names = run_blocks("README.md")
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "overridden: 35 ReLU6"
    _, *methods = [line.split()[1] for line in lines if line.startswith("| ")]
    assert methods == ["gradient", "guided_backprop", "grad_cam", *FLOORS]
    assert names["maps"].shape == names["images"].shape
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 130


def test_the_table_of_the_readme_is_that_of_the_tests():
    # python tests/helpers/answers.py prints it
    assert answers.TABLE in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_page_of_limits():
    names = run_blocks("examples/limits.md")
    assert not torch.equal(names["guided"], names["gradient"])
    assert not torch.equal(names["guided"], names["other_class"])
    assert 0 < names["dropped"] < 1
    assert names["of_a"]["guided"] == [[2, 2]]  # test_worked_by_hand.py has the rest
    rows = table_of("limits.md", "## The limits, and what measures each")
    known = {*captum_guided_ext.metrics.__all__, *METRICS}
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row[1])} <= known | {"explain"}


def test_the_page_of_ones_own_network_and_pictures(capsys):
    found = run_blocks("examples/explain.md")["found"]
    assert found.assumed == ("the array's numbers are RGB pixels, bytes",)
    first, last = capsys.readouterr().out.splitlines()
    assert "resize_size=[256]" in first
    assert last.startswith(found.predictions[0].name)


def test_the_page_of_differences():
    names = run_blocks("examples/differences.md")
    net, x = names["net"], torch.randn(20, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(x)[:, 0].sum(), x)
    with quiet.captum():
        assert torch.equal(captum.attr.GuidedBackprop(net).attribute(x, 0), gradient)
    assert not torch.equal(captum_guided_ext.GuidedBackprop(net).attribute(x, 0), gradient)


def test_the_page_of_metrics():
    names = run_blocks("examples/metrics.md")
    assert set(names["found"]) == {"guided_backprop", "deconvolution"}
    assert names["largest"].shape == (2,)
    assert {float(share) for share in names["share"]["guided_backprop"]} == {1}
    assert names["randomized"].layers == ("3", "0")
    rows = [*table_of("metrics.md", "# The metrics"), *table_of("metrics.md", "## Checks of")]
    assert sorted(row[0].strip("`") for row in rows) == sorted(METRICS)


def test_the_page_on_sanity_checks():
    found = run_blocks("examples/sanity.md")["found"]
    assert found.to_csv().startswith("image,method,other,check,layer,draw,value")


def test_the_page_of_the_picture_world(capsys):
    run_blocks("examples/picture_world.md")
    # the class, the same class found, and the size of a face
    assert re.fullmatch(r"(\w+ \w+) \1 \d+\n", capsys.readouterr().out)


def test_the_page_of_ones_own(capsys):
    run_blocks("examples/extending.md")
    out = capsys.readouterr().out
    for word in ("sparsity", "infidelity_dimmed", "random", "explained: owl"):
        assert word in out


NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def says(line, shown):
    """Return whether a line that a command printed is the one that a page shows.

    Words are the same; numbers may differ in their last digit, where a machine adds up differently.
    """
    numbers = [[*map(float, NUMBER.findall(one))] for one in (line, shown)]
    words = [NUMBER.sub("0", re.sub(r"[\s:-]+", " ", one)) for one in (line, shown)]
    return words[0] == words[1] and numbers[0] == pytest.approx(numbers[1], rel=0.01, abs=0.005)


CONSOLES = [
    (page.name, block)
    for page in (ROOT / "README.md", *sorted((ROOT / "examples").glob("*.md")))
    for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
]


@pytest.mark.parametrize(("page", "block"), CONSOLES)
def test_a_command_prints_what_the_page_shows_below_it(page, block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first, *shown = block.splitlines()
    program, *arguments = shlex.split(first.removeprefix("$ "), comments=True)
    assert (first[:2], program) == ("$ ", "captum-guided")
    assert cli.main(arguments) == 0
    printed = iter(capsys.readouterr().out.splitlines())
    assert len(shown) > 1
    previous = ""
    for line in shown:
        if line.strip() in ("", "..."):  # "..." stands for lines that are left out
            previous = line.strip()
            continue
        found = (one for one in printed if one.strip())
        if previous == "...":
            assert any(says(one, line) for one in found), line
        else:
            one = next(found, "")
            assert says(one, line), f"{line!r} is shown, and {one!r} printed"
        previous = line


COMMANDS = [
    line
    for page in (ROOT / "README.md", *sorted((ROOT / "examples").glob("*.md")))
    for line in page.read_text(encoding="utf-8").splitlines()
    if line.startswith("captum-guided ")
]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_that_needs_a_download_could_be_run(line, monkeypatch):
    names = ResNet50_Weights.DEFAULT.meta["categories"]

    def asked(arguments):
        targets = getattr(arguments, "target", None) or ()
        for target in [targets] if isinstance(targets, str) else targets:
            find_target(target, torch.rand(len(names)), names)
        return 0

    for command in ("explain", "sanity", "benchmark", "summarize"):
        monkeypatch.setattr(f"captum_guided_ext.cli._{command}._run", asked)
    assert cli.main(shlex.split(line, comments=True)[1:]) == 0


def test_a_page_that_shows_something_else_is_noticed():
    assert says("| gradient | 0.1234 |", "|  gradient | 0.1235 |")
    assert not says("| gradient | 0.1234 |", "| gradient | 0.134 |")
    assert not says("| gradient | 0.1234 |", "| guided | 0.1234 |")
    assert min(len(CONSOLES), len(COMMANDS)) >= 3


def test_links_and_files_of_the_pages_are_there():
    for page in (*ROOT.glob("*.md"), *(ROOT / "examples").rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
    for file in re.findall(r"`((?:\w+/)+_?\w+\.py)`", (ROOT / "CONTRIBUTING.md").read_text()):
        assert (ROOT / file).exists() or (ROOT / "captum_guided_ext" / file).exists(), file
