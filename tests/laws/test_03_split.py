"""Split: each child acts on its own columns of each row, as if these were the rows; packed and padded alike."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import Average, BatchSplit, Split, Stack
from adapterzoo.core.run import KV
from tests.helpers.adapting import CONFIGS, KINDS, add_all, add_random
from tests.helpers.batches import batch_for, unmasked
from tests.helpers.comparing import assert_close
from tests.helpers.sitewise import columns, parts, watch
from tests.helpers.tiny import DISTINCT, tiny_model

LENGTH, SIZES = 8, (3, 5)
PROMPTS = [kind for kind in KINDS if "prompt_length" in CONFIGS[kind]]


def shares_distances(model):
    """Whether what acts on queries and keys acts on distances, too."""
    return any(stack.relative is not None and stack.relative.shared for stack in model.base.config.stacks().values())


def batch_of(model):
    """A batch whose rows are as long in both stacks."""
    batch = batch_for(model, length=LENGTH)
    if "decoder_input_ids" in batch:
        other = batch_for(model, length=LENGTH + 1)
        batch |= {name: other[name] for name in batch if name.startswith("decoder_")}
    return batch


def by_hand(value, ctx, leaf):
    """Each unit on its own columns of the grid."""
    units, edges = [leaf("a"), leaf("b")], [(0, SIZES[0]), (SIZES[0], sum(SIZES))]
    if isinstance(value, KV):
        keys, values = [value.k], [value.v]
        for unit, (start, stop) in reversed(list(zip(units, edges, strict=True))):
            if unit is not None:
                out = unit(*columns(value, ctx, start, stop))
                keys.insert(0, out.k[:, :, : out.prefix - value.prefix])
                values.insert(0, out.v[:, :, : out.prefix - value.prefix])
        return KV(torch.cat(keys, 2), torch.cat(values, 2), torch.cat(keys, 2).size(2) - value.k.size(2))
    outs = []
    for unit, (start, stop) in zip(units, edges, strict=True):
        part, narrow = columns(value, ctx, start, stop)
        outs.append(part if unit is None else unit(part, narrow))
    whole = [ctx.layout.tokens(torch.cat(one, 1)) for one in zip(*map(parts_and_where, outs), strict=True)]
    finals = [type(out) for out in outs if not isinstance(out, torch.Tensor)]
    if not finals:
        return whole[0]
    return finals[0](whole[0], None if whole[1].all() else whole[1])


def parts_and_where(out):
    """A value's tensor, and where it is the block's output already."""
    final = not isinstance(out, torch.Tensor)
    tensor = parts(out)[0]
    return tensor, torch.full((*tensor.shape[:-1], 1), final)


def check(model, pairs, padding_free):
    """Watch pairs of adapters split the rows; the kinds of places that were seen."""
    model.padding_free, kinds = padding_free, set()
    for first, second in pairs:
        for name, kind in (("a", first), ("b", second)):
            if name in model.adapters:
                model.delete_adapter(name)
            add_random(model, name, CONFIGS[kind])
        model.double()
        kinds |= watch(model, batch_of(model), Split("a", "b", splits=SIZES), by_hand)
    return kinds


MEANT = [kind for kind in KINDS if kind not in PROMPTS]
PAIRS = list(zip(MEANT, [*MEANT[1:], MEANT[0]], strict=True))


@pytest.mark.parametrize("padding_free", [True, False], ids=["packed", "padded"])
def test_at_every_place_each_child_has_its_own_columns(padding_free):
    kinds = check(tiny_model("bert"), PAIRS[::2], padding_free)
    assert kinds == {"linear", "join", "kv", "stream", "norm", "lookup"}


@pytest.mark.parametrize("number", [n for n, name in enumerate(DISTINCT) if not shares_distances(tiny_model(name))])
def test_so_it_is_in_every_architecture(number):
    assert check(tiny_model(DISTINCT[number]), PAIRS[number :: len(DISTINCT)], bool(number % 2))


NESTED = {
    "in itself": Split(Split("lora", "prefix_tuning", splits=[1, 2]), "seq_bn", splits=SIZES),
    "after prefixes": Stack(
        "prefix_tuning", Split("prefix_longer", Split("prefix_tuning", "lora", splits=[2, 3]), splits=SIZES)
    ),
    "two in a row": Stack(
        Split("prefix_longer", "prefix_tuning", splits=[4, 4]), Split("lora", "prefix_tuning", splits=SIZES)
    ),
    "in rows": BatchSplit(Split("prefix_tuning", "lora_all", splits=SIZES), "prefix_longer", batch_sizes=2),
    "rows in it": Split(BatchSplit("prefix_tuning", "seq_bn", batch_sizes=[1, 3]), "bn_final", splits=SIZES),
    "in a mean": Average(
        Split("prefix_tuning", "seq_bn", splits=SIZES), Split("prefix_tuning_flat", "lora", splits=SIZES)
    ),
    "an empty span": Split("lora", "seq_bn", "prefix_longer", splits=[0, 8, 0]),
    "gates": Split("lora_gated", "unipelt", splits=SIZES),
}


@pytest.mark.parametrize("setup", NESTED.values(), ids=list(NESTED))
@pytest.mark.parametrize("architecture", DISTINCT)
def test_packed_and_padded_are_the_same_and_rows_do_not_meet(architecture, setup):
    torch.manual_seed(0)
    model = add_all(tiny_model(architecture)).double()
    if shares_distances(model):
        with pytest.raises(ValueError, match="acts on distances between tokens"):
            model.set_active_adapters(Split("lora", "seq_bn", splits=SIZES))
        return
    model.set_active_adapters(setup)
    batch = batch_of(model)
    seen = unmasked(model, batch, model.base.config.last_stack)
    found = []
    for padding_free in (True, False):
        model.padding_free = padding_free
        with torch.no_grad():
            found.append(model(**batch)[0])
    assert_close(found[0][seen], found[1][seen])
    if "rows" not in str(setup) and not any(isinstance(block, BatchSplit) for block in [setup, *setup]):
        with torch.no_grad():
            alone = torch.cat([model(**{k: t[row : row + 1] for k, t in batch.items()})[0] for row in range(4)])
        assert_close(found[1][seen], alone[seen])


@pytest.mark.parametrize("architecture", DISTINCT)
def test_a_prefix_is_seen_from_its_own_columns_alone(architecture):
    model = tiny_model(architecture)
    add_random(model, "a", CONFIGS["prefix_longer"])
    model.double()
    batch = batch_of(model)
    stack = model.base.config.last_stack
    bare, split = [], []
    for setup, found in ((None, bare), (Split("a", Stack(), splits=SIZES), split)):
        model.set_active_adapters(setup, skip_layers=range(model.base.config.layers - 1))  # later ones mix columns
        if len(model.base.config.stacks()) == 2:  # the encoder's output would carry it everywhere
            batch |= {"encoder_hidden_states": torch.ones(4, LENGTH, model.base.config.width).double()}
            batch = {name: t for name, t in batch.items() if name not in ("input_ids", "attention_mask")}
        with torch.no_grad():
            found.append(model(**batch)[0])
    seen = unmasked(model, batch, stack)
    changed = (bare[0] - split[0]).abs().amax(-1) > 1e-6
    assert changed[:, : SIZES[0]][seen[:, : SIZES[0]]].all()
    assert not changed[:, SIZES[0] :][seen[:, SIZES[0] :]].any()


@pytest.mark.parametrize("architecture", DISTINCT)
def test_sizes_that_do_not_fit_are_refused_before_anything_runs(architecture):
    model = tiny_model(architecture)
    add_random(model, "a", "seq_bn")
    calls = []
    hook = model.base.token.register_forward_pre_hook(lambda *_: calls.append(1))
    for splits in ([3, 4], [9, 0]):
        model.set_active_adapters(Split("a", "a", splits=splits))
        with pytest.raises(ValueError, match=rf"add up to {sum(splits)}, but the rows have {LENGTH} tokens"):
            model(**batch_of(model))
    hook.remove()
    assert not calls


@pytest.mark.parametrize("kind", PROMPTS)
def test_prompts_are_refused_when_they_are_set(kind):
    model = add_all(tiny_model("bert"))
    with pytest.raises(ValueError, match="a prompt is seen by all of a row"):
        model.set_active_adapters(Split(kind, "lora", splits=SIZES))
    with pytest.raises(ValueError, match="adds a prompt to rows whose positions"):
        model.set_active_adapters(Stack(kind, Split("seq_bn", "lora", splits=SIZES)))
    assert model.active_adapters is None
