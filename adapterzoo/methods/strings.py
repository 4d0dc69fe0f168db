"""Config strings: `lora[r=16, dropout=0.1]`, and several joined by `|`."""

from __future__ import annotations

import ast
import re
from typing import Any

_PIECE = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[\s\S]""")
"""A quoted string, or one letter of anything else."""


def split_union(text: str) -> list[str]:
    """The parts between bars, but for bars in brackets or quotes; the whole where there is none.

    >>> split_union("prefix_tuning[prefix_length=5] | par_bn")
    ['prefix_tuning[prefix_length=5] ', ' par_bn']
    """
    parts, depth = [""], 0
    for piece in _PIECE.findall(text):
        depth += {"[": 1, "]": -1}.get(piece, 0)
        if piece == "|" and depth <= 0:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def parse_config_string(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the values in `name[key=value, …]`; values are Python literals.

    Raises:
        ValueError: it does not read so.

    >>> parse_config_string("lora[r=16, attn_matrices=['q']]")
    ('lora', {'r': 16, 'attn_matrices': ['q']})
    """
    name, bracket, rest = text.partition("[")
    name, rest = name.strip(), rest.rstrip()
    if bracket and not rest.endswith("]"):
        raise _unread(text, "has no closing bracket; write it as name[key=value, …]")
    return name, _values(text, rest[:-1]) if bracket else {}


def _unread(text: str, why: str) -> ValueError:
    return ValueError(f"config string {text!r} {why}")


def _values(text: str, inside: str) -> dict[str, Any]:
    unread = _unread(text, "does not read as name[key=value, …]")
    try:
        call = ast.parse(f"f({inside})", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise unread from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        raise unread
    values: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg in values:
            raise unread if keyword.arg is None else _unread(text, f"gives {keyword.arg} twice")
        try:
            values[keyword.arg] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError):
            raise ValueError(
                f"config string {text!r}: the value of {keyword.arg} is no number, list or quoted string"
            ) from None
    return values
