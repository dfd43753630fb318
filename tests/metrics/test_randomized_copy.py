"""The copy whose weights are drawn anew: its layers, what it draws, and what it spares."""

import copy
import threading

import pytest
import torch
from networks import Conv, Dense, Stateful, make, seeded
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations
from unchanged import nothing_changed

from captum_guided_ext.errors import ModelError
from captum_guided_ext.metrics._utils.randomized_copy import ORDERS, RandomizedCopy
from captum_guided_ext.metrics._utils.reinitialization import REINITIALIZATIONS

each_way = pytest.mark.parametrize("way", REINITIALIZATIONS)
X = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))


def made(model, x=X, order="cascading", way="permuted", seed=0):
    found = RandomizedCopy(model, way, seed)
    found.find_layers_by(x, None, order)
    return found


def layers(model, x=X, order="cascading", way="permuted"):
    return made(model, x, order, way).layers


class Backwards(nn.Module):
    """Registers its layers in another order than it uses them in, and one that it never uses."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(5, 3)
        self.auxiliary = nn.Linear(5, 3)
        self.first, self.middle = nn.Linear(5, 5), nn.Linear(5, 5)
        self.unused = nn.Linear(5, 5)

    def forward(self, x):
        hidden = self.middle(self.first(x).relu()).relu()
        return {"logits": self.last(hidden), "auxiliary": self.auxiliary(hidden)}


class Attention(nn.Module):
    """A small transformer: parameters of its own, and an attention that never calls its part."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 6))
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.embed = nn.Linear(5, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.embed(x)[:, None]
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1)
        return self.head(self.attention(x, x, x, need_weights=False)[0][:, 0])


class Tied(nn.Module):
    """An input layer whose weight is the output layer's: one parameter, or two of one memory."""

    def __init__(self, *, by_memory=False):
        super().__init__()
        self.embed, self.inner = nn.Linear(5, 5), nn.Linear(5, 5)
        self.head = nn.Linear(5, 5, bias=False)
        self.head.weight = nn.Parameter(self.embed.weight.data) if by_memory else self.embed.weight

    def forward(self, x):
        return self.head(self.inner(self.embed(x).relu()).relu())


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared, self.between = nn.Linear(5, 5), nn.Linear(5, 5)

    def forward(self, x):
        return self.shared(self.between(self.shared(x).relu()).relu())


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)
        for values in (self.norm.weight, self.norm.bias, self.norm.running_mean):
            values.data.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


def test_layers_come_in_the_order_of_use_and_those_that_lead_nowhere_are_none():
    model = seeded(Backwards)
    assert layers(model) == ("last", "middle", "first")
    assert layers(model, order="bottom_up") == ("first", "middle", "last")
    assert layers(model, order="independent") == ("last", "middle", "first")


def test_weights_that_are_used_without_a_call_have_their_place():
    found = layers(seeded(Attention))
    assert found == ("head", "attention.out_proj", "attention", "Attention", "embed")


@pytest.mark.parametrize("by_memory", [False, True])
@pytest.mark.parametrize("order", ["cascading", "bottom_up"])
def test_tied_weights_are_drawn_once_with_the_layer_that_comes_first(by_memory, order):
    model = seeded(lambda: Tied(by_memory=by_memory))
    found = made(model, order=order)
    up = order == "bottom_up"
    # Up from the input, nothing of its own is left to the head; the embedding has its bias, too.
    assert found.layers == (("embed", "inner") if up else ("head", "inner", "embed"))
    found.randomize(found.layers[0], 0)
    assert torch.equal(found.model.head.weight, found.model.embed.weight)
    drawn = found.model.head.weight.clone()
    assert not torch.equal(drawn, model.head.weight)
    found.randomize("embed", 0)
    assert torch.equal(found.model.head.weight, drawn)
    found.restore()
    assert torch.equal(found.model.head.weight, model.head.weight)


def test_a_layer_that_is_used_twice_stands_where_it_is_met_first():
    model = seeded(Twice)
    assert layers(model) == ("shared", "between")
    assert layers(model, order="bottom_up") == ("shared", "between")


def test_parametrised_weights_belong_to_their_module():
    model = seeded(lambda: nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3)))
    parametrizations.weight_norm(model[0])
    found = made(model)
    assert found.layers == ("2", "0")
    found.randomize("0", 0)
    assert not torch.equal(found.model[0].weight, model[0].weight)


class FrozenNorm(nn.Module):
    """As the one of torchvision and its like."""

    def __init__(self, features):
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(features) + 0.5)

    def forward(self, x):
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        return x * scale + (self.bias - self.running_mean * scale)


def plain_norm(features):
    norm = nn.BatchNorm1d(features, affine=False)
    norm.running_mean.uniform_()
    norm.running_var.uniform_(0.5, 1.5)
    return norm


@each_way
@pytest.mark.parametrize("norm", [FrozenNorm, plain_norm])
@pytest.mark.parametrize("order", ["cascading", "bottom_up"])
@pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated")
def test_norms_without_parameters_are_layers(norm, order, way):
    model = seeded(lambda: nn.Sequential(nn.Linear(5, 4), norm(4), nn.ReLU(), nn.Linear(4, 3)))
    for one in (model, torch.jit.script(model)):
        with nothing_changed(one):
            found = made(one, order=order, way=way)
            assert found.layers == (("3", "1", "0") if order == "cascading" else ("0", "1", "3"))
            found.randomize("1", 0)
        before, after = model[1].state_dict(), found.model.state_dict()
        for name in before.keys() - {"num_batches_tracked"}:
            assert not torch.equal(after[f"1.{name}"], before[name]), name
            assert not after[f"1.{name}"].requires_grad


def test_a_norm_that_leads_nowhere_is_no_layer():
    model = seeded(Backwards)
    model.auxiliary = nn.Sequential(model.auxiliary, plain_norm(3))
    assert layers(model) == ("last", "middle", "first")


def test_a_single_layer_goes_by_its_class():
    assert layers(seeded(lambda: nn.Linear(5, 3))) == ("Linear",)


def test_a_step_that_would_change_nothing_is_none():
    model = seeded(lambda: nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)))
    assert layers(model) == layers(model, way="normal") == layers(model, way="reset") == ("2", "0")
    model[1].running_mean.normal_()
    assert layers(model) == layers(model, way="reset") == ("2", "1", "0")
    flat = nn.Linear(5, 3)
    nn.init.ones_(flat.weight)
    nn.init.zeros_(flat.bias)
    with pytest.raises(ModelError, match="the weights of Linear are the same number everywhere"):
        layers(flat)
    assert layers(flat, way="reset") == ("Linear",)


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_weights_are_found_and_stay_frozen(frozen):
    model = seeded(Backwards).requires_grad_(not frozen)
    found = made(model)
    assert found.layers == ("last", "middle", "first")
    assert all(one.requires_grad != frozen for one in found.model.parameters())


@pytest.mark.parametrize("order", ORDERS)
def test_scripts_are_read_like_other_modules(order):
    model = seeded(lambda: nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3)))
    scripted = torch.jit.script(model)
    with nothing_changed(scripted, X):
        found = made(scripted, order=order)
        assert found.layers == layers(model, order=order)
        found.randomize("2", 0)
    found.model(X).sum()
    by_hand = made(model, order=order)
    by_hand.randomize("2", 0)
    torch.testing.assert_close(found.model(X), by_hand.model(X))


def test_wrappers_are_opened(dynamo):
    model = seeded(Backwards)
    compiled = torch.compile(model)
    found = made(compiled)
    assert found.layers == ("last", "middle", "first")
    assert type(found.model) is Backwards
    assert found.memo[id(compiled)] is found.model
    inside = nn.Sequential(nn.Linear(5, 5), torch.compile(nn.Linear(5, 3)))
    assert layers(inside.eval()) == ("1", "0")


def test_data_parallel_layers_have_their_own_names():
    assert layers(nn.DataParallel(seeded(Backwards))) == ("last", "middle", "first")


@pytest.mark.parametrize("order", ORDERS)
@each_way
def test_nothing_of_the_model_changes(way, order):
    model, x = make(Stateful, seed=1)
    with nothing_changed(model, x):
        found = made(model, x, order, way)
        for layer in found.layers:
            found.randomize(layer, 0)
            found.model(x)
        found.restore()
    ours = {one.data_ptr() for one in (*found.model.parameters(), *found.model.buffers())}
    theirs = {one.data_ptr() for one in (*model.parameters(), *model.buffers())}
    assert not ours & theirs


@each_way
def test_layers_are_put_back_to_the_bit(way):
    model, x = make(Normed)
    found = made(model, x, way=way)
    for layer in found.layers:
        found.randomize(layer, 1)
    for layer in found.layers:  # all that is learnt has changed
        owner = found.model.get_submodule(layer)
        for name, values in owner.named_parameters():
            assert not torch.equal(values, model.get_parameter(f"{layer}.{name}")), name
    found.restore()
    state, expected = found.model.state_dict(), model.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_permuted_weights_are_the_same_numbers_elsewhere():
    model, x = make(Normed)
    found = made(model, x)
    for layer in found.layers:
        found.randomize(layer, 0)
    pairs = zip(found.model.state_dict().items(), model.state_dict().values(), strict=True)
    for (name, values), before in pairs:
        assert torch.equal(values.flatten().sort().values, before.flatten().sort().values)
        if values.numel() > 1:
            assert not torch.equal(values, before), name


def test_normal_weights_have_the_mean_and_the_deviation():
    model = seeded(lambda: nn.Linear(300, 200))
    nn.init.uniform_(model.weight, 1, 4)  # mean 2.5, deviation sqrt(3/4)
    found = made(model, torch.randn(1, 300), way="normal")
    found.randomize("Linear", 0)
    drawn = found.model.weight.flatten()
    error = 0.75**0.5 / drawn.numel() ** 0.5
    assert abs(drawn.mean() - 2.5) < 5 * error
    assert abs(drawn.std() - 0.75**0.5) < 5 * error
    third = ((drawn - drawn.mean()) ** 4).mean() / drawn.var() ** 2
    assert abs(third - 3) < 0.1  # of a uniform distribution, 1.8


def test_a_variance_stays_positive():
    model, x = make(Normed)
    model.norm.running_var.fill_(0.01)[0] = 9  # mean and deviation that go far below 0
    found = made(model, x, way="normal")
    for draw in range(10):
        found.randomize("norm", draw)
        assert (found.model.norm.running_var > 0).all()
        assert (found.model.norm.running_mean < 0).any()


def test_reset_is_what_the_layer_does_itself():
    model, x = make(Normed)
    model.norm.num_batches_tracked.fill_(7)
    model.train()
    found = made(model, x, way="reset")
    assert found.model.norm.num_batches_tracked == 8  # by the forward pass
    found.model.norm.num_batches_tracked.fill_(7)
    for layer in found.layers:
        found.randomize(layer, 0)
    norm = found.model.norm
    for values, expected in ((norm.weight, 1), (norm.bias, 0), (norm.running_var, 1)):
        assert (values == expected).all()
    assert norm.num_batches_tracked == 7
    bound = 1 / 27**0.5  # of 3 channels of 3 x 3
    assert found.model.conv.weight.abs().max() <= bound
    assert found.model.conv.weight.abs().max() > 0.9 * bound


def test_reset_permutes_what_has_no_reset():
    model = seeded(Attention)
    reset, permuted = made(model, way="reset"), made(model)
    for one in (reset, permuted):
        one.randomize("Attention", 0)
    assert torch.equal(reset.model.token, permuted.model.token)
    assert not torch.equal(reset.model.token, model.token)


def test_a_reset_that_fails_is_named():
    class Odd(nn.Linear):
        def reset_parameters(self, *gain):
            nn.init.normal_(self.weight)
            nn.init.normal_(self.bias)
            if hasattr(self, "made"):
                raise TypeError("gain is missing")

    model = Odd(5, 3)
    model.made = True
    with pytest.raises(ModelError, match=r"reset_parameters of layer 'Odd' failed \(TypeError: ga"):
        made(model, way="reset")


@each_way
def test_what_is_drawn_depends_on_seed_draw_and_layer_alone(way):
    model, x = make(Normed)

    def drawn(order="cascading", seed=0, draw=0, used=model):
        found = made(used, x, order, way, seed)
        torch.rand(3)  # whatever else is drawn globally
        for layer in found.layers:
            found.randomize(layer, 1)  # what they are before does not matter
            found.randomize(layer, draw)
        return found.model.conv.weight

    for same in (drawn("bottom_up"), drawn("independent"), drawn(used=copy.deepcopy(model))):
        assert torch.equal(drawn(), same)
    assert not torch.equal(drawn(), drawn(seed=1))
    assert not torch.equal(drawn(), drawn(draw=1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@each_way
def test_other_precisions(dtype, way):
    model, x = make(Normed)
    found = made(model.to(dtype), x.to(dtype), way=way)
    for layer in found.layers:
        found.randomize(layer, 0)
    assert {one.dtype for one in found.model.parameters()} == {dtype}
    assert not torch.equal(found.model.conv.weight, model.conv.weight)


def test_within_inference_mode():
    model, x = make(Normed)
    with torch.inference_mode():
        found = made(model, x)
        found.randomize("conv", 0)
        found.restore()
    assert not any(one.is_inference() for one in found.model.parameters())
    assert torch.equal(found.model.conv.weight, model.conv.weight)


def test_the_model_is_copied_once():
    class Counted(Dense):
        copies = 0

        def __deepcopy__(self, memo):
            type(self).copies += 1
            memo[id(self)] = other = type(self)()
            other.load_state_dict(self.state_dict())
            return other.eval()

    found = made(seeded(Counted))
    for layer in found.layers:
        found.randomize(layer, 0)
    assert Counted.copies == 1


def test_a_thread_that_uses_the_model_is_not_disturbed():
    model, x = make(Conv, (2, 3, 16, 16))
    expected, seen, done = model(x), [], threading.Event()

    def use():
        while not done.is_set():
            seen.append(torch.equal(model(x), expected))

    thread = threading.Thread(target=use)
    thread.start()
    try:
        for draw in range(20):
            found = made(model, x)
            for layer in found.layers:
                found.randomize(layer, draw)
    finally:
        done.set()
        thread.join()
    assert seen
    assert all(seen)


def frozen_script():
    return torch.jit.freeze(torch.jit.script(seeded(lambda: nn.Sequential(nn.Linear(5, 3)))))


class Held(nn.Module):
    def __deepcopy__(self, memo):
        return self

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, x):
        return self.linear(x)


class Uncopied(Held):
    def __deepcopy__(self, memo):
        raise RuntimeError("no copies of this\nat all")


class Detached(nn.Linear):
    def forward(self, x):
        return x.sum(1, keepdim=True) * self.weight.detach().sum()


class Listed(nn.Module):
    """Holds its layers where no module looks for them."""

    def __init__(self):
        super().__init__()
        self.hidden, self.last = [nn.Linear(5, 4)], nn.Linear(4, 3)

    def forward(self, x):
        return self.last(self.hidden[0](x).relu())


def replaced():
    """Return a network whose forward is a function around the network itself."""
    model = Dense()
    model.forward = lambda x: Dense.forward(model, x)
    return model.eval()


REFUSED = {
    "a function": (lambda: F.relu, "the model is a function, which has no weights to randomise"),
    "a method": (lambda: Dense().forward, "the model is a method, which has no weights"),
    "no parameters": (nn.ReLU, "ReLU has no parameters, and so nothing to randomise"),
    "a frozen script": (frozen_script, "has no parameters"),
    "unknown shapes": (lambda: nn.LazyLinear(3), "LazyLinear has weights of unknown shape: run it"),
    "no copy": (Uncopied, r"Uncopied cannot be copied.*\(RuntimeError: no copies of this\)$"),
    "no real copy": (Held, "a deep copy of Held shares memory with it"),
    "part that is no copy": (lambda: nn.Sequential(Held()), "a deep copy of Sequential shares"),
    "nothing leads there": (lambda: Detached(5, 3), "no parameter of Detached leads to its output"),
    "not among its parameters": (Listed, r"Listed uses weights that are not among its parameters"),
    "a forward that was replaced": (replaced, "a copy of Dense uses weights of the original"),
}  # fmt: skip


@pytest.mark.parametrize(("build", "words"), REFUSED.values(), ids=REFUSED)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_what_cannot_be_randomised_is_refused_in_one_line(build, words):
    with pytest.raises(ModelError, match=words) as error:
        made(build())
    assert "\n" not in str(error.value)


class Hidden(nn.Module):
    """Uses a layer in a way that autograd does not see; ``how`` says whether it matters."""

    def __init__(self, how):
        super().__init__()
        self.first, self.hidden, self.last = (nn.Linear(5, 5) for _ in range(3))
        self.how = how

    def forward(self, x):
        x = self.first(x).relu()
        if self.how == "detached":
            x = F.linear(x, self.hidden.weight.detach())
        elif self.how == "no_grad":
            with torch.no_grad():
                scale = self.hidden(x).sigmoid()
            x = x * scale
        elif self.how == "noisy":
            x = x + torch.rand_like(x)
        return self.last(x)


@pytest.mark.parametrize("how", ["detached", "no_grad"])
def test_weights_that_autograd_does_not_see_and_that_matter_are_refused(how):
    model = seeded(lambda: Hidden(how))
    with (
        nothing_changed(model),
        pytest.raises(ModelError, match=r"depends on weights .* among hidden\.weight, hidden\.b"),
    ):
        layers(model)


@pytest.mark.parametrize("how", ["unused", "noisy"])
def test_weights_that_do_not_matter_are_left_out_and_put_back(how):
    found = made(seeded(lambda: Hidden(how)))
    assert found.layers == ("last", "first")
    assert torch.equal(found.model.hidden.weight, seeded(lambda: Hidden(how)).hidden.weight)
