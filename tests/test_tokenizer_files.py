"""The tokenizers' files: what we write opens everywhere, what we read is checked, a directory stays local."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from adapterzoo import store
from adapterzoo.tokenizer import Tokenizer
from tests.helpers.tokenizing import (
    EVERYTHING,
    KINDS,
    ODD,
    SMALL_VOCAB,
    folder_of,
    opened,
    plain,
    run,
    small_folder,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small_folder(tmp_path / "bert")


@pytest.mark.parametrize("kind", KINDS)
def test_saved_opens_everywhere(kind: str, tmp_path: Path) -> None:
    peers = pytest.importorskip("transformers", reason="transformers opens what we write")
    ours, theirs = opened(kind, folder_of(kind, tmp_path))
    paths = ours.save_pretrained(tmp_path / "new" / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    assert sorted(os.listdir(tmp_path / "new" / "ours")) == sorted(Path(path).name for path in paths)
    known = peers.AutoTokenizer.from_pretrained(tmp_path / "new" / "ours")
    assert type(known).__name__ in ("BertTokenizerFast", "RobertaTokenizerFast")
    bare = peers.PreTrainedTokenizerFast.from_pretrained(tmp_path / "new" / "ours")
    again = Tokenizer.from_pretrained(tmp_path / "new" / "ours")
    imported = Tokenizer.from_pretrained(tmp_path / "theirs")
    for other in (known, bare, again, imported):
        assert (len(other), other.model_max_length) == (len(ours), ours.model_max_length)
        assert other.special_tokens_map == ours.special_tokens_map
        batch = ours(ODD, ODD[::-1], **EVERYTHING)
        assert plain(run(other, ODD, ODD[::-1], **EVERYTHING)) == plain(batch)
        assert other.batch_decode(batch["input_ids"]) == ours.batch_decode(batch["input_ids"])
    assert again.save_pretrained(tmp_path / "twice")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        assert (tmp_path / "twice" / name).read_bytes() == (tmp_path / "new" / "ours" / name).read_bytes()


def test_settings_survive_saving(tmp_path: Path) -> None:
    source = folder_of("bart-json", tmp_path)
    config = {
        "my_key": [1],
        "auto_map": {"AutoTokenizer": "evil.py"},
        "tokenizer_class": "Evil",
        "model_max_length": 77,
        "truncation_side": "left",
        "pad_token": {"content": "<pad>", "lstrip": False},
        "bos_token": None,
    }
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    first = Tokenizer.from_pretrained(source, add_prefix_space=True, padding_side="left", mask_token="<unk>")
    first.save_pretrained(tmp_path / "saved")
    again = Tokenizer.from_pretrained(tmp_path / "saved")
    for each in (first, again):
        assert (each.model_max_length, each.padding_side, each.truncation_side) == (77, "left", "left")
        assert (each.bos_token, each.bos_token_id, each.pad_token, each.mask_token) == (
            None,
            None,
            "<pad>",
            "<unk>",
        )
        assert each.tokenize("hello") == ["Ġhello"]
    saved = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    assert saved["my_key"] == [1] and "auto_map" not in saved and saved["tokenizer_class"] == "RobertaTokenizer"
    peers = pytest.importorskip("transformers", reason="transformers opens what we write")
    assert peers.AutoTokenizer.from_pretrained(tmp_path / "saved").tokenize("hello") == ["Ġhello"]


def test_own_padding_of_a_tokenizer_json_is_off(tmp_path: Path) -> None:
    plain_one = Tokenizer.from_pretrained(small_folder(tmp_path))
    plain_one.backend.enable_padding(length=128, direction="left", pad_id=0, pad_token="[PAD]")
    plain_one.backend.enable_truncation(128, direction="left")
    (tmp_path / "other").mkdir()
    plain_one.backend.save(str(tmp_path / "other" / "tokenizer.json"))
    tokenizer = Tokenizer.from_pretrained(tmp_path / "other")
    assert tokenizer("ab " * 200)["input_ids"] == [2, *[SMALL_VOCAB.index("ab")] * 200, 3]
    assert (tokenizer.padding_side, tokenizer.truncation_side, tokenizer.pad_token) == (
        "left",
        "left",
        "[PAD]",
    )
    with pytest.warns(UserWarning, match="stay as they are"):
        assert len(tokenizer("ab " * 200, truncation=True)["input_ids"]) == 202


def test_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("old")

    def fail(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(store.os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        store.write_text(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["tokenizer.json"]


def test_a_directory_never_asks_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("asked the Hub")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    Tokenizer.from_pretrained(folder)
    for name in ("no/such/directory", "./nothing", folder / "nothing", folder / "vocab.txt"):
        with pytest.raises(FileNotFoundError):
            Tokenizer.from_pretrained(name)


def test_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(repo: str, name: str, revision: str | None = None, **options: Any) -> str:
        asked.append((repo, revision))
        if not (folder / name).exists():
            raise huggingface_hub.errors.EntryNotFoundError(f"no {name}")
        return str(folder / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert len(Tokenizer.from_pretrained("some/bert", revision="v1")) == len(SMALL_VOCAB)
    assert set(asked) == {("some/bert", "v1")}


def test_offline_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"some/bert.*offline"):
        Tokenizer.from_pretrained("some/bert")


def test_errors_of_files(tmp_path: Path, folder: Path) -> None:
    def refused(kind: type[Exception], match: str, **options: Any) -> None:
        with pytest.raises(kind, match=match):
            Tokenizer.from_pretrained(folder, **options)

    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "sentencepiece.bpe.model").touch()
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json, vocab\.txt.*merges.*sentencepiece\.bpe\.model"):
        Tokenizer.from_pretrained(tmp_path / "empty")
    refused(ValueError, "do_lowercase.*did you mean 'do_lower_case'", do_lowercase=True)
    refused(ValueError, "pad_token must be a string", pad_token=3)
    refused(ValueError, "no side 'up'", padding_side="up")
    refused(ValueError, "needs a cls_token", cls_token=None)
    for name in ("tokenizer_config.json", "special_tokens_map.json", "tokenizer.json"):
        for text in ('{"version": "1.0", "trunc', "[1]", "", b"\xff\xfe{}"):
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
            refused(ValueError, name.replace(".", r"\."))
        (folder / name).unlink()
    (folder / "vocab.txt").write_bytes(b"a\n\xff\n")
    refused(ValueError, r"vocab\.txt is not UTF-8")
    (folder / "vocab.txt").write_bytes(b"")
    refused(ValueError, r"vocab\.txt is empty")


def test_errors_of_byte_level_files(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4, "b": 5}')
    with pytest.raises(FileNotFoundError, match=r"merges\.txt; there are: vocab\.json"):
        Tokenizer.from_pretrained(tmp_path)
    for merges in ("#version: 0.2\na b\n", "#version: 0.2\na b c\n"):
        (tmp_path / "merges.txt").write_text(merges)
        with pytest.raises(ValueError, match=r"merges\.txt"):
            Tokenizer.from_pretrained(tmp_path)
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    assert tokenizer("ab")["input_ids"] == [0, 4, 5, 2] and tokenizer.mask_token_id == 6
    with pytest.raises(ValueError, match="add_prefix_space=True"):
        tokenizer(["a", "b"], is_split_into_words=True)
    (tmp_path / "vocab.json").write_text('{"a": 4, "b"')
    with pytest.raises(ValueError, match=r"vocab\.json is not JSON"):
        Tokenizer.from_pretrained(tmp_path)
