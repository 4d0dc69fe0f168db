"""A tokenizer's settings, as `tokenizer_config.json` has them: their defaults, and where they are at home."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import RobertaProcessing

from adapterzoo.core.fields import Rule, wrong_fields
from adapterzoo.tokenization.tokens import MORE_SPECIALS, SPECIAL_NAMES, TOKEN_FIELDS

BERT_DEFAULTS: dict[str, Any] = {
    "do_lower_case": True,
    "strip_accents": None,
    "tokenize_chinese_chars": True,
    "clean_up_tokenization_spaces": True,
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
ROBERTA_DEFAULTS: dict[str, Any] = {
    "add_prefix_space": False,
    "trim_offsets": True,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}
# What `from_pretrained` may be told.
OPTIONS = (
    *SPECIAL_NAMES,
    MORE_SPECIALS,
    *(
        "model_max_length",
        "padding_side",
        "truncation_side",
        "model_input_names",
        "clean_up_tokenization_spaces",
    ),
    *("do_lower_case", "strip_accents", "tokenize_chinese_chars", "add_prefix_space", "trim_offsets"),
)
_SWITCHES = ("do_lower_case", "tokenize_chinese_chars", "add_prefix_space", "trim_offsets")
_KINDS: dict[str, Any] = {
    **dict.fromkeys(("padding_side", "truncation_side"), str | None),
    **dict.fromkeys((*_SWITCHES, "strip_accents", "clean_up_tokenization_spaces"), bool | None),
    "model_input_names": list[str] | tuple[str, ...] | None,
    "added_tokens_decoder": Mapping[str, object] | None,
    MORE_SPECIALS: list[object] | tuple[object, ...] | None,
}
_RULES = {
    "model_max_length": Rule("a whole number, 0 or more", lambda count: count is None or is_count(count)),
    "added_tokens_decoder": Rule("tokens by their ids", lambda tokens: all(key.isdecimal() for key in tokens or ())),
}
# Where settings are at home: the part of a tokenizer, the type that it must have, and its field's setting.
_HOMES: tuple[tuple[str, Any, dict[str, str]], ...] = (
    (
        "normalizer",
        BertNormalizer,
        {
            "lowercase": "do_lower_case",
            "strip_accents": "strip_accents",
            "handle_chinese_chars": "tokenize_chinese_chars",
        },
    ),
    ("pre_tokenizer", ByteLevel, {"add_prefix_space": "add_prefix_space"}),
    (
        "post_processor",
        RobertaProcessing,
        {"add_prefix_space": "add_prefix_space", "trim_offsets": "trim_offsets"},
    ),
)
# Of old names, other machines and code that is not written along.
_UNSAVED = ("max_len", "name_or_path", "tokenizer_file", "special_tokens_map_file", "auto_map", "init_inputs")


def is_count(value: Any) -> bool:
    """Whether a value is a number of tokens. That of tokenizers without a limit is 10³⁰."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and (isinstance(value, int) or value.is_integer()) and value >= 0


def checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the right kinds, without those that say nothing.

    Raises:
        ValueError: some are of others; all are listed.
    """
    wrong = list(wrong_fields(settings, {"model_max_length": object, **_KINDS}, _RULES))
    if wrong:
        raise ValueError("the tokenizer's settings: " + "; ".join(wrong))
    return {name: value for name, value in settings.items() if value is not None or name not in _SWITCHES}


def apply(backend: Any, given: Mapping[str, Any]) -> None:
    """Make `backend` do what the settings in `given` say; it is changed in place."""
    for place, kind, homes in _HOMES:
        part = getattr(backend, place)
        changes = {field: given[name] for field, name in homes.items() if name in given}
        if isinstance(part, kind) and changes:
            state = {**_state(part), **changes}
            del state["type"]
            fields = {name: tuple(value) if isinstance(value, list) else value for name, value in state.items()}
            setattr(backend, place, kind(**fields))


def takes_segments(backend: Any) -> bool:
    """Whether the models of such a tokenizer tell the first text from the second by `token_type_ids`."""
    return isinstance(backend.model, WordPiece)


def takes_words(backend: Any) -> bool:
    """Whether the tokenizer can be given words: byte-level ones need the space before each of them."""
    words = backend.pre_tokenizer
    return not isinstance(words, ByteLevel) or bool(_state(words)["add_prefix_space"])


def config_of(backend: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What to write as `tokenizer_config.json`: `settings`, but with what `backend` does by now."""
    config = {name: value for name, value in settings.items() if name not in _UNSAVED}
    for place, kind, homes in _HOMES:
        if isinstance(part := getattr(backend, place), kind):
            state = _state(part)
            config.update({name: state[field] for field, name in homes.items()})
    tokens = sorted(backend.get_added_tokens_decoder().items())
    config["added_tokens_decoder"] = {
        str(number): {name: getattr(token, name) for name in TOKEN_FIELDS} for number, token in tokens
    }
    own_code = "auto_map" in settings  # the class is in files that are not written along
    kept = None if own_code else settings.get("tokenizer_class")
    return {**config, "tokenizer_class": kept or _class_name(backend)}


def _class_name(backend: Any) -> str:
    """The transformers class that takes `backend` as it is."""
    if isinstance(backend.model, WordPiece) and isinstance(backend.normalizer, BertNormalizer):
        return "BertTokenizer"
    if isinstance(backend.pre_tokenizer, ByteLevel) and isinstance(backend.post_processor, RobertaProcessing):
        return "RobertaTokenizer"
    return "PreTrainedTokenizerFast"


def _state(part: Any) -> dict[str, Any]:
    """The fields of a part of a tokenizer. Older `tokenizers` show them in no other way."""
    state: dict[str, Any] = json.loads(part.__getstate__())
    return state
