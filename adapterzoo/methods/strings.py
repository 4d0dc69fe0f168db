"""Config strings: `lora[r=16, dropout=0.1]`."""

from __future__ import annotations

import ast
import re
from typing import Any

_UNION = re.compile(r"(^|\])[^\[\]]*\|")  # a bar outside of brackets


def parse_config_string(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the values in `name[key=value, …]`; values are Python literals.

    Raises:
        ValueError: it does not read so.

    >>> parse_config_string("lora[r=16, attn_matrices=['q']]")
    ('lora', {'r': 16, 'attn_matrices': ['q']})
    """
    if _UNION.search(text):
        raise ValueError(
            f"config string {text!r} joins methods by '|'; one adapter has one method. Add an adapter for each, and "
            "activate them together: Stack('first', 'second')"
        )
    name, bracket, rest = text.partition("[")
    name = name.strip()
    if not bracket:
        return name, {}
    if not rest.rstrip().endswith("]"):
        raise ValueError(f"config string {text!r} has no closing bracket; write it as name[key=value, …]")
    return name, _values(text, rest.rstrip()[:-1])


def _values(text: str, inside: str) -> dict[str, Any]:
    unread = f"config string {text!r} does not read as name[key=value, …]"
    try:
        call = ast.parse(f"f({inside})", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(unread) from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        raise ValueError(unread)
    values: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg in values:
            raise ValueError(unread if keyword.arg is None else f"config string {text!r} gives {keyword.arg} twice")
        try:
            values[keyword.arg] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError):
            raise ValueError(
                f"config string {text!r}: the value of {keyword.arg} is no number, list or quoted string"
            ) from None
    return values
