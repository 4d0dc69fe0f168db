"""Inputs whose values, kinds or shapes do not fit: the message names the input and what was wrong with it."""

from __future__ import annotations

import pytest
import torch

from adapterzoo.archs import ARCHITECTURES
from tests.helpers.batches import batch_for
from tests.helpers.refusing import refuses
from tests.helpers.tiny import NAMES, class_named

ROWS, LENGTH = 3, 6


@pytest.fixture
def plain(model):
    """A batch without padding, its decoder's input left to the model."""
    return {"input_ids": random_ids_with_end(model)}


def random_ids_with_end(model, rows=ROWS, length=LENGTH):
    return batch_for(model, rows=rows, lengths=[length] * rows, length=length, decoder=False)["input_ids"]


@pytest.mark.parametrize("value", [lambda vocab: vocab, lambda vocab: vocab + 7, lambda vocab: -1, lambda vocab: -100])
def test_an_id_outside_of_the_vocabulary_is_told(model, plain, value):
    vocab = model.config.vocab_size
    plain["input_ids"][1, 2] = value(vocab)
    said = f"input_ids holds {value(vocab)}, but the vocabulary's ids go from 0 to {vocab - 1}"
    with refuses(ValueError, said, model=model):
        model(**plain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bool, torch.uint8])
def test_ids_that_are_not_whole_numbers_of_a_usual_kind_are_told(model, plain, dtype):
    with refuses(ValueError, f"input_ids must be whole numbers (torch.long), not {dtype}", model=model):
        model(plain["input_ids"].to(dtype))


@pytest.mark.parametrize("ids", [[[1, 2, 3]], "a text", 5, {"input_ids": 1}])
def test_what_is_no_tensor_is_told(model, ids):
    said = f"{type(model).__name__} takes tensors, but input_ids is a {type(ids).__name__}"
    with refuses(TypeError, said, model=model):
        model(ids)
    with refuses(TypeError, "input_ids is a", "attention_mask is a list", model=model):
        model(ids, attention_mask=[[1]])


def test_no_input_is_told(model):
    with refuses(ValueError, "a model needs input_ids or inputs_embeds", model=model):
        model()
    with refuses(ValueError, "a model needs input_ids or inputs_embeds", model=model):
        model(attention_mask=torch.ones(ROWS, LENGTH))


def test_ids_and_embeddings_together_are_refused(model, plain):
    embeds = model.base.token(plain["input_ids"])
    with refuses(ValueError, "give either input_ids or inputs_embeds", model=model):
        model(**plain, inputs_embeds=embeds)


@pytest.mark.parametrize("shape", [(0, 6), (3, 0), (0, 0), (2, 0, 4)])
def test_an_empty_batch_is_told(model, shape):
    with refuses(ValueError, f"input_ids is empty: its shape is {shape}", model=model):
        model(torch.zeros(shape, dtype=torch.long))
    shape = (*shape, model.base.config.first.token_width)
    with refuses(ValueError, f"inputs_embeds is empty: its shape is {shape}", model=model):
        model(inputs_embeds=torch.zeros(shape))


@pytest.mark.parametrize("shape", [(), (6,), (1, 2, 3, 4)])
def test_ids_of_other_dimensions_are_told(model, shape):
    said = f"input_ids must have shape (rows, tokens) or (questions, choices, tokens), not {shape}"
    with refuses(ValueError, said, model=model):
        model(torch.zeros(shape, dtype=torch.long))


def test_embeddings_of_another_width_or_dimension_are_told(model):
    width = model.base.config.first.token_width
    said = f"inputs_embeds has shape {(3, 6, width - 1)}, but must have {(3, 6, width)}"
    with refuses(ValueError, said, model=model):
        model(inputs_embeds=torch.zeros(3, 6, width - 1))
    with refuses(ValueError, "inputs_embeds must have shape (rows, tokens, width)", f"not (6, {width})", model=model):
        model(inputs_embeds=torch.zeros(6, width))


MISFITS = [(ROWS, LENGTH - 1), (ROWS - 1, LENGTH), (LENGTH,), (ROWS, LENGTH, 2), (), (ROWS, 1, 1, LENGTH)]


@pytest.mark.parametrize("shape", MISFITS)
@pytest.mark.parametrize("name", ["attention_mask", "token_type_ids", "position_ids"])
def test_what_comes_with_ids_must_have_their_shape(model, plain, name, shape):
    said = f"{name} has shape {shape}, but must have {(ROWS, LENGTH)}"
    with refuses(ValueError, said, model=model):
        model(**plain, **{name: torch.zeros(shape, dtype=torch.long)})


def test_all_shapes_that_do_not_fit_are_told_at_once(model, plain):
    wrong = torch.zeros(ROWS, LENGTH + 1, dtype=torch.long)
    with refuses(ValueError, "attention_mask has shape", "token_type_ids has", "position_ids has", model=model):
        model(**plain, attention_mask=wrong, token_type_ids=wrong, position_ids=wrong)


@pytest.mark.parametrize("name", ["attention_mask", "position_ids"])
def test_one_row_for_all_is_as_good_as_one_for_each(model, plain, name):
    row = {"attention_mask": torch.tensor([[1] * 4 + [0] * 2]), "position_ids": torch.arange(LENGTH).flip(0)[None]}[
        name
    ]
    once, spread = model(**plain, **{name: row}), model(**plain, **{name: row.expand(ROWS, -1)})
    assert once.logits.equal(spread.logits)
    sorted_rows = model(**plain, **{name: row}, adapter_names=["mrpc", None, "mrpc"]).logits
    assert sorted_rows[0].equal(once.logits[0]) and not sorted_rows[1].equal(once.logits[1])


@pytest.mark.parametrize("value", [-1, 2, -1e4, float("-inf")])
def test_a_mask_of_something_else_than_0_and_1_is_told(model, plain, value):
    mask = torch.ones(ROWS, LENGTH)
    mask[0, -1] = value
    with refuses(ValueError, "attention_mask holds", "it is 1 at what may be seen and 0 elsewhere", model=model):
        model(**plain, attention_mask=mask)


def room(model) -> int:
    """How many tokens a row may have, found by trying."""
    fits = 0
    while fits < 2 * model.base.config.first.positions:
        try:
            with torch.no_grad():
                model(random_ids_with_end(model, rows=1, length=fits + 1))
        except ValueError:
            break
        fits += 1
    return fits


def test_a_sequence_beyond_the_positions_is_told(model):
    table = model.base.config.first.positions
    beyond = room(model)
    first = model.config.pad_token_id + 1 if model.base.config.first.padding_position is not None else table - beyond
    assert table - 3 <= beyond <= table and beyond == table - first
    said = f"the sequence has {beyond + 1} tokens, but the model has positions for {beyond}"
    with refuses(ValueError, said, model=model):
        model(random_ids_with_end(model, length=beyond + 1))
    with refuses(ValueError, said, model=model):
        two = len(model.base.config.stacks()) == 2
        more = {"decoder_input_ids": torch.full((1, 2), 5)} if two else {}
        model(inputs_embeds=torch.zeros(1, beyond + 1, model.base.config.first.token_width), **more)


@pytest.mark.parametrize("value", [-1, 10_000])
def test_a_position_beyond_the_table_is_told(model, plain, value):
    config = model.base.config
    positions = torch.arange(LENGTH).repeat(ROWS, 1)
    positions[1, 1] = value
    last = config.first.positions - config.first.position_offset - 1
    said = f"position_ids holds {value}, but the model's positions go from 0 to {last}"
    with refuses(ValueError, said, model=model):
        model(**plain, position_ids=positions)
    positions[1, 1] = last
    model(**plain, position_ids=positions)


@pytest.mark.parametrize("value", [-1, 10])
def test_a_token_type_beyond_the_table_is_told(model, plain, value):
    types = torch.zeros(ROWS, LENGTH, dtype=torch.long)
    types[0, 0] = value
    last = model.base.config.first.segments - 1
    if last < 0:  # tokenizers tell types whether a model knows any or not
        assert torch.equal(model(**plain, token_type_ids=types)[0], model(**plain)[0])
        return
    said = f"token_type_ids holds {value}, but the model's token types go from 0 to {last}"
    with refuses(ValueError, said, model=model):
        model(**plain, token_type_ids=types)


@pytest.mark.parametrize("architecture", NAMES)
@pytest.mark.parametrize("suffix", ["Model", "AdapterModel"])
def test_a_model_takes_a_config_of_its_own_architecture_alone(architecture, suffix):
    for other in NAMES:
        if other != architecture:
            kind = ARCHITECTURES[other].config
            said = f"{class_named(architecture, suffix).__name__} needs a {ARCHITECTURES[architecture].config.__name__}"
            with refuses(TypeError, said, f"not {kind.__name__}"):
                class_named(architecture, suffix)(kind())
