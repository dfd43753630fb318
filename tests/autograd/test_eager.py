"""Graphs that hide their rectifiers: what is explained is the caller's function, and only that."""

import contextlib
import copy
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from methods import assert_right, both_rules
from networks import TwoParts, make, perceptron
from reference import reference_gradient
from topologies import (
    WRAPPED,
    Between,
    Hooked,
    Referring,
    checkpointed,
    compiled,
    compiled_and_counted,
    compiled_by_eager,
    has_run,
    part,
    relu_and_more,
    script,
    scripted_function,
    swish,
    two_rectifying_parts,
)
from torch import nn
from unchanged import Stop

import captum_guided_ext as cg
from captum_guided_ext.autograd import _scripts
from captum_guided_ext.autograd._eager import _forced_eager
from captum_guided_ext.autograd._nodes import operation_of


@pytest.mark.usefixtures("dynamo")
def test_hooks_on_a_compiled_wrapper_are_part_of_the_function():
    plain, x = make(perceptron, (4, 6))
    compiled = compiled_by_eager(plain, x)
    compiled.register_forward_hook(lambda _module, _args, output: -output)
    assert torch.equal(cg.ForwardPass(compiled, x).output, -plain(x))
    assert_right(compiled, x, "guided", eager=lambda x: -plain(x))
    nested = nn.Sequential(compiled, nn.Linear(3, 2))
    assert_right(nested, x, "guided", eager=lambda x: nested[1](-plain(x)))


@both_rules
def test_a_scripted_swish_behind_a_relu(rule):
    model, x = make(lambda: Between(swish))
    scripted = has_run(scripted_function)(copy.deepcopy(model), x)
    assert_right(scripted, x, rule, eager=model, calls=3, warns="1 Sigmoid")


@both_rules
def test_scripted_batch_norm_and_dropout_four_calls_in_a_row(rule):
    plain, x = make(lambda: perceptron(nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU6()), (4, 6))
    plain[2].running_mean.uniform_(-1, 1, generator=torch.Generator().manual_seed(2))
    assert_right(script(plain, x), x, rule, eager=plain, calls=4)


class OnAView(nn.Module):
    """Has an in-place ReLU on a view, so that it is run twice."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        self.norm = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        x = self.dropout(self.norm(self.first(x)))
        x[:, 2:].relu_()
        return self.last(x)


def test_the_second_run_stands_for_itself_and_buffers_end_as_after_one():
    (once, x), (explained, _) = (make(OnAView, (4, 6)) for _ in range(2))
    once.train()
    explained.train()
    once(x)
    torch.manual_seed(3)
    torch.rand(4, 8)  # the first run's
    second = torch.rand(4, 8)
    torch.manual_seed(3)
    drawn = []
    explained.dropout = torch.nn.Identity()
    explained.dropout.forward = lambda x: drawn.append(torch.rand(4, 8)) or x
    with pytest.warns(UserWarning, match="training mode with BatchNorm1d"):
        forward_pass = cg.ForwardPass(explained, x)
    assert torch.equal(drawn[-1], second)  # nothing was put back
    assert len(drawn) == 2
    for buffer, expected in zip(explained.buffers(), once.buffers(), strict=True):
        assert torch.equal(buffer, expected)
    assert forward_pass.rectifiers().overridden == {"ReLU": 1}


class MovingAverage(nn.Module):
    """Keeps averages in eval mode too: in one buffer in place, in others by another tensor."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("peak", torch.zeros(6))
        self.register_buffer("calls", None)
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
        self.calls = torch.tensor(1 if self.calls is None else int(self.calls) + 1)
        self.peak = torch.maximum(0.9 * self.peak, x.detach().amax(0))
        return self.last(torch.where(x > 0, x, 0) + self.mean + self.peak)


@pytest.mark.parametrize("name", ["__call__", "forward"])
def test_buffers_that_are_written_to_in_eval_mode_end_as_after_one_run(name):
    (once, x), (explained, _) = (make(MovingAverage, (4, 6)) for _ in range(2))
    outputs = [once(x) for _ in range(3)]
    for output in outputs:
        call = explained if name == "__call__" else explained.forward
        assert torch.equal(cg.ForwardPass(call, x).output, output)
    for buffer, expected in zip(explained.buffers(), once.buffers(), strict=True):
        assert torch.equal(buffer, expected)


@pytest.mark.parametrize("build", [Hooked, Referring])
@pytest.mark.parametrize("wrap", [compiled, part("middle", script), lambda m, x: m])
@pytest.mark.usefixtures("dynamo")
def test_what_forward_sets_is_on_the_callers_model(wrap, build):
    model, x = make(build)
    wrapped = has_run(wrap)(model, x)
    keeper = model if build is Hooked else model.encoder
    keeper.features = None
    cg.GuidedBackprop(wrapped).attribute(2 * x, 1)
    conv = model.first if build is Hooked else model.encoder.conv
    assert torch.equal(keeper.features, torch.relu(conv(2 * x)))
    assert keeper.features.grad_fn is not None


@pytest.mark.usefixtures("dynamo")
def test_compiled_code_is_as_it_was():
    model, x = make(TwoParts)
    compiled, graphs = compiled_and_counted(model)
    for one in (x, x.clone().requires_grad_()):
        compiled(one)
    before = len(graphs)
    for _ in range(3):
        cg.GuidedBackprop(compiled).attribute(x, 1)
        cg.GuidedGradCam(lambda x: 1.0 * compiled(x), model.first).attribute(x, 1)
    for one in (x, x.clone().requires_grad_()):
        compiled(one)
    assert len(graphs) == before > 0


def test_scripts_run_as_ever_afterwards_and_in_other_threads():
    kinds = torch._C.ScriptMethod, torch._C.ScriptFunction
    calls = [vars(kind)["__call__"] for kind in kinds]
    model, x = make(two_rectifying_parts)
    scripted, eager = script(model, x), model(x)
    graphs = []

    def graph_of_a_call():
        return scripted(x.clone().requires_grad_()).grad_fn

    def look(_):
        with ThreadPoolExecutor(1) as other:
            graphs.append(
                other.submit(lambda: scripted(x.clone().requires_grad_()).grad_fn).result()
            )
        graphs.append(scripted(x.clone().requires_grad_()).grad_fn)
        raise Stop("on purpose")

    for _ in range(3):
        graph_of_a_call()
    with pytest.raises(Stop):
        cg.GuidedBackprop(look).attribute(x, 1)
    there, here = graphs
    assert "DifferentiableGraph" in names_below(there)
    assert "DifferentiableGraph" not in names_below(here)
    assert [vars(kind)["__call__"] for kind in kinds] == calls
    assert torch.equal(scripted(x), eager)


@pytest.mark.parametrize(
    "name",
    [
        "a part scripted, Hooked",
        "a part scripted, Referring",
        "scripted, in a lambda, 0",
        "scripted, its forward, 0",
        "scripted, in a partial, 0",
        "scripted with a hook, 0",
        "a part scripted with a hook, 0",
        "a scripted function, 0",
    ],
)
def test_a_script_hides_what_it_does(name):
    build, wrap = WRAPPED[name]
    model, x = make(build)
    assert "DifferentiableGraph" in names_below(wrap(model, x)(x.clone().requires_grad_()).grad_fn)


def names_below(node):
    """Return the names of the operations of a graph."""
    names, waiting = set(), [node]
    while waiting:
        node = waiting.pop()
        names.add(operation_of(node))
        waiting += [child for child, _ in node.next_functions if child is not None]
    return names


def test_a_pass_inside_a_pass():
    model, x = make(two_rectifying_parts)
    scripted = has_run(script)(model, x)

    def explains_on_the_way(x):
        inner = cg.GuidedBackprop(scripted).attribute(x, 2)
        return scripted(x + 0.1 * inner)

    inner = reference_gradient(model, x, "guided", 2)
    assert_right(explains_on_the_way, x, "guided", eager=lambda x: model(x + 0.1 * inner), calls=3)


def test_a_checkpoint_around_a_script_is_refused():
    model, x = make(two_rectifying_parts)
    scripted = script(model.second, x)
    for _ in range(3):
        scripted(model.first(x.clone().requires_grad_()))
    with pytest.raises(cg.OpaqueGraphError, match="checkpoint around a script"):
        cg.GuidedBackprop(
            lambda x: model.head(checkpointed(scripted)(model.first(x)).flatten(1))
        ).attribute(x, 1)


@pytest.mark.usefixtures("dynamo")
def test_where_torch_has_no_switch_for_one_thread_the_last_to_need_it_ends_it():
    double, calls = compiled_and_counted(lambda x: x * 2)
    first, second = _forced_eager(), _forced_eager()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    double(torch.ones(2))
    assert calls == []
    second.__exit__(None, None, None)
    double(torch.ones(2))
    assert len(calls) == 1


def counted_script(x, seen):
    """Count its runs, and rectify."""
    seen.add_(1)
    if x.sum() > 1e6:
        raise ValueError("on purpose")
    return torch.relu(x) * 1.5


def test_a_script_runs_once_in_each_pass_also_where_it_raises(monkeypatch):
    lowerings = []
    lower = _scripts._lowered
    monkeypatch.setattr(
        _scripts, "_lowered", lambda f, *given: lowerings.append(f.name) or lower(f, *given)
    )
    scripted, seen, x = torch.jit.script(counted_script), torch.zeros(()), torch.randn(2, 4)
    forward_pass = cg.ForwardPass(lambda x: scripted(x, seen), x)
    assert (seen.item(), lowerings) == (1, ["counted_script"])
    assert forward_pass.rectifiers().overridden == {"ReLU": 1}
    with pytest.raises(torch.jit.Error, match="on purpose"):
        cg.ForwardPass(lambda x: scripted(x, seen), 1e7 * x.abs())
    assert seen.item() == 2


@pytest.mark.parametrize("given", [{"bogus": 3}, {"x": 1.0}, {}], ids=str)
def test_a_script_is_called_as_it_wants_to_be(given):
    scripted = torch.jit.script(counted_script)
    with pytest.raises(RuntimeError, match=r"counted_script\(\)"):
        cg.ForwardPass(lambda x: scripted(x, **given), torch.randn(2, 4))


class Appending(nn.Module):
    """Keeps a list that it writes to."""

    def __init__(self):
        super().__init__()
        self.kept: list[int] = [1]

    def forward(self, x):
        self.kept.append(1)
        return torch.relu(x) * float(len(self.kept))


def test_a_script_that_writes_to_its_list_is_run_as_it_is():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(Appending())
    for _ in range(3):
        before = len(scripted.kept)
        with contextlib.suppress(cg.OpaqueGraphError):
            cg.GuidedBackprop(lambda x: scripted(x)).attribute(torch.ones(2, 4), 1)  # noqa: PLW0108
        assert len(scripted.kept) > before


def calling_another(x):
    """Call another script."""
    return relu_and_more(x) - 0.2


def test_a_script_that_calls_one_that_has_run():
    scripted, x = torch.jit.script(calling_another), torch.randn(2, 4)
    for _ in range(3):
        torch.jit.script(relu_and_more)(x.clone().requires_grad_())
        scripted(x.clone().requires_grad_())
    assert str(cg.rectifiers(lambda x: scripted(1.0 * x), x)) == "overridden: 1 ReLU"


def test_tracing_on_the_way_records_what_it_would_without():
    scripted = torch.jit.script(relu_and_more)

    def traces(x):
        traced = torch.jit.trace(lambda x: scripted(x) * 2, x.detach(), check_trace=False)
        return traced(x)

    x = torch.randn(2, 4)
    assert str(cg.rectifiers(traces, x)) == "overridden: 1 ReLU"


@pytest.mark.parametrize("at", range(1, 12))
def test_an_interruption_on_the_way_in_or_out_leaves_torch_as_it_was(at):
    kinds = torch._C.ScriptMethod, torch._C.ScriptFunction
    calls = [vars(kind)["__call__"] for kind in kinds]
    left = at

    def interrupt(frame, _event, _arg):
        nonlocal left
        if frame.f_code.co_filename != _scripts.__file__:
            return
        # Before Python 3.11, who raises here as a generator goes on ends it without its
        # ``finally``, which a signal does not.
        if sys.version_info < (3, 11) and frame.f_lasti >= 0:
            return
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return

    previous = sys.gettrace()
    sys.settrace(interrupt)
    try:
        with contextlib.suppress(KeyboardInterrupt), _scripts.lowered():
            pass
    finally:
        sys.settrace(previous)
    with _scripts.lowered():
        pass
    assert [vars(kind)["__call__"] for kind in kinds] == calls
