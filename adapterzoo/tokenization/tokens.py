"""Special and added tokens: how config files write them, and how a vocabulary comes to have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken

from adapterzoo.core.fields import fits

SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
MORE_SPECIALS = "additional_special_tokens"

# What a special token is called where no file says it: the first of these that the vocabulary has.
_USUAL = {
    "bos_token": ("<s>",),
    "eos_token": ("</s>",),
    "unk_token": ("[UNK]", "<unk>"),
    "sep_token": ("[SEP]", "</s>"),
    "pad_token": ("[PAD]", "<pad>"),
    "cls_token": ("[CLS]", "<s>"),
    "mask_token": ("[MASK]", "<mask>"),
}
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
TOKEN_FIELDS = ("content", *_FLAGS)


def content_of(value: Any, name: str = "a token") -> str | None:
    """The text of a token as config files write it: a string, or an object with "content".

    Raises:
        ValueError: it is neither.
    """
    content = value.get("content") if isinstance(value, Mapping) else getattr(value, "content", value)
    if isinstance(content, str) or value is None:
        return content
    raise ValueError(f'{name} must be a string or {{"content": …}}, not {value!r}')


def as_token(value: Any, *, special: bool) -> Any:
    """A token as config files write it, as the `tokenizers` package's AddedToken."""
    flags: dict[str, bool] = {"normalized": not special}
    if isinstance(value, Mapping):
        flags = {name: bool(value[name]) for name in _FLAGS if name in value}
    elif isinstance(value, AddedToken):
        flags = {name: getattr(value, name) for name in _FLAGS}
    return AddedToken(content_of(value), **{**flags, "special": special or flags.get("special", False)})


def specials_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The special tokens of `settings`: text → token as it stands there, in the order of their names."""
    named = [(name, settings.get(name)) for name in SPECIAL_NAMES]
    named += [(MORE_SPECIALS, value) for value in settings.get(MORE_SPECIALS) or ()]
    found: dict[str, Any] = {}
    for name, value in named:
        if content := content_of(value, name):
            found.setdefault(content, value)
    return found


def usual_specials(backend: Any) -> dict[str, str]:
    """The special tokens that the vocabulary itself suggests, by their names."""
    there = {name: [t for t in usual if backend.token_to_id(t) is not None] for name, usual in _USUAL.items()}
    return {name: tokens[0] for name, tokens in there.items() if tokens}


def add_listed(backend: Any, settings: Mapping[str, Any], added: Mapping[str, int]) -> None:
    """Give `backend` the tokens that the config files list, and the special ones that it lacks.

    Args:
        backend: changed in place.
        settings: `added_tokens_decoder` (id → token) and the special tokens are read.
        added: the older `added_tokens.json`, token → id.

    Raises:
        ValueError: a token would get another id than its file says, or that of another token.
    """
    specials = specials_of(settings)
    if not fits(added, Mapping[str, int]):
        raise ValueError(f"added tokens must be ids by token, not {added!r}")
    listed = {int(number): token for number, token in (settings.get("added_tokens_decoder") or {}).items()}
    empty = [number for number, token in listed.items() if not content_of(token)]
    if empty:
        raise ValueError(f"the added tokens {empty} have no text")
    listed = listed or {number: token for token, number in added.items()}
    there = {repr(token) for token in backend.get_added_tokens_decoder().values()}
    for number, value in sorted(listed.items()):
        token = as_token(value, special=content_of(value) in specials)
        if repr(token) not in there:
            _add(backend, token, number)
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    for content, value in specials.items():
        if content not in known:
            _add(backend, as_token(value, special=True), None)


def _add(backend: Any, token: Any, number: int | None) -> None:
    backend.add_tokens([token])
    got = backend.token_to_id(token.content)
    if number is not None and got != number:
        raise ValueError(f"the config files give the token {token.content!r} the id {number}, the vocabulary {got}")
    other = backend.model.id_to_token(got)
    if other not in (None, token.content):  # where the vocabulary leaves ids out, the next one may be taken
        raise ValueError(f"the added token {token.content!r} would have the id {got}, which is that of {other!r}")
