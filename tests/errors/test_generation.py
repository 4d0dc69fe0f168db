"""Generation that cannot be: what is wrong is said before anything is changed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from adapterzoo import AdapterSetup, BatchSplit, GenerationConfig
from tests.helpers.generating import GENERATES, generator_of
from tests.helpers.heads import add_head
from tests.helpers.hf_models import CASES
from tests.helpers.refusing import refuses
from tests.helpers.tiny import NAMES, class_named, decoders, tiny_config, tiny_model

KINDS = {"lone": next(k for k in decoders() if k.endswith("-decoder")), "two": next(iter(decoders()))}


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    return generator_of(KINDS[request.param])


@pytest.fixture
def lone() -> Any:
    return generator_of(KINDS["lone"])


@pytest.fixture
def two() -> Any:
    return generator_of(KINDS["two"])


def ids(rows: int = 2, length: int = 5) -> Any:
    return torch.randint(5, 50, (rows, length))


def test_an_option_that_there_is_not(model: Any) -> None:
    with refuses(TypeError, "no option of generate named 'num_beam'", "did you mean 'num_beams'?", model=model):
        model.generate(ids(), num_beam=2)
    with refuses(TypeError, "generate does not have HF's option num_beam_groups; it has", model=model):
        model.generate(ids(), num_beam_groups=2)
    with refuses(TypeError, "generation_config is a GenerationConfig, not a dict", model=model):
        model.generate(ids(), generation_config={"num_beams": 2})
    with refuses(TypeError, "generation_config is a GenerationConfig or None, not a dict", model=model):
        model.generation_config = {"num_beams": 2}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_beams": 0}, "num_beams must be above 0, not 0"),
        ({"num_beams": 2.0}, "num_beams must be a whole number, not 2.0"),
        ({"num_return_sequences": 2}, "num_return_sequences is 2, but there is only one likeliest token"),
        ({"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences is 3, but 2 beams find only as many"),
        ({"num_beams": 2, "num_return_sequences": 3, "do_sample": True}, "num_return_sequences is 3, but 2 beams"),
        ({"top_p": 1.5}, "top_p must be from 0 to 1, not 1.5"),
        ({"top_k": -1}, "top_k must be 0 or more, not -1"),
        ({"temperature": 0.0}, "temperature must be above 0, not 0.0"),
        ({"repetition_penalty": float("nan")}, "repetition_penalty must be a number, not nan"),
        ({"max_new_tokens": 0}, "max_new_tokens must be above 0, not 0"),
        ({"early_stopping": "soon"}, "early_stopping must be one of True, False, 'never', not 'soon'"),
        ({"bad_words_ids": [[1], []]}, "bad_words_ids must be lists of ids, 0 or more, none of them empty"),
        ({"bad_words_ids": [1]}, "bad_words_ids must be a list, each element a list, each element a whole number"),
        ({"eos_token_id": []}, "eos_token_id must be 0 or more, each of them, and at least one, not []"),
        ({"exponential_decay_length_penalty": (1,)}, "must be a start, 0 or more, and a factor above 0, not (1,)"),
        ({"do_sample": "yes"}, "do_sample must be True or False, not 'yes'"),
    ],
    ids=str,
)
def test_values_out_of_what_they_may_be(model: Any, options: dict[str, Any], said: str) -> None:
    with refuses(ValueError, said, model=model):
        model.generate(ids(), **options)


def test_all_wrong_values_are_told_at_once() -> None:
    with refuses(ValueError, "top_p must be", "num_beams must be", "min_length must be"):
        GenerationConfig(top_p=2, num_beams=-1, min_length=-3)


def test_lengths_that_cannot_be(model: Any) -> None:
    prompt = {"decoder_input_ids": ids()} if len(model.base.config.stacks()) == 2 else {}
    start = {"decoder_start_token_id": 2, "eos_token_id": 3}
    with refuses(ValueError, "tokens, but max_length is 4, the prompt's included; max_new_tokens counts", model=model):
        model.generate(ids(), max_length=4, **prompt, **start)
    with refuses(ValueError, "min_length is 30, but", model=model):
        model.generate(ids(), min_length=30, max_length=20, **start)
    with refuses(ValueError, "min_new_tokens is 5, but", model=model):
        model.generate(ids(), min_new_tokens=5, max_new_tokens=4, **start)
    with refuses(ValueError, "a sequence may have 100 tokens, but the model has positions for", model=model):
        model.generate(ids(), max_length=100, **start)


def test_tokens_that_the_vocabulary_does_not_have(model: Any) -> None:
    vocabulary = model.config.vocab_size
    with refuses(ValueError, f"bad_words_ids holds {vocabulary}", f"go from 0 to {vocabulary - 1}", model=model):
        model.generate(ids(), bad_words_ids=[[3, vocabulary]])
    with refuses(ValueError, "forced_bos_token_id holds 99 and eos_token_id holds 77", model=model):
        model.generate(ids(), eos_token_id=[1, 77], forced_bos_token_id=99)
    with refuses(ValueError, f"input_ids holds {vocabulary}, but", model=model):
        model.generate(torch.full((2, 3), vocabulary))
    with refuses(ValueError, "input_ids holds -1, but", model=model):
        model.generate(torch.full((2, 3), -1))


def test_batches_that_are_none(model: Any) -> None:
    with refuses(ValueError, "input_ids is empty: its shape is (0, 5)", model=model):
        model.generate(ids(rows=0))
    with refuses(ValueError, "input_ids is empty: its shape is (2, 0)", model=model):
        model.generate(ids(length=0))
    with refuses(ValueError, "attention_mask has shape (2, 4), but must have (2, 5)", model=model):
        model.generate(ids(), attention_mask=torch.ones(2, 4))
    with refuses(ValueError, "takes rows, not questions with choices", model=model):
        model.generate(ids()[:, None])
    with refuses(TypeError, "takes tensors, but input_ids is a list", model=model):
        model.generate([[1, 2]])


def test_nothing_to_begin_with(model: Any) -> None:
    model.config.bos_token_id = None
    with refuses(ValueError, "generate needs input_ids, or a bos_token_id to begin with", model=model):
        model.generate()


def test_a_decoder_needs_a_first_token(two: Any) -> None:
    two.config.bos_token_id = two.config.decoder_start_token_id = None
    with refuses(ValueError, "generate needs a decoder_start_token_id, or a bos_token_id", model=two):
        two.generate(ids())


def test_prompts_are_padded_on_the_left(lone: Any, two: Any) -> None:
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    with refuses(ValueError, "row 1 of the prompt ends with padding; pad prompts on the left", model=lone):
        lone.generate(ids(), attention_mask=mask)
    call = {"decoder_input_ids": ids(), "decoder_attention_mask": mask}
    with refuses(ValueError, "row 1 of the prompt ends with padding", model=two):
        two.generate(ids(), **call)
    each_pair = torch.ones(2, 5, 5)
    for model in (lone, two):
        with refuses(ValueError, "takes masks of shape (rows, tokens)", model=model):
            model.generate(ids(), attention_mask=each_pair)


def test_a_prompt_is_ids(lone: Any, two: Any) -> None:
    with refuses(TypeError, "goes on from a prompt of ids, and takes no inputs_embeds", model=lone):
        lone.generate(inputs_embeds=torch.zeros(2, 3, 32))
    with refuses(TypeError, "goes on from a prompt of ids, and takes no decoder_inputs_embeds", model=two):
        two.generate(ids(), decoder_inputs_embeds=torch.zeros(2, 3, 32))
    with refuses(TypeError, "is one stack", "it takes no decoder_input_ids", model=lone):
        lone.generate(ids(), decoder_input_ids=ids())


OTHER = [case for case in CASES if case not in GENERATES]


@pytest.mark.parametrize("case", OTHER, ids=[case.name for case in OTHER])
def test_a_class_without_a_head_that_generates(case: Any) -> None:
    model = case.ours(tiny_config(case.architecture.model_type))
    said = f"the one in use is a {model.head.head_type} head" if case.static else "none is in use"
    has = f"'default' ({model.head.head_type})" if case.static else "the model has no heads"
    with refuses(ValueError, f"{case.name} cannot generate: that takes a causal_lm or seq2seq_lm head", said, has):
        model.generate(ids(), bos_token_id=0)


def test_a_head_that_does_not_generate(model: Any) -> None:
    add_head(model, "classification", "review")
    model.double().active_head = "review"
    said = "the one in use is a classification head; the model has 'review' (classification), 'words' ("
    with refuses(ValueError, said, model=model):
        model.generate(ids())
    with refuses(ValueError, said, model=model), AdapterSetup(None, head_setup="review"):
        model.generate(ids())
    with refuses(ValueError, "no head named 'word'; there are review, words", model=model):
        model.generate(ids(), head="word")
    with refuses(ValueError, "the one in use is a classification head", model=model):
        model.generate(ids(), head=BatchSplit("words", "review", batch_sizes=[1, 1]))
    with refuses(ValueError, "the heads' batch sizes [1] add up to 1, but the batch has 2 rows", model=model):
        model.generate(ids(), head=BatchSplit("words", batch_sizes=[1]))
    add_head(model, model.heads["words"].head_type, "others")
    with refuses(ValueError, "generates with one head, but others, words are active", model=model):
        model.generate(ids(), head=["words", "others"])
    model.active_head = None
    with refuses(ValueError, "but none is in use; the model has", model=model):
        model.generate(ids())


def test_adapters_that_there_are_not(model: Any) -> None:
    with refuses(ValueError, "no adapter named 'lora'", model=model):
        model.generate(ids(), adapter_names=["lora", None])
    with refuses(ValueError, "adapter_names has 1 names, but the batch has 2 rows", model=model):
        model.generate(ids(), adapter_names=[None])


@pytest.mark.parametrize("name", [name for name in NAMES if f"{name}-decoder" in decoders()])
def test_layers_that_look_ahead_cannot_generate_nor_learn_it(name: str, caplog: pytest.LogCaptureFixture) -> None:
    decoder, said = tiny_model(name, is_decoder=True), ids(2, 5)
    add_head(decoder, "causal_lm", "words")
    assert "is_decoder" not in caplog.text
    assert decoder(said, labels=said).loss > 0
    model = tiny_model(name)
    add_head(model, "causal_lm", "words")
    assert "head 'words' predicts the next token, which the network sees: is_decoder is not set" in caplog.text
    with refuses(ValueError, "its tokens look at later ones, too; is_decoder=True in its config", model=model):
        model.generate(ids())
    static = next(c for c in GENERATES if c.architecture.model_type == name)
    fixed = class_named(name, static.static.suffix)(tiny_config(name))
    with refuses(ValueError, f"{static.name} cannot generate", "is_decoder=True"):
        fixed.generate(ids())
    for looking in (model, fixed, fixed.to_flexible()):
        told = "has no loss: it predicts the next token, which the network's tokens see", "is_decoder=True"
        with refuses(ValueError, *told, model=looking):
            looking(said, labels=said)
        assert looking(said).loss is None
        back = torch.ones(2, 5, 5).tril()
        assert looking(said, attention_mask=back, labels=said).loss > 0


def test_a_file_that_asks_for_what_is_not_here(model: Any, tmp_path: Any) -> None:
    model.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"num_beam_groups": 2, "typical_p": 0.5, "max_time": null}')
    loaded = type(model).from_pretrained(tmp_path)
    with refuses(ValueError, "asks for num_beam_groups=2, which generate does not have", model=loaded):
        loaded.generate(ids())
    (tmp_path / "generation_config.json").write_text('{"top_p": 3}')
    loaded = type(model).from_pretrained(tmp_path)
    with refuses(ValueError, "generation_config.json: GenerationConfig: top_p must be from 0 to 1, not 3"):
        loaded.generate(ids())
    (tmp_path / "generation_config.json").write_text("[")
    with refuses(ValueError, "generation_config.json is not JSON"):
        type(model).from_pretrained(tmp_path)
