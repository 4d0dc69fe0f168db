"""DeBERTa v2 (He et al. 2021, arXiv:2006.03654) and v3 (arXiv:2111.09543), whose weights were trained otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from adapterzoo.archs.base import StaticHead
from adapterzoo.archs.disentangled import (
    MINE,
    POOLED,
    POOLED_ROWS,
    POOLER,
    SELF,
    DebertaLikeConfig,
    deberta_network,
    register_deberta,
)
from adapterzoo.archs.rows import fused
from adapterzoo.core.config import ConvolutionConfig, NetworkConfig, RelativeConfig
from adapterzoo.core.fields import SIZE, Rule
from adapterzoo.core.keymap import Row
from adapterzoo.nn.activations import ACTIVATION


def _is_odd_or_none(size: int) -> bool:
    return size == 0 or (size > 0 and size % 2 == 1)


class DebertaV2Config(DebertaLikeConfig):
    """The `config.json` of DeBERTa v2 and v3."""

    model_type = "deberta-v2"
    defaults: ClassVar[dict[str, Any]] = {
        **DebertaLikeConfig.defaults,
        "vocab_size": 128100,
        "hidden_size": 1536,
        "num_hidden_layers": 24,
        "num_attention_heads": 24,
        "intermediate_size": 6144,
    }
    unlisted: ClassVar[dict[str, Any]] = {
        **DebertaLikeConfig.unlisted,
        "attention_head_size": None,
        "share_att_key": False,
        "position_buckets": -1,
        "norm_rel_ebd": "none",
        "conv_kernel_size": 0,
        "conv_groups": 1,
        "conv_act": "tanh",
    }
    rules: ClassVar[dict[str, Any]] = {
        **DebertaLikeConfig.rules,
        "position_buckets": Rule("2 or more, or below 1 for none", lambda count: count != 1, SIZE.most),
        "conv_kernel_size": Rule("0 or an odd number", _is_odd_or_none, SIZE.most),
        "conv_groups": SIZE,
        "conv_act": ACTIVATION,
    }
    shared_among = (*DebertaLikeConfig.shared_among, ("hidden_size", "conv_groups"))

    def _at_odds(self) -> Iterator[str]:
        yield from super()._at_odds()
        if self.position_buckets > 0 and self.distances - 1 <= self.position_buckets // 2:
            least = self.position_buckets // 2 + 2
            yield f"position_buckets is {self.position_buckets}, for distances of {least} or more, not {self.distances}"


def network(config: Any) -> NetworkConfig:
    """Distances may be put into buckets; there may be a convolution beside the first layer."""
    far = config.distances if config.position_buckets > 0 else None
    relative = RelativeConfig(
        span=config.distances if far is None else config.position_buckets,
        far=far,
        shared=config.share_att_key,
        normed="layer_norm" in [word.strip() for word in config.norm_rel_ebd.lower().split("|")],
    )
    kernel = config.conv_kernel_size
    convolution = ConvolutionConfig(kernel=kernel, groups=config.conv_groups, activation=config.conv_act)
    return deberta_network(config, relative=relative, convolution=convolution if kernel else None)


DEBERTA_V2 = register_deberta(
    name="DebertaV2",
    config=DebertaV2Config,
    network=network,
    rows=(
        *fused((f"{SELF}query_proj", f"{SELF}key_proj", f"{SELF}value_proj"), f"{MINE}qkv"),
        Row(f"{SELF}pos_key_proj.{{p}}", f"{MINE}position_k.{{p}}"),
        Row(f"{SELF}pos_query_proj.{{p}}", f"{MINE}position_q.{{p}}"),
        Row("encoder.LayerNorm.{p}", "relative.encoder.norm.{p}"),
        Row("encoder.conv.conv.{p}", "convolution.encoder.conv.{p}"),
        Row("encoder.conv.LayerNorm.{p}", "convolution.encoder.norm.{p}"),
    ),
    statics=(StaticHead("ForMultipleChoice", "multiple_choice", POOLED, POOLED_ROWS, from_config=POOLER),),
    unused=tuple(
        f"mask_predictions.{module}.{p}" for module in ("dense", "LayerNorm", "classifier") for p in ("weight", "bias")
    ),
)
