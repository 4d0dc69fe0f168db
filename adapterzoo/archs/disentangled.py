"""What both DeBERTas share: the fields of their configs, how these become numbers, and their heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

from adapterzoo.archs.base import Architecture, StaticHead, register
from adapterzoo.archs.bert import HIDDEN_ACT, MLM, MLM_ROWS
from adapterzoo.archs.encoder import ENCODER_DEFAULTS, ENCODER_HEADS, EncoderConfig, encoder_stack
from adapterzoo.archs.rows import BERT_PLACES, BERT_ROWS, BERT_UNUSED, CLASSIFIER, LINEAR, QA, QA_OUTPUTS
from adapterzoo.core.config import NetworkConfig, RelativeConfig
from adapterzoo.core.fields import CHANCE, SIZE, Rule, one_of
from adapterzoo.core.keymap import Row
from adapterzoo.nn.activations import ACTIVATION

TERMS = ("c2p", "p2c")
NOT_THERE = ("position_embedding_type", "use_cache", "classifier_dropout")


class DebertaLikeConfig(EncoderConfig):
    """The `config.json` of either DeBERTa. A subclass gives `model_type` and adds to `defaults`."""

    defaults: ClassVar[dict[str, Any]] = {
        **{name: value for name, value in ENCODER_DEFAULTS.items() if name not in NOT_THERE},
        "type_vocab_size": 0,
        "layer_norm_eps": 1e-7,
        "relative_attention": False,
        "max_relative_positions": -1,
        "pad_token_id": 0,
        "position_biased_input": True,
        "pos_att_type": None,
        "pooler_dropout": 0.0,
        "pooler_hidden_act": "gelu",
        "legacy": True,
    }
    unlisted: ClassVar[dict[str, Any]] = {
        "cls_dropout": None,
        "embedding_size": None,
        "pooler_hidden_size": None,
        "talking_head": False,
    }
    kinds: ClassVar[dict[str, Any]] = {
        "cls_dropout": float | None,
        "embedding_size": int | None,
        "pooler_hidden_size": int | None,
        "attention_head_size": int | None,
        "pos_att_type": list[str] | None,
    }
    rules: ClassVar[dict[str, Any]] = {
        **EncoderConfig.rules,
        **dict.fromkeys(("pooler_dropout", "cls_dropout"), CHANCE),
        "embedding_size": SIZE,
        "talking_head": one_of(False),
        "pooler_hidden_act": ACTIVATION,
        "pos_att_type": Rule(
            f"some of {', '.join(map(repr, TERMS))}, each once", lambda terms: sorted(terms or ()) in _ways()
        ),
    }

    def __init__(self, /, **fields: Any) -> None:
        terms = fields.get("pos_att_type")
        if isinstance(terms, str):  # as files had it before lists: "c2p|p2c"
            fields["pos_att_type"] = [term.strip() for term in terms.lower().split("|")]
        super().__init__(**fields)

    @property
    def ties_words(self) -> bool:
        """The head that is not `legacy` has no weight of its own, whatever `tie_word_embeddings` says."""
        return super().ties_words or not self.legacy

    @property
    def distances(self) -> int:
        """Beyond which distance all are alike."""
        given: int = self.max_relative_positions
        return given if given > 0 else int(self.max_position_embeddings)

    def _at_odds(self) -> Iterator[str]:
        yield from super()._at_odds()
        for name, width in (("pooler_hidden_size", self.hidden_size), ("attention_head_size", self._head_width())):
            if getattr(self, name, None) not in (None, width):
                yield f"{name} must be {width}, as hidden_size has it, not {getattr(self, name)}"

    def _head_width(self) -> int:
        return int(self.hidden_size // self.num_attention_heads)


def _ways() -> list[list[str]]:
    return [[], ["c2p"], ["p2c"], ["c2p", "p2c"]]


def deberta_network(config: Any, relative: RelativeConfig, **more: Any) -> NetworkConfig:
    """The numbers of the one stack, which looks both ways whatever `is_decoder` says.

    Args:
        config: the config.
        relative: the numbers of distances; which of them count is the config's to say.
        more: what one of the two has more.
    """
    terms = config.pos_att_type or ()
    stack = replace(
        encoder_stack(config),
        causal=False,
        cross=False,
        positions=config.max_position_embeddings if config.position_biased_input else 0,
        embed_width=config.embedding_size,
        project_first=True,
        score_terms=1 + len(terms),
        relative=replace(relative, keys="c2p" in terms, queries="p2c" in terms) if config.relative_attention else None,
        **more,
    )
    return NetworkConfig(encoder=stack, init_std=config.initializer_range)


SELF, MINE = "encoder.layer.{i}.attention.self.", "encoder.{i}.attn."
SHARED_ROWS = (
    *(row for row in BERT_ROWS if not any(part in row.parts[0] for part in ("pooler", "crossattention", "self."))),
    Row("embeddings.embed_proj.weight", "embed.encoder.widen.weight"),
    Row("encoder.rel_embeddings.weight", "relative.encoder.table.weight"),
)
PLACES = {site: place for site, place in BERT_PLACES.items() if not site.startswith("cross")}
HEADS = tuple(kind for kind in ENCODER_HEADS if kind != "causal_lm")

POOLED_ROWS = (Row("pooler.dense.{p}", "1.{p}"), Row("classifier.{p}", "4.{p}"))
POOLED = {"layers": 2}
POOLER = {
    "activation_function": "pooler_hidden_act",
    "input_dropout": "pooler_dropout",
    "dropout_prob": "cls_dropout",
}
LM_ROWS = (
    Row("lm_predictions.lm_head.dense.{p}", "0.{p}"),
    Row("lm_predictions.lm_head.LayerNorm.{p}", "2.{p}"),
    Row("lm_predictions.lm_head.weight", "3.weight"),
    Row("lm_predictions.lm_head.bias", "3.bias"),
)
LM = StaticHead("ForMaskedLM", "masked_lm", MLM, LM_ROWS, from_config=HIDDEN_ACT, pretraining=True)
STATICS = (
    StaticHead("ForSequenceClassification", "classification", POOLED, POOLED_ROWS, from_config=POOLER),
    StaticHead("ForTokenClassification", "tagging", LINEAR, CLASSIFIER),
    StaticHead("ForQuestionAnswering", "question_answering", QA, QA_OUTPUTS),
    StaticHead(
        "ForMaskedLM",
        "masked_lm",
        MLM,
        MLM_ROWS,
        from_config={**HIDDEN_ACT, "embedding_size": "embedding_size"},
        pretraining=True,
        unless={"legacy": LM},
    ),
)


def register_deberta(
    *,
    name: str,
    config: type[DebertaLikeConfig],
    network: Callable[[Any], NetworkConfig],
    rows: tuple[Row, ...],
    places: Mapping[str, str] = MappingProxyType({}),
    statics: tuple[StaticHead, ...] = (),
    unused: tuple[str, ...] = (),
) -> Architecture:
    """Add one of the two to the zoo: what both share, and what it has beside; see `Architecture`."""
    return register(
        Architecture(
            name=name,
            config=config,
            prefix="deberta",
            network=network,
            rows=(*SHARED_ROWS, *rows),
            places={**PLACES, **places},
            heads=HEADS,
            statics=(*STATICS, *statics),
            unused=(*BERT_UNUSED, *unused),
        )
    )
