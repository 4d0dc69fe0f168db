"""The tokenizers' own behaviour: refusals that say what is wrong, batches, copies, threads."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch

from adapterzoo.tokenizer import BatchEncoding, Tokenizer
from tests.helpers.tokenizing import small_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small_folder(tmp_path / "bert")


@pytest.mark.parametrize(
    ("args", "options", "match"),
    [
        ((["a", "b", "c", float("nan")],), {}, r"texts must be strings; entry 3 is a float \(nan\)"),
        ((["a", None],), {}, "entry 1 is None"),
        ((["a"], [3]), {}, "entry 0 of text_pair is a int"),
        ((3,), {}, r"text is a int \(3\)"),
        ((torch.zeros(2),), {}, "text is a Tensor"),
        (("a", ["b"]), {}, "text_pair is a list"),
        ((["a"], "b"), {}, "text_pair must be a list"),
        ((["a", "b"], ["c"]), {}, "text has 2 entries, text_pair 1"),
        (([["a", "b", "c"]],), {}, "a list of 3.*is_split_into_words"),
        (([["a", "b"], ["c", 1]],), {"is_split_into_words": True}, "word 1 of entry 1 is a int"),
        ((["a", "b", 2],), {"is_split_into_words": True}, "word 2 of text is a int"),
        (("a",), {"is_split_into_words": True}, "lists of words"),
        ((["a", "\ud800"],), {}, "entry 1 is not valid Unicode"),
        ((), {}, "neither text nor text_target"),
        (("a",), {"padding": "longst"}, "padding.*'longst'.*do_not_pad.*max_length.*did you mean 'longest'"),
        (("a",), {"padding": None}, "padding"),
        (("a",), {"truncation": "first"}, "truncation.*longest_first.*only_first"),
        (("a",), {"return_tensors": "np"}, "np.*pt"),
        (("a",), {"max_length": 0, "truncation": True}, "max_length must be"),
        (("a",), {"max_length": 1, "truncation": True}, "there are 2 special tokens"),
        (("a",), {"max_length": "8"}, "max_length must be"),
        (("a",), {"stride": -1}, "stride must be"),
        (("a",), {"pad_to_multiple_of": 0}, "pad_to_multiple_of must be"),
        (
            ("a b",),
            {"max_length": 4, "truncation": True, "stride": 2},
            "stride 2 must be less than the 2 tokens",
        ),
        (("a b c d", "a b"), {"max_length": 6, "truncation": True, "stride": 2}, "cannot be encoded.*stride"),
        (("a b c",), {"max_length": 4, "truncation": "only_second"}, "Second sequence not provided"),
        (("a", "a b c d"), {"max_length": 5, "truncation": "only_first"}, "too short"),
        (
            (["a", "a b"],),
            {"return_tensors": "pt"},
            "'input_ids' makes no tensor.*3 to 4 entries; set padding",
        ),
        (("a",), {"padding": True, "padding_side": "middle"}, "no side 'middle'"),
    ],
)
def test_errors_of_calls(folder: Path, args: Any, options: Any, match: str) -> None:
    tokenizer = Tokenizer.from_pretrained(folder)
    with pytest.raises(ValueError, match=match):
        tokenizer(*args, **options)
    assert tokenizer.backend.truncation is None
    assert tokenizer("a b c d")["input_ids"][0] == 2  # as good as before


def test_errors_of_pad_and_decode(folder: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(folder)
    row = {"input_ids": [1, 2]}
    refused: list[tuple[Any, str]] = [
        ([{"ids": [1]}], "input_ids"),
        ([], "no rows"),
        ([{"input_ids": 5}], "lists of token ids"),
        ([row, {**row, "labels": 1}], "only one of row 0 and row 1 has labels"),
        ({"input_ids": [[1]], "labels": [1, 2]}, "'labels' has not as many rows"),
        ([{**row, "text": "a"}], "'text' makes no tensor"),
        ([{**row, "spans": [1]}, {**row, "spans": []}], "'spans' makes no tensor.*0 to 1"),
    ]
    for features, match in refused:
        with pytest.raises(ValueError, match=match):
            tokenizer.pad(features)
    for ids, match in (([1, -100], "-100"), ([[1]], "batch_decode"), (["a"], "integers")):
        with pytest.raises(ValueError, match=match):
            tokenizer.decode(ids)
    with pytest.raises(ValueError, match="'nowhere' is not in the vocabulary"):
        tokenizer.pad_token = "nowhere"
    with pytest.raises(ValueError, match=r"paddd.*did you mean 'pad_token'"):
        tokenizer.add_special_tokens({"paddd_token": "x"})


def test_padding_without_a_pad_token(folder: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(folder, pad_token=None)
    for call in (lambda: tokenizer(["a"], padding=True), lambda: tokenizer.pad([{"input_ids": [1]}])):
        with pytest.raises(ValueError, match=r"needs a pad token.*add_special_tokens"):
            call()
    tokenizer.pad_token = "[UNK]"
    assert tokenizer(["a", "a a"], padding=True)["input_ids"][0][-1] == 1


def test_batch_encoding(folder: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(folder)
    batch = tokenizer(["the ab", "the"], padding=True, return_tensors="pt")
    assert isinstance(batch, dict) and batch.input_ids is batch["input_ids"] and batch[0].ids[0] == 2
    assert batch.to("cpu") is batch and {**batch}.keys() == batch.keys()
    assert batch.to("meta").input_ids.device.type == "meta"
    assert batch.tokens(1) == ["[CLS]", "the", "[SEP]", "[PAD]"] and batch.word_ids(1) == [
        None,
        0,
        None,
        None,
    ]
    assert batch.char_to_token(0, 4) == 2
    again = pickle.loads(pickle.dumps(batch))
    assert again.tokens(0) == batch.tokens(0) and isinstance(copy.copy(batch), BatchEncoding)
    with pytest.raises(AttributeError, match=r"'inputs'.*input_ids"):
        batch.inputs  # noqa: B018
    with pytest.raises(ValueError, match="only the rows of a call"):
        tokenizer.pad([{"input_ids": [1]}]).tokens()


def test_an_empty_batch(folder: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(folder)
    assert tokenizer([], padding=True) == {"input_ids": [], "token_type_ids": [], "attention_mask": []}
    assert tokenizer([], [], return_tensors="pt")["input_ids"].dtype == torch.int64


def test_a_long_text_warns(folder: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(folder, model_max_length=8)
    with pytest.warns(UserWarning, match="22 tokens, more than the 8"):
        tokenizer("a " * 20)
    with pytest.warns(UserWarning, match="max_length has no effect"):
        tokenizer("a", padding=True, max_length=5)
    assert len(tokenizer("a " * 20, truncation=True)["input_ids"]) == 8
    assert len(tokenizer("a", padding="max_length")["input_ids"]) == 8


def test_a_backend_of_ones_own() -> None:
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<unk>": 0, "a": 1, "<pad>": 2}, unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = Tokenizer(backend, {"pad_token": "<pad>", "unk_token": "<unk>"})
    assert tokenizer(["a b", "a"], padding=True) == {
        "input_ids": [[1, 0], [1, 2]],
        "attention_mask": [[1, 1], [1, 0]],
    }
    assert bool(tokenizer) and len(tokenizer) == 3


def test_copies(folder: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(folder)
    for other in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        other.add_tokens(["new"])
        assert len(other) == len(tokenizer) + 1
        assert other("the ab") == tokenizer("the ab")


def test_threads_do_not_meet(folder: Path) -> None:
    """Lengths, sides, plain calls, decoding and additions at once, each giving what it gives alone."""
    tokenizer = Tokenizer.from_pretrained(folder)
    texts = ["the ab cd " * n for n in range(1, 40)]
    calls: list[dict[str, Any]] = [
        {"padding": "max_length", "truncation": True, "max_length": 16},
        {"padding": True, "truncation": "only_first", "max_length": 40, "padding_side": "left"},
        {},
    ]
    expected = [tokenizer(texts, **options) for options in calls]
    ids, text = expected[0]["input_ids"][-1], tokenizer.decode(expected[0]["input_ids"][-1])
    wrong: list[Any] = []

    def work(options: dict[str, Any], result: Any) -> None:
        try:
            for i in range(60):
                if tokenizer(texts, **options) != result or tokenizer.decode(ids) != text:
                    wrong.append(options)
                if options == {}:
                    tokenizer.add_tokens([f"<extra{i}>"])
        except BaseException as err:
            wrong.append(err)

    threads = [threading.Thread(target=work, args=each) for each in zip(calls, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and tokenizer.backend.truncation is None and tokenizer.backend.padding is None
