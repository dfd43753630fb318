"""Captum's gradient attributions under a rule, against slow computations of their definitions."""

import copy
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import captum.attr as ca
import networks
import numpy as np
import pytest
import quiet
import torch
from chance import from_seed
from methods import RULES, both_rules, each_rule
from networks import Dense, TwoParts
from reference import reference_gradient
from torch import nn
from torch.nn import functional as F  # noqa: N812

import captum_guided_ext.attr as ours
from captum_guided_ext import DECONVNET, GRADIENT, GUIDED, BackwardRule, NoRectifierError, with_rule

each_method = pytest.mark.parametrize(
    "build", [ca.Saliency, ca.InputXGradient, ca.IntegratedGradients], ids=lambda c: c.__name__
)


def make(act=F.relu):
    """A smooth network would integrate to the same under every rule: this one has kinks."""
    model, (x, other) = networks.make(lambda: Dense(act), (2, 4, 5), seed=3)
    return model, x, other


def attribute(attribution, *args, **options):
    with quiet.captum():
        return attribution.attribute(*args, **options)


def assert_close(got, expected):
    assert expected.flatten(1).any(1).all()
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)


# --- the definitions, slowly --------------------------------------------------------------------


@each_rule
def test_saliency(rule):
    model, x, _ = make()
    expected = reference_gradient(model, x, rule, [0, 1, 2, 1])
    method = with_rule(ca.Saliency(model), RULES[rule])
    assert torch.equal(attribute(method, x, [0, 1, 2, 1], abs=False), expected)
    assert torch.equal(attribute(method, x, [0, 1, 2, 1]), expected.abs())


@each_rule
def test_input_x_gradient(rule):
    model, x, _ = make()
    expected = x * reference_gradient(model, x, rule, 1)
    method = with_rule(ca.InputXGradient(model), RULES[rule])
    assert torch.equal(attribute(method, x, 1).detach(), expected)


@each_rule
def test_integrated_gradients(rule):
    model, x, baseline = make()
    steps = 8
    # the middle of each of eight equal steps (Sundararajan et al. 2017, equation 3)
    total = torch.zeros_like(x)
    for step in range(steps):
        point = baseline + (step + 0.5) / steps * (x - baseline)
        total += reference_gradient(model, point, rule, 1) / steps
    method = with_rule(ca.IntegratedGradients(model), RULES[rule])
    options = {"baselines": baseline, "target": 1, "n_steps": steps, "method": "riemann_middle"}
    assert_close(attribute(method, x, **options).detach(), (x - baseline) * total)


@each_rule
def test_integrated_gradients_in_small_batches(rule):
    model, x, _ = make()
    method = with_rule(ca.IntegratedGradients(model), RULES[rule])
    whole = attribute(method, x, target=1, n_steps=10)
    parts = attribute(method, x, target=1, n_steps=10, internal_batch_size=7)
    assert_close(parts.detach(), whole.detach())


@each_rule
def test_integrated_gradients_without_the_input(rule):
    model, x, _ = make()
    method = with_rule(ca.IntegratedGradients(model, multiply_by_inputs=False), RULES[rule])
    assert method.multiplies_by_inputs is False
    whole = with_rule(ca.IntegratedGradients(model), RULES[rule])
    alone = attribute(method, x, target=1, n_steps=5)
    assert_close(attribute(whole, x, target=1, n_steps=5).detach(), (x * alone).detach())


@each_rule
def test_gradient_shap(rule):
    """Erion et al. 2021: expected gradients, at random points between input and baselines."""
    model, x, baselines = make()
    samples, stdev = 6, 0.3
    method = with_rule(ca.GradientShap(model), RULES[rule])
    options = {"n_samples": samples, "stdevs": stdev, "target": 1}

    def slow():
        # the same draws, in Captum's order: noise, then baselines, then the place in between
        many = x.repeat_interleave(samples, dim=0)
        noisy = many + torch.normal(0, torch.full_like(many, stdev))
        drawn = baselines[np.random.choice(len(baselines), len(many)).tolist()]  # noqa: NPY002
        place = torch.tensor(np.random.uniform(0.0, 1.0, len(many)), dtype=x.dtype)[:, None]  # noqa: NPY002
        expected = torch.zeros_like(x)
        for index in range(len(many)):
            one = slice(index, index + 1)
            point = place[one] * noisy[one] + (1 - place[one]) * drawn[one]
            gradient = reference_gradient(model, point, rule, 1)
            expected[index // samples] += ((noisy[one] - drawn[one]) * gradient)[0] / samples
        return expected

    got = from_seed(attribute, method, x, baselines, **options)
    assert_close(got.detach(), from_seed(slow))


@both_rules
@each_method
def test_the_rule_makes_a_difference(build, rule):
    model, x, _ = make()
    options = {"abs": False} if build is ca.Saliency else {}
    plain = attribute(build(model), x, target=1, **options)
    ruled = attribute(with_rule(build(model), RULES[rule]), x, target=1, **options)
    assert not torch.allclose(ruled, plain, rtol=1e-2, atol=1e-7)


@each_method
def test_the_gradient_rule_is_the_method_itself(build):
    for act in (F.relu, torch.tanh):  # also without rectifiers, of which the other rules say so
        model, x, _ = make(act)
        expected = attribute(build(model), x, target=1)
        assert torch.equal(attribute(with_rule(build(model), GRADIENT), x, target=1), expected)
    with pytest.raises(NoRectifierError, match="Tanh"):
        attribute(with_rule(build(model), GUIDED), x, target=1)


def test_the_gradient_rule_is_gradient_shap_itself():
    model, x, baselines = make()
    maps = [
        from_seed(attribute, method, x, baselines, target=1, stdevs=0.1)
        for method in (ca.GradientShap(model), with_rule(ca.GradientShap(model), GRADIENT))
    ]
    assert torch.equal(*maps)


def test_a_rule_of_ones_own():
    model, x, _ = make()
    linear = BackwardRule("linear", clips_gradient=False, gated_by_input=False)
    weights = model.last.weight @ model.second.weight @ model.first.weight
    got = attribute(with_rule(ca.Saliency(model), linear), x, 1, abs=False)
    assert_close(got, weights[1].detach().expand_as(x))


@each_rule
def test_tuples_targets_and_further_arguments(rule):
    model, x, other = make()
    method = with_rule(ca.InputXGradient(lambda a, b, s: model(a * b, factor=s)), RULES[rule])
    got = attribute(method, (x, other), [(0,), (1,), (2,), (0,)], additional_forward_args=(2.0,))
    expected = reference_gradient(
        lambda a, b: model(a * b, factor=2.0), (x, other), rule, [(0,), (1,), (2,), (0,)]
    )
    assert isinstance(got, tuple)
    for one, gradient, given in zip(got, expected, (x, other), strict=True):
        assert torch.equal(one.detach(), given * gradient)


def test_integrated_gradients_under_the_gradient_rule_are_complete():
    model, x, baseline = make()
    method = with_rule(ca.IntegratedGradients(model), GRADIENT)
    _, delta = attribute(method, x, baseline, 1, n_steps=300, return_convergence_delta=True)
    assert delta.abs().max() < 1e-2


# --- the original -------------------------------------------------------------------------------


@each_method
def test_the_original_is_untouched(build):
    model, x, _ = make()
    original = build(model)
    before, state = attribute(original, x, target=1), copy.copy(vars(original))
    ruled = with_rule(original, GUIDED)
    assert isinstance(ruled, build)
    assert type(ruled).__qualname__ == build.__qualname__
    assert ruled is not original
    assert ruled.forward_func is model
    assert vars(original) == state
    attribute(ruled, x, target=1)
    assert torch.equal(attribute(original, x, target=1), before)


def test_a_ruled_attribution_can_be_given_another_rule():
    model, x, _ = make()
    guided = with_rule(ca.Saliency(model), GUIDED)
    deconvnet = with_rule(guided, DECONVNET)
    for method, rule in ((guided, "guided"), (deconvnet, "deconvolution")):
        expected = reference_gradient(model, x, rule, 1)
        assert torch.equal(attribute(method, x, 1, abs=False), expected)


# --- NoiseTunnel --------------------------------------------------------------------------------


def smoothgrad(model, x, rule, samples, stdev):
    """Smilkov et al. 2017: the mean over noisy copies, the noise drawn as Captum draws it."""
    many = x.repeat_interleave(samples, dim=0)
    noisy = many + torch.normal(0, torch.full_like(many, stdev))
    maps = [reference_gradient(model, noisy[i : i + 1], rule, 1) for i in range(len(many))]
    return torch.cat(maps).view(len(x), samples, -1).mean(1)


@pytest.mark.parametrize(
    ("build", "rule"),
    [
        (ours.GuidedBackprop, "guided"),
        (ours.Deconvolution, "deconvolution"),
        (lambda model: with_rule(ca.Saliency(model), GUIDED), "guided"),
        (lambda model: with_rule(ca.Saliency(model), DECONVNET), "deconvolution"),
    ],
    ids=["GuidedBackprop", "Deconvolution", "Saliency guided", "Saliency deconvnet"],
)
def test_noise_tunnel(build, rule):
    model, x, _ = make()
    method = build(model)
    options = {"abs": False} if isinstance(method, ca.Saliency) else {}
    options |= {"nt_samples": 5, "stdevs": 0.2, "target": 1}
    got = from_seed(attribute, ca.NoiseTunnel(method), x, **options)
    assert_close(got, from_seed(smoothgrad, model, x, rule, 5, 0.2))


def test_noise_tunnel_in_parts_and_of_several_inputs():
    model, x, other = make()
    tunnel = ca.NoiseTunnel(ours.GuidedBackprop(lambda a, b: model(a + b)))
    got = attribute(
        tunnel, (x, other), nt_samples=4, nt_samples_batch_size=2, stdevs=(0.0, 0.0), target=1
    )
    expected = reference_gradient(lambda a, b: model(a + b), (x, other), "guided", 1)
    for one, wanted in zip(got, expected, strict=True):
        assert_close(one, wanted)


def test_noise_tunnel_around_guided_grad_cam():
    model, x = networks.make(TwoParts)
    tunnel = ca.NoiseTunnel(ours.GuidedGradCam(model, "first"))
    got = attribute(tunnel, x, nt_samples=2, stdevs=0.0, target=0)
    assert_close(got, attribute(ca.GuidedGradCam(model, model.first), x, 0).detach())


# --- refusals -----------------------------------------------------------------------------------

LINEAR = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
NO_GRADIENTS = [
    "FeatureAblation", "FeaturePermutation", "Occlusion", "ShapleyValues", "ShapleyValueSampling",
    "Lime", "KernelShap",
]  # fmt: skip
REASONS = {
    "is a rule by itself": ["GuidedBackprop", "Deconvolution"],
    "is the guided rule by definition": ["GuidedGradCam"],
    "overrides activations in a way of its own": ["DeepLift", "DeepLiftShap", "LRP"],
    "builds a gradient function of its own and would ignore the rule": [
        "LayerConductance", "LayerGradientXActivation", "LayerGradCam", "LayerGradientShap",
        "LayerIntegratedGradients", "InternalInfluence", "NeuronGradient",
        "NeuronIntegratedGradients", "NeuronGradientShap", "NeuronConductance",
    ],
    "takes no gradients": NO_GRADIENTS,
    "": [
        "LayerActivation", "LayerDeepLift", "LayerDeepLiftShap", "LayerLRP",
        "LayerFeatureAblation", "LayerFeaturePermutation", "NeuronDeepLift", "NeuronDeepLiftShap",
        "NeuronFeatureAblation", "NeuronGuidedBackprop", "NeuronDeconvolution",
    ],
}  # fmt: skip
REFUSED = {name: reason for reason, names in REASONS.items() for name in names}
ACCEPTED = {"Saliency", "InputXGradient", "IntegratedGradients", "GradientShap"}
NO_METHODS = {  # base classes, wrappers, and what needs another library or a language model
    "Attribution", "GradientAttribution", "PerturbationAttribution", "NeuronAttribution",
    "LayerAttribution", "DataLoaderAttribution", "LimeBase", "NoiseTunnel",
    "LLMAttribution", "LLMGradientAttribution", "RemoteLLMAttribution",
}  # fmt: skip


def construct(module, name):
    kind = getattr(module, name)
    takes_layer = name.startswith(("Layer", "Neuron", "Internal", "GuidedGradCam"))
    return kind(LINEAR, LINEAR[0]) if takes_layer else kind(LINEAR)


def test_the_tables_hold_all_of_captums_attributions():
    every = {
        name
        for name in ca.__all__
        if isinstance(getattr(ca, name), type) and issubclass(getattr(ca, name), ca.Attribution)
    }
    known = REFUSED.keys() | ACCEPTED | NO_METHODS
    assert every <= known
    assert known - every <= {"RemoteLLMAttribution"}  # Captum 0.8 has none


@pytest.mark.parametrize(
    ("module", "name"),
    [(ca, name) for name in REFUSED] + [(ours, n) for n in ours.__all__ if n != "with_rule"],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_refused(module, name):
    says = "needs a gradient attribution, and" if name in NO_GRADIENTS else "does not apply to"
    with pytest.raises(TypeError, match=rf"with_rule {says} {name}\b.* {re.escape(REFUSED[name])}"):
        with_rule(construct(module, name), GUIDED)


def test_noise_tunnel_is_refused_with_the_way_round():
    way = re.escape("NoiseTunnel(with_rule(method, rule))")
    with pytest.raises(TypeError, match=rf"does not apply to NoiseTunnel: .*{way}"):
        with_rule(ca.NoiseTunnel(ca.Saliency(LINEAR)), GUIDED)


@pytest.mark.parametrize("name", sorted(ACCEPTED))
def test_accepted(name):
    assert isinstance(with_rule(construct(ca, name), GUIDED), getattr(ca, name))


@pytest.mark.parametrize("wrong", [None, LINEAR, "Saliency", ca.Saliency], ids=repr)
def test_what_is_no_attribution(wrong):
    with pytest.raises(TypeError, match="with_rule needs a gradient attribution"):
        with_rule(wrong, GUIDED)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("NeuronGradient", {"neuron_selector": 0}), ("LayerGradCam", {"target": 0})],
)
def test_why_the_layer_and_neuron_variants_are_refused(name, arguments):
    """They never ask the function a rule would be given to."""
    method = construct(ca, name)
    method.gradient_func = "no function at all"
    assert attribute(method, torch.rand(2, 5), **arguments) is not None


class OfItsOwn(ca.Saliency):
    """Computes its gradients itself, and asks nobody."""

    def attribute(self, inputs, target=None):
        with torch.enable_grad():
            leaf = inputs.detach().clone().requires_grad_()
            return torch.autograd.grad(self.forward_func(leaf)[:, target].sum(), leaf)[0]


class Keeping(ca.Saliency):
    """Asks for gradients once, from another thread, and keeps what it got."""

    kept = None

    def attribute(self, inputs, target=None):
        if self.kept is None:
            with ThreadPoolExecutor(1) as other:
                work = other.submit(self.gradient_func, self.forward_func, (inputs,), target)
                self.kept = work.result()[0]
        return self.kept


@pytest.mark.parametrize(
    "wrap", [lambda one: one, ca.NoiseTunnel], ids=["itself", "in NoiseTunnel"]
)
def test_a_method_that_never_asks_for_gradients(wrap):
    model, x, _ = make()
    attribution = wrap(with_rule(OfItsOwn(model), GUIDED))
    with pytest.raises(
        TypeError, match=r"OfItsOwn: its attribute\(\) never asks self\.gradient_func"
    ):
        attribution.attribute(x, target=1)


def test_a_method_that_has_asked_before_or_elsewhere():
    model, x, _ = make()
    ruled = with_rule(Keeping(model), "guided")
    expected = reference_gradient(model, x, "guided", 1)
    for _ in range(2):
        assert torch.equal(ruled.attribute(x, target=1), expected)


@each_method
def test_copies_and_pickles_follow_the_rule(build):
    model, x, _ = make()
    ruled = with_rule(build(model), GUIDED)
    expected = attribute(ruled, x, target=1)
    assert not torch.equal(expected, attribute(build(model), x, target=1))
    again = pickle.loads(pickle.dumps(with_rule(build(model), GUIDED)))
    assert torch.equal(attribute(again, x, target=1), expected)
    assert torch.equal(attribute(copy.deepcopy(ruled), x, target=1), expected)
