"""What files say and cannot mean: sizes without end, whole numbers for weights, text that is none. Found by fuzzing."""

from __future__ import annotations

import json

import pytest
import torch

from adapterzoo import AutoAdapterModel, CheckpointError, FileError, Tokenizer
from adapterzoo.conversion.inspection import inspect_source
from tests.errors.conftest import furnished
from tests.helpers.fuzz.on_tensors import join, split
from tests.helpers.refusing import refuses
from tests.helpers.spoiling import edit_json, edit_tensors, keys_of, saved_model
from tests.helpers.tokenizing import small_folder

BERT = "bert"
WHOLE = [torch.int64, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn]


@pytest.fixture
def src(tmp_path):
    saved_model(tmp_path, BERT)
    return tmp_path


@pytest.mark.parametrize("dtype", WHOLE)
def test_weights_are_numbers_with_a_fraction(one_model, tmp_path, dtype):
    one_model.save_adapter(tmp_path / "adapter", "mrpc")
    one_model.save_head(tmp_path / "head", "mrpc")
    saved_model(tmp_path / "model", BERT)
    said = f"holds {dtype}, not numbers with a fraction"
    for path in tmp_path.rglob("*.safetensors"):
        first = keys_of(path)[0]
        edit_tensors(path, lambda tensors, first=first: {**tensors, first: tensors[first].to(dtype)})
    with refuses(ValueError, said, model=one_model):
        one_model.load_adapter(tmp_path / "adapter")
    with refuses(ValueError, said, model=one_model):
        one_model.load_head(tmp_path / "head")
    with refuses(CheckpointError, said):
        AutoAdapterModel.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize("value", [1 << 29, 10**12, 10**30])
def test_sizes_have_an_end(src, value):
    for field in ("hidden_size", "vocab_size", "intermediate_size", "max_position_embeddings", "type_vocab_size"):
        content = (src / "config.json").read_bytes()
        edit_json(src / "config.json", **{field: value})
        with refuses(ValueError, f"{field} must be", str(value)):
            AutoAdapterModel.from_pretrained(src)
        (src / "config.json").write_bytes(content)


def test_a_checkpoint_has_a_tensor_for_each_layer(src):
    edit_json(src / "config.json", num_hidden_layers=10**8)
    count = len(keys_of(src / "model.safetensors"))
    for read in (AutoAdapterModel.from_pretrained, inspect_source):
        with refuses(CheckpointError, f"its config says 100,000,000 layers, but it holds {count} tensors"):
            read(src)


def test_labels_have_an_end(src):
    edit_json(src / "config.json", num_labels=10**9, id2label=None)
    with refuses(ValueError, "num_labels must be 1,000,000 at most, not 1000000000"):
        AutoAdapterModel.from_pretrained(src)


@pytest.mark.parametrize("labels", [5, "a", [1], True])
def test_names_of_labels_are_a_mapping(src, labels):
    edit_json(src / "config.json", id2label=labels)
    with refuses(ValueError, f"id2label must be a mapping from numbers to names, not {labels!r}"):
        AutoAdapterModel.from_pretrained(src)


@pytest.mark.parametrize("field", ["r", "alpha"])
def test_an_adapters_numbers_have_an_end(one_model, tmp_path, field):
    one_model.save_adapter(tmp_path, "en")
    content = json.loads((tmp_path / "adapter_config.json").read_text())
    for value in (10**12, 10**400):
        edit_json(tmp_path / "adapter_config.json", config={**content["config"], field: value})
        if (field, value) == ("alpha", 10**12):
            assert one_model.load_adapter(tmp_path, load_as="strong") == "strong"
            continue
        with refuses(ValueError, f"{field} must be", model=one_model):
            one_model.load_adapter(tmp_path, load_as="new")


def test_an_inspected_adapter_is_for_a_model_of_some_size(one_model, tmp_path):
    one_model.save_adapter(tmp_path, "en", with_head=False)
    for width in (10**12, -1, "32", [32]):
        edit_json(tmp_path / "adapter_config.json", hidden_size=width)
        with refuses(FileError, "hidden_size must be"):
            inspect_source(tmp_path)


def test_a_dtype_that_cannot_be_read_is_told(one_model, tmp_path):
    one_model.save_adapter(tmp_path, "en", with_head=False)
    path = tmp_path / "adapter.safetensors"
    first = keys_of(path)[0]
    edit_tensors(path, lambda tensors: {**tensors, first: tensors[first].to(torch.uint8)})  # as many bytes
    said, rest = split(path.read_bytes())
    said[first]["dtype"] = "F8_E8M0"
    path.write_bytes(join(json.dumps(said), rest))
    with refuses(FileError, f"{path} holds tensors of a dtype that cannot be read", model=one_model):
        one_model.load_adapter(tmp_path)


def test_text_that_is_no_unicode_is_told_at_once(one_model, tmp_path):
    one_model.save_adapter(tmp_path, "en", with_head=False)
    edit_json(tmp_path / "adapter_config.json", name="\ud800")
    with refuses(FileError, "holds text that is no Unicode", model=one_model):
        one_model.load_adapter(tmp_path)


def test_what_lies_too_deep_is_told(one_model, tmp_path):
    one_model.save_adapter(tmp_path, "en", with_head=False)
    deep = json.loads("[" * 120 + "]" * 120)
    edit_json(tmp_path / "adapter_config.json", more=deep)
    with refuses(FileError, "has lists or objects within others, more than 100 deep", model=one_model):
        one_model.load_adapter(tmp_path)


def test_a_setup_whose_head_lacks_its_config_changes_nothing(tmp_path):
    other = furnished(BERT)
    other.save_adapter_setup(tmp_path, "en", head_setup="other")
    (tmp_path / "other" / "head_config.json").unlink()
    model = furnished(BERT)
    model.delete_head("other")
    with refuses(ValueError, "head 'other'", "has no head_config.json", model=model):
        model.load_adapter_setup(tmp_path, set_active=True)


def test_vera_that_went_wrong_is_vera_still(one_model, tmp_path):
    one_model.add_adapter("v", "vera[r=4]")
    with torch.no_grad():
        next(p for name, p in one_model.adapters["v"].named_parameters() if name.endswith("vera_B")).fill_(float("nan"))
    one_model.save_adapter(tmp_path, "v")
    assert one_model.load_adapter(tmp_path, load_as="w") == "w"
    assert one_model.adapters.get("w") == one_model.adapters.get("v")


# ---------------------------------------------------------------------------------------------- tokenizers

SETTINGS = [
    ({"do_lower_case": 5}, "do_lower_case must be True or False or None, not 5"),
    ({"strip_accents": "no"}, "strip_accents must be True or False or None, not 'no'"),
    ({"tokenize_chinese_chars": []}, "tokenize_chinese_chars must be"),
    ({"model_max_length": "long"}, "model_max_length must be a whole number, 0 or more, not 'long'"),
    ({"model_max_length": 0.5}, "model_max_length must be a whole number"),
    ({"model_max_length": float("inf")}, "model_max_length must be a whole number"),
    ({"padding_side": 1}, "padding_side must be a string or None, not 1"),
    ({"added_tokens_decoder": {"x": {"content": "a"}}}, "added_tokens_decoder must be tokens by their ids"),
    ({"added_tokens_decoder": {"60": None}}, "the added tokens [60] have no text"),
    ({"additional_special_tokens": 5}, "additional_special_tokens must be"),
    ({"cls_token": "$x"}, "cannot be put around texts"),
]


@pytest.mark.parametrize(("settings", "said"), SETTINGS, ids=[str(settings) for settings, _ in SETTINGS])
def test_a_tokenizers_settings_are_of_their_kinds(settings, said, tmp_path):
    small_folder(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with refuses(ValueError, said):
        Tokenizer.from_pretrained(tmp_path)


def test_a_switch_that_says_nothing_is_at_its_default(tmp_path):
    small_folder(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": None, "model_max_length": 1e30}))
    assert Tokenizer.from_pretrained(tmp_path).tokenize("THE") == ["the"]


def test_added_tokens_have_numbers(tmp_path):
    small_folder(tmp_path)
    for added in ({"x": "5"}, {"x": {}}, {"x": 1.5}):
        (tmp_path / "added_tokens.json").write_text(json.dumps(added))
        with refuses(ValueError, "added tokens must be ids by token, not"):
            Tokenizer.from_pretrained(tmp_path)


IDS = [
    (-1, "ids must be from 0 to below"),
    (1 << 31, "ids must be from 0 to below"),
    (1.5, "should hold a whole number"),
]
IDS += [(3, "gives one id to several tokens")]


@pytest.mark.parametrize(("number", "said"), IDS)
def test_ids_of_a_vocabulary_are_each_tokens_own(number, said, tmp_path):
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", "b"]
    vocabulary = {**{word: number for number, word in enumerate(words)}, "b": number}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with refuses(FileError, said):
        Tokenizer.from_pretrained(tmp_path)


def test_an_added_token_takes_no_other_tokens_id(tmp_path):
    """A vocabulary in which a token is there twice leaves an id out, and counts one token less than it has ids."""
    small_folder(tmp_path)
    words = (tmp_path / "vocab.txt").read_text().split()
    (tmp_path / "vocab.txt").write_text("\n".join([words[-1], *words]))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<x>": len(words)}))
    with refuses(ValueError, f"the added token '<x>' would have the id {len(words)}, which is that of {words[-1]!r}"):
        Tokenizer.from_pretrained(tmp_path)
