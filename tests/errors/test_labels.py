"""Labels out of range or of another shape: the message holds the label, or both shapes."""

from __future__ import annotations

import pytest
import torch

from adapterzoo.archs import ARCHITECTURES
from tests.helpers.batches import batch_for
from tests.helpers.heads import model_for
from tests.helpers.refusing import refuses
from tests.helpers.tiny import NAMES, tiny_model

ROWS, LENGTH = 4, 8


def with_head(kind: str, **settings):
    """A model of each architecture that may have that head, for parametrisation."""
    return pytest.mark.parametrize(
        "headed",
        [(name, kind, settings) for name in NAMES if kind in ARCHITECTURES[name].head_types],
        indirect=True,
        ids=lambda case: case[0],
    )


@pytest.fixture
def headed(request):
    architecture, kind, settings = request.param
    model = model_for(kind, architecture)
    model.add_custom_head(kind, "head", **settings)
    return model


def batch(model):
    return batch_for(model, rows=ROWS, length=LENGTH, decoder=False)


def filled(value, *shape):
    """Labels that are right but for the last one."""
    labels = torch.zeros(shape, dtype=torch.long)
    labels.view(-1)[-1] = value
    return labels


@with_head("classification", num_labels=3)
@pytest.mark.parametrize("value", [3, -1, 99])
def test_a_class_out_of_range_is_told(headed, value):
    said = f"labels must be from 0 to 2, or -100 to be passed over; got {value}"
    with refuses(ValueError, said, model=headed):
        headed(**batch(headed), labels=filled(value, ROWS))


@with_head("classification", num_labels=3)
@pytest.mark.parametrize("shape", [(ROWS - 1,), (ROWS + 1,), (ROWS, 2), (2, 2), (), (ROWS, LENGTH)])
def test_classes_of_another_shape_are_told(headed, shape):
    said = f"labels have shape {shape}, but must have {(ROWS,)}"
    with refuses(ValueError, said, model=headed):
        headed(**batch(headed), labels=torch.zeros(shape, dtype=torch.long))


@with_head("classification", num_labels=1)
@pytest.mark.parametrize("shape", [(ROWS - 1,), (ROWS, 2), (2, 2), ()])
def test_numbers_of_another_shape_are_told(headed, shape):
    with refuses(ValueError, f"labels have shape {shape}, but must have {(ROWS,)}", model=headed):
        headed(**batch(headed), labels=torch.zeros(shape))


@with_head("multilabel_classification", num_labels=3)
@pytest.mark.parametrize("value", [2, -1, -100])
def test_a_yes_or_no_that_is_neither_is_told(headed, value):
    for labels in (filled(value, ROWS, 3), filled(value, ROWS, 3).float()):
        with refuses(ValueError, f"labels must be 1 (yes), 0 (no) or between; got {value}", model=headed):
            headed(**batch(headed), labels=labels)
    with refuses(ValueError, f"labels have shape {(ROWS,)}, but must have {(ROWS, 3)}", model=headed):
        headed(**batch(headed), labels=torch.zeros(ROWS))


TOKENS = ["tagging", "masked_lm", "causal_lm"]
TOKEN_HEADS = [(name, kind, {}) for kind in TOKENS for name in NAMES if kind in ARCHITECTURES[name].heads]


@pytest.mark.parametrize("headed", TOKEN_HEADS, indirect=True, ids=lambda case: "-".join(case[:2]))
@pytest.mark.parametrize(
    "shape", [(ROWS, LENGTH - 1), (ROWS, LENGTH + 1), (LENGTH, ROWS), (ROWS * LENGTH,), (ROWS,), ()]
)
def test_tokens_labels_of_another_shape_are_told(headed, shape):
    said = f"labels have shape {shape}, but must have {(ROWS, LENGTH)}"
    with refuses(ValueError, said, model=headed):
        headed(**batch(headed), labels=torch.zeros(shape, dtype=torch.long))


@pytest.mark.parametrize("headed", TOKEN_HEADS, indirect=True, ids=lambda case: "-".join(case[:2]))
@pytest.mark.parametrize("value", [-1, 1000])
def test_a_token_s_label_out_of_range_is_told(headed, value):
    labels = torch.zeros(ROWS, LENGTH, dtype=torch.long)
    labels[0, 3] = value
    with refuses(ValueError, "labels must be from 0 to", f"got {value}", model=headed):
        headed(**batch(headed), labels=labels)
    with refuses(ValueError, "labels must be whole numbers from 0 to", "not torch.float32", model=headed):
        headed(**batch(headed), labels=labels.float())


@with_head("seq2seq_lm")
def test_what_a_decoder_should_say_is_checked_before_it_is_its_input(headed):
    vocab = headed.config.vocab_size
    for shape in ((ROWS,), (ROWS - 1, 5), (ROWS, 5, 2), ()):
        said = f"labels have shape {shape}, but must be token ids of shape ({ROWS}, tokens)"
        with refuses(ValueError, said, model=headed):
            headed(**batch(headed), labels=torch.zeros(shape, dtype=torch.long))
    for value in (vocab, -1):
        said = f"labels must be from 0 to {vocab - 1}, or -100 to be passed over; got {value}"
        with refuses(ValueError, said, model=headed):
            headed(**batch(headed), labels=filled(value, ROWS, 5))
    with refuses(ValueError, f"labels have shape {(ROWS, 5)}, but must have {(ROWS, 4)}", model=headed):
        labels = torch.zeros(ROWS, 5, dtype=torch.long)
        headed(**batch(headed), decoder_input_ids=labels[:, :4], labels=labels)


@with_head("question_answering")
@pytest.mark.parametrize("shape", [(ROWS - 1,), (ROWS, 2), (2, 2), ()])
def test_positions_of_another_shape_are_told(headed, shape):
    right, wrong = torch.zeros(ROWS, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    said = f"positions have shape {shape}, but must have {(ROWS,)}"
    for start, end in ((wrong, right), (right, wrong)):
        with refuses(ValueError, said, model=headed):
            headed(**batch(headed), start_positions=start, end_positions=end)


@with_head("multiple_choice", num_choices=2)
def test_choices_that_do_not_divide_the_rows_and_labels_beyond_them_are_told(headed):
    inputs = batch_for(headed, rows=3, length=LENGTH, decoder=False)
    with refuses(ValueError, "3 rows cannot be divided into questions of 2 choices", model=headed):
        headed(**inputs)
    inputs = batch(headed)
    with refuses(ValueError, "labels must be from 0 to 1", "got 2", model=headed):
        headed(**inputs, labels=filled(2, ROWS // 2))
    with refuses(ValueError, f"labels have shape {(ROWS,)}, but must have {(ROWS // 2,)}", model=headed):
        headed(**inputs, labels=filled(0, ROWS))


@pytest.mark.parametrize("architecture", [name for name in NAMES if "pretraining" in ARCHITECTURES[name].head_types])
def test_both_labels_of_pretraining_are_checked(architecture):
    model = tiny_model(architecture, "ForPreTraining")
    right = {"labels": filled(0, ROWS, LENGTH), "next_sentence_label": filled(0, ROWS)}
    for wrong in ({"labels": filled(0, ROWS)}, {"next_sentence_label": filled(0, ROWS, LENGTH)}):
        with refuses(ValueError, "labels have shape", model=model):
            model(**batch(model), **{**right, **wrong})
    with refuses(ValueError, "labels must be from 0 to 1", "got 7", model=model):
        model(**batch(model), **{**right, "next_sentence_label": filled(7, ROWS)})


def test_labels_of_other_rows_are_told_where_rows_have_heads_of_their_own(model):
    for name in ("en", "mrpc"):
        model.add_classification_head(name, num_labels=3, overwrite_ok=True)
    inputs = batch(model)
    for rows in (ROWS - 1, ROWS + 1):
        with refuses(ValueError, f"labels has {rows} rows, but the batch has {ROWS}", model=model):
            model(**inputs, labels=filled(0, rows), adapter_names=["en", "mrpc", "en", None])
    with refuses(ValueError, "labels must be from 0 to 2", "got 3", model=model):
        model(**inputs, labels=filled(3, ROWS), adapter_names=["en", "mrpc", "en", "mrpc"])
