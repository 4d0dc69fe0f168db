"""What was found in another library's checkpoint, told by the names that its tensors have there."""

from __future__ import annotations

from typing import Any

from adapterzoo.conversion.facts import LISTS
from adapterzoo.formats.foreign import Foreign


def translated(facts: dict[str, Any], format: str, foreign: Foreign) -> dict[str, Any]:
    """Facts of a checkpoint that was turned into Hugging Face's names, by its own.

    Args:
        facts: what was found under HF's names.
        format: "fairseq" or "tensorflow".
        foreign: what the checkpoint came to.

    Returns:
        The same, with HF's names under "hf" in the table's rows. What was made for it, and is in no file, is listed
        under "made"; what the file holds and nobody needs is with the unused.
    """
    names = foreign.names
    rows = [_row(row, foreign) for row in facts["tensors"] if row["theirs"] in names]
    told = {key: sorted(names.get(name, name) for name in facts[key]) for key in LISTS if key in facts}
    odd = {"odd": [{**one, "tensor": names.get(one["tensor"], one["tensor"])} for one in facts.get("odd", ())]}
    return {
        **facts,
        **told,
        **(odd if "odd" in facts else {}),
        "format": format,
        "version": None,
        "library": None,
        "tensors": rows,
        "unused": sorted([*told["unused"], *foreign.unused]),
        "made": sorted(row["theirs"] for row in facts["tensors"] if row["theirs"] not in names),
    }


def _row(row: dict[str, Any], foreign: Foreign) -> dict[str, Any]:
    name = row["theirs"]
    turned = {"shape": row["shape"][::-1], "transposed": True} if name in foreign.transposed else {}
    return {**row, "theirs": foreign.names[name], "hf": name, **turned}
