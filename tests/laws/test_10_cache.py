"""Law 10, for decoders that go on token by token: with keys and values kept, as with all tokens at once."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.adapting import KINDS, add_random
from tests.helpers.refusing import refuses
from tests.helpers.tiny import DISTINCT, decoders, tiny_decoder

ROWS, LENGTH = 3, 7
DECODERS = list(decoders(DISTINCT))


def inputs_for(model, two_stacks):
    """What a decoder reads beside its own tokens, and what its own are called."""
    width = model.base.config.first.width
    if two_stacks:
        ids = torch.randint(4, model.config.vocab_size, (ROWS, 5))
        mask = torch.tensor([[1] * 5, [1] * 3 + [0] * 2, [1] * 4 + [0]])
        return {"input_ids": ids, "attention_mask": mask}, "decoder_input_ids"
    if model.base.config.first.cross:
        return {"encoder_hidden_states": torch.randn(ROWS, 5, width)}, "input_ids"
    return {}, "input_ids"


def in_steps(model, other, name, ids, sizes):
    """The last hidden states of tokens that came in runs of some sizes."""
    parts, cache, first = [], None, 0
    for size in sizes:
        own = {name: ids[:, first : first + size]}
        out = model(**other, **own, past_key_values=cache, use_cache=True)
        parts.append(out.last_hidden_state)
        cache, first = out.past_key_values, first + size
        assert cache.length == first
    return torch.cat(parts, 1)


@pytest.mark.parametrize("sizes", [(1,) * LENGTH, (3, 1, 3)], ids=["one by one", "in runs"])
@pytest.mark.parametrize("method", [None, *KINDS])
@pytest.mark.parametrize("kind", DECODERS)
def test_token_by_token_is_as_all_at_once(kind, method, sizes):
    model = tiny_decoder(kind).double()
    if method is not None:
        add_random(model, method)
        model.set_active_adapters(method)
    other, name = inputs_for(model, len(model.base.config.stacks()) == 2)
    other = {key: value.double() if value.is_floating_point() else value for key, value in other.items()}
    ids = torch.randint(4, model.config.vocab_size, (ROWS, LENGTH))
    if method is not None and model.adapters[method].reads_rows(model.base.config.last_stack):
        with refuses(ValueError, "use_cache=False", method, model=model):
            in_steps(model, other, name, ids, sizes)
        return
    with torch.no_grad():
        whole = model(**other, **{name: ids}).last_hidden_state
        steps = in_steps(model, other, name, ids, sizes)
    torch.testing.assert_close(steps, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", DECODERS)
def test_gradients_flow_through_what_was_kept(kind):
    model = tiny_decoder(kind).double()
    other, name = inputs_for(model, len(model.base.config.stacks()) == 2)
    other = {key: value.double() if value.is_floating_point() else value for key, value in other.items()}
    ids = torch.randint(4, model.config.vocab_size, (ROWS, LENGTH))
    grads = []
    for sizes in [(LENGTH,), (3, 1, 3)]:
        model.zero_grad()
        in_steps(model, other, name, ids, sizes).square().mean().backward()
        grads.append({key: p.grad for key, p in model.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for key, grad in grads[0].items():
        torch.testing.assert_close(grads[1][key], grad, rtol=1e-8, atol=1e-10, msg=key)


@pytest.mark.parametrize("kind", DECODERS)
def test_rows_can_change_places_between_steps(kind):
    model = tiny_decoder(kind)
    other, name = inputs_for(model, len(model.base.config.stacks()) == 2)
    ids = torch.randint(4, model.config.vocab_size, (ROWS, LENGTH))
    order = torch.tensor([2, 2, 0])
    moved = {key: value[order] for key, value in other.items()}
    ends = torch.randint(4, model.config.vocab_size, (ROWS, 2))
    with torch.no_grad():
        cache = model(**other, **{name: ids}, use_cache=True).past_key_values
        cache.reorder(order)
        after = model(**moved, **{name: ends}, past_key_values=cache).last_hidden_state
        whole = model(**moved, **{name: torch.cat([ids[order], ends], 1)}).last_hidden_state[:, -2:]
    torch.testing.assert_close(after, whole, rtol=1e-5, atol=1e-5)


def test_an_encoder_keeps_nothing():
    model = tiny_decoder(DECODERS[-1])
    encoder = type(model)(type(model.config)(**{**model.config.to_dict(), "is_decoder": False}))
    if encoder.base.config.last.causal:
        pytest.skip("the last kind of decoder has an encoder of its own")
    with pytest.raises(ValueError, match="keeps no keys and values"):
        encoder(torch.tensor([[5, 6]]), use_cache=True)
