"""Law 16: later tokens never move earlier outputs of a decoder."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import AdapterSetup, BatchSplit, Stack
from tests.helpers.adapting import CONFIGS, KINDS, add_random
from tests.helpers.batches import batch_for, random_ids
from tests.helpers.comparing import assert_close
from tests.helpers.heads import add_head, head_types
from tests.helpers.tiny import DISTINCT, decoders, tiny_decoder

CUT = 3
UNSEEING = {"use_gating": False, "suffix_positions": 0}
SETUPS = [
    *KINDS,
    None,
    Stack("prefix_longer", "lora_gated", "bn_final"),
    BatchSplit("prefix_tuning", Stack("bn_final", "lora_all"), batch_sizes=[1, 3]),
]


def unseeing(kind):
    """The config without what depends on tokens to come by definition: gates are rows' means, suffixes their ends."""
    config = CONFIGS[kind]
    said = {key.rpartition(".")[2] for key, value in config.items() if value}  # "2.use_gating" of a union's member
    return config.replace(**{name: value for name, value in UNSEEING.items() if name in said})


@pytest.fixture(scope="module", params=decoders(DISTINCT))
def subject(request):
    """A decoder with every method and a head that answers token by token, and a batch for it."""
    torch.manual_seed(0)
    model = tiny_decoder(request.param)
    for kind in KINDS:
        add_random(model, kind, unseeing(kind))
    add_head(model, next(kind for kind in head_types(model) if kind in ("causal_lm", "seq2seq_lm")), "words")
    batch = batch_for(model.double(), lengths=[7, 4, 5, 7], length=7)
    return model, {name: t.double() if t.is_floating_point() else t for name, t in batch.items()}


def own_names(batch):
    """The names of the decoder's ids and of all that goes with them."""
    own = "decoder_" if "decoder_input_ids" in batch else ""
    return f"{own}input_ids", [f"{own}input_ids", f"{own}attention_mask", f"{own}token_type_ids"]


@pytest.mark.parametrize("padding_free", [True, False])
@pytest.mark.parametrize("setup", SETUPS, ids=str)
def test_later_tokens_change_nothing_before_them(subject, setup, padding_free):
    model, batch = subject
    model.padding_free = padding_free
    ids, names = own_names(batch)
    later = torch.arange(batch[ids].size(1)) >= CUT
    changed = {**batch, ids: torch.where(later, random_ids(model, *batch[ids].shape), batch[ids])}
    assert not torch.equal(changed[ids], batch[ids])
    shorter = {name: t[:, :CUT] if name in names else t for name, t in batch.items()}
    with AdapterSetup(setup, head_setup="words"), torch.no_grad():
        expected = model(**batch).logits
        assert_close(model(**changed).logits[:, :CUT], expected[:, :CUT], "other tokens later")
        assert_close(model(**shorter).logits, expected[:, :CUT], "no tokens later")
        assert not torch.equal(model(**changed).logits, expected)


@pytest.mark.parametrize("setup", SETUPS, ids=str)
def test_earlier_tokens_do_change_what_follows(subject, setup):
    model, batch = subject
    ids, _ = own_names(batch)
    changed = {**batch, ids: torch.cat([random_ids(model, 4, 1), batch[ids][:, 1:]], 1)}
    with AdapterSetup(setup, head_setup="words"), torch.no_grad():
        difference = (model(**changed).logits - model(**batch).logits)[:, CUT - 1]
    assert bool((difference.abs().amax(1) > 0).any())
