"""Labels by head, averages of heads, embeddings and changes of class that cannot be."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import BatchSplit
from adapterzoo.archs import ARCHITECTURES
from tests.helpers.batches import batch_for
from tests.helpers.heads import add_head, head_types, questions
from tests.helpers.refusing import refuses
from tests.helpers.tiny import BECOMES, NAMES, tiny_model

ROWS = 4
TWO = ["other", "mrpc"]  # two and three labels


def rows(model):
    torch.manual_seed(0)
    return batch_for(model, rows=ROWS, decoder=False)


@pytest.fixture
def labels():
    return torch.zeros(ROWS, dtype=torch.long)


def test_labels_for_heads_that_do_not_run_are_told(model, labels):
    said = ["no head in this call, for labels, named 'mprc'", "there are mrpc, other", "did you mean 'mrpc'?"]
    with refuses(ValueError, *said, model=model):
        model(**rows(model), head=TWO, labels={"mprc": labels})


def test_a_list_with_another_number_of_labels_is_told(model, labels):
    for split in (TWO, BatchSplit(*TWO, batch_sizes=2)):
        with refuses(ValueError, "labels is a list of 3, but there are 2 heads", model=model):
            model(**rows(model), head=split, labels=[labels] * 3)


def test_labels_of_other_rows_are_told_by_head(model, labels):
    split = BatchSplit(*TWO, batch_sizes=[1, 3])
    said = "labels for head 'mrpc' has 2 rows, but of the batch's 4 rows the head has 3"
    with refuses(ValueError, said, model=model):
        model(**rows(model), head=split, labels={"mrpc": labels[:2]})
    with refuses(ValueError, "labels has 5 rows, but the batch has 4", model=model):
        model(**rows(model), head=split, labels=torch.zeros(5, dtype=torch.long))


def test_with_a_name_for_each_row_labels_by_head_are_no_list(model, labels):
    names = ["mrpc", None, "mrpc", "en"]
    model.active_head = "other"
    with refuses(ValueError, "with adapter_names, labels go by the heads' names ({'mrpc': …}), not", model=model):
        model(**rows(model), adapter_names=names, labels=[labels, labels])


def test_an_entry_that_is_no_tensor_or_not_the_heads_is_told(model, labels):
    with refuses(TypeError, "labels must be a tensor, not a int", model=model):
        model(**rows(model), head=TWO, labels={"mrpc": 1})
    with refuses(TypeError, "classification head named 'start_positions'", model=model):
        model(**rows(model), head=TWO, start_positions={"mrpc": labels})


@pytest.mark.parametrize("architecture", [name for name in NAMES if "seq2seq_lm" in head_types(tiny_model(name))])
def test_a_decoder_that_is_told_to_say_two_things_is_refused(architecture):
    model = tiny_model(architecture).eval()
    for name in "ab":
        add_head(model, "seq2seq_lm", name)
    batch = rows(model)
    said = "labels of one head do not say what the decoder reads for others: give decoder_input_ids"
    for heads in (["a", "b"], BatchSplit("a", "b", batch_sizes=2)):
        with refuses(ValueError, said, model=model):
            model(**batch, head=heads, labels={"a": batch["input_ids"], "b": batch["input_ids"]})


# ---------------------------------------------------------------------------------------------- averages


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"head_list": []}, "name at least one head to average"),
        ({"head_list": ["mrpc", "mprc"]}, "no head named 'mprc'; there are"),
        ({"head_list": TWO}, "head 'mrpc' cannot be averaged with 'other': its num_labels is 3, not 2; its label2id"),
        ({"head_list": ["mrpc", "words"]}, "head 'words' cannot be averaged with 'mrpc': its head_type is"),
        ({"head_list": ["mrpc"], "head_name": "other"}, "there is already a head named 'other'"),
        ({"head_list": ["mrpc"], "weights": [1.0, 2.0]}, "heads to average: 1, but weights: 2"),
        ({"head_list": ["mrpc"], "weights": ["much"]}, "weights must be numbers, not ['much']"),
        ({"head_list": ["mrpc"], "weights": [float("nan")]}, "weights must be numbers, not [nan]"),
        ({"head_list": ["mrpc", "twin"], "weights": [1, -1]}, "weights that add up to 0 cannot be normalised: [1, -1]"),
        ({"head_list": {"mrpc": 1.0}, "weights": [1.0]}, "give weights in head_list or by weights=, not both"),
    ],
)
def test_an_average_that_cannot_be_is_told(model, arguments, said):
    add_head(model, next(kind for kind in head_types(model) if kind.endswith("_lm")), "words")
    model.average_head("twin", ["mrpc"])
    with refuses(ValueError, said, model=model):
        model.average_head(**{"head_name": "new", **arguments})


# ---------------------------------------------------------------------------------------------- embeddings

SIMILAR = [name for name in NAMES if "similarity" in ARCHITECTURES[name].heads]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pooling": "sum"}, "pooling must be one of 'mean', 'cls', 'max', not 'sum'"),
        ({"embedding_size": 0}, "embedding_size must be above 0, not 0"),
        ({"scale": -1.0}, "scale must be above 0, not -1.0"),
        ({"normalize": "yes"}, "normalize must be True or False, not 'yes'"),
        ({"activation_function": "tanh"}, "activation_function follows the linear layer, which only embedding_size"),
    ],
)
@pytest.mark.parametrize("architecture", SIMILAR)
def test_settings_of_embeddings_that_cannot_be_are_told(architecture, settings, said):
    model = tiny_model(architecture)
    with refuses(ValueError, said, model=model):
        model.add_similarity_head("new", **settings)


@pytest.mark.parametrize("architecture", SIMILAR)
def test_labels_that_do_not_fit_texts_given_together_are_told(architecture, labels):
    model = tiny_model(architecture).eval()
    model.add_similarity_head("new")
    batch = rows(model)
    said = "labels are for texts that are given together: input_ids of shape (B, 2, T), or (B, texts, T)"
    with refuses(ValueError, said, model=model):
        model(**batch, labels=labels)
    with refuses(ValueError, "labels have shape (4,), but must have (2,)", model=model):
        model(**questions(batch), labels=labels)
    four = {name: tensor.unflatten(0, (1, 4)) for name, tensor in batch.items()}
    with refuses(ValueError, "labels that are numbers (floats) say how alike two texts are, but there are 4"):
        model(**four, labels=torch.ones(1))


# ---------------------------------------------------------------------------------------------- classes


def test_a_head_that_is_no_class_s_is_told_with_what_differs(model):
    layers = {"layers": 3, "dropout_prob": 0.1}
    model.add_prediction_head_from_config("deep", {"head_type": "classification", **layers})
    kind = model.architecture
    whole = {kind.class_name(static): static.head_type for static in kind.statics if not static.decoder_only}
    told = {name: f"{name} (layers is" if of == "classification" else f"{name} ({of})" for name, of in whole.items()}
    said = ["head 'deep' is no class's fixed head: ", "of other types than classification are "]
    said += ["there, not 3"] if "classification" in whole.values() else []
    with refuses(ValueError, *said, *told.values(), model=model):
        model.to_static("deep")
    for name in whole:
        with refuses(ValueError, said[0], told[name], model=model):
            model.to_static("deep", name)


def test_a_class_or_head_that_is_not_there_is_told(model):
    there = [model.architecture.class_name(static) for static in model.architecture.statics]
    with refuses(ValueError, "'BirdModel'; there are", *there, model=model):
        model.to_static("mrpc", "BirdModel")
    with refuses(KeyError, "no head named 'mprc'; there are mrpc, other", model=model):
        model.to_static("mprc")
    model.active_head = TWO
    with refuses(ValueError, "name a head: not just one is active", model=model):
        model.to_static()


def test_a_decoder_alone_cannot_be_made_of_more_nor_more_of_it(model):
    kind = model.architecture
    if kind.alone is None:
        pytest.skip("its decoder does not stand alone")
    kinds = "an encoder-decoder", "a decoder alone"
    alone = tiny_model(kind.model_type, **BECOMES["only"])
    add_head(alone, "causal_lm", "words")
    for static in kind.statics:
        name, of = kind.class_name(static), static.decoder_only
        for other, head in ((model, "mrpc"), (alone, "words")):
            if (other is alone) is not of:
                said = f"{name} is {kinds[of]}, but this {type(other).__name__} is {kinds[not of]}"
                with refuses(ValueError, said, model=other):
                    other.to_static(head, name)


def test_a_name_that_no_head_may_have_is_refused():
    static = ARCHITECTURES["bert"].statics[0]
    model = tiny_model("bert", static.suffix)
    with refuses(ValueError, "a head's name must not be empty", model=model):
        model.to_flexible("")
    with refuses(TypeError, "a head's name is a string, not 5", model=model):
        model.to_flexible(5)
