"""Graphs that hide their rectifiers: what is explained is the caller's function, and only that."""

import pytest
import torch
from methods import assert_right, both_rules
from networks import make, perceptron
from topologies import compiled_by_eager, script
from torch import nn

import captum_guided_ext as cg
from captum_guided_ext.autograd._reruns import forced_eager


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


def test_the_second_run_sees_the_same_noise_and_buffers():
    (once, x), (explained, _) = (make(OnAView, (4, 6)) for _ in range(2))
    once.train()
    explained.train()
    torch.manual_seed(3)
    output = once(x)
    after_one_call = torch.get_rng_state()
    torch.manual_seed(3)
    with pytest.warns(UserWarning, match="training mode with BatchNorm1d, Dropout"):
        forward_pass = cg.ForwardPass(explained, x)
    assert torch.equal(forward_pass.output, output)
    assert torch.equal(torch.get_rng_state(), after_one_call)
    for buffer, expected in zip(explained.buffers(), once.buffers(), strict=True):
        assert torch.equal(buffer, expected)
    assert forward_pass.rectifiers().overridden == {"ReLU": 1}


@pytest.mark.skipif(not hasattr(torch.compiler, "set_stance"), reason="torch has no stances")
@pytest.mark.usefixtures("dynamo")
def test_forcing_eager_mode_ends_with_the_last_that_needs_it():
    calls = []

    def count(graph, _inputs):
        calls.append(graph)
        return graph.forward

    double = torch.compile(lambda x: x * 2, backend=count)
    first, second = forced_eager(), forced_eager()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    double(torch.ones(2))
    assert calls == []
    second.__exit__(None, None, None)
    double(torch.ones(2))
    assert len(calls) == 1
