"""Law 4: Average is Σ wᵢ·oᵢ at each place, over the children that act there: that of an adapter and its twin is it."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from adapterzoo import Average, BatchSplit, Stack
from adapterzoo.core.run import KV, Final, Tokens
from tests.helpers.adapting import CONFIGS, KINDS, add_all, add_random
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close, assert_gradients, gradients
from tests.helpers.sitewise import watch
from tests.helpers.tiny import DISTINCT, tiny_model

INVERTIBLE = [kind for kind in KINDS if "inv_adapter" in CONFIGS[kind] and CONFIGS[kind]["inv_adapter"]]
MEANT = [kind for kind in KINDS if kind not in INVERTIBLE]
SMALLEST = DISTINCT[0]
WEIGHTS = {"a": 0.3, "b": 0.5, "c": 0.2}


@pytest.fixture(scope="module", params=DISTINCT)
def model(request):
    torch.manual_seed(0)
    return add_all(tiny_model(request.param)).double()


def twins(model, kind):
    """Two adapters of a kind with the same weights, as "a" and "b"."""
    for name in "ab":
        model.add_adapter(name, CONFIGS[kind], overwrite_ok=True)
        model.adapters[name].load_state_dict(model.adapters[kind].state_dict())
    model.double()


def last(model, batch, setup):
    model.set_active_adapters(setup)
    with torch.no_grad():
        return model(**batch)[0]


@pytest.mark.parametrize("kind", MEANT)
def test_of_an_adapter_and_its_twin_is_the_adapter(model, kind):
    twins(model, kind)
    batch = batch_for(model)
    setup = Average(Stack("a"), Average("b", "a"), weights=[1, 3])
    assert_close(last(model, batch, setup), last(model, batch, kind))


def mean(weights, value, ctx, leaf):
    """Σ wᵢ·oᵢ by hand."""
    there = {name: unit for name in weights if (unit := leaf(name)) is not None}
    share = sum(weights[name] for name in there)
    outs = [(weights[name] / share, unit(value, ctx)) for name, unit in there.items()]
    if isinstance(value, KV):
        new = outs[0][1].prefix - value.prefix
        added = [sum(w * out[part][:, :, :new] for w, out in outs) for part in (0, 1)]
        return KV(torch.cat([added[0], value.k], 2), torch.cat([added[1], value.v], 2), value.prefix + new)
    if isinstance(value, Tokens):
        return outs[0][1]._replace(x=sum(w * out.x for w, out in outs))
    if not any(isinstance(out, Final) for _, out in outs):
        return sum(w * out for w, out in outs)
    after = (lambda h: ctx.residual + h) if ctx.norm is None else (lambda h: ctx.norm(ctx.residual + h))
    return Final(sum(w * (out.value if isinstance(out, Final) else after(out)) for w, out in outs))


def fit(first, second):
    """Whether two configs add as many positions, if any."""
    lengths = [[config[f] for f in ("prefix_length", "prompt_length") if f in config] for config in (first, second)]
    return lengths[0] == lengths[1] or not all(lengths)


PAIRS = [pair for pair in zip(MEANT, [*MEANT[1:], MEANT[0]], strict=True) if fit(*map(CONFIGS.get, pair))]


def test_at_every_place_it_is_the_weighted_sum_over_those_that_act_there():
    for padding_free in (True, False):
        kinds = by_places(SMALLEST, PAIRS[:: 1 + padding_free], padding_free)
        assert kinds == {"linear", "join", "kv", "stream", "norm", "tokens", "lookup"}


@pytest.mark.parametrize("number", range(1, len(DISTINCT)))
def test_so_it_is_in_every_architecture(number):
    assert by_places(DISTINCT[number], PAIRS[number :: len(DISTINCT)], bool(number % 2))


def by_places(architecture, pairs, padding_free):
    """The places at which pairs of adapters and a third were averaged, and compared with the mean by hand."""
    torch.manual_seed(0)
    model = tiny_model(architecture)
    model.padding_free = padding_free
    kinds = set()
    for first, second in pairs:
        for name, kind in zip("abc", (first, second, first), strict=True):
            model.add_adapter(name, CONFIGS[kind], overwrite_ok=True)
            add_random_weights(model, name)
        model.double()
        weights = dict(zip("abc", WEIGHTS.values(), strict=True))
        setup = Average("a", "b", "c", weights=list(weights.values()))
        kinds |= watch(model, batch_for(model), setup, partial(mean, weights))
    return kinds


def add_random_weights(model, name):
    with torch.no_grad():
        for parameter in model.adapters[name].parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)


@pytest.mark.parametrize("architecture", DISTINCT)
def test_weights_that_are_not_normalised_count_as_they_are(architecture):
    model = tiny_model(architecture)
    for name in "ab":
        add_random(model, name, CONFIGS["lora_all"])
    model.double()
    batch = batch_for(model)
    setup = Average("a", "b", weights=[2, -1], normalize_weights=False)
    assert setup.weights == (2, -1)
    found = last(model, batch, setup)
    with torch.no_grad():
        for slug, unit in model.adapters["a"].units.items():  # 2y + 2BA - y - B'A' is y + [2B, -B'][A; A']
            other = model.adapters["b"].units[slug]
            unit.lora_B = torch.nn.Parameter(torch.cat([2 * unit.lora_B, -other.lora_B], 1))
            unit.lora_A = torch.nn.Parameter(torch.cat([unit.lora_A, other.lora_A]))
    assert_close(found, last(model, batch, "a"))


MIXED = {
    "an absent child's weight is taken over, row by row": Average(
        BatchSplit("bn_final", "lora", batch_sizes=[1, 3]), "par_bn", "lora_all", weights=[1, 2, 3]
    ),
    "final for some rows": Average(BatchSplit("bn_final", Stack(), batch_sizes=2), "seq_bn"),
    "a prefix for some rows": Average(BatchSplit("prefix_tuning", "seq_bn", batch_sizes=2), "prefix_tuning_flat"),
    "nothing for some rows": Stack("par_bn", Average(BatchSplit("seq_bn", Stack(), batch_sizes=2), Stack())),
    "after what is final": Stack("bn_final", Average(BatchSplit("seq_bn", Stack(), batch_sizes=2), "par_bn")),
}


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("padding_free", [True, False], ids=["packed", "padded"])
def test_rows_do_not_meet_in_it(model, name, padding_free):
    model.padding_free = padding_free
    setup, batch = MIXED[name], batch_for(model)

    def of_row(node, row):
        """What a setup is for one row."""
        if isinstance(node, BatchSplit):
            return of_row(node[0], row) if row < node.batch_sizes[0] else of_row(node[1], row)
        if isinstance(node, str):
            return node
        return type(node)(*(of_row(child, row) for child in node), **node.options())

    together = last(model, batch, setup)
    for row in range(4):
        alone = last(model, {key: t[row : row + 1] for key, t in batch.items()}, of_row(setup, row))
        assert_close(together[row : row + 1], alone, f"row {row}")


@pytest.mark.parametrize("architecture", DISTINCT)
def test_each_adapter_learns_by_its_weight(architecture):
    model = tiny_model(architecture).double()
    for name in "ab":
        add_random(model, name, "seq_bn")
    model.double().train_adapter(Average("a", "b", weights=[0.25, 0.75]))
    model.adapters["b"].load_state_dict(model.adapters["a"].state_dict())
    model(**batch_for(model))[0].square().mean().backward()
    found = gradients(model.adapters)
    by = {
        name: {
            key.partition(".units")[2]: grad for key, grad in found.items() if key.startswith(model.adapters.slug(name))
        }
        for name in "ab"
    }
    assert_gradients({key: grad * 3 for key, grad in by["a"].items()}, by["b"])


REFUSED = {
    "prefixes of different lengths": (Average("prefix_tuning", "prefix_longer"), "do not lie at the same positions"),
    "prompts at different places": (Average("prompt_tuning", "prompt_after_bos"), "do not lie at the same positions"),
    "one within a stack": (
        Average(Stack("prefix_tuning", "prefix_tuning"), "prefix_tuning"),
        "do not lie at the same positions",
    ),
    "invertible adapters": (Average(*INVERTIBLE[:2]), "no function inverts their mean"),
    "weights that cancel": (
        Average("lora", "lora_all", "seq_bn", weights=[1, -1, 2], normalize_weights=False),
        "can add up to 0",
    ),
    "no child": (Average(), "needs at least one child"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_mean_is_refused_when_it_is_set(what):
    model = add_all(tiny_model(SMALLEST))
    setup, said = REFUSED[what]
    model.set_active_adapters("lora")
    with pytest.raises(ValueError, match=said):
        model.set_active_adapters(setup)
    assert model.active_adapters == Stack("lora")


@pytest.mark.parametrize(
    ("weights", "error", "said"),
    [
        ([1], ValueError, "2 children but 1 weights"),
        ([1, -1], ValueError, "add up to 0"),
        ([1, float("nan")], ValueError, "finite numbers"),
        ([1, True], ValueError, "finite numbers"),
        (["1", "2"], ValueError, "finite numbers"),
        (0.5, TypeError, "list of numbers"),
        ("12", TypeError, "list of numbers"),
    ],
)
def test_weights_are_checked(weights, error, said):
    with pytest.raises(error, match=said):
        Average("a", "b", weights=weights)
