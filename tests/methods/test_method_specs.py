"""What maps are multiplied by: on a linear model, infidelity 0 shows that it is known."""

import functools
import warnings

import captum.attr as ca
import pytest
import torch
from captum._utils.models.model import Model
from floors import of_methods
from torch import nn
from torch.utils.data import TensorDataset

import captum_guided_ext as cg
from captum_guided_ext import MethodSpec
from captum_guided_ext.evaluation import InfidelityMetric
from captum_guided_ext.methods import MethodSet
from captum_guided_ext.metrics import GaussianNoise, SquareRemoval

FEATURES = 4  # few, so that the sampled regressions are exact
WEIGHTS = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.25, 1.5, -1.0, 2.0]], dtype=torch.float64)
X = torch.tensor([[0.5, -1.0, 2.0, 3.0], [1.5, 0.7, -0.4, 0.9]], dtype=torch.float64)
TARGET = [0, 1]
TENSOR = torch.tensor([[0.1, -0.2, 0.4, 1.3]], dtype=torch.float64)
ROWS = torch.cat([TENSOR, TENSOR + 1, TENSOR * 3 - 0.6])
NOISE = [InfidelityMetric(GaussianNoise(0.3), 8, normalize=False)]
UNKNOWN = "whether the map of 'mine' is multiplied by the input is not known"


def linear():
    model = nn.Linear(FEATURES, 2).double()
    model.weight.data.copy_(WEIGHTS)
    return model


LINEAR = linear()


class LeastSquares(Model):
    """What KernelShap and Lime take from scikit-learn, which need not be there."""

    def fit(self, train_data, **options):
        (x, y, w), *more = train_data
        assert not more
        x = torch.cat([x, torch.ones(len(x), 1)], dim=1).double()
        y, w = y.reshape(-1, 1).double(), w.reshape(-1, 1).double().sqrt()
        self.solution = torch.linalg.lstsq(x * w, y * w, driver="gelsd").solution.flatten()

    def representation(self):
        return self.solution[:-1][None]

    def __call__(self, x):
        raise NotImplementedError


def kernel_shap():
    method = ca.KernelShap(LINEAR)
    method.interpretable_model = LeastSquares()
    return functools.partial(method.attribute, n_samples=60)


def lime():
    method = ca.Lime(LINEAR, interpretable_model=LeastSquares())
    return functools.partial(method.attribute, n_samples=60)


def gradient_of(target):
    return WEIGHTS[target]


def product(inputs, target, reference=0.3):
    return gradient_of(target) * (inputs - reference)


PARTIAL = functools.partial
IG = ca.IntegratedGradients(LINEAR)
# Name of the case: the method, and the baseline that it is a product with by hand.
EXACT = {
    "ig": (IG, 0),
    "ig 0.3": (MethodSpec(IG, baselines=0.3), 0.3),
    "ig tensor": (MethodSpec(IG.attribute, TENSOR), TENSOR),
    "ig vector": (MethodSpec(IG, TENSOR[0]), TENSOR),
    "ig partial": (PARTIAL(IG.attribute, baselines=0.3), 0.3),
    "ig one tuple": (PARTIAL(IG.attribute, baselines=(0.3,)), 0.3),
    "ig nested partials": (PARTIAL(PARTIAL(IG.attribute, baselines=9.0), baselines=TENSOR), TENSOR),
    "ig both": (MethodSpec(PARTIAL(IG.attribute, baselines=9.0), 0.3), 0.3),
    "ig local": (MethodSpec(ca.IntegratedGradients(LINEAR, multiply_by_inputs=False), 0.3), None),
    "deep lift": (MethodSpec(ca.DeepLift(LINEAR), 0.3), 0.3),
    "deep lift local": (ca.DeepLift(LINEAR, multiply_by_inputs=False), None),
    "deep lift shap": (PARTIAL(ca.DeepLiftShap(LINEAR).attribute, baselines=ROWS), ROWS.mean(0)),
    "deep lift shap spec": (MethodSpec(ca.DeepLiftShap(LINEAR), ROWS), ROWS.mean(0)),
    "gradient shap one row": (MethodSpec(ca.GradientShap(LINEAR), TENSOR), TENSOR),
    "gradient shap number": (MethodSpec(ca.GradientShap(LINEAR), 0.3), 0.3),
    "tunnel": (PARTIAL(ca.NoiseTunnel(IG).attribute, stdevs=0.0, baselines=0.3), 0.3),
    "tunnel spec": (
        MethodSpec(PARTIAL(ca.NoiseTunnel(IG).attribute, stdevs=0.0), baselines=TENSOR),
        TENSOR,
    ),
    "tunnel of a gradient": (
        PARTIAL(ca.NoiseTunnel(ca.Saliency(LINEAR)).attribute, abs=False),
        None,
    ),
    "shapley": (MethodSpec(ca.ShapleyValueSampling(LINEAR), TENSOR), TENSOR),
    "exact shapley": (MethodSpec(ca.ShapleyValues(LINEAR), 0.3), 0.3),
    "kernel shap": (MethodSpec(kernel_shap(), TENSOR), TENSOR),
    "lime": (MethodSpec(lime(), 0.3), 0.3),
    "ablation": (ca.FeatureAblation(LINEAR), 0),
    "ablation 0.3": (MethodSpec(ca.FeatureAblation(LINEAR), 0.3), 0.3),
    "occlusion": (
        MethodSpec(PARTIAL(ca.Occlusion(LINEAR).attribute, sliding_window_shapes=(1,)), TENSOR),
        TENSOR,
    ),
    "input x gradient": (ca.InputXGradient(LINEAR), 0),
    "lrp": (ca.LRP(nn.Sequential(LINEAR)), 0),
    "saliency": (PARTIAL(ca.Saliency(LINEAR).attribute, abs=False), None),
    "mine": (MethodSpec(product, 0.3, multiplies_by_inputs=True), 0.3),
    "mine partial": (
        MethodSpec(PARTIAL(product, reference=TENSOR), TENSOR, multiplies_by_inputs=True),
        TENSOR,
    ),
    "mine local": (
        MethodSpec(lambda inputs, target: gradient_of(target), multiplies_by_inputs=False),
        None,
    ),
}


def quiet_captum():
    quiet = warnings.catch_warnings()
    quiet.__enter__()
    warnings.filterwarnings("ignore", "Setting forward, backward hooks", UserWarning)
    warnings.filterwarnings("ignore", "You are providing multiple inputs for Lime", UserWarning)
    return quiet


@pytest.fixture(autouse=True)
def captum_says_its_own():
    quiet = quiet_captum()
    yield
    quiet.__exit__(None, None, None)


@pytest.mark.parametrize("case", EXACT)
def test_a_linear_model_is_explained_without_error(case):
    method, reference = EXACT[case]
    result = cg.compare(LINEAR, X, TARGET, methods={case: method}, metrics=NOISE)
    assert result.reasons == {}
    factor = 1 if reference is None else X - reference
    expected = (WEIGHTS * factor).float()  # some of Captum's return single precision
    torch.testing.assert_close(result.maps[case].float(), expected, rtol=1e-5, atol=1e-5)
    assert [row.value for row in of_methods(result.rows)] == pytest.approx([0, 0], abs=1e-10)


def test_with_a_wrong_baseline_it_is_not_zero():
    methods = {
        "wrong": MethodSpec(product, 0.0, multiplies_by_inputs=True),
        "no product": MethodSpec(product, multiplies_by_inputs=False),
        "right": MethodSpec(product, 0.3, multiplies_by_inputs=True),
    }
    rows = cg.compare(LINEAR, X, TARGET, methods=methods, metrics=NOISE).rows
    found = {name: [row.value for row in rows if row.method == name] for name in methods}
    assert min(found["wrong"] + found["no product"]) > 1e-3
    assert max(found["right"]) < 1e-10


def test_one_pixel_windows_on_pictures():
    picture = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).double()
    occlusion = PARTIAL(ca.Occlusion(model).attribute, sliding_window_shapes=(1, 1, 1))
    channels = torch.tensor([0.2, -1.0, 3.0])[:, None, None]
    methods = {
        "occlusion": MethodSpec(occlusion, channels),
        "ig": MethodSpec(ca.IntegratedGradients(model), 0.3),
    }
    metrics = [InfidelityMetric(SquareRemoval((2,)), 4, normalize=False)]
    rows = cg.compare(model, picture, 0, methods=methods, metrics=metrics).rows
    assert [row.value for row in of_methods(rows)] == pytest.approx([0] * 4, abs=1e-12)


def test_the_class_decides_for_every_attribution_of_captums():
    products = {
        "InputXGradient", "LRP", "FeatureAblation", "Occlusion", "ShapleyValueSampling",
        "ShapleyValues", "Lime", "KernelShap", "IntegratedGradients", "DeepLift", "DeepLiftShap",
        "GradientShap", "NeuronFeatureAblation", "NeuronIntegratedGradients", "NeuronDeepLift",
        "NeuronDeepLiftShap", "NeuronGradientShap", "NeuronConductance",
    }  # fmt: skip
    unknown = {"FeaturePermutation"}
    bases = {
        "Attribution", "GradientAttribution", "PerturbationAttribution", "NeuronAttribution",
        "LayerAttribution", "LimeBase", "NoiseTunnel", "DataLoaderAttribution",
        # of language models, whose inputs are no tensors
        "LLMAttribution", "LLMGradientAttribution", "RemoteLLMAttribution",
    }  # fmt: skip
    net = nn.Sequential(LINEAR)
    for name in ca.__all__:
        kind = getattr(ca, name)
        if name in bases or not (isinstance(kind, type) and issubclass(kind, ca.Attribution)):
            continue
        takes_layer = name.startswith(("Layer", "Neuron", "Internal", "GuidedGradCam"))
        spec = MethodSpec(kind(net, net[0]) if takes_layer else kind(net))
        if name in unknown:
            with pytest.raises(LookupError):
                spec.reference(X)
        else:
            assert (spec.reference(X) == 0) == (name in products), name


class Halves(ca.Attribution):
    def __init__(self, forward_func):
        self.forward_func = forward_func

    def attribute(self, inputs, target, baselines=0.0):
        return gradient_of(target) * (inputs - baselines)


class SaysSo(Halves):
    multiplies_by_inputs = True


class MySaliency(ca.Saliency):
    pass


def test_a_class_of_ones_own():
    assert MethodSpec(SaysSo(LINEAR)).reference(X) == 0
    assert MethodSpec(SaysSo(LINEAR), 0.3).reference(X) == 0.3
    assert MethodSpec(PARTIAL(SaysSo(LINEAR).attribute, baselines=0.2)).reference(X) == 0.2
    assert MethodSpec(MySaliency(LINEAR)).reference(X) is None
    assert MethodSpec(cg.with_rule(ca.InputXGradient(LINEAR), cg.GUIDED)).reference(X) == 0
    assert MethodSpec(cg.GuidedBackprop(LINEAR)).reference(X) is None
    with pytest.raises(LookupError):  # it has what it inherits from Captum's base, which is no word
        MethodSpec(Halves(LINEAR)).reference(X)
    methods = {"says so": MethodSpec(SaysSo(LINEAR), TENSOR)}
    rows = cg.compare(LINEAR, X, TARGET, methods=methods, metrics=NOISE).rows
    assert [row.value for row in of_methods(rows)] == pytest.approx([0, 0], abs=1e-10)


def test_baselines_that_a_function_draws_are_not_known():
    drawn = PARTIAL(ca.GradientShap(LINEAR).attribute, baselines=lambda: TENSOR)
    with pytest.warns(UserWarning, match="whether the map of 'drawn'"):
        cg.compare(LINEAR, X, TARGET, methods={"drawn": drawn}, metrics=["infidelity"])


# --- what is not known ------------------------------------------------------------------------


def unsaid(methods, metrics):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cg.compare(LINEAR, X, TARGET, methods=methods, metrics=metrics, n_perturb_samples=2)
    return [str(one.message) for one in caught if "multiplied" in str(one.message)]


def test_what_is_not_known_is_said_once_and_where_it_matters():
    methods = {"mine": product, "other": product, "gradient": "gradient"}
    both = [InfidelityMetric(GaussianNoise(), 2), InfidelityMetric(name="again")]
    first, second = unsaid(methods, both)
    assert first.startswith(UNKNOWN)
    assert "'other'" in second
    assert "MethodSpec(method, multiplies_by_inputs=False)" in first
    assert unsaid(methods, ["sensitivity_max"]) == []
    assert unsaid({"mine": MethodSpec(product, multiplies_by_inputs=False)}, ["infidelity"]) == []
    with pytest.warns(UserWarning, match=UNKNOWN) as caught:
        cg.compare(LINEAR, X, TARGET, methods={"mine": product}, metrics=["infidelity"])
    assert [one.filename for one in caught] == [__file__]


def test_it_is_scored_as_no_product():
    methods = {"mine": product, "said": MethodSpec(product, multiplies_by_inputs=False)}
    with pytest.warns(UserWarning, match=UNKNOWN):
        rows = cg.compare(LINEAR, X, TARGET, methods=methods, metrics=NOISE).rows
    values = {(row.method, row.image): row.value for row in rows}
    assert all(values["mine", image] == values["said", image] for image in (0, 1))


def test_a_benchmark_notes_it_alike_in_every_batch(tmp_path):
    methods = {"mine": product}
    for size in (1, 2):
        found = cg.benchmark(
            LINEAR, TensorDataset(X.repeat(2, 1), torch.tensor([0, 1, 0, 1])), batch_size=size,
            output=tmp_path / str(size), methods=methods, metrics=["infidelity"],
            n_perturb_samples=2, show_progress=False,
        )  # fmt: skip
        ((note, count),) = found.notes.items()
        assert note.startswith(UNKNOWN)
        assert count == 4 // size


# --- what a specification is, and is not --------------------------------------------------------


def test_a_specification_stands_for_its_method():
    specs = [MethodSpec(IG, 0.5), MethodSpec(product, multiplies_by_inputs=False)]
    methods = MethodSet(LINEAR, specs)
    assert methods.names == ("integrated_gradients", "product")
    assert MethodSet(LINEAR, MethodSpec(product)).names == ("product",)
    words = methods.describe()["integrated_gradients"]
    assert words.startswith("MethodSpec(baselines=0.5, method=captum.attr.")
    other = MethodSet(LINEAR, [MethodSpec(IG, 0.6)]).describe()["integrated_gradients"]
    assert other == words.replace("0.5", "0.6")


def test_a_row_for_each_example_cannot_be_a_baseline():
    methods = {"ig": MethodSpec(IG, ROWS[:2]), "ok": "gradient"}
    result = cg.compare(LINEAR, X, TARGET, methods=methods, metrics=NOISE)
    assert "baselines have shape (2, 4), and (1, 4) is needed" in result.reasons["ig"]
    mine = {"mine": MethodSpec(product, torch.ones(3), multiplies_by_inputs=True)}
    with pytest.raises(ValueError, match=r"baselines have shape \(3,\), and \(1, 4\) is needed"):
        cg.compare(LINEAR, X, TARGET, methods=mine, metrics=NOISE)


ERRORS = {
    "name": (lambda: MethodSpec("gradient"), TypeError, "MethodSpec of 'gradient'.* named has its"),
    "class": (
        lambda: cg.compare(LINEAR, X, TARGET, methods=[ca.IntegratedGradients]),
        TypeError,
        r"IntegratedGradients is a class: give an object, IntegratedGradients\(model\)",
    ),
    "number": (lambda: MethodSpec(3), TypeError, "MethodSpec of 3: it needs a Captum Attribution"),
    "spec": (lambda: MethodSpec(MethodSpec(IG)), TypeError, "needs a Captum Attribution"),
    "word": (lambda: MethodSpec(IG, "0"), TypeError, "number or a tensor, not str"),
    "bool": (lambda: MethodSpec(IG, True), TypeError, "number or a tensor, not bool"),  # noqa: FBT003
    "maybe": (lambda: MethodSpec(IG, multiplies_by_inputs=1), TypeError, "True, False or None.* 1"),
    "saliency": (
        lambda: MethodSpec(ca.Saliency(LINEAR), 0.5),
        ValueError,
        "Saliency takes no baselines",
    ),
    "tunnel": (
        lambda: MethodSpec(ca.NoiseTunnel(ca.Saliency(LINEAR)), 0.5),
        ValueError,
        "Saliency takes no baselines",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_the_offender(case):
    make, kind, words = ERRORS[case]
    with pytest.raises(kind, match=words):
        make()


# --- after an exception -------------------------------------------------------------------------


class Breaks(nn.Module):
    """A network that fails behind its first rectifier, in one call of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.relu, self.last = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)
        self.calls, self.fails_at = 0, None

    def forward(self, x):
        self.calls += 1
        x = self.relu(self.first(x))
        if self.calls == self.fails_at:
            raise ZeroDivisionError("now")
        return self.last(x)


def leftovers(model):
    """Return the hooks of each module, and whether DeepLift's notes are on it."""
    return [
        {n: list(v) if "_hooks" in n else v for n, v in vars(one).items() if "hook" in n}
        | {n: n in vars(one) for n in ("input", "output")}
        for one in model.modules()
    ]


@pytest.mark.parametrize("kind", [ca.DeepLift, ca.GuidedBackprop, ca.LRP, None])
def test_what_failed_leaves_no_hook(kind):
    model = Breaks().eval()

    def hooking(inputs, target):
        model.relu.register_forward_hook(lambda *_: None)
        model.relu.register_full_backward_hook(lambda *_: None)
        return model(inputs)

    methods = {"it": kind(model) if kind else hooking, "gradient": "gradient"}
    x = torch.rand(2, 4)
    kept = model.first.register_forward_hook(lambda *_: None)
    model.fails_at = 2  # the first call is the forward pass that the named methods share
    before = leftovers(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        result = cg.compare(model, x, 0, methods=methods, metrics=[])
    assert result.reasons == {"it": "ZeroDivisionError: now"}
    assert leftovers(model) == before
    kept.remove()
