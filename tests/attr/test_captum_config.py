"""Captum's own generic test configuration, run over the classes of the same names here."""

import copy

import captum.attr
import pytest
import quiet
import torch
from chance import as_tuple
from places import captums_testing
from torch import nn
from unchanged import HOOKS

import captum_guided_ext.attr

reading = captums_testing("attr.helpers.gen_test_utils")
config = captums_testing("attr.helpers.test_config").config
NAMES = captum_guided_ext.attr.__all__
CASES = {
    f"{case['name']}, {algorithm.__name__}": (case, algorithm)
    for case in config
    for algorithm in case["algorithms"]
    if algorithm.__name__ in NAMES
}
each_case = pytest.mark.parametrize("name", CASES)
# of untrained networks, on which Captum says nothing
pytestmark = pytest.mark.filterwarnings("ignore:the .* is zero everywhere")


def prepare(name, package=captum_guided_ext.attr, wrap=lambda model: model):
    """Return the method of a case, with its model, and what its attribute() takes."""
    case, algorithm = CASES[name]
    _, model, arguments, layer, noise_tunnel, _ = reading.parse_test_config(case)
    model = copy.deepcopy(model)
    method = getattr(package, algorithm.__name__)
    at = () if layer is None else (reading.get_target_layer(model, layer),)
    attribution = method(wrap(model), *at)
    if noise_tunnel:
        attribution = captum.attr.NoiseTunnel(attribution)
    return attribution, model, dict(arguments)


def attribute(attribution, arguments):
    torch.manual_seed(1234)  # of NoiseTunnel
    with quiet.captum():
        return as_tuple(attribution.attribute(**arguments))


def assert_close(got, expected, delta=1e-5):
    for one, wanted in zip(got, expected, strict=True):
        torch.testing.assert_close(one, wanted, atol=delta, rtol=1e-4)


def test_there_are_cases_of_every_class():
    methods = {algorithm.__name__ for _, algorithm in CASES.values()}
    assert methods == set(NAMES) - {"with_rule"}
    assert len(CASES) > 25
    assert len(TARGETS) == 8


@each_case
def test_captums_numbers(name):
    ours, _, arguments = prepare(name)
    theirs, _, _ = prepare(name, captum.attr)
    assert_close(attribute(ours, arguments), attribute(theirs, arguments))


TARGETS = [
    name
    for name, (case, _) in CASES.items()
    if isinstance(case["attribute_args"].get("target"), (list, torch.Tensor))
    and len(case["attribute_args"]["target"]) > 1
    and not case.get("noise_tunnel")
]


@pytest.mark.parametrize("name", TARGETS)
def test_targets(name):
    """A batch with a target for each example is the examples one by one."""
    attribution, _, arguments = prepare(name)
    together = attribute(attribution, arguments)
    inputs = as_tuple(arguments["inputs"])
    extra = as_tuple(arguments.get("additional_forward_args", ()))
    for index, target in enumerate(arguments["target"]):

        def at(one, index=index):
            is_batch = isinstance(one, torch.Tensor) and len(one) == len(arguments["target"])
            return one[index : index + 1] if is_batch else one

        alone = dict(arguments, inputs=tuple(map(at, inputs)), target=target)
        if extra:
            alone["additional_forward_args"] = tuple(map(at, extra))
        assert_close(attribute(attribution, alone), [at(one) for one in together], 1e-4)


@each_case
@pytest.mark.parametrize("fails", [False, True])
def test_hook_removal(name, fails):
    attribution, model, arguments = prepare(name)
    if fails:

        def stop(*_):
            raise ValueError("on purpose")

        handle = model.register_forward_hook(stop)
        with pytest.raises(ValueError, match="on purpose"):
            attribute(attribution, arguments)
        handle.remove()
    else:
        attribute(attribution, arguments)
    assert not any(getattr(module, hooks) for module in model.modules() for hooks in HOOKS)


@each_case
def test_data_parallel(name):
    # on machines without a GPU the wrapper calls its module
    plain, model, arguments = prepare(name)
    expected = attribute(plain, arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    wrapped, model, arguments = prepare(name, wrap=nn.DataParallel)
    model.to(device)
    arguments = {key: on(device, value) for key, value in arguments.items()}
    got = attribute(wrapped, arguments)
    assert_close([one.cpu() for one in got], expected, 1e-4)


def on(device, value):
    if isinstance(value, tuple):
        return tuple(on(device, one) for one in value)
    return value.to(device) if isinstance(value, torch.Tensor) else value
