"""Inputs of decoders, and what they cross-attend to: told by name where they do not fit, or are for nobody."""

from __future__ import annotations

import pytest
import torch

from adapterzoo.archs import ARCHITECTURES
from tests.helpers.batches import batch_for, random_ids
from tests.helpers.refusing import refuses
from tests.helpers.tiny import NAMES, decoders, tiny_decoder, tiny_model

ROWS, LENGTH = 3, 6
ENCODER_DECODERS = [name for name in NAMES if ARCHITECTURES[name].config().is_encoder_decoder]
ALONE = [name for name in NAMES if name not in ENCODER_DECODERS]


@pytest.mark.parametrize("architecture", ALONE)
@pytest.mark.parametrize("name", ["decoder_input_ids", "decoder_attention_mask", "decoder_inputs_embeds"])
def test_a_lone_stack_takes_no_input_for_a_decoder(architecture, name):
    model = tiny_model(architecture)
    ids = random_ids(model, ROWS, LENGTH)
    with refuses(TypeError, f"{type(model).__name__} is one stack", f"it takes no {name}", model=model):
        model(ids, **{name: ids})


@pytest.mark.parametrize("architecture", ALONE)
def test_an_encoder_takes_nothing_to_cross_attend_to(architecture):
    model = tiny_model(architecture)
    ids, hidden = random_ids(model, ROWS, LENGTH), torch.zeros(ROWS, LENGTH, 32)
    with refuses(TypeError, "has no cross-attention, and takes no encoder_hidden_states", model=model):
        model(ids, encoder_hidden_states=hidden)


CROSS = [kind for kind in decoders() if kind.endswith("-cross") or kind in ENCODER_DECODERS]


@pytest.mark.parametrize("kind", CROSS)
def test_what_is_cross_attended_to_must_fit(kind):
    model = tiny_decoder(kind)
    own = "decoder_input_ids" if len(model.base.config.stacks()) > 1 else "input_ids"
    ids = {own: random_ids(model, ROWS, LENGTH)}
    for shape in ((ROWS, 4, 31), (ROWS + 1, 4, 32), (ROWS, 32), (4, 32)):
        with refuses(ValueError, f"encoder_hidden_states has shape {shape}, but must have", model=model):
            model(**ids, encoder_hidden_states=torch.zeros(shape))
    with refuses(ValueError, f"encoder_attention_mask has shape {(ROWS, 5)}, but must have {(ROWS, 4)}", model=model):
        model(**ids, encoder_hidden_states=torch.zeros(ROWS, 4, 32), encoder_attention_mask=torch.ones(ROWS, 5))
    with refuses(ValueError, "encoder_attention_mask holds -3", model=model):
        model(**ids, encoder_hidden_states=torch.zeros(ROWS, 4, 32), encoder_attention_mask=torch.full((ROWS, 4), -3))


def random_ids_with_end(model):
    return batch_for(model, rows=ROWS, lengths=[LENGTH] * ROWS, length=LENGTH, decoder=False)["input_ids"]


@pytest.fixture(params=ENCODER_DECODERS)
def two_stacks(request):
    return tiny_model(request.param)


def test_an_encoder_decoder_needs_input_for_both(two_stacks):
    ids = random_ids(two_stacks, ROWS, LENGTH)
    with refuses(ValueError, "give either input_ids or inputs_embeds", model=two_stacks):
        two_stacks(decoder_input_ids=ids)
    said = "without input_ids the decoder needs decoder_input_ids or decoder_inputs_embeds"
    with refuses(ValueError, said, model=two_stacks):
        two_stacks(inputs_embeds=two_stacks.base.token(ids))
    with refuses(ValueError, said, model=two_stacks):
        two_stacks(encoder_outputs=(torch.zeros(ROWS, LENGTH, 32),))


def test_the_decoder_s_input_is_checked_as_the_encoder_s(two_stacks):
    ids, vocab = random_ids(two_stacks, ROWS, LENGTH), two_stacks.config.vocab_size
    with refuses(ValueError, f"decoder_input_ids holds {vocab}, but", model=two_stacks):
        two_stacks(ids, decoder_input_ids=torch.full((ROWS, 2), vocab))
    with refuses(ValueError, "decoder_input_ids has shape (2, 4), but must have (3, 4)", model=two_stacks):
        two_stacks(ids, decoder_input_ids=ids[:2, :4])
    with refuses(ValueError, "decoder_attention_mask has shape (3, 6), but must have (3, 4)", model=two_stacks):
        two_stacks(ids, decoder_input_ids=ids[:, :4], decoder_attention_mask=torch.ones(ROWS, LENGTH))
    with refuses(ValueError, "decoder_attention_mask holds 7", model=two_stacks):
        two_stacks(ids, decoder_input_ids=ids, decoder_attention_mask=torch.full((ROWS, LENGTH), 7))
    with refuses(ValueError, "give either decoder_input_ids or decoder_inputs_embeds", model=two_stacks):
        two_stacks(ids, decoder_input_ids=ids, decoder_inputs_embeds=two_stacks.base.token(ids))
    numbers = two_stacks.base.config.last
    beyond = numbers.positions - numbers.position_offset + 1
    with refuses(ValueError, f"the sequence has {beyond} tokens, but the model has positions for", model=two_stacks):
        two_stacks(ids, decoder_input_ids=random_ids(two_stacks, ROWS, beyond))


def test_a_decoder_without_a_start_token_says_so_unless_it_needs_none(two_stacks):
    two_stacks.config.decoder_start_token_id = None
    ids = random_ids(two_stacks, ROWS, LENGTH)
    if two_stacks.architecture.starts_with_last:
        assert torch.equal(two_stacks(ids)[0], two_stacks(ids, decoder_input_ids=ids.roll(1, 1))[0])
        return
    with refuses(ValueError, "the config has no decoder_start_token_id", model=two_stacks):
        two_stacks(ids)


def test_classification_of_rows_without_an_end_is_refused(two_stacks):
    two_stacks.add_classification_head("new")
    ids = random_ids_with_end(two_stacks)
    ids[1, -1] = ids[1, 0]
    said = "there are rows of input_ids without one, or the decoder's input is of another length"
    with refuses(ValueError, said, model=two_stacks):
        two_stacks(ids)
    with refuses(ValueError, said, model=two_stacks):
        two_stacks(inputs_embeds=torch.zeros(ROWS, LENGTH, 32), decoder_input_ids=ids)
    with refuses(ValueError, said, model=two_stacks):
        two_stacks(random_ids_with_end(two_stacks), decoder_input_ids=ids[:, :3])
