"""The arguments with which fairseq trained a model, as its checkpoint holds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapterzoo.core.fields import fits, words
from adapterzoo.core.registry import listing
from adapterzoo.store import FileError

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_accurate": "gelu_new",
    "gelu_fast": "gelu_new",
    "relu": "relu",
    "tanh": "tanh",
    "swish": "silu",
    "linear": "linear",
}
"""fairseq's activation functions against HF's."""


class Args:
    """A checkpoint's arguments.

    Args:
        path: its file, for messages.
        facts: what the file holds beside tensors. The arguments are "args" until 2020, and "model" in "cfg" since.

    Raises:
        FileError: it holds neither.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self.path = path
        old, new = facts.get("args"), facts.get("cfg")
        if isinstance(old, dict):
            self.values, self.tokenizer = old, old.get("bpe")
        elif isinstance(new, dict) and isinstance(new.get("model"), dict):
            self.values, self.tokenizer = new["model"], new.get("bpe")
        else:
            raise FileError(
                f"{path} is no fairseq checkpoint: it has no args, nor cfg; it has {listing(facts) or 'nothing'}"
            )

    def get(self, name: str, kind: Any, default: Any = None) -> Any:
        """The argument of that name, or the default where there is none.

        Raises:
            FileError: it is not of that kind, or there is neither.
        """
        value = self.values.get(name)
        value = default if value is None else value
        if not fits(value, kind):
            raise FileError(f"{self.path} should have an argument {name} that is {words(kind)}, not {value!r}")
        return value

    def activation(self) -> str:
        """The activation function, as HF calls it.

        Raises:
            FileError: it is not known.
        """
        value = self.get("activation_fn", str, "gelu")
        if value not in ACTIVATIONS:
            raise FileError(f"{self.path} has activation_fn {value!r}; known are {listing(ACTIVATIONS)}")
        return ACTIVATIONS[value]

    def require(self, name: str, wanted: Any) -> None:
        """Make sure that an argument, if it is there, is what the architecture computes.

        Raises:
            FileError: it is something else.
        """
        value = self.get(name, type(wanted), wanted)
        if value != wanted:
            raise FileError(f"{self.path} has {name} {value!r}; only {wanted!r} is computed here")
