"""What configs leave switched off by default and tests should see, by the field's name."""

from __future__ import annotations

from typing import Any

from adapterzoo.archs import ModelConfig

ON: dict[str, Any] = {
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "position_buckets": 6,
    "norm_rel_ebd": "layer_norm",
    "conv_kernel_size": 3,
}
"""What every small model has."""

OTHER: tuple[dict[str, Any], ...] = (
    {"share_att_key": True},
    {"embedding_size": 24, "type_vocab_size": 2},
    {"legacy": False},
)
"""What changes which tensors there are."""


def switched_on(kind: type[ModelConfig]) -> dict[str, Any]:
    """The fields of that config that every small model has on."""
    return {name: value for name, value in ON.items() if name in {**kind.defaults, **kind.unlisted}}


def others(kind: type[ModelConfig]) -> list[dict[str, Any]]:
    """The sets of fields that change which tensors there are, as far as the config has them off."""
    off = {**kind.defaults, **kind.unlisted}
    return [changes for changes in OTHER if all(name in off and off[name] != changes[name] for name in changes)]
