"""What AdapterHub's library `adapters` 1.3.0 has, beyond the forms of its files: which models, heads and methods.

A whole model that it saved holds more than it can load again; see `lacks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from adapterzoo.archs.base import Architecture
from adapterzoo.core.config import NetworkConfig
from adapterzoo.fusion import FUSIONS, AdapterFusionConfig
from adapterzoo.methods.base import AdapterConfig

_OF_ROWS = ("classification", "multilabel_classification", "question_answering")
_OF_TEXTS = (*_OF_ROWS, "tagging", "multiple_choice")
_EVERY = (*_OF_TEXTS, "dependency_parsing", "masked_lm", "causal_lm")
_OF_PAIRS = (*_OF_ROWS, "seq2seq_lm")

HEADS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "distilbert", "electra"), _EVERY),
    **dict.fromkeys(("deberta", "deberta-v2"), (*_OF_TEXTS, "masked_lm")),
    **dict.fromkeys(("bart", "mbart", "plbart"), _OF_PAIRS),
    "bert-generation": ("masked_lm", "causal_lm"),
}
"""The types of flexible heads that it has, by the model's architecture; it has no class for others."""

_LAYERS = ("layers", "activation_function")
_LABELS = ("num_labels", "label2id")
_WORDS = ("vocab_size", *_LAYERS, "layer_norm", "bias", "shift_labels", "label2id")
SETTINGS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("classification", "multilabel_classification"), (*_LAYERS, *_LABELS, "use_pooler", "bias", "dropout_prob")
    ),
    **dict.fromkeys(("tagging", "question_answering"), (*_LAYERS, *_LABELS, "dropout_prob")),
    "multiple_choice": ("num_choices", *_LAYERS, "label2id", "use_pooler", "dropout_prob"),
    "dependency_parsing": _LABELS,
    "masked_lm": (*_WORDS, "embedding_size"),
    "causal_lm": (*_WORDS, "embedding_size", "dropout_prob"),
    "seq2seq_lm": _WORDS,
}
"""The settings of its heads, by their type."""

IN_TRAINING = ("input_dropout",)
"""Settings that it lacks, and that say nothing but what happens in training."""

METHODS = ("bottleneck", "lora", "mtl_lora", "prefix_tuning", "prompt_tuning", "reft", "union")
"""Its methods, as `METHODS` of this package calls them."""

_ONLY_THERE: Mapping[str, tuple[str, ...]] = {
    "prompt_tuning": ("bert", "roberta", "xlm-roberta", "electra", "bert-generation"),
}
"""The architectures that it runs a method in, where these are not all."""

Fields = Mapping[str, Any]


class Asked(NamedTuple):
    """An adapter that the library shall load and run.

    Attributes:
        fields: what its config is to the library.
        architecture: the model's.
        network: the model's numbers.
    """

    fields: Fields
    architecture: Architecture
    network: NetworkConfig


def _square(asked: Asked) -> bool:
    return not (asked.fields["intermediate_lora"] or asked.fields["output_lora"])


_BROKEN: tuple[tuple[Callable[[Asked], object], str], ...] = (
    (
        lambda asked: asked.fields.get("phm_layer"),
        "means to load PHM layers from a whole model; convert the adapter by itself",
    ),
    (
        lambda asked: asked.fields.get("task_specific_matrix_type") == "linear",
        "linear maps of MTL-LoRA that can be made",
    ),
    (lambda asked: asked.fields.get("inv_adapter") == "glow", "GLOW blocks that run"),
    (
        lambda asked: asked.fields.get("vera_d") is not None and not _square(asked),
        "VeRA for projections of several shapes",
    ),
    (lambda asked: asked.fields.get("use_dora"), "DoRA that computes the same: it scales the projection's bias, too"),
    (
        lambda asked: asked.fields.get("selfattn_lora") and "attn.q" in asked.architecture.places,
        "LoRA that acts on the same rows of a fused projection",
    ),
    (
        lambda asked: asked.fields.get("residual_before_ln") == "post_add" and asked.network.first.pre_norm,
        "sum to take after the adapter where no LayerNorm follows",
    ),
)
"""What it takes, and cannot load or run, or does not compute as it should."""


def lacks(config: AdapterConfig, architecture: Architecture, network: NetworkConfig) -> Iterator[str]:
    """What the library lacks for an adapter inside a whole model, in words that follow "adapters has no"."""
    for one in getattr(config, "configs", (config,)):
        yield from _lacks(one, Asked(one.hub_config(), architecture, network))


def _lacks(config: AdapterConfig, asked: Asked) -> Iterator[str]:
    method, model_type = config.architecture or "bottleneck", asked.architecture.model_type
    if method not in METHODS:
        yield f"method {method}"
        return
    if model_type not in _ONLY_THERE.get(method, (model_type,)):
        yield f"{method} for {model_type}"
    for name in sorted(set(config.own_fields) & set(asked.fields)):
        yield f"field {name}"
    yield from (why for is_such, why in _BROKEN if is_such(asked))


def lacks_of_head(config: Fields, model_type: str) -> Iterator[str]:
    """The same of a flexible head."""
    kind = str(config.get("head_type"))
    if kind not in HEADS.get(model_type, ()):
        yield f"{kind} head for {model_type}"
        return
    told = (name for name, value in config.items() if value is not None and name not in ("head_type", *IN_TRAINING))
    for name in sorted(set(told) - set(SETTINGS[kind])):
        yield f"setting {name} of {kind} heads"


def preset_of(config: AdapterFusionConfig) -> str | None:
    """The name of a fusion's config."""
    return next((name for name, known in FUSIONS.items() if known.to_dict() == config.to_dict()), None)


def lacks_of_fusion(config: AdapterFusionConfig, members: Sequence[Fields]) -> Iterator[str]:
    """The same of a fusion.

    Args:
        config: the fusion's.
        members: the configs of the adapters that it is for.
    """
    if preset_of(config) is None:
        yield "means to load a fusion that is neither static nor dynamic"
    if any(fields.get("architecture") is not None for fields in members):
        yield "fusion of others than bottlenecks"
    elif (
        len({tuple(fields[place] for place in ("mh_adapter", "output_adapter", "cross_adapter")) for fields in members})
        > 1
    ):
        yield "fusion of adapters that lie at different places"


def is_name(name: str) -> bool:
    """Whether it may be the name of an adapter or a head: of a module of PyTorch's."""
    return "." not in name and not hasattr(nn.ModuleDict(), name)
