"""Stacked optimisers are exactly M of torch's: any hyperparameters, lists of them, members that rest, scaled updates."""

from copy import deepcopy as copy_of

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lab.errors import UserError
from lab.networks import MLP
from lab.optimizers import SGD, Adam, AdamW, StackedOptimizer, clip_by_member
from lab.population import Population
from lab.testing import OneDevice
from lab.testing.device import move, to_meta

M, SHAPES = 3, {"weight": (4, 2), "turned": (7, 5), "bias": (4,), "gain": ()}
few = settings(max_examples=25, deadline=None)
rates = st.floats(1e-4, 0.5)
fractions = st.one_of(st.just(0.0), st.floats(0.01, 0.99))
decays = st.one_of(st.just(0.0), st.floats(1e-4, 0.2))


@pytest.fixture(scope="module", params=["by member", "everyone", "together"], autouse=True)
def way(request):
    """The ways to take a step: that of a CPU, and the two of other devices."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "everyone":
            patch.setattr(StackedOptimizer, "_may_read", lambda self, parameters: False)
        if request.param == "together":
            patch.setattr(StackedOptimizer, "_slices", lambda self, parameters: None)
        yield request.param


def one_or_each(values):
    return st.one_of(values, st.lists(values, min_size=M, max_size=M))


def stacked(dtype=torch.float64):
    """Parameters, "turned" among them lying in memory as weights of linear layers do in a population."""
    draw = torch.Generator().manual_seed(1)
    values = {name: torch.randn(M, *shape, generator=draw, dtype=dtype) for name, shape in SHAPES.items()}
    values["turned"] = values["turned"].mT.contiguous().mT
    return {name: nn.Parameter(value) for name, value in values.items()}


def gradients(step, dtype=torch.float64):
    draw = torch.Generator().manual_seed(100 + step)
    return {name: torch.randn(M, *shape, generator=draw, dtype=dtype) for name, shape in SHAPES.items()}


def run(optimizer, parameters, steps=5, before=None):
    """Feed the same gradients to all, lying in memory as autograd or as a strategy may leave them; ``before(step)`` is
    called ahead of each step."""
    for step in range(steps):
        for name, gradient in gradients(step).items():
            parameters[name].grad = torch.empty_like(parameters[name]).copy_(gradient) if step % 2 else gradient.clone()
        if before:
            before(step)
        optimizer.step()
    return parameters


def separate(make, steps=5, rests=lambda step, member: False, clip=None):
    """M models with an optimiser of torch's each; ``rests(step, member)`` leaves a member's step out."""
    models = []
    for m in range(M):
        own = {name: nn.Parameter(value[m].detach().clone()) for name, value in stacked().items()}
        optimizer = make(m, list(own.values()))
        for step in range(steps):
            if rests(step, m):
                continue
            for name, gradient in gradients(step).items():
                own[name].grad = gradient[m].clone()
            if clip:
                nn.utils.clip_grad_norm_(own.values(), clip)
            optimizer.step()
        models.append(own)
    return {name: torch.stack([own[name].detach() for own in models]) for name in SHAPES}


def assert_equal(parameters, expected):
    for name, value in expected.items():
        torch.testing.assert_close(parameters[name].detach(), value, rtol=1e-9, atol=1e-9)


def of(value, member):
    return value[member] if isinstance(value, list) else value


@few
@given(lr=one_or_each(rates), momentum=one_or_each(fractions), decay=one_or_each(decays), nesterov=st.booleans())
def test_sgd(lr, momentum, decay, nesterov):
    nesterov = nesterov and all(of(momentum, m) > 0 for m in range(M))  # torch refuses the other
    parameters = stacked()
    run(SGD(parameters, lr, momentum, decay, nesterov), parameters)

    def make(m, own):
        return torch.optim.SGD(own, of(lr, m), of(momentum, m), weight_decay=of(decay, m), nesterov=nesterov)

    assert_equal(parameters, separate(make))


@few
@given(
    kinds=st.sampled_from([(Adam, torch.optim.Adam), (AdamW, torch.optim.AdamW)]),
    lr=one_or_each(rates),
    eps=one_or_each(st.floats(1e-10, 0.1)),
    beta1=one_or_each(fractions),
    beta2=one_or_each(st.floats(0.5, 0.999)),
    decay=one_or_each(decays),
)
def test_adam_and_adamw(kinds, lr, eps, beta1, beta2, decay):
    ours, theirs = kinds
    parameters = stacked()
    run(ours(parameters, lr, beta1, beta2, eps, decay), parameters)

    def make(m, own):
        return theirs(own, of(lr, m), (of(beta1, m), of(beta2, m)), of(eps, m), of(decay, m))

    assert_equal(parameters, separate(make))


MAKERS = {
    "sgd": (lambda p: SGD(p, 0.1, 0.9, 0.01), lambda m, own: torch.optim.SGD(own, 0.1, 0.9, weight_decay=0.01)),
    "adam": (lambda p: Adam(p, 0.01, weight_decay=0.1), lambda m, own: torch.optim.Adam(own, 0.01, weight_decay=0.1)),
    "adamw": (lambda p: AdamW(p, 0.01), lambda m, own: torch.optim.AdamW(own, 0.01, weight_decay=0.01)),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_network_in_single_precision(kind):
    """Training losses of a population, against torch's optimisers on its members: 1e-6 after 30 steps."""
    seeds, draw = [0, 1, 2], torch.Generator().manual_seed(4)
    inputs, targets = torch.randn(30, M, 16, 6, generator=draw), torch.randint(0, 3, (30, M, 16), generator=draw)
    population = Population(lambda: MLP((6,), 3, width=20, depth=2), seeds)
    alone = [MLP((6,), 3, width=20, depth=2) for _ in seeds]
    for m, network in enumerate(alone):
        network.load_state_dict(population.member(m))
    ours, theirs = MAKERS[kind]
    optimizer, separate = ours(population.leaves), [theirs(m, list(network.parameters())) for m, network in enumerate(alone)]
    for x, y in zip(inputs, targets, strict=True):
        nn.functional.cross_entropy(population(x).mT, y, reduction="none").mean(1).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        for m, network in enumerate(alone):
            separate[m].zero_grad()
            nn.functional.cross_entropy(network(x[m]), y[m]).backward()
            separate[m].step()
    for m, network in enumerate(alone):
        for name, value in network.state_dict().items():
            torch.testing.assert_close(population.member(m)[name], value, rtol=1e-5, atol=1e-6)


@few
@given(kind=st.sampled_from(sorted(MAKERS)), pattern=st.lists(st.tuples(*[st.booleans()] * M), min_size=6, max_size=6))
def test_a_member_that_rests_keeps_momentum_and_count(kind, pattern):
    ours, theirs = MAKERS[kind]
    parameters = stacked()
    optimizer = ours(parameters)

    def before(step):
        optimizer.active = None if all(pattern[step]) else torch.tensor(pattern[step])

    run(optimizer, parameters, 6, before)
    assert_equal(parameters, separate(theirs, 6, lambda step, member: not pattern[step][member]))


@pytest.mark.parametrize("kind", MAKERS)
def test_a_resting_member_whose_gradient_is_nan_is_untouched(kind):
    parameters = stacked()
    optimizer = MAKERS[kind][0](parameters)
    optimizer.active = torch.tensor([True, False, True])
    for name, gradient in gradients(0).items():
        gradient[1] = torch.nan
        parameters[name].grad = gradient
    optimizer.step()
    assert all(torch.equal(value[1], stacked()[name][1]) for name, value in parameters.items())
    tensors = [tensor for state in optimizer.state.values() for tensor in state.values()]
    assert not any(tensor.isnan().any() for tensor in tensors)
    assert not any(tensor[1].any() for tensor in tensors)


@pytest.mark.parametrize("kind", MAKERS)
def test_company_and_who_rests_change_no_bit(kind):
    """A member alone, and beside others that rest in some of the steps: so a run may be cut anywhere, split and resumed."""
    beside, patterns = stacked(torch.float32), [[True, True, True], [True, False, True], [True, True, False]] * 2
    alone = {
        name: nn.Parameter(value[:1].detach().clone(memory_format=torch.preserve_format)) for name, value in beside.items()
    }
    optimizer, single = MAKERS[kind][0](beside), MAKERS[kind][0](alone)
    for step, pattern in enumerate(patterns):
        for name, gradient in gradients(step, torch.float32).items():
            beside[name].grad, alone[name].grad = gradient.clone(), gradient[:1].clone()
        optimizer.active = torch.tensor(pattern) if step else None
        optimizer.step()
        single.step()
    assert all(torch.equal(beside[name][:1], alone[name]) for name in SHAPES)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_parameter_that_gets_gradients_later_has_a_count_of_its_own(kind):
    parameters = stacked()
    optimizer = MAKERS[kind][0](parameters)
    run(
        optimizer,
        parameters,
        4,
        lambda step: setattr(parameters["bias"], "grad", parameters["bias"].grad if step > 1 else None),
    )
    late = {"bias": nn.Parameter(stacked()["bias"].detach())}
    single = MAKERS[kind][0](late)
    for step in (2, 3):
        late["bias"].grad = gradients(step)["bias"]
        single.step()
    assert_equal(parameters, {"bias": late["bias"].detach()})


@pytest.mark.parametrize("kind", MAKERS)
def test_members_need_not_lie_in_blocks_of_memory(kind):
    parameters = stacked()
    parameters["weight"] = nn.Parameter(parameters["weight"].detach().permute(1, 2, 0).contiguous().permute(2, 0, 1))
    parameters["turned"] = nn.Parameter(torch.zeros(M, 7, 8, dtype=torch.float64).narrow(2, 0, 5).copy_(parameters["turned"]))
    run(MAKERS[kind][0](parameters), parameters)
    assert_equal(parameters, separate(MAKERS[kind][1]))


class Operations(TorchDispatchMode):
    """The names of the operations that run."""

    def __init__(self):
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func._schema.name.removeprefix("aten::"))
        return func(*args, **kwargs or {})


@pytest.mark.parametrize(("kind", "kernel"), [("sgd", "_fused_sgd_"), ("adam", "_fused_adam_"), ("adamw", "_fused_adamw_")])
@pytest.mark.parametrize(("active", "kernels"), [(None, 1), ([True, False, True], 2)])
def test_a_step_on_a_cpu_goes_over_memory_once(kind, kernel, active, kernels, way):
    """One kernel for all members of a population, or one for each that takes the step; no weight is copied."""
    if way != "by member":
        pytest.skip("a way of other devices")
    population = Population(lambda: MLP((6,), 3, width=20, depth=2), [0, 1, 2])
    optimizer = MAKERS[kind][0](population.leaves)
    optimizer.active = None if active is None else torch.tensor(active)
    for _ in range(2):
        population(torch.randn(M, 16, 6)).square().sum().backward()
        with Operations() as operations:
            optimizer.step()
        optimizer.zero_grad()
    names = [name for name in operations.names if not name.startswith("profiler::")]
    assert names.count(kernel) == kernels
    counting = {"ones", "_to_copy", "_foreach_add_"}
    assert set(names) - {kernel} <= {"as_strided", "unbind"} | (set() if kind == "sgd" else counting)


@pytest.mark.parametrize(("kind", "kernel"), [("sgd", "_fused_sgd_"), ("adam", "_fused_adam_"), ("adamw", "_fused_adamw_")])
@pytest.mark.parametrize("active", [None, [True, False, True]])
def test_where_nothing_may_be_read_one_kernel_steps_all(kind, kernel, active, way):
    if way != "everyone":
        pytest.skip("another way")
    parameters = stacked()
    optimizer = MAKERS[kind][0](parameters)
    optimizer.active = None if active is None else torch.tensor(active)
    for step in range(2):
        for name, gradient in gradients(step).items():
            parameters[name].grad = gradient
        with Operations() as operations, pytest.MonkeyPatch.context() as patch:
            for reading in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
                patch.setattr(torch.Tensor, reading, _refuse)
            optimizer.step()
    assert operations.names.count(kernel) == 1


def _refuse(*_):
    raise AssertionError("a value is read")


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_what_is_loaded_counts_in_single_precision(kind):
    """Torch casts what it loads to the parameter's type, float64 here; a kernel on a card reads the count as float32."""
    whole, first, second = stacked(), stacked(), stacked()
    run(MAKERS[kind][0](whole), whole, 5)
    stopped = MAKERS[kind][0](first)
    run(stopped, first, 3)
    resumed = MAKERS[kind][0](second)
    resumed.load_state_dict(stopped.state_dict())
    for name in SHAPES:
        second[name].data.copy_(first[name].data)
    for step in (3, 4):
        for name, gradient in gradients(step).items():
            second[name].grad = gradient.clone()
        resumed.step()
        assert {state["count"].dtype for state in resumed.state.values()} == {torch.float32}
    assert_equal(second, {name: value.detach() for name, value in whole.items()})


@pytest.mark.parametrize("kind", MAKERS)
def test_a_scale_of_0_and_1_is_exact(kind):
    parameters, plain = stacked(torch.float32), stacked(torch.float32)
    optimizer, reference = MAKERS[kind][0](parameters), MAKERS[kind][0](plain)
    mask = torch.tensor([[[1.0], [0.0], [1.0], [0.0]]] * M)
    for step in range(4):
        for name, gradient in gradients(step, torch.float32).items():
            parameters[name].grad, plain[name].grad = gradient.clone(), gradient.clone()
        optimizer.scale = {"weight": mask}
        optimizer.step()
        reference.step()
    kept = mask.bool().expand(M, 4, 2)
    assert torch.equal(parameters["weight"][~kept], stacked(torch.float32)["weight"][~kept])
    assert torch.equal(parameters["bias"], plain["bias"])
    if kind != "sgd":  # whose momentum does not depend on the weight, but whose decay does: below
        assert torch.equal(parameters["weight"][kept], plain["weight"][kept])


@few
@given(kind=st.sampled_from(sorted(MAKERS)), factor=st.floats(0, 2))
def test_scale_multiplies_the_update_and_not_the_gradient(kind, factor):
    """One step from the same state: the update is ``factor`` times the plain one, for Adam as for SGD."""
    parameters, plain = stacked(), stacked()
    optimizer, reference = MAKERS[kind][0](parameters), MAKERS[kind][0](plain)
    optimizer.scale = {"weight": torch.full((M, 1, 1), factor, dtype=torch.float64)}
    run(optimizer, parameters, 1)
    run(reference, plain, 1)
    start = stacked()["weight"]
    torch.testing.assert_close(parameters["weight"] - start, factor * (plain["weight"] - start), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", MAKERS)
def test_rate_multiplies_the_learning_rate_of_each_member(kind):
    parameters = stacked()
    optimizer = MAKERS[kind][0](parameters)
    optimizer.rate = torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64)
    run(optimizer, parameters, 1)
    plain = run(MAKERS[kind][0](other := stacked()), other, 1)
    for name, start in stacked().items():
        change, full = parameters[name] - start, plain[name] - start
        for m, factor in enumerate((1.0, 0.0, 0.5)):
            torch.testing.assert_close(change[m], factor * full[m])


@few
@given(limit=st.floats(0.05, 10))
def test_clipping_is_per_member(limit):
    parameters = stacked()
    optimizer = SGD(parameters, 0.1)
    run(optimizer, parameters, 3, lambda step: clip_by_member(list(parameters.values()), limit))
    assert_equal(parameters, separate(lambda m, own: torch.optim.SGD(own, 0.1), 3, clip=limit))


@pytest.mark.parametrize("kind", MAKERS)
def test_reset_forgets_and_state_survives_a_checkpoint(kind):
    parameters = stacked()
    optimizer = MAKERS[kind][0](parameters)
    run(optimizer, parameters, 3)
    copy = {name: nn.Parameter(value.detach().clone()) for name, value in parameters.items()}
    resumed = MAKERS[kind][0](copy)
    resumed.load_state_dict(copy_of(optimizer.state_dict()))
    run(resumed, copy, 2)
    run(optimizer, parameters, 2)
    assert all(torch.equal(parameters[name], copy[name]) for name in SHAPES)
    optimizer.reset()
    fresh = {name: nn.Parameter(value.detach().clone()) for name, value in parameters.items()}
    run(MAKERS[kind][0](fresh), fresh, 2)
    run(optimizer, parameters, 2)
    assert all(torch.equal(parameters[name], fresh[name]) for name in SHAPES)


@pytest.mark.parametrize("make", [
    lambda p: SGD(p, [0.1, 0.2, 0.3], [0.0, 0.9, 0.5], [0.0, 0.1, 0.0]),
    lambda p: AdamW(p, [0.1, 0.2, 0.3], [0.8, 0.9, 0.5], [0.99, 0.9, 0.95], 1e-8, [0.0, 0.1, 0.0]),
    lambda p: Adam(p, [0.1, 0.2, 0.3]),
])  # fmt: skip
def test_lists_of_values_live_on_the_device(make):
    """Settled at the first step, so that later steps copy nothing from the host."""
    module = nn.Module()
    module._parameters.update(stacked(torch.float32))
    optimizer = make(module._parameters)
    move(module, to_meta, optimizer)
    optimizer.active = torch.ones(M, dtype=torch.bool, device="meta")
    for parameter in module._parameters.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    with OneDevice():
        optimizer.step()


@pytest.mark.parametrize("value", [-0.1, [0.1, 0.2], "fast", [0.1, -1.0, 0.3], float("inf"), True, None, [0.1, "x", 0.2]])
def test_what_is_no_rate_is_refused(value):
    with pytest.raises(UserError, match=r"optimizer.lr=.*a list of 3"):
        SGD(stacked(), value)


@pytest.mark.parametrize("key", ["beta1", "beta2"])
def test_an_average_that_never_forgets_is_refused(key):
    with pytest.raises(UserError, match=f"optimizer.{key}=1.0: expected a number in \\[0, 1\\)"):
        Adam(stacked(), **{key: 1.0})


@pytest.mark.parametrize("momentum", [0.0, [0.0, 0.0]])
def test_nesterov_without_momentum_is_refused(momentum):
    with pytest.raises(UserError, match=r"optimizer.nesterov=True: expected false where optimizer.momentum is 0"):
        SGD({"w": torch.nn.Parameter(torch.zeros(2, 1))}, momentum=momentum, nesterov=True)
