"""Config strings: `lora[r=16, dropout=0.1]`."""

from __future__ import annotations

import ast
from typing import Any


def parse_config_string(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the values in `name[key=value, …]`; values are Python literals.

    Raises:
        ValueError: it does not read so.

    >>> parse_config_string("lora[r=16, attn_matrices=['q']]")
    ('lora', {'r': 16, 'attn_matrices': ['q']})
    """
    name, bracket, rest = text.partition("[")
    name = name.strip()
    if not bracket:
        return name, {}
    if not rest.rstrip().endswith("]"):
        raise ValueError(f"config string {text!r} has no closing bracket; write it as name[key=value, …]")
    return name, _values(text, rest.rstrip()[:-1])


def _values(text: str, inside: str) -> dict[str, Any]:
    try:
        call = ast.parse(f"f({inside})", mode="eval").body
    except SyntaxError:
        raise ValueError(f"config string {text!r} does not read as name[key=value, …]") from None
    if not isinstance(call, ast.Call) or call.args:
        raise ValueError(f"config string {text!r} does not read as name[key=value, …]")
    values = {}
    for keyword in call.keywords:
        try:
            values[str(keyword.arg)] = ast.literal_eval(keyword.value)
        except ValueError:
            raise ValueError(
                f"config string {text!r}: the value of {keyword.arg} is no number, list or quoted string"
            ) from None
    return values
