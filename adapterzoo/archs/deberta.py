"""DeBERTa (He et al. 2021, arXiv:2006.03654): https://huggingface.co/docs/transformers/model_doc/deberta"""

from __future__ import annotations

from typing import Any, ClassVar

from adapterzoo.archs.disentangled import MINE, SELF, DebertaLikeConfig, deberta_network, register_deberta
from adapterzoo.core.config import NetworkConfig, RelativeConfig
from adapterzoo.core.keymap import Row


class DebertaConfig(DebertaLikeConfig):
    """DeBERTa's `config.json`."""

    model_type = "deberta"
    defaults: ClassVar[dict[str, Any]] = {**DebertaLikeConfig.defaults, "vocab_size": 50265}


def network(config: Any) -> NetworkConfig:
    """Each distance has a row of its own, and keys have no bias."""
    return deberta_network(config, relative=RelativeConfig(span=config.distances), key_bias=False)


# AdapterHub's LoRA acts on `in_proj` as if the query's rows came first in it, which they do not. What acts here is
# something else, and is called something else.
LINEARS = {f"attn.{part}": f"{SELF}{name}_proj" for part, name in (("q", "query"), ("k", "key"), ("v", "value"))}
DEBERTA = register_deberta(
    name="Deberta",
    config=DebertaConfig,
    network=network,
    rows=(
        Row(f"{SELF}in_proj.weight", f"{MINE}qkv.weight", turns=3),
        Row((f"{SELF}q_bias", f"{SELF}v_bias"), f"{MINE}qkv.bias"),
        Row(f"{SELF}pos_proj.weight", f"{MINE}position_k.weight"),
        Row(f"{SELF}pos_q_proj.{{p}}", f"{MINE}position_q.{{p}}"),
    ),
    places=LINEARS,
)
