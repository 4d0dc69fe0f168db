"""What the tests of the tokenizers share: pairs of ours and transformers', texts, and the comparison."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterzoo.tokenizer import Tokenizer
from tests.conftest import found_or_skip
from tests.helpers import real

KINDS = ("sibert", "sibert-uncased", "roberta-json", "roberta-vocab", "bart-json", "bart-vocab", "minilm")

ODD = [
    "",
    " ",
    "\n\t",
    "Hello, y'all!  How are you 😁 ?",
    "naïve café — déjà vu; ﬁne ①②③ Ångström",
    "你好，世界 こんにちは 안녕하세요",
    "🏳️‍🌈👩🏽‍🚀 zero\u200bwidth \u202eright-to-left مرحبا שלום",
    "[CLS] [MASK] <mask> </s> <s><pad> [SEP]",
    "a" * 150 + " b",
    "don't we've it's they're I'm n't . , ? !",
    "x\x00y\ufffdz \u00a0 nbsp",
    "UPPER lower MiXeD 12345 3.14159 http://example.org/?q=1&r=2",
]
SMALL_VOCAB = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *"abcdefgh0123.,!?'-éßi中ſ",
    *("the", "ab", "##a", "##b", "##i", "##he", "##0", "##cd", "##."),
]


Pair = tuple[Tokenizer, Any]  # ours and transformers'


def need(*parts: str) -> Path:
    path = found_or_skip(real.shared_dir).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the shared data have no {'/'.join(parts)}")
    return path


def copied(names: list[str], source: Path, target: Path) -> Path:
    for name in names:
        shutil.copyfile(source / name, target / name)
    return target


def folder_of(kind: str, target: Path) -> Path:
    if kind.startswith("sibert"):
        return need("data", "samples", "SiBERT")
    if kind == "minilm":
        return found_or_skip(real.minilm_dir)
    names = ["tokenizer.json"] if kind.endswith("json") else ["vocab.json", "merges.txt"]
    return copied(names, need("checkpoints", "roberta-bart-vocab"), target)


def opened(kind: str, folder: Path, **options: Any) -> Pair:
    peers = pytest.importorskip("transformers", reason="the tokenizers are compared with transformers'")
    name = {"r": "RobertaTokenizerFast", "b": "BartTokenizerFast"}.get(kind[0], "BertTokenizerFast")
    if kind == "sibert-uncased":
        options["do_lower_case"] = True
    return Tokenizer.from_pretrained(folder, **options), getattr(peers, name).from_pretrained(folder, **options)


def small_folder(folder: Path) -> Path:
    """Write a BERT tokenizer with a small vocabulary."""
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(SMALL_VOCAB) + "\n", encoding="utf-8")
    return folder


def plain(encoding: Any) -> dict[str, Any]:
    return {k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in encoding.items()}


def run(tokenizer: Any, *args: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tokenizer(*args, **options)


def check(pair: Pair, *args: Any, **options: Any) -> None:
    """Both give the same values of the same kinds under the same keys in the same order, or both refuse."""
    try:
        theirs = run(pair[1], *args, **options)
    except Exception:
        with pytest.raises(ValueError):
            run(pair[0], *args, **options)
        return
    ours = run(pair[0], *args, **options)
    assert plain(ours) == plain(theirs), options
    assert list(ours) == list(theirs)
    assert [type(v) for v in ours.values()] == [type(v) for v in theirs.values()]
    for i in range(len(theirs.encodings)):
        assert ours.tokens(i) == theirs.tokens(i)
        assert ours.word_ids(i) == theirs.word_ids(i)
        assert ours.sequence_ids(i) == theirs.sequence_ids(i)


EVERYTHING = {"return_offsets_mapping": True, "return_special_tokens_mask": True, "return_length": True}
