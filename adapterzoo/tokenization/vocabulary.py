"""The vocabulary's side of a tokenizer: tokens and their ids, the special ones by their names."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from adapterzoo.core.registry import unknown
from adapterzoo.tokenization.tokens import MORE_SPECIALS, SPECIAL_NAMES, as_token, content_of, specials_of


def _token(name: str) -> property:
    def read(self: Vocabulary) -> str | None:
        return self._special[name]

    def write(self: Vocabulary, value: str | None) -> None:
        content = content_of(value, name)
        if content is not None and self.backend.token_to_id(content) is None:
            raise ValueError(
                f"{content!r} is not in the vocabulary; add_special_tokens({{{name!r}: {content!r}}}) adds it"
            )
        self._special[name] = content

    return property(read, write, doc=f"The {name.removesuffix('_token')} token, or None.")


def _token_id(name: str) -> property:
    def read(self: Vocabulary) -> int | None:
        content = self._special[name]
        return None if content is None else self.convert_tokens_to_ids(content)  # type: ignore[return-value]

    return property(read, doc=f"The id of the {name.removesuffix('_token')} token, or None.")


class Vocabulary:
    """Tokens and ids of one `tokenizers.Tokenizer`.

    Args:
        backend: the `tokenizers.Tokenizer`; it is taken over, its own padding and truncation switched off.
        settings: the special tokens by their names, as `tokenizer_config.json` has them.

    Attributes:
        backend: the `tokenizers.Tokenizer`. What changes it, or must not meet a change, holds `_lock`.
        clean_up_tokenization_spaces: whether `decode` takes the spaces before punctuation out.
    """

    bos_token, bos_token_id = _token("bos_token"), _token_id("bos_token")
    eos_token, eos_token_id = _token("eos_token"), _token_id("eos_token")
    unk_token, unk_token_id = _token("unk_token"), _token_id("unk_token")
    sep_token, sep_token_id = _token("sep_token"), _token_id("sep_token")
    pad_token, pad_token_id = _token("pad_token"), _token_id("pad_token")
    cls_token, cls_token_id = _token("cls_token"), _token_id("cls_token")
    mask_token, mask_token_id = _token("mask_token"), _token_id("mask_token")

    def __init__(self, backend: Any, settings: Mapping[str, Any]) -> None:
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self._lock = threading.RLock()
        self._special = {name: content_of(settings.get(name), name) for name in SPECIAL_NAMES}
        more = (content_of(value, MORE_SPECIALS) for value in settings.get(MORE_SPECIALS) or ())
        self._more = [content for content in more if content]
        self.clean_up_tokenization_spaces = bool(settings.get("clean_up_tokenization_spaces"))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock())  # a lock is not for another process

    def __len__(self) -> int:
        """Tokens, the added ones included: the rows that an embedding needs."""
        return int(self.backend.get_vocab_size(with_added_tokens=True))

    def __bool__(self) -> bool:
        return True

    @property
    def vocab_size(self) -> int:
        """Tokens without the added ones."""
        return int(self.backend.get_vocab_size(with_added_tokens=False))

    def get_vocab(self) -> dict[str, int]:
        """All tokens with their ids, the added ones included."""
        vocab: dict[str, int] = self.backend.get_vocab(with_added_tokens=True)
        return vocab

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        """The special tokens by their names: `{"cls_token": "[CLS]", …}`."""
        named: dict[str, Any] = {name: token for name, token in self._special.items() if token is not None}
        return {**named, MORE_SPECIALS: list(self._more)} if self._more else named

    @property
    def additional_special_tokens(self) -> list[str]:
        """Special tokens that have no name."""
        return list(self._more)

    @property
    def all_special_tokens(self) -> list[str]:
        """The special tokens, each once."""
        return list(specials_of(self.special_tokens_map))

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of `all_special_tokens`."""
        return [self.convert_tokens_to_ids(token) for token in self.all_special_tokens]  # type: ignore[misc]

    def pad_id(self) -> int:
        """The id of the pad token.

        Raises:
            ValueError: there is no pad token.
        """
        number: int | None = self.pad_token_id
        if number is None:
            raise ValueError(
                "padding needs a pad token, and this tokenizer has none: open it with pad_token=…, set "
                "pad_token to a token of the vocabulary, or add one with add_special_tokens({'pad_token': …})"
            )
        return number

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> int | list[int | None] | None:
        """The id of a token, or the ids of several; unknown ones have that of `unk_token`, if it is set."""
        if not isinstance(tokens, str):
            return [self.convert_tokens_to_ids(token) for token in tokens]  # type: ignore[misc]
        number: int | None = self.backend.token_to_id(tokens)
        if number is None and self.unk_token is not None:
            number = self.backend.token_to_id(self.unk_token)
        return number

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> str | list[str | None] | None:
        """The token of an id, or the tokens of several; None for an id that there is not.

        Args:
            ids: an id, a list of them or a tensor (T,).
            skip_special_tokens: leave the special tokens out of a list.
        """
        numbers = plain_ids(ids)
        if isinstance(numbers, int):
            token: str | None = self.backend.id_to_token(numbers)
            return token
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self.backend.id_to_token(number) for number in numbers if number not in skipped]

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> str:
        """The text of token ids.

        Args:
            token_ids: an id, a list of them, or a tensor (T,).
            skip_special_tokens: leave cls, sep, padding and the like out.
            clean_up_tokenization_spaces: take the spaces before punctuation out; None: as the files say.
        """
        ids = plain_ids(token_ids)
        clean = clean_up_tokenization_spaces
        if clean is None:
            clean = self.clean_up_tokenization_spaces
        with self._lock:
            text = str(self.backend.decode([ids] if isinstance(ids, int) else ids, skip_special_tokens))
        return cleaned(text) if clean else text

    def batch_decode(
        self,
        sequences: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[str]:
        """The text of each row of a list or a tensor (B, T), as `decode` gives it."""
        return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in sequences]

    def add_tokens(self, new_tokens: str | Sequence[Any], special_tokens: bool = False) -> int:
        """Have tokens taken whole wherever they stand; new ones get the ids from `len(self)` on.

        Args:
            new_tokens: a token or several.
            special_tokens: whether `decode(…, skip_special_tokens=True)` leaves them out.

        Returns:
            How many are taken whole now and were not before; `len(self)` tells the rows of an embedding.
        """
        tokens = [new_tokens] if isinstance(new_tokens, str) else list(new_tokens)
        with self._lock:
            return int(self.backend.add_tokens([as_token(token, special=special_tokens) for token in tokens]))

    def add_special_tokens(self, special_tokens: Mapping[str, Any]) -> int:
        """Set special tokens by their names; those that the vocabulary lacks are added.

        Args:
            special_tokens: `{"pad_token": "[PAD]", "additional_special_tokens": ["<a>", "<b>"], …}`.

        Returns:
            As `add_tokens`.

        Raises:
            ValueError: an unknown name.
        """
        for name in special_tokens:
            if name not in (*SPECIAL_NAMES, MORE_SPECIALS):
                raise ValueError(unknown("special token named", name, (*SPECIAL_NAMES, MORE_SPECIALS)))
        values = [value if name == MORE_SPECIALS else [value] for name, value in special_tokens.items()]
        new = self.add_tokens([token for group in values for token in group], special_tokens=True)
        for name, value in special_tokens.items():
            if name == MORE_SPECIALS:
                self._more = [content for token in value if (content := content_of(token))]
            else:
                setattr(self, name, value)
        return new


def plain_ids(ids: Any) -> int | list[int]:
    """An id, or a sequence of them, out of numbers, lists, arrays and tensors.

    Raises:
        ValueError: they are no token ids.
    """
    values = ids.tolist() if hasattr(ids, "tolist") else ids
    try:
        numbers = [int(value) for value in (values if isinstance(values, Iterable) else [values])]
    except (TypeError, ValueError) as err:
        raise ValueError(f"token ids must be one sequence of integers (more: batch_decode): {err}") from err
    if low := [number for number in numbers if not 0 <= number < 2**32]:
        raise ValueError(f"there is no token id {low[0]}; replace labels of -100 before decoding them")
    return numbers if isinstance(values, Iterable) else numbers[0]


# Spaces that a tokenizer's decoder puts before punctuation and English clitics.
_SPACED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")


def cleaned(text: str) -> str:
    """`text` without the spaces before punctuation."""
    for spaced in _SPACED:
        text = text.replace(spaced, spaced.strip())
    return text
