"""What an import costs and promises, and where Captum's private parts are used."""

import ast
import importlib
import importlib.util
import inspect
import re
import sys

import pytest
from places import ROOT
from programs import python
from sources import PACKAGE, SOURCES, imported

import captum_guided_ext
import captum_guided_ext.attr
import captum_guided_ext.demo
import captum_guided_ext.metrics

# Captum itself imports matplotlib. Once it has, the name is taken away: whoever else asks for it
# gets an error that nobody catches who would do without what is not installed.
WITHOUT_HEAVY = """
import sys, importlib, captum.attr
heavy = "matplotlib", "mpl_toolkits", "pandas", "torchvision"
class Refusal:
    def find_spec(name, *_):
        assert name.partition(".")[0] not in heavy, "heavy: " + name
for name in [*sys.modules]:
    if name.partition(".")[0] in heavy:
        del sys.modules[name]
sys.meta_path.insert(0, Refusal)
"""


def test_the_import_is_clean_with_warnings_as_errors_and_loads_nothing_heavy():
    code = """
import sys, captum.attr
before = set(sys.modules)
import captum_guided_ext.attr
print(*sorted(set(sys.modules) - before))
print("torchvision" in sys.modules)"""
    done = python("-c", code)
    assert done.stderr == ""
    new, has_torchvision = done.stdout.splitlines()
    loaded = {name.partition(".")[0] for name in new.split()}
    assert "captum_guided_ext" in loaded
    # of what Captum and torch have not loaded before, nothing but ourselves and Python's own
    assert loaded - set(sys.stdlib_module_names) <= {"captum_guided_ext", "captum", "torch"}
    assert has_torchvision == "False"


def test_our_modules_import_what_is_heavy_only_when_they_need_it():
    python("-c", f"{WITHOUT_HEAVY}\nfor name in {[*SOURCES]}: importlib.import_module(name)")


def test_a_table_of_scores_needs_no_whole_of_scipy():
    code = """
import sys, numpy as np
from captum_guided_ext.sampling import all_pairs, mean_interval
table = np.random.default_rng(0).normal(size=(3, 40))
for row in (table[0], table[0, :4], (table[0] > 0).astype(float)):
    assert mean_interval(row, are_hits=set(row) == {0, 1})
all_pairs(table)
print(*(name in sys.modules for name in ("scipy.special", "scipy.stats")))"""
    assert python("-c", code).stdout == "True False\n"


def test_that_test_can_fail():
    code = f"""{WITHOUT_HEAVY}
for name in ("matplotlib", "matplotlib.pyplot", "pandas", "torchvision"):
    try:
        importlib.import_module(name)
    except AssertionError as error:
        print(error)
    sys.modules.pop(name.partition(".")[0], None)
"""
    refused = ["heavy: matplotlib", "heavy: matplotlib", "heavy: pandas", "heavy: torchvision"]
    assert python("-c", code).stdout.splitlines() == refused


def privates_of(source):
    """Return Captum's private names that a file imports, or reaches through an attribute."""
    tree = ast.parse(source)
    names = {name for node in ast.walk(tree) for name in imported(node)}
    names |= {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return {name for name in names if re.match(r"captum\.(.*\.)?_(?!_)", name)}


def test_captums_private_parts_are_used_in_one_file_only():
    users = [module for module, source in SOURCES.items() if privates_of(source)]
    assert users == ["captum_guided_ext._captum"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from captum._utils.common import _run_forward", True),
        ("import captum._utils.gradient", True),
        ("from captum.attr import _private", True),
        ("from captum.attr._core.saliency import Saliency", True),
        ("import captum\ncaptum._utils.common.x()", True),
        ("from captum.attr import Saliency", False),
        ("from captum_guided_ext._captum import run_forward", False),
        ("from captum.log import log_usage", False),
    ],
)
def test_private_parts_are_recognised(line, found):
    assert bool(privates_of(line)) is found


@pytest.mark.parametrize("module", SOURCES)
def test_all_that_a_module_exports_is_there(module):
    module = importlib.import_module(module)
    names = getattr(module, "__all__", [])
    assert len(names) == len(set(names))
    for name in names:
        assert getattr(module, name) is not None


PUBLIC = {
    "captum_guided_ext": [
        "explain", "load_network", "Network", "PictureDataset", "Explanation", "Comparison",
        "Benchmark", "Metric", "Score", "InfidelityMetric", "SensitivityMetric",
        "LocalisationMetric", "CaptumGuidedError", "DataError", "ModelError",
        "GuidedBackprop", "Deconvolution", "GuidedGradCam", "NeuronGuidedBackprop",
        "NeuronDeconvolution", "BackwardRule", "GRADIENT", "DECONVNET", "GUIDED", "with_rule",
        "rectifiers", "ForwardPass", "RectifierReport", "GuidedReLU", "NoRectifierError",
        "OpaqueGraphError", "compare", "benchmark", "infidelity", "sensitivity_max",
        "infidelity_perturb_func_decorator",
    ],
    "captum_guided_ext.metrics": [
        "infidelity", "sensitivity_max", "infidelity_perturb_func_decorator", "sensitivity",
        "sensitivity_mean", "UniformBall", "GaussianNoise", "NoisyBaseline", "SquareRemoval",
        "relevance_mass", "pointing_game",
    ],
    "captum_guided_ext.demo": ["CATEGORIES", "PictureWorld", "load_demo_network", "prepare"],
    "captum_guided_ext.attr": [
        "GuidedBackprop", "Deconvolution", "GuidedGradCam", "NeuronGuidedBackprop",
        "NeuronDeconvolution",
    ],
}  # fmt: skip


@pytest.mark.parametrize("module", PUBLIC)
def test_the_promised_names(module):
    assert set(PUBLIC[module]) <= set(importlib.import_module(module).__all__)
    for part in (captum_guided_ext.attr, captum_guided_ext.metrics, captum_guided_ext.demo):
        for name in set(part.__all__) & set(captum_guided_ext.__all__):
            assert getattr(captum_guided_ext, name) is getattr(part, name)


def test_the_page_of_public_names_is_what_the_docstrings_say():
    script = ROOT / "examples" / "public_names.py"
    spec = importlib.util.spec_from_file_location(script.stem, script)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    page = script.with_name("api.md").read_text(encoding="utf-8")
    assert page == made.page(), "run: python examples/public_names.py > examples/api.md"
    for module in ("", ".attr", ".metrics", ".demo"):
        for name in importlib.import_module(f"captum_guided_ext{module}").__all__:
            assert f"`{name}`" in page


def public_things():
    """Yield what the package exports, and the public methods of its classes."""
    for name in captum_guided_ext.__all__:
        thing = getattr(captum_guided_ext, name)
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        yield pytest.param(thing, id=name)
        if inspect.isclass(thing):
            for member, value in vars(thing).items():
                if not member.startswith("_") and callable(getattr(thing, member)):
                    yield pytest.param(value, id=f"{name}.{member}")


@pytest.mark.parametrize("thing", list(public_things()))
def test_everything_public_is_documented(thing):
    doc = inspect.getdoc(thing)
    assert doc
    assert doc.splitlines()[0].endswith((".", ":"))


@pytest.mark.parametrize("module", SOURCES)
def test_every_module_is_documented(module):
    assert ast.get_docstring(ast.parse(SOURCES[module]))


def test_the_version_is_the_distributions():
    from importlib.metadata import version

    assert captum_guided_ext.__version__ == version("captum-guided-ext")


def test_the_types_are_shipped():
    assert (PACKAGE / "py.typed").exists()
