"""fairseq's dictionaries (`dict.txt`), and the tokenizer's files that they come to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import RobertaProcessing

from adapterzoo.formats.foreign import read_text
from adapterzoo.store import FileError, read_json

DICTIONARY = "dict.txt"
BPE = ("encoder.json", "vocab.bpe")
"""GPT-2's byte-level BPE, whose token numbers are then the words of the dictionary."""

WORDS = (DICTIONARY, *BPE)
"""The files that a tokenizer may be made of."""

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
"""What stands before a dictionary's words."""

MASK = "<mask>"
"""What stands behind them, if the model was trained with it."""

FILLING = "madeupword"
"""What words begin with that only fill a dictionary up to an even size."""

ROLES = {"bos": "<s>", "cls": "<s>", "pad": "<pad>", "eos": "</s>", "sep": "</s>", "unk": "<unk>", "mask": MASK}


def tokenizer_files(folder: Path, rows: int, words_only: bool) -> dict[str, str]:
    """The texts of a tokenizer's files, by name; none where there is no dictionary, or not all that it needs.

    Args:
        folder: where `dict.txt` is, and for GPT-2's BPE `encoder.json` and `vocab.bpe`.
        rows: how many tokens the model has.
        words_only: whether the model was trained on words, which blanks part, without a tokenizer of its own.

    Raises:
        FileError: the dictionary is broken, or not the model's.
    """
    if not (folder / DICTIONARY).is_file():
        return {}
    tokens = read_tokens(folder / DICTIONARY, rows)
    if all((folder / name).is_file() for name in BPE):
        numbers = {str(number): token for token, number in read_json(folder / BPE[0]).items()}
        vocabulary = {numbers.get(token, token): number for number, token in enumerate(tokens)}
        return {"vocab.json": json.dumps(vocabulary, ensure_ascii=False), "merges.txt": read_text(folder / BPE[1])}
    own = [token for token in tokens if token not in (*SPECIALS, MASK) and not token.startswith(FILLING)]
    numbered = all(token.isdigit() for token in own)  # by a BPE whose files are not here
    return {} if numbered or not words_only else _of_words(tokens)


def read_tokens(path: Path, rows: int) -> list[str]:
    """The tokens of a dictionary in the order of their numbers.

    Args:
        path: the file; each line holds a word and how often it was seen.
        rows: how many tokens there must be.

    Raises:
        FileError: a line is no such line, a word is there twice, or there are more or fewer.
    """
    lines = read_text(path).split("\n")
    words = [_word(path, number, line) for number, line in enumerate(lines, 1) if line]
    tokens = [*SPECIALS, *words]
    if len(tokens) == rows - 1:
        tokens.append(MASK)
    if len(tokens) != rows:
        raise FileError(f"{path} has {len(words)} words, so {len(tokens)} tokens, but the model has {rows}")
    if len(set(tokens)) != len(tokens):
        twice = next(token for token in tokens if tokens.count(token) > 1)
        raise FileError(f"{path} has the word {twice!r} twice")
    return tokens


def _word(path: Path, number: int, line: str) -> str:
    word, _, count = line.removesuffix(" #fairseq:overwrite").rpartition(" ")
    if not word or not count.isdigit():
        raise FileError(f"{path}, line {number}: {line[:60]!r} is not a word and a count")
    return word


def _of_words(tokens: Sequence[str]) -> dict[str, str]:
    """A tokenizer for words that blanks part."""
    numbers = {token: number for number, token in enumerate(tokens)}
    backend = Tokenizer(WordLevel(numbers, unk_token="<unk>"))
    backend.pre_tokenizer = WhitespaceSplit()
    backend.add_special_tokens([token for token in (*SPECIALS, MASK) if token in numbers])
    backend.post_processor = RobertaProcessing(sep=("</s>", 2), cls=("<s>", 0), add_prefix_space=False)
    roles = {f"{role}_token": token for role, token in ROLES.items() if token in numbers}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **roles}
    return {"tokenizer.json": backend.to_str(pretty=True), "tokenizer_config.json": json.dumps(config, indent=2)}
