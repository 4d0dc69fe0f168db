"""Two architectures brought together: a pair's numbers, and what the tensors of its parts are called in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from adapterzoo.archs.base import ARCHITECTURES, Architecture, StaticHead
from adapterzoo.archs.config import ModelConfig
from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.fields import Rule
from adapterzoo.core.keymap import Row
from adapterzoo.core.registry import unknown

CAUSAL = "causal_lm"  # what a decoder's class has for a head
PAIR_HEAD = StaticHead("Model", "seq2seq_lm", pooler=True)
PART = Rule("a model's config, its model_type included", lambda given: isinstance(given, ModelConfig))


def part_configs(**given: Any) -> list[Any]:
    """The configs of the two, by their roles: BERT's where nothing is given; what can be none stays as it is.

    Raises:
        ValueError: there is no such architecture, or values are out of what they may be; of both, all is told.
    """
    made, wrong = [], []
    for role, one in given.items():
        try:
            made.append(_part(role, one))
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        raise ValueError("; ".join(wrong))
    return made


def _part(role: str, given: Any) -> Any:
    if given is None:
        return ARCHITECTURES["bert"].config()
    if not isinstance(given, dict) or "model_type" not in given:
        return given
    if given["model_type"] not in ARCHITECTURES:
        raise ValueError(f"{role}: {unknown('architecture', given['model_type'], ARCHITECTURES)}")
    return ARCHITECTURES[given["model_type"]].config.from_dict(given, role)


def pair_network(config: Any) -> NetworkConfig:
    """The two stacks, each with its own numbers."""
    first, last = (ARCHITECTURES[part.model_type].network(part) for part in (config.encoder, config.decoder))
    if config.tie_encoder_decoder and replace(last.first, causal=False, cross=False) != first.first:
        raise ValueError("tie_encoder_decoder needs an encoder and a decoder of the same numbers")
    return NetworkConfig(
        encoder=first.first,
        decoder=last.first,
        one_vocabulary=config.tie_encoder_decoder,
        tied=config.tie_encoder_decoder,
        pooler=first.pooler,
        init_std=first.init_std,
    )


def paired(first: Architecture, last: Architecture, tied: bool) -> dict[str, Any]:
    """The fields of an Architecture that has both.

    Args:
        first: the encoder's.
        last: the decoder's.
        tied: whether the decoder's weights are the encoder's.

    Raises:
        ValueError: the second cannot be a decoder.
    """
    head = next((static for static in last.statics if static.head_type == CAUSAL and not static.decoder_only), None)
    if head is None:
        raise ValueError(f"{last.name} cannot be a decoder: no class of it has a head for causal language modelling")
    stem = f"decoder.{last.prefix}."
    return {
        "rows": (*_rows(first, last, stem, tied), Row("enc_to_dec_proj.{p}", "bridge.{p}")),
        "places": {
            **{f"encoder.{site}": f"encoder.{place}" for site, place in first.places.items()},
            **dict.fromkeys(("encoder.embed", "encoder.input"), "encoder"),
            **{f"decoder.{site}": stem + place for site, place in last.places.items()},
        },
        "groups": {
            "shared": f"encoder.{first.hub_group('shared')}",
            "encoder_prefix": f"encoder.{first.hub_group('self_prefix')}",
            **{group: stem + last.hub_group(group) for group in ("self_prefix", "cross_prefix")},
        },
        "unused": (*(f"encoder.{name}" for name in first.unused), *(stem + name for name in last.unused)),
        "statics": (_head(head),),
    }


def _rows(first: Architecture, last: Architecture, stem: str, tied: bool) -> list[Row]:
    """Both networks' rows. A lone stack is called "encoder" in its own table, whatever it is in the pair."""
    token = {"token.weight": "embed.encoder.token.weight"}
    above = [_renamed(row, "encoder.", token.get(row.ours, row.ours)) for row in first.rows if ".cross" not in row.ours]
    below = [
        _renamed(row, stem, row.ours.replace("encoder.", "decoder."))
        for row in last.rows
        if not row.ours.startswith("pooler.")
    ]
    if tied:  # one token embedding under two names
        (twice,) = (row for row in above if row.ours in token.values())
        above.remove(twice)
        below = [replace(row, aliases=twice.parts) if row.ours in token else row for row in below]
    return above + below


def _head(head: StaticHead) -> StaticHead:
    """The decoder's head as the pair has it: its labels are the decoder's input, so none are shifted."""
    settings = {key: value for key, value in head.settings.items() if key != "shift_labels"}
    rows = tuple(_renamed(row, "decoder.", row.ours) for row in head.rows)
    return replace(
        PAIR_HEAD, settings={**settings, "logits_bias": False}, rows=rows, from_config=head.from_config, part="decoder"
    )


def _renamed(row: Row, stem: str, ours: str) -> Row:
    theirs = stem + row.theirs if isinstance(row.theirs, str) else tuple(stem + name for name in row.theirs)
    return replace(row, theirs=theirs, ours=ours, aliases=tuple(stem + name for name in row.aliases))
