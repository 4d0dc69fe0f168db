"""Which head says the next token of which row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from adapterzoo.core.registry import listing
from adapterzoo.heads.base import PredictionHead
from adapterzoo.heads.lm import LMHead


def generating_heads(
    name: str,
    there: Mapping[str, nn.Module],
    runs: Sequence[tuple[PredictionHead | None, int]],
    by_rows: bool = False,
) -> list[tuple[LMHead, int]]:
    """The heads of a call, all of which can say the next token.

    Args:
        name: the model's class.
        there: the model's heads by name, for messages.
        runs: the heads that were chosen, None for none, and how many rows each has.
        by_rows: whether each head has rows of its own; else there must be one.

    Raises:
        ValueError: they cannot: there is none, or one of another kind, or several for the same rows.
    """
    found = [(head, rows) for head, rows in runs if isinstance(head, LMHead) and head.generates and rows]
    lost = [head for head, rows in runs if rows and not (isinstance(head, LMHead) and head.generates)]
    if lost:
        heads = {key: getattr(head, "head_type", "custom") for key, head in there.items()}
        has = ", ".join(f"{key!r} ({kind})" for key, kind in sorted(heads.items())) or "no heads"
        chosen = "none is in use" if lost[0] is None else f"the one in use is a {lost[0].head_type} head"
        raise ValueError(
            f"{name} cannot generate: that takes a causal_lm or seq2seq_lm head, but {chosen}; the model has {has}"
        )
    if len(found) > 1 and not by_rows:
        raise ValueError(f"{name} generates with one head, but {listing(head.name for head, _ in found)} are active")
    sizes = {head.name: head.config["vocab_size"] for head, _ in found}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"heads of one batch must have one vocabulary, but theirs have {sizes} tokens")
    return found
