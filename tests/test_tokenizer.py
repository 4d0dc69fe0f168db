"""The tokenizers encode, decode and pad as transformers' fast ones do: compared live, value for value."""

from __future__ import annotations

import copy
import csv
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterzoo.tokenizer import Tokenizer
from tests.helpers.tokenizing import (
    EVERYTHING,
    KINDS,
    ODD,
    Pair,
    check,
    copied,
    folder_of,
    need,
    opened,
    plain,
    run,
    small_folder,
)

peers = pytest.importorskip("transformers", reason="the tokenizers are compared with transformers'")


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return opened(request.param, folder_of(request.param, tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture(scope="module")
def sentences() -> tuple[list[str], list[str]]:
    rows = []
    for path in (need("data", "samples", "MRPC", "dev.tsv"), need("data", "rte", "dev.tsv")):
        with path.open(encoding="utf-8-sig") as file:
            lines = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:31]
        rows += [line[-2:] if "MRPC" in path.parts else line[1:3] for line in lines]
    firsts, seconds = [a for a, _ in rows], [b for _, b in rows]
    return firsts + ODD + ["word " * 700], seconds + ODD[::-1] + ["so it goes"]


# Parity: encoding


def test_plain_calls(pair: Pair, sentences: tuple[list[str], list[str]]) -> None:
    firsts, seconds = sentences
    check(pair, firsts, **EVERYTHING)
    check(pair, firsts, seconds, **EVERYTHING)
    check(pair, list(zip(firsts, seconds, strict=True)))
    check(pair, firsts, seconds, add_special_tokens=False, return_token_type_ids=True)
    check(pair, firsts, return_token_type_ids=False, return_attention_mask=False)
    check(pair, firsts[0])
    check(pair, firsts[0], seconds[0], **EVERYTHING)
    check(pair, firsts[0], seconds[0], return_tensors="pt")
    check(pair, firsts[0], "")
    check(pair, [firsts[0]], [""])


@pytest.mark.parametrize("padding", [False, True, "max_length"])
@pytest.mark.parametrize("truncation", [None, False, True, "only_first", "only_second"])
def test_padding_and_truncation(
    pair: Pair, sentences: tuple[list[str], list[str]], padding: Any, truncation: Any
) -> None:
    firsts, seconds = [texts[::5] for texts in sentences]
    common = {"padding": padding, "truncation": truncation, **EVERYTHING}
    for length in (None, 5, 24, 160):
        check(pair, firsts, max_length=length, **common)
        check(pair, firsts, seconds, max_length=length, **common)
    check(pair, firsts[0], seconds[0], max_length=24, **common)
    short = [text for text in firsts if len(text) < 60]
    if padding == "max_length" or (padding and truncation != "only_second"):
        check(pair, short, max_length=64, return_tensors="pt", **common)


def test_padding_options(pair: Pair, sentences: tuple[list[str], list[str]]) -> None:
    firsts = sentences[0][:20]
    for side in ("left", "right"):
        check(pair, firsts, padding=True, padding_side=side, return_tensors="pt")
        check(pair, firsts, padding=True, pad_to_multiple_of=8, padding_side=side)
    check(pair, firsts, padding="max_length", max_length=32, pad_to_multiple_of=8, truncation=True)
    check(pair, firsts, padding=True, max_length=30, pad_to_multiple_of=8, truncation=True)  # both refuse
    for both in pair:
        both.padding_side = both.truncation_side = "left"
    try:
        check(pair, firsts, sentences[1][:20], padding=True, truncation=True, max_length=20)
    finally:
        for both in pair:
            both.padding_side = both.truncation_side = "right"


@pytest.mark.parametrize("stride", [0, 1, 5])
def test_overflow(pair: Pair, sentences: tuple[list[str], list[str]], stride: int) -> None:
    firsts, seconds = sentences[0][:12], sentences[1][:12]
    common = {"return_overflowing_tokens": True, "stride": stride, "max_length": 18, **EVERYTHING}
    check(pair, firsts, truncation=True, **common)
    check(pair, firsts, truncation=True, padding=True, return_tensors="pt", **common)
    check(pair, firsts[0], truncation=True, padding="max_length", **common)
    check(pair, ["short"] * 12, seconds, truncation="only_second", padding=True, **common)


def test_words(tmp_path: Path, sentences: tuple[list[str], list[str]]) -> None:
    firsts, seconds = [[text.split() for text in texts[:40]] for texts in sentences]
    for kind in ("sibert", "roberta-vocab", "bart-json"):
        folder = folder_of(kind, tmp_path)
        options = {} if kind == "sibert" else {"add_prefix_space": True}
        pair = opened(kind, folder, **options)
        check(pair, sentences[0], sentences[1], **EVERYTHING)
        check(pair, firsts, is_split_into_words=True, **EVERYTHING)
        check(pair, firsts, seconds, is_split_into_words=True, truncation=True, max_length=16, padding=True)
        check(pair, firsts[0], is_split_into_words=True)
        check(pair, firsts[0], seconds[0], is_split_into_words=True, return_tensors="pt")
        check(pair, [], is_split_into_words=True)
        check(pair, [[], ["a"]], is_split_into_words=True)


def test_targets(pair: Pair) -> None:
    check(pair, ["a b c", "d"], text_target=["e", "f g"], padding=True, return_tensors="pt")
    check(pair, "a b c", text_target="e")
    check(pair, text_target=["e", "f g"])


# Parity: the vocabulary, decoding


def test_vocabulary(pair: Pair) -> None:
    ours, theirs = pair
    assert (len(ours), ours.vocab_size, ours.get_vocab()) == (
        len(theirs),
        theirs.vocab_size,
        theirs.get_vocab(),
    )
    assert ours.model_max_length == theirs.model_max_length
    assert (ours.padding_side, ours.truncation_side) == (theirs.padding_side, theirs.truncation_side)
    assert ours.all_special_ids == theirs.all_special_ids and ours.all_special_tokens == theirs.all_special_tokens
    assert ours.special_tokens_map == theirs.special_tokens_map
    for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"):
        assert getattr(ours, f"{name}_token") == getattr(theirs, f"{name}_token")
        assert getattr(ours, f"{name}_token_id") == getattr(theirs, f"{name}_token_id")
    ids = [*range(12), len(ours) - 1, len(ours) + 7]
    assert ours.convert_ids_to_tokens(ids) == theirs.convert_ids_to_tokens(ids)
    assert ours.convert_ids_to_tokens(ids, skip_special_tokens=True) == theirs.convert_ids_to_tokens(ids, True)
    assert ours.convert_ids_to_tokens(7) == theirs.convert_ids_to_tokens(7)
    tokens = ["the", "##ing", "Ġthe", "no such token", ours.pad_token]
    assert ours.convert_tokens_to_ids(tokens) == theirs.convert_tokens_to_ids(tokens)
    assert ours.convert_tokens_to_ids("a") == theirs.convert_tokens_to_ids("a")
    assert ours.tokenize(ODD[3]) == theirs.tokenize(ODD[3])
    assert ours.tokenize(ODD[3], "b", add_special_tokens=True) == theirs.tokenize(ODD[3], "b", add_special_tokens=True)
    assert ours.encode(ODD[3], "b") == theirs.encode(ODD[3], "b")


def test_decode(pair: Pair, sentences: tuple[list[str], list[str]]) -> None:
    ours, theirs = pair
    batch = run(ours, sentences[0], sentences[1], truncation=True, max_length=120, padding=True, return_tensors="pt")
    for skip, clean in itertools.product((False, True), (None, False, True)):
        expected = theirs.batch_decode(batch["input_ids"], skip, clean)
        assert ours.batch_decode(batch["input_ids"], skip, clean) == expected
        assert ours.batch_decode(batch["input_ids"].tolist(), skip, clean) == expected
        assert ours.decode(batch["input_ids"][3], skip, clean) == expected[3]
    assert ours.decode(9) == theirs.decode(9) == ours.decode(torch.tensor(9))
    assert ours.decode([]) == theirs.decode([]) == ""


@pytest.mark.parametrize("kind", ["sibert", "roberta-vocab"])
def test_added_tokens(kind: str, tmp_path: Path) -> None:
    ours, theirs = opened(kind, folder_of(kind, tmp_path))
    for both in (ours, theirs):
        assert both.add_tokens(["Zylph", "the", "qu ux"]) == 3 and both.add_tokens([]) == both.add_tokens("the") == 0
        assert both.add_special_tokens({"additional_special_tokens": ["<e1>", "<e2>"], "eos_token": "<end>"}) == 3
    assert len(ours) == len(theirs) and ours.get_vocab() == theirs.get_vocab()
    assert ours.special_tokens_map == theirs.special_tokens_map and ours.all_special_ids == theirs.all_special_ids
    check((ours, theirs), ["A Zylph, zylph<e1> qu ux <end>", "<e2>the"], **EVERYTHING)
    ids = ours("A Zylph<e1> x<end>")["input_ids"]
    for skip in (False, True):
        assert ours.decode(ids, skip) == theirs.decode(ids, skip)
    for folder in (ours.save_pretrained(tmp_path / "ours"), theirs.save_pretrained(tmp_path / "theirs")):
        again = opened(kind, Path(folder[0]).parent)
        assert len(again[0]) == len(ours) and again[0].special_tokens_map == ours.special_tokens_map
        check(again, ["A Zylph, zylph<e1> qu ux <end>", "<e2>the"], **EVERYTHING)


def test_old_added_tokens_file(tmp_path: Path) -> None:
    copied(["vocab.txt", "special_tokens_map.json"], need("data", "samples", "SiBERT"), tmp_path)
    (tmp_path / "added_tokens.json").write_text('{"<b>": 10001, "<a>": 10000}')
    pair = opened("sibert", tmp_path)
    assert pair[0].convert_tokens_to_ids(["<a>", "<b>"]) == [10000, 10001]
    check(pair, ["x <a>y<B> <b>", *ODD])
    (tmp_path / "added_tokens.json").write_text('{"<b>": 12345}')
    with pytest.raises(ValueError, match="12345"):
        Tokenizer.from_pretrained(tmp_path)


# Parity: any text, over a small vocabulary


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    folder = small_folder(tmp_path_factory.mktemp("small"))
    variants = [{}, {"do_lower_case": False}, {"do_lower_case": False, "strip_accents": True},
                {"strip_accents": False, "tokenize_chinese_chars": False}]  # fmt: skip
    return [opened("sibert", folder, **options) for options in variants]


TEXT = st.text(max_size=40) | st.text(alphabet="abcdehi é中ſßİ.,!'-0\u0301[]MASKmask##", max_size=40)


@settings(max_examples=100)
@given(text=TEXT, second=st.none() | TEXT, length=st.integers(3, 20), truncation=st.sampled_from([False, True]))
def test_any_text(small: list[Pair], text: str, second: Any, length: int, truncation: bool) -> None:
    for pair in small:
        check(pair, text, second, truncation=truncation, max_length=length, padding="max_length", **EVERYTHING)


@settings(max_examples=60)
@given(texts=st.lists(TEXT, min_size=1, max_size=4), multiple=st.sampled_from([None, 4]))
def test_any_batch(small: list[Pair], texts: list[str], multiple: int | None) -> None:
    for pair in small:
        check(pair, texts, padding=True, pad_to_multiple_of=multiple, return_tensors="pt")
        ids = pair[0](texts)["input_ids"]
        assert pair[0].batch_decode(ids, True) == pair[1].batch_decode(ids, True)


def test_small_vocabulary_gets_the_tokens_that_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\na\nb\n##c\n\n", encoding="utf-8")
    pair = opened("sibert", tmp_path)
    assert pair[0].get_vocab() == pair[1].get_vocab() and len(pair[0]) == 9
    check(pair, ["a bc [MASK]", ""], ["b", "a"], **EVERYTHING)


# Parity: pad


def rows_of(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    return [dict(tokenizer(text)) for text in ("a b c", "d", "e f g h i")]


def test_pad(pair: Pair) -> None:
    ours, theirs = pair
    rows = rows_of(ours)
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    options: list[dict[str, Any]] = [
        {}, {"padding": "max_length", "max_length": 16}, {"pad_to_multiple_of": 8}, {"padding_side": "left"}
    ]  # fmt: skip
    for option, given_rows in itertools.product(options, (rows, columns)):
        before = copy.deepcopy(given_rows)
        expected = plain(theirs.pad(copy.deepcopy(given_rows), return_tensors="pt", **option))
        result = ours.pad(given_rows, **option)
        assert plain(result) == expected and isinstance(result["input_ids"], torch.Tensor)
        assert given_rows == before
        assert plain(ours.pad(given_rows, return_tensors=None, **option)) == expected
        assert isinstance(ours.pad(given_rows, return_tensors=None, **option)["input_ids"], list)
    tensors = [{key: torch.tensor(value) for key, value in row.items()} for row in rows]
    assert plain(ours.pad(tensors)) == plain(theirs.pad(tensors, return_tensors="pt"))
    assert plain(ours.pad(rows[0], pad_to_multiple_of=8)) == plain(
        theirs.pad(dict(rows[0]), pad_to_multiple_of=8, return_tensors="pt")
    )
    bare = [{"input_ids": row["input_ids"]} for row in rows]
    assert plain(ours.pad(bare)) == plain(theirs.pad(bare, return_tensors="pt"))
    assert ours.pad(rows, padding=False, return_tensors=None)["input_ids"] == columns["input_ids"]


def test_pad_labels_as_the_collators_do(pair: Pair) -> None:
    ours, theirs = pair
    rows = [{**row, "labels": [1] * len(row["input_ids"])} for row in rows_of(ours)]
    expected = peers.DataCollatorForTokenClassification(theirs, pad_to_multiple_of=8)(copy.deepcopy(rows))
    assert plain(ours.pad(rows, pad_to_multiple_of=8)) == plain(expected)
    rows = [{**row, "labels": list(range(n))} for row, n in zip(rows_of(ours), (2, 9, 4), strict=True)]
    expected = peers.DataCollatorForSeq2Seq(theirs)(copy.deepcopy(rows))
    assert plain(ours.pad(rows)) == plain(expected)
    rows = [{**row, "labels": n} for row, n in zip(rows_of(ours), (0, 1, 0), strict=True)]
    assert ours.pad(rows)["labels"].tolist() == [0, 1, 0]
    rows = [{**row, "labels": 0.5} for row in rows_of(ours)]
    assert ours.pad(rows)["labels"].dtype == torch.float32
