"""Guided backprop and DeconvNet, bit for bit, on every way a rectifier can stand in a network."""

import contextlib
import copy
import itertools
import warnings

import captum.attr
import pytest
import torch
import torch.distributed as dist
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference import rectifier_calls, reference_gradient
from topologies import (
    RELU6S,
    RELUS,
    TOPOLOGIES,
    ConvNet,
    Encoder,
    InSequence,
    Recurrent,
    Residual,
    Scriptable,
    ScriptableClamps,
    Sliced,
    Topology,
    TwoInputs,
    TwoParts,
    WholeNumbers,
)
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from captum_guided_ext import (
    Deconvolution,
    GuidedBackprop,
    NoRectifierError,
    OpaqueGraphError,
    rectifiers,
)

METHODS = {"guided": GuidedBackprop, "deconvolution": Deconvolution}
CAN_OPEN_COMPILED_CLOSURES = hasattr(torch.compiler, "set_stance")

both_rules = pytest.mark.parametrize("rule", METHODS)


def as_tuple(maps):
    return maps if isinstance(maps, tuple) else (maps,)


def assert_right(model, x, rule, *, eager=None, target=1, extra=None, calls=1):
    """The map of ``model`` is the reference's map of ``eager``, in every one of several calls."""
    expected = reference_gradient(eager or model, x, rule, target, extra)
    for _ in range(calls):
        got = METHODS[rule](model).attribute(x, target=target, additional_forward_args=extra)
        assert isinstance(got, tuple) is isinstance(x, tuple)
        for one, wanted in zip(as_tuple(got), as_tuple(expected), strict=True):
            assert wanted.any()
            assert one.dtype == wanted.dtype
            assert torch.equal(one, wanted)


def make(build, **options):
    return Topology("", build, **options).make()


@pytest.mark.parametrize("topology", TOPOLOGIES, ids=lambda topology: topology.name)
def test_the_topology_tells_the_rules_apart(topology):
    model, x = topology.make()
    gradient, deconvnet, guided = (
        reference_gradient(model, x, rule, topology.target)
        for rule in ("gradient", "deconvolution", "guided")
    )
    assert guided.flatten(1).any(1).all()
    assert not torch.equal(gradient, deconvnet)
    assert not torch.equal(gradient, guided)
    assert not torch.equal(deconvnet, guided)


@both_rules
@pytest.mark.parametrize("topology", TOPOLOGIES, ids=lambda topology: topology.name)
def test_topology(topology, rule):
    model, x = topology.make()
    before = x.clone()
    assert_right(model, x, rule, target=topology.target, calls=2)
    assert torch.equal(x, before)
    assert not x.requires_grad
    if isinstance(model, nn.Module):
        assert all(p.grad is None for p in model.parameters())


@both_rules
@pytest.mark.parametrize("topology", TOPOLOGIES, ids=lambda topology: topology.name)
def test_topology_of_an_input_that_requires_a_gradient(topology, rule):
    model, x = topology.make()
    x.requires_grad_()
    assert_right(model, x, rule, target=topology.target)
    assert x.requires_grad
    assert x.grad is None


@pytest.mark.parametrize("name", ["F.relu", "skip branch", "one module in parallel branches"])
def test_these_comparisons_can_fail(name):
    """Captum's own methods, wrong on these three for DeconvNet, do not pass for right."""
    (topology,) = (t for t in TOPOLOGIES if t.name == name)
    model, x = topology.make()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU", UserWarning)
        warnings.filterwarnings("ignore", "Input Tensor 0 did not already", UserWarning)
        captums = captum.attr.Deconvolution(model).attribute(x, target=1)
    assert not torch.equal(captums, reference_gradient(model, x, "deconvolution", 1))


def test_exact_zeros_and_sixes_do_reach_the_rectifiers():
    model, x = next(t for t in TOPOLOGIES if t.name == "clamp(0, 6) on exact zeros").make()
    assert isinstance(model, WholeNumbers)
    first = model.first(x)
    second = model.second(first.clamp(0, 6))
    assert (first == 0).sum() > 50
    assert (second == 0).sum() > 10
    assert (second == 6).any()


@pytest.mark.parametrize("topology", TOPOLOGIES, ids=lambda topology: topology.name)
def test_every_rectifier_on_the_path_is_reported(topology):
    model, x = topology.make()
    report = rectifiers(model, x)
    assert sum(report.overridden.values()) == len(rectifier_calls(model, x.clone()))
    assert not report.left_alone
    assert not report.opaque


# --- networks inside something else -----------------------------------------------------------


def jit(compile_, *arguments, **options):
    """Call ``torch.jit.script`` or ``torch.jit.trace``, which are deprecated but still in use."""
    with warnings.catch_warnings():
        # the attention of a transformer looks at its shapes while it is traced
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        return compile_(*arguments, **options)


@both_rules
@pytest.mark.parametrize("build", [Scriptable, TwoParts, ConvNet, Encoder])
def test_traced(build, rule):
    model, x = make(build, shape=(2, 5, 8) if build is Encoder else (2, 3, 8, 8))
    # the check would compare with a transformer's fast path, which has no rectifier of its own
    traced = jit(torch.jit.trace, model, x, check_trace=build is not Encoder)
    assert_right(traced, x, rule, eager=model, calls=4)


@both_rules
@pytest.mark.parametrize("build", [Scriptable, ScriptableClamps, TwoParts])
def test_scripted_four_calls_in_a_row(build, rule):
    model, x = make(build)
    assert_right(jit(torch.jit.script, model), x, rule, eager=model, calls=4)


@both_rules
@pytest.mark.parametrize("way", ["script", "trace"])
def test_frozen_four_calls_in_a_row(way, rule):
    model, x = make(Scriptable)
    compiled = jit(getattr(torch.jit, way), model, *([x] if way == "trace" else []))
    assert_right(jit(torch.jit.freeze, compiled), x, rule, eager=model, calls=4)


@both_rules
@pytest.mark.parametrize("build", [Recurrent, Encoder])
def test_scripted_layers_of_torchs_own_are_right_or_refused(build, rule):
    """TorchScript compiles more than their graph shows again: the first call may succeed."""
    model, x = make(build, shape=(2, 5, 8) if build is Encoder else (3, 6, 5))
    scripted = jit(torch.jit.script, model)
    for _ in range(4):
        with contextlib.suppress(OpaqueGraphError):
            assert_right(scripted, x, rule, eager=model)


@both_rules
@pytest.mark.parametrize(
    "block",
    [
        nn.Conv2d(6, 6, 3, padding=1),
        nn.Sequential(nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1)),
        nn.Sequential(nn.BatchNorm2d(6), nn.ReLU6(inplace=True)),
        Residual(nn.ReLU()),
    ],
    ids=["linear", "relu", "relu6", "skip"],
)
def test_scripted_block_in_front_of_an_eager_relu_four_calls_in_a_row(block, rule):
    model, x = make(lambda: InSequence(nn.Sequential(copy.deepcopy(block), nn.ReLU())))
    wrapped = copy.deepcopy(model)
    wrapped.middle[0] = jit(torch.jit.script, wrapped.middle[0])
    assert_right(wrapped, x, rule, eager=model, calls=4)


@both_rules
def test_scripted_function_in_a_plain_callable(rule):
    model, x = make(TwoParts)
    scripted = jit(torch.jit.script, model.second)
    assert_right(
        lambda x: model.head(scripted(model.first(x)).flatten(1)), x, rule, eager=model, calls=4
    )


@both_rules
@pytest.mark.parametrize("build", [Scriptable, TwoParts, Sliced])
def test_fx_traced(build, rule):
    model, x = make(build)
    assert_right(torch.fx.symbolic_trace(model), x, rule, eager=model, calls=2)


@both_rules
@pytest.mark.parametrize("build", [Scriptable, ScriptableClamps, TwoParts])
def test_exported(build, rule):
    model, x = make(build)
    assert_right(torch.export.export(model, (x,)).module(), x, rule, eager=model, calls=2)


@both_rules
@pytest.mark.parametrize("build", [Scriptable, Sliced, TwoParts])
def test_exported_and_decomposed(build, rule):
    # of the spellings, only F.threshold is lost here: it becomes a where like any other
    model, x = make(build)
    exported = torch.export.export(model, (x,)).run_decompositions()
    assert_right(exported.module(), x, rule, eager=model, calls=2)


@both_rules
@pytest.mark.parametrize(
    "wrap",
    [
        lambda model, x: jit(torch.jit.trace, model, x),
        lambda model, x: torch.export.export(model, (x,)).module(),
    ],
    ids=["traced", "exported"],
)
def test_an_in_place_relu_on_a_view_inside_is_right_or_refused(wrap, rule):
    model, x = make(Sliced)
    wrapped = wrap(model, x)
    for _ in range(2):
        with contextlib.suppress(OpaqueGraphError):
            assert_right(wrapped, x, rule, eager=model)


class Checkpointed(nn.Module):
    """``TwoParts`` that recomputes its stages in the backward pass."""

    def __init__(self, parts, *, use_reentrant, whole=False):
        super().__init__()
        self.parts, self.whole, self.use_reentrant = parts, whole, use_reentrant

    def forward(self, x):
        if self.whole:
            return checkpoint(self.parts, x, use_reentrant=self.use_reentrant)
        x = checkpoint(self.parts.first, x, use_reentrant=self.use_reentrant)
        x = checkpoint(self.parts.second, x, use_reentrant=self.use_reentrant)
        return self.parts.head(x.flatten(1))


@both_rules
@pytest.mark.parametrize("whole", [False, True])
def test_checkpointed(whole, rule):
    model, x = make(TwoParts)
    wrapped = Checkpointed(model, use_reentrant=False, whole=whole)
    assert_right(wrapped, x, rule, eager=model, calls=2)


@both_rules
def test_checkpointed_in_a_checkpoint(rule):
    model, x = make(TwoParts)

    def both(x):
        return model.second(checkpoint(model.first, x, use_reentrant=False))

    def nested(x):
        return model.head(checkpoint(both, x, use_reentrant=False).flatten(1))

    assert_right(nested, x, rule, eager=model, calls=2)


@both_rules
def test_checkpointed_with_an_in_place_relu_on_a_view(rule):
    model, x = make(Sliced)
    assert_right(lambda x: checkpoint(model, x, use_reentrant=False), x, rule, eager=model)


@both_rules
def test_checkpointed_recomputes_as_often_as_a_gradient_does(rule):
    model, x = make(TwoParts)
    forwards = []
    model.first[0].register_forward_hook(lambda *_: forwards.append(1))
    wrapped = Checkpointed(model, use_reentrant=False)
    METHODS[rule](wrapped).attribute(x, target=1)
    assert len(forwards) == 2


@both_rules
def test_data_parallel(rule):
    model, x = make(Scriptable)
    assert_right(nn.DataParallel(model), x, rule, eager=model, calls=2)


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
@pytest.mark.parametrize("build", [Scriptable, ConvNet, Encoder])
def test_under_autocast(build, rule):
    model, x = make(build, shape=(2, 5, 8) if build is Encoder else (2, 3, 8, 8))
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


@both_rules
@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_where_gradients_are_switched_off(without, rule):
    model, x = make(Scriptable)
    with without():
        assert_right(model, x, rule)
        assert_right(model, torch.ones_like(x) * x, rule)


@both_rules
def test_an_input_made_in_inference_mode(rule):
    model, x = make(Scriptable)
    with torch.inference_mode():
        x = x + 0
    assert_right(model, x, rule)


@both_rules
def test_an_input_that_is_no_leaf(rule):
    model, x = make(Scriptable)
    assert_right(model, 2 * x.requires_grad_(), rule)


@both_rules
def test_mapped_over_the_examples(rule):
    model, x = make(TwoParts)
    mapped = torch.vmap(lambda example: model(example[None])[0])
    assert_right(mapped, x, rule, eager=model)


@both_rules
def test_with_frozen_parameters(rule):
    model, x = make(Scriptable)
    model.requires_grad_(requires_grad=False)
    assert_right(model, x, rule)
    assert not any(p.requires_grad for p in model.parameters())


@both_rules
@pytest.mark.parametrize("build", [Scriptable, Encoder, Recurrent])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_in_another_precision(build, dtype, rule):
    shapes = {Scriptable: (2, 3, 8, 8), Encoder: (2, 5, 8), Recurrent: (3, 6, 5)}
    model, x = make(build, shape=shapes[build])
    assert_right(model.to(dtype), x.to(dtype), rule)


@both_rules
def test_in_channels_last(rule):
    model, x = make(lambda: InSequence(nn.Sequential(Residual(), nn.ReLU(inplace=True))))
    model, x = (thing.to(memory_format=torch.channels_last) for thing in (model, x))
    assert_right(model, x, rule)


@both_rules
def test_in_training_mode(rule):
    model, x = make(lambda: InSequence(nn.Sequential(nn.BatchNorm2d(6), nn.ReLU())))
    model.train()
    with one_warning("training mode"):
        got = METHODS[rule](model).attribute(x, target=1)
    assert torch.equal(got, reference_gradient(model, x, rule, 1))
    assert model.training


# --- torch.compile ----------------------------------------------------------------------------


@pytest.fixture
def dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiles(test):
    """Mark a test that compiles a network.

    Dynamo looks at every tensor's ``.grad``. It keeps the warning it gets for that from being
    shown, but not from being made an error here.
    """
    return pytest.mark.usefixtures("dynamo")(test)


@both_rules
@pytest.mark.parametrize("already_run", [False, True])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@compiles
def test_compiled(backend, already_run, rule):
    model, x = make(Scriptable)
    wrapped = torch.compile(model, backend=backend)
    if already_run:
        wrapped(x)
        wrapped(x.clone().requires_grad_()).sum().backward()
        model.zero_grad()
        with torch.no_grad():
            wrapped(x)
    assert_right(wrapped, x, rule, eager=model, calls=2)


@both_rules
@pytest.mark.parametrize("build", [ScriptableClamps, Sliced, TwoParts])
@compiles
def test_compiled_other_spellings(build, rule):
    model, x = make(build)
    wrapped = torch.compile(model, backend="aot_eager")
    wrapped(x)
    assert_right(wrapped, x, rule, eager=model)


@both_rules
@pytest.mark.parametrize("already_run", [False, True])
@compiles
def test_compiled_in_place(already_run, rule):
    model, x = make(Scriptable)
    wrapped = copy.deepcopy(model)
    wrapped.compile(backend="aot_eager")
    if already_run:
        wrapped(x.clone().requires_grad_())
    assert_right(wrapped, x, rule, eager=model, calls=2)


@both_rules
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("part", ["first", "second"])
@compiles
def test_compiled_submodule(part, in_place, rule):
    model, x = make(TwoParts)
    wrapped = copy.deepcopy(model)
    if in_place:
        getattr(wrapped, part).compile(backend="aot_eager")
    else:
        setattr(wrapped, part, torch.compile(getattr(wrapped, part), backend="aot_eager"))
    wrapped(x.clone().requires_grad_())
    assert_right(wrapped, x, rule, eager=model, calls=2)


@both_rules
@compiles
def test_compiled_linear_part_in_front_of_an_eager_relu(rule):
    model, x = make(TwoParts)
    wrapped = copy.deepcopy(model)
    wrapped.first[0] = torch.compile(wrapped.first[0], backend="aot_eager")
    assert_right(wrapped, x, rule, eager=model, calls=2)


@both_rules
@compiles
def test_a_compiled_module_stays_compiled(rule):
    model, x = make(Scriptable)
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    wrapped = torch.compile(model, backend=backend)
    wrapped(x.clone().requires_grad_())
    assert_right(wrapped, x, rule, eager=model)
    before = len(graphs)
    wrapped(x.clone().requires_grad_())
    assert len(graphs) == before


def compiled_in_a_closure():
    model, x = make(TwoParts)
    hidden = torch.compile(lambda x: F.relu(model.first(x)), backend="aot_eager")
    return model, (lambda x: model.head(model.second(hidden(x)).flatten(1))), x


@both_rules
@pytest.mark.skipif(not CAN_OPEN_COMPILED_CLOSURES, reason="torch cannot open it")
@compiles
def test_compiled_function_in_a_closure(rule):
    model, wrapped, x = compiled_in_a_closure()
    assert_right(wrapped, x, rule, eager=model, calls=2)


@both_rules
@pytest.mark.skipif(CAN_OPEN_COMPILED_CLOSURES, reason="torch can open it")
@compiles
def test_compiled_function_in_a_closure_that_cannot_be_opened(rule):
    _, wrapped, x = compiled_in_a_closure()
    with pytest.raises(OpaqueGraphError, match=r"(?i)compile"):
        METHODS[rule](wrapped).attribute(x, target=1)


# --- refusals and warnings --------------------------------------------------------------------


def test_both_errors_are_value_errors():
    assert issubclass(NoRectifierError, ValueError)
    assert issubclass(OpaqueGraphError, ValueError)


@both_rules
@pytest.mark.parametrize(
    ("activation", "named"),
    [
        (nn.GELU(), "(?i)gelu"),
        (nn.SiLU(), "(?i)silu"),
        (nn.ELU(), "(?i)elu"),
        (nn.LeakyReLU(), "(?i)leaky_?relu"),
        (nn.Hardswish(), "(?i)hardswish"),
        (nn.Softplus(), "(?i)softplus"),
        (nn.Mish(), "(?i)mish"),
        (nn.Sigmoid(), "(?i)sigmoid"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_without_a_rectifier_the_error_names_the_activation(activation, named, rule):
    model, x = make(lambda: ConvNet(activation))
    with pytest.raises(NoRectifierError, match=named):
        METHODS[rule](model).attribute(x, target=1)


@both_rules
@pytest.mark.parametrize(
    "arithmetic",
    [
        lambda x: x,
        lambda x: x.clamp(min=0.1),
        lambda x: x.clamp(min=-0.1, max=0.1),
        lambda x: x.clamp(max=0.1),
        lambda x: x.clamp_min(1e-12),
        nn.Hardtanh(),
    ],
    ids=["nothing", "floor", "both ways", "ceiling", "clamp_min", "hardtanh"],
)
def test_a_clamp_with_another_floor_is_no_rectifier(arithmetic, rule):
    model, x = make(lambda: ConvNet(arithmetic))
    with pytest.raises(NoRectifierError):
        METHODS[rule](model).attribute(x, target=1)


@both_rules
def test_a_clamp_with_another_floor_next_to_a_rectifier_is_left_alone(rule):
    model, x = make(lambda: ConvNet(lambda x: F.relu(x.clamp(min=-0.1, max=0.4)) + 0.05))
    assert_right(model, x, rule)


@both_rules
@pytest.mark.parametrize("last", [False, True])
def test_a_rectifier_that_never_sees_the_input_does_not_count(last, rule):
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.randn(5))
            self.fc = nn.Linear(6, 5)

        def forward(self, x):
            return self.fc(x) + F.relu(self.bias)

    model, x = make(lambda: nn.Sequential(Aside(), nn.Linear(5, 4)), shape=(2, 6))
    assert rectifier_calls(model, x) == ["relu"]
    with pytest.raises(NoRectifierError):
        METHODS[rule](model[0] if last else model).attribute(x, target=1)


@both_rules
def test_a_rectifier_that_never_sees_the_target_does_not_count(rule):
    model, x = make(lambda: nn.Linear(6, 4), shape=(2, 6))

    def with_another_head(x):
        scores = model(x)
        F.relu(scores)
        return scores

    with pytest.raises(NoRectifierError):
        METHODS[rule](with_another_head).attribute(x, target=1)


@both_rules
def test_reentrant_checkpointing_is_refused(rule):
    model, x = make(TwoParts)
    wrapped = Checkpointed(model, use_reentrant=True)
    with pytest.raises(OpaqueGraphError, match=r"(?i)checkpoint"):
        METHODS[rule](wrapped).attribute(x, target=1)


@both_rules
def test_scripted_in_place_relu_on_a_view_is_refused_in_every_call(rule):
    # no graph that TorchScript leaves behind shows it
    model, x = make(Sliced)
    scripted = jit(torch.jit.script, model)
    assert_right(model, x, rule)
    for _ in range(4):
        with pytest.raises(OpaqueGraphError):
            METHODS[rule](scripted).attribute(x, target=1)


@contextlib.contextmanager
def one_warning(match):
    with pytest.warns(UserWarning, match=match) as record:
        yield
    assert len(record) == 1
    assert record[0].filename == __file__


@both_rules
@pytest.mark.parametrize(
    ("activation", "named"),
    [
        (nn.Hardswish(), "(?i)hardswish"),
        (nn.GELU(), "(?i)gelu"),
        (nn.LeakyReLU(), "(?i)leaky_?relu"),
        (nn.PReLU(), "(?i)prelu"),
    ],
    ids=["Hardswish", "GELU", "LeakyReLU", "PReLU"],
)
def test_mixed_activations_are_computed_with_one_warning(activation, named, rule):
    model, x = make(lambda: ConvNet(lambda x: activation(F.relu(x) - 0.1)))
    with one_warning(named):
        got = METHODS[rule](model).attribute(x, target=1)
    assert torch.equal(got, reference_gradient(model, x, rule, 1))


class Doubled(torch.autograd.Function):
    """A function of the user's own, into which nobody can see."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, g):
        return 2 * g


@both_rules
def test_a_function_of_the_users_own_is_passed_with_one_warning(rule):
    model, x = make(lambda: ConvNet(lambda x: Doubled.apply(F.relu(x))))
    with one_warning("Doubled"):
        got = METHODS[rule](model).attribute(x, target=1)
    assert torch.equal(got, reference_gradient(model, x, rule, 1))


# --- several inputs, targets, further arguments -----------------------------------------------


@both_rules
@pytest.mark.parametrize("extra", [None, 0.5, (0.5,), (0.5, torch.tensor([1.0, -2.0, 3.0, 0.5]))])
def test_several_inputs_and_further_arguments(extra, rule):
    model, image = make(TwoInputs)
    table = torch.linspace(-1, 1, 10).reshape(2, 5)
    assert_right(model, (image, table), rule, extra=extra)


@both_rules
def test_one_input_of_two_as_a_tuple(rule):
    model, x = make(Scriptable)
    assert_right(model, (x,), rule)


@both_rules
@pytest.mark.parametrize(
    "target",
    [
        2,
        torch.tensor(2),
        torch.tensor([2]),
        torch.tensor([2, 0, 3]),
        [2, 0, 3],
    ],
    ids=str,
)
def test_targets_of_scores(target, rule):
    model, x = make(Scriptable, shape=(3, 3, 8, 8))
    assert_right(model, x, rule, target=target)


@both_rules
@pytest.mark.parametrize("target", [(1, 2), [(1, 2), (0, 0), (4, 3)]], ids=str)
def test_targets_of_a_table_of_scores(target, rule):
    model, x = make(
        lambda: nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 20)), shape=(3, 6)
    )
    assert_right(lambda x: model(x).reshape(3, 5, 4), x, rule, target=target)


@both_rules
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_no_target_of_a_single_score(shape, rule):
    model, x = make(Scriptable, shape=(3, 3, 8, 8))
    assert_right(lambda x: model(x).amax(1).reshape(shape), x, rule, target=None)


@both_rules
def test_the_target_decides(rule):
    model, x = make(Scriptable)
    one, other = (METHODS[rule](model).attribute(x, target=target) for target in (1, 2))
    assert not torch.equal(one, other)


# --- random networks --------------------------------------------------------------------------

SPELLINGS = {"none": lambda x: x, **RELUS, **RELU6S}

layers = st.tuples(
    st.integers(2, 9),  # width
    st.sampled_from(sorted(SPELLINGS)),
    st.booleans(),  # a skip branch around the rectifier
    st.booleans(),  # the rectifier sees a slice of the channels only
)


class Random(nn.Module):
    """Linear or convolutional layers, rectified as the drawn description says."""

    def __init__(self, description, *, convolutional):
        super().__init__()
        self.description = description
        widths = [3, *(width for width, *_ in description)]
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) if convolutional else nn.Linear(a, b)
            for a, b in itertools.pairwise(widths)
        )
        self.head = nn.Linear(widths[-1] * (25 if convolutional else 1), 3)

    def forward(self, x):
        for layer, (_, spelling, skip, in_part) in zip(self.layers, self.description, strict=True):
            y = layer(x)
            if in_part:
                x = torch.cat([SPELLINGS[spelling](y[:, :1]), y[:, 1:]], 1)
            else:
                x = SPELLINGS[spelling](y)
            x = x + 0.5 * y if skip else x
        return self.head(x.flatten(1))


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    description=st.lists(layers, min_size=1, max_size=4),
    convolutional=st.booleans(),
    batch=st.integers(1, 3),
    seed=st.integers(0, 2**16),
)
def test_random_networks(description, convolutional, batch, seed):
    model, x = make(
        lambda: Random(description, convolutional=convolutional),
        shape=(batch, 3, 5, 5) if convolutional else (batch, 3),
        seed=seed,
    )
    rectified = any(spelling != "none" for _, spelling, *_ in description)
    for rule, method in METHODS.items():
        expected = reference_gradient(model, x, rule, 1)
        assume(expected.flatten(1).any(1).all())  # a map of zeros has a warning of its own
        if rectified:
            assert torch.equal(method(model).attribute(x, target=1), expected)
        else:
            with pytest.raises(NoRectifierError):
                method(model).attribute(x, target=1)
