"""Texts to token ids and back: the tokenizers of BERT, RoBERTa and BART, and others with a tokenizer.json."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from adapterzoo.core.registry import unknown
from adapterzoo.hub.fetch import Token, visit
from adapterzoo.store import Source
from adapterzoo.tokenization import files
from adapterzoo.tokenization.backends import open_backend
from adapterzoo.tokenization.batch import BatchEncoding, Features, collate, pad_encodings, tensors_of
from adapterzoo.tokenization.encode import encode, result
from adapterzoo.tokenization.inputs import UNLIMITED, Limits, Row, limits, rows_of, side_of, wants_tensors
from adapterzoo.tokenization.settings import OPTIONS, config_of, takes_segments, takes_words
from adapterzoo.tokenization.vocabulary import Vocabulary

__all__ = ["BatchEncoding", "Tokenizer"]

_OWN = (
    "model_max_length",
    "padding_side",
    "truncation_side",
    "clean_up_tokenization_spaces",
    "model_input_names",
)


class Tokenizer(Vocabulary):
    """Encodes and decodes as transformers' fast tokenizers do; any number of threads may use one.

    Args:
        backend: a `tokenizers.Tokenizer`; it is taken over, with its own padding and truncation switched off.
        settings: what `tokenizer_config.json` holds: special tokens by their names, `model_max_length` …

    Attributes:
        model_max_length: tokens in the longest input that the model takes.
        padding_side, truncation_side: "right" or "left".
        model_input_names: what a call returns when it is not told.
    """

    def __init__(self, backend: Any, settings: Mapping[str, Any] | None = None) -> None:
        settings = dict(settings or {})
        super().__init__(backend, settings)
        self._settings = settings
        self.model_max_length = int(settings.get("model_max_length") or UNLIMITED)
        self.padding_side = side_of(settings.get("padding_side") or "right")
        self.truncation_side = side_of(settings.get("truncation_side") or "right")
        usual = ["input_ids", *(["token_type_ids"] if takes_segments(backend) else []), "attention_mask"]
        self.model_input_names = list(settings.get("model_input_names") or usual)

    @classmethod
    def from_pretrained(
        cls, source: Source, *, revision: str | None = None, token: Token = None, **overrides: Any
    ) -> Tokenizer:
        """Open the tokenizer of a checkpoint.

        Read are `tokenizer.json`, or else `vocab.txt`, or else `vocab.json` with `merges.txt`; beside them
        `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`, where they are there.

        Args:
            source: a directory (the network is left alone) or a Hub id.
            revision: branch, tag or commit on the Hub.
            token: for a private repository on the Hub; that of HF_TOKEN or of the last login if None.
            overrides: settings that win over the files': special tokens by their names, `model_max_length`,
                `padding_side`, `do_lower_case`, `add_prefix_space` and others.

        Raises:
            FileNotFoundError: no such directory or repository, or no tokenizer in it.
            ValueError: a broken file, which the message names, or an unknown override.
        """
        overrides.pop("use_fast", None)  # callers of transformers give it; there is one kind here
        for name in overrides:
            if name not in OPTIONS:
                raise ValueError(unknown("tokenizer setting", name, OPTIONS))
        with visit(token):
            return cls(*open_backend(source, revision, overrides))

    def save_pretrained(self, save_directory: Source) -> tuple[str, ...]:
        """Write the tokenizer such that `from_pretrained` and transformers open it.

        Args:
            save_directory: made where it is not there.

        Returns:
            The paths of the files.
        """
        settings = {**self._settings, **{name: getattr(self, name) for name in _OWN}, **self._special}
        settings["additional_special_tokens"] = self.additional_special_tokens
        with self._lock:
            config, text = config_of(self.backend, settings), self.backend.to_str(pretty=True)
        return files.write_all(save_directory, config, self.special_tokens_map, text)

    def __call__(
        self,
        text: Any = None,
        text_pair: Any = None,
        *,
        text_target: Any = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool = True,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
    ) -> BatchEncoding:
        """Encode a text, a list of texts, or pairs of texts.

        Args:
            text: a text, a list of texts or of pairs; with `is_split_into_words`, a text is a list of words.
            text_pair: the second text or texts, in the shape of `text`.
            text_target: texts whose ids are returned as `labels` (without `text`: as `input_ids`).
            add_special_tokens: whether cls, sep and the like are put around the texts.
            padding: False; True or "longest": to the longest row; "max_length": to `max_length`.
            truncation: False; True or "longest_first"; "only_first"; "only_second". None, the default, is
                True if `max_length` is given and `padding` is False, and False otherwise.
            max_length: tokens in a row, `model_max_length` by default.
            stride: tokens that a row shares with the next, where one text overflows into several rows.
            is_split_into_words: whether texts come as lists of words.
            pad_to_multiple_of: pad on, to a multiple of this.
            padding_side: "right" or "left", instead of the tokenizer's own.
            return_tensors: "pt" for tensors, None for lists.
            return_token_type_ids: by default only for models that have them, as BERT.
            return_attention_mask: 1 for a token, 0 for padding.
            return_overflowing_tokens: return what truncation cuts off as further rows, and as
                `overflow_to_sample_mapping` the number of the text of each row.
            return_special_tokens_mask: 1 for special tokens and padding, 0 for the texts' own.
            return_offsets_mapping: for each token, where it begins and ends in its text, as `offset_mapping`.
            return_length: each row's length, as `length`.

        Returns:
            Lists, or tensors (B, T), by key; for one text and no tensors, lists (T).

        Raises:
            ValueError: what is no text, an unknown option, or rows of different lengths for a tensor.
        """
        bounds = limits(padding, truncation, max_length, stride, pad_to_multiple_of, self.model_max_length)
        tensors, side = wants_tensors(return_tensors), side_of(padding_side or self.padding_side)
        if return_token_type_ids is None:
            return_token_type_ids = "token_type_ids" in self.model_input_names
        options = {
            "input_ids": True,
            "token_type_ids": return_token_type_ids,
            "attention_mask": return_attention_mask,
            "special_tokens_mask": return_special_tokens_mask,
            "offset_mapping": return_offsets_mapping,
            "length": return_length,
            "overflow_to_sample_mapping": return_overflowing_tokens,
        }
        keys = {key for key, wanted in options.items() if wanted}

        def run(texts: Any, pairs: Any) -> BatchEncoding:
            rows, batched = rows_of(texts, pairs, is_split_into_words)
            encodings = self._encodings(rows, bounds, is_split_into_words, add_special_tokens)
            if bounds.padding != "do_not_pad":
                pad_encodings(encodings, bounds, side, self.pad_id(), self.pad_token)
            return result(encodings, keys, batched, tensors)

        if text is None and text_target is None:
            raise ValueError("there is neither text nor text_target")
        if text is None:
            return run(text_target, None)
        batch = run(text, text_pair)
        if text_target is not None:
            batch["labels"] = run(text_target, None)["input_ids"]
        return batch

    def encode(self, text: Any, text_pair: Any = None, **options: Any) -> Any:
        """The token ids of a text or a pair: `tokenizer(…)["input_ids"]`, with the same options."""
        return self(text, text_pair, **options)["input_ids"]

    def tokenize(self, text: str, pair: str | None = None, add_special_tokens: bool = False) -> list[str]:
        """The tokens of a text or a pair."""
        return self(text, pair, add_special_tokens=add_special_tokens).tokens()

    def pad(
        self,
        features: Features,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        return_tensors: str | None = "pt",
        *,
        padding_side: str | None = None,
    ) -> BatchEncoding:
        """Make one batch of rows that are encoded already.

        Args:
            features: a list of rows, each with `input_ids` (T) and whatever else, or one mapping of lists of
                rows. Lists of `labels` are padded with -100; a label that is one number stays one.
            padding: as in a call, like the next two.
            max_length: the length for padding="max_length".
            pad_to_multiple_of: pad on, to a multiple of this.
            return_tensors: "pt" for tensors, None for lists.
            padding_side: "right" or "left", instead of the tokenizer's own.

        Returns:
            Tensors (B, T) by key, or lists.

        Raises:
            ValueError: no `input_ids`, rows with different keys, or rows that make no tensor.
        """
        tensors, side = wants_tensors(return_tensors), side_of(padding_side or self.padding_side)
        bounds = limits(padding, False, max_length, 0, pad_to_multiple_of, self.model_max_length)
        columns = collate(features, bounds, side, self.pad_id() if bounds.padding != "do_not_pad" else 0)
        return BatchEncoding(tensors_of(columns) if tensors else columns)

    def _encodings(self, rows: Sequence[Row], bounds: Limits, split: bool, specials: bool) -> list[Any]:
        if split and not takes_words(self.backend):
            raise ValueError("is_split_into_words needs a tokenizer that was opened with add_prefix_space=True")
        side = side_of(self.truncation_side)
        encodings = encode(self.backend, self._lock, rows, bounds, split=split, specials=specials, side=side)
        longest = max((len(encoding.ids) for encoding in encodings), default=0)
        if bounds.max_length is None and longest > self.model_max_length:
            message = f"a text has {longest} tokens, more than the {self.model_max_length} that the model takes"
            warnings.warn(f"{message}; truncation=True cuts it", stacklevel=4)
        return encodings
