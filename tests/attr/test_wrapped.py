"""Networks inside something else, and in other precisions and modes: the map stays the same."""

import contextlib
import copy

import pytest
import torch
import torch.distributed as dist
from methods import METHODS, assert_right, both_rules
from networks import Conv, TwoParts, make
from reference import reference_gradient
from topologies import (
    MAY_HAVE_MASKS,
    REFUSED,
    RIGHT_OR_REFUSED,
    WRAPPED,
    Encoder,
    Recurrent,
    Residual,
    Scriptable,
    compiled_and_counted,
    in_sequence,
)
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from unchanged import nothing_changed

from captum_guided_ext import OpaqueGraphError


@both_rules
@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.usefixtures("dynamo")
def test_wrapped_four_calls_in_a_row(name, rule):
    build, wrap = WRAPPED[name]
    model, x = make(build)
    warns = "may be ReLUs, .*: 1 Mul in the script" if name in MAY_HAVE_MASKS else None
    assert_right(wrap(copy.deepcopy(model), x), x, rule, eager=model, calls=4, warns=warns)


@pytest.fixture
def process_group(tmp_path):
    store = f"file://{tmp_path}/store"
    dist.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@both_rules
@pytest.mark.parametrize("find_unused_parameters", [False, True])
@pytest.mark.usefixtures("process_group")
def test_distributed_data_parallel_three_calls_in_a_row(find_unused_parameters, rule):
    model, x = make(Scriptable)
    wrapped = DistributedDataParallel(
        copy.deepcopy(model), find_unused_parameters=find_unused_parameters
    )
    assert_right(wrapped, x, rule, eager=model, calls=3)


@both_rules
@pytest.mark.parametrize("name", RIGHT_OR_REFUSED)
def test_right_or_refused(name, rule):
    build, wrap = RIGHT_OR_REFUSED[name]
    model, x = make(build)
    wrapped = wrap(model, x)
    for _ in range(4):
        with contextlib.suppress(OpaqueGraphError):
            assert_right(wrapped, x, rule, eager=model)


@both_rules
@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.usefixtures("dynamo")
def test_refused_in_every_call(name, rule):
    build, wrap, named = REFUSED[name]
    model, x = make(build)
    assert_right(model, x, rule)
    wrapped = wrap(model, x)
    for _ in range(4):
        with pytest.raises(OpaqueGraphError, match=named):
            METHODS[rule](wrapped).attribute(x, target=1)


@both_rules
@pytest.mark.usefixtures("dynamo")
def test_a_compiled_module_stays_compiled(rule):
    model, x = make(Scriptable)
    wrapped, graphs = compiled_and_counted(model)
    wrapped(x.clone().requires_grad_())
    assert_right(wrapped, x, rule, eager=model)
    before = len(graphs)
    wrapped(x.clone().requires_grad_())
    assert len(graphs) == before


@both_rules
@pytest.mark.parametrize("build", [Scriptable, Conv, Encoder])
def test_under_autocast(build, rule):
    model, x = make(build)
    in_full_precision = reference_gradient(model, x, rule, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_right(model, x, rule)
        assert not torch.equal(in_full_precision, reference_gradient(model, x, rule, 1))


@both_rules
def test_with_autocast_inside(rule):
    model, x = make(TwoParts)

    def mixed(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            x = model.second(model.first(x))
        return model.head(x.flatten(1).float())

    assert_right(mixed, x, rule)


def skip_branch():
    return in_sequence(Residual(), nn.ReLU(inplace=True))


# how the network and its input are brought into the form, and the networks
FORMS = {
    "frozen": (lambda m, x: (m.requires_grad_(requires_grad=False), x), [Scriptable]),
    "double": (lambda m, x: (m.double(), x.double()), [Scriptable, Encoder, Recurrent]),
    "bfloat16": (lambda m, x: (m.bfloat16(), x.bfloat16()), [Scriptable, Encoder, Recurrent]),
    "channels last": (
        lambda *both: (thing.to(memory_format=torch.channels_last) for thing in both),
        [skip_branch],
    ),
}


@both_rules
@pytest.mark.parametrize(
    ("bring", "build"),
    [
        pytest.param(f, build, id=f"{name}, {build.__name__}")
        for name, (f, builds) in FORMS.items()
        for build in builds
    ],
)
def test_in_another_form(bring, build, rule):
    model, x = bring(*make(build))
    with nothing_changed(model, x):
        assert_right(model, x, rule)


@both_rules
def test_in_training_mode(rule):
    model, x = make(lambda: in_sequence(nn.BatchNorm2d(6), nn.ReLU()))
    model.train()
    assert_right(model, x, rule, warns="training mode")
    assert model.training
