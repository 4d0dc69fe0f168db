"""From a checkpoint's files to a `tokenizers.Tokenizer`, whichever files these are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import BPE, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel
from tokenizers.processors import RobertaProcessing, TemplateProcessing

from adapterzoo import store
from adapterzoo.tokenization import files
from adapterzoo.tokenization.settings import BERT_DEFAULTS, ROBERTA_DEFAULTS, apply, checked
from adapterzoo.tokenization.tokens import add_listed, content_of, usual_specials

Opened = tuple[Any, dict[str, Any]]  # a `tokenizers.Tokenizer` and its settings


def open_backend(source: store.Source, revision: str | None, overrides: Mapping[str, Any]) -> Opened:
    """Read a tokenizer's files.

    Args:
        source: a directory or a Hub id.
        revision: branch, tag or commit on the Hub.
        overrides: settings that win over the files'.

    Returns:
        The `tokenizers.Tokenizer`, and all settings, as `tokenizer_config.json` has them.

    Raises:
        FileNotFoundError: there is no tokenizer.
        ValueError: a file cannot be read; the message names it.
    """

    def find(name: str) -> Path | None:
        return store.find(source, name, revision)

    given = _read_settings(find(files.CONFIG), find(files.SPECIALS), overrides)
    if path := find(files.TOKENIZER):
        return _from_json(path, given)
    if path := find(files.WORDPIECE):
        return _from_wordpiece(path, find(files.ADDED), given)
    if (path := find(files.BPE_VOCAB)) and (merges := find(files.BPE_MERGES)):
        return _from_byte_bpe(path, merges, find(files.ADDED), given)
    raise files.missing(source)


def _read_settings(config: Path | None, specials: Path | None, over: Mapping[str, Any]) -> dict[str, Any]:
    settings = files.read_json(config)
    # A config that lists its added tokens has the special ones, too; older ones leave them to the map.
    if "added_tokens_decoder" not in settings:
        settings.update(files.read_json(specials))
    if "model_max_length" not in settings and "max_len" in settings:
        settings["model_max_length"] = settings["max_len"]
    return checked({**settings, **over})


def _from_json(path: Path, given: Mapping[str, Any]) -> Opened:
    text = files.read_text(path)
    try:
        backend = Backend.from_str(text)
    except Exception as err:  # the package raises nothing more precise
        raise ValueError(f"{path} cannot be read as a tokenizer (cut short?): {err}") from err
    files.check_ids(path, backend.get_vocab(with_added_tokens=True))
    settings = {**usual_specials(backend), **_padding_settings(backend), **given}
    apply(backend, given)
    add_listed(backend, settings, {})
    return backend, settings


def _padding_settings(backend: Any) -> dict[str, Any]:
    """What to keep of a tokenizer.json's padding and truncation; how far they go is up to the caller."""
    padding, truncation = backend.padding or {}, backend.truncation or {}
    found = {
        "pad_token": padding.get("pad_token"),
        "padding_side": padding.get("direction"),
        "truncation_side": truncation.get("direction"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _from_wordpiece(path: Path, added: Path | None, given: Mapping[str, Any]) -> Opened:
    settings = {**BERT_DEFAULTS, **given}
    unk = content_of(settings["unk_token"], "unk_token") or "[UNK]"
    backend = Backend(WordPiece(files.read_vocab(path), unk_token=unk))
    backend.normalizer = BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings["tokenize_chinese_chars"],
        strip_accents=settings["strip_accents"],
        lowercase=settings["do_lower_case"],
    )
    backend.pre_tokenizer = BertPreTokenizer()
    backend.decoder = WordPieceDecoder(prefix="##")
    add_listed(backend, settings, files.read_json(added))
    ends = _ends(backend, settings)
    cls, sep = ends[0][0], ends[1][0]
    single, more = [f"{cls}:0", "$A:0", f"{sep}:0"], ["$B:1", f"{sep}:1"]
    try:
        backend.post_processor = TemplateProcessing(single=single, pair=[*single, *more], special_tokens=ends)
    except Exception as err:  # the package raises nothing more precise
        raise ValueError(f"{cls!r} and {sep!r} cannot be put around texts as cls_token and sep_token: {err}") from err
    return backend, settings


def _from_byte_bpe(vocab: Path, merges: Path, added: Path | None, given: Mapping[str, Any]) -> Opened:
    settings = {**ROBERTA_DEFAULTS, **given}
    if isinstance(settings["mask_token"], str):  # a mask stands for a word with the space before it
        settings["mask_token"] = {"content": settings["mask_token"], "lstrip": True}
    backend = Backend(_byte_bpe(vocab, merges))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=settings["add_prefix_space"])
    backend.decoder = ByteLevelDecoder()
    add_listed(backend, settings, files.read_json(added))
    files.check_ids(vocab, backend.get_vocab(with_added_tokens=True))  # of which an added one may have taken another's
    cls, sep = _ends(backend, settings)
    backend.post_processor = RobertaProcessing(
        sep=sep, cls=cls, add_prefix_space=settings["add_prefix_space"], trim_offsets=settings["trim_offsets"]
    )
    return backend, settings


def _byte_bpe(vocab: Path, merges: Path) -> Any:
    files.check_ids(vocab, files.read_json(vocab))  # for a message that names the file
    try:
        words, pairs = BPE.read_file(str(vocab), str(merges))
        return BPE(words, pairs, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False)
    except Exception as err:  # the package raises nothing more precise
        raise ValueError(f"{merges} does not fit {vocab.name} or is cut short: {err}") from err


def _ends(backend: Any, settings: Mapping[str, Any]) -> list[tuple[str, int]]:
    """The tokens before and after a text, cls and sep, with their ids."""
    ends = [content_of(settings[name], name) for name in ("cls_token", "sep_token")]
    if not all(ends):
        raise ValueError("a tokenizer made from a vocabulary needs a cls_token and a sep_token")
    return [(token, backend.token_to_id(token)) for token in ends if token]
