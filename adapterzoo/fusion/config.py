"""What an AdapterFusion has: which projections, where its query comes from, its temperature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from adapterzoo.core.fields import CHANCE, Rule
from adapterzoo.core.registry import Registry, listing
from adapterzoo.methods.base import AdapterConfig, fields_from_file
from adapterzoo.methods.strings import parse_config_string


@dataclass(frozen=True, kw_only=True, eq=False)
class AdapterFusionConfig(AdapterConfig):
    """An AdapterFusion: Σᵢ pᵢ·W_v·uᵢ + r, p = softmax over i of (W_q·q)·(W_k·uᵢ) / τ; uᵢ is what child i adds.

    Args:
        key, query, value: whether there are W_k, W_q, W_v; the identity where not.
        query_before_ln: the query is what enters the place, not what the last adapter reads: h, not LayerNorm(h + x).
        regularization: that W_v is meant to stay near the identity: see `get_fusion_regularization_loss`.
        residual_before: the residual is added to each uᵢ before the attention, keys included, not to the result.
        temperature: τ falls from 50 by 0.05 a training step, to 1; without, it is 1.
        value_before_softmax: whether W_v is applied to each uᵢ or to their sum. The result is the same.
        value_initialized: W_v begins as the identity, with 1e-6 beside the diagonal.
        dropout_prob: on the scores, in training; the network's attention dropout if None.

    Raises:
        ValueError: a value is outside of what it may be.
    """

    rules: ClassVar[Mapping[str, Rule]] = {"dropout_prob": CHANCE}

    key: bool
    query: bool
    value: bool
    query_before_ln: bool
    regularization: bool
    residual_before: bool
    temperature: bool
    value_before_softmax: bool
    value_initialized: bool
    dropout_prob: float | None = None

    @staticmethod
    def load(config: Any, **overrides: Any) -> AdapterFusionConfig:
        """See `resolve_fusion_config`."""
        return resolve_fusion_config(config, **overrides)


@dataclass(frozen=True, kw_only=True, eq=False)
class StaticAdapterFusionConfig(AdapterFusionConfig):
    """Without W_v: a weighted mean of what the adapters add."""

    key: bool = True
    query: bool = True
    value: bool = False
    query_before_ln: bool = False
    regularization: bool = False
    residual_before: bool = False
    temperature: bool = False
    value_before_softmax: bool = True
    value_initialized: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class DynamicAdapterFusionConfig(AdapterFusionConfig):
    """With W_v, as in the paper."""

    key: bool = True
    query: bool = True
    value: bool = True
    query_before_ln: bool = False
    regularization: bool = True
    residual_before: bool = False
    temperature: bool = False
    value_before_softmax: bool = True
    value_initialized: bool = True


FUSIONS: Registry[AdapterFusionConfig] = Registry("adapter fusion config")
"""Ready configs by the names that users write."""

FUSIONS.add("static", StaticAdapterFusionConfig())
FUSIONS.add("dynamic", DynamicAdapterFusionConfig())

DEFAULT = "dynamic"


def resolve_fusion_config(config: Any = None, **overrides: Any) -> AdapterFusionConfig:
    """Whatever a user may write as the config of a fusion, as a config.

    Args:
        config: None (the default, "dynamic"), a config, a mapping of its fields, the path of a JSON file, "static" or
            "dynamic", or a string such as "dynamic[temperature=True]".
        overrides: fields to set on top; None leaves a field as it is.

    Raises:
        TypeError: it is none of these.
        ValueError: a name, a field or a value is wrong; the message says what there is.
        FileNotFoundError: there is no such file.
    """
    changes = {key: value for key, value in overrides.items() if value is not None}
    base = _base_config(DEFAULT if config is None else config)
    return base.replace(**changes) if changes else base


def _base_config(config: Any) -> AdapterFusionConfig:
    if isinstance(config, AdapterFusionConfig):
        return config
    if isinstance(config, (str, Path)) and Path(config).suffix == ".json":
        config = fields_from_file(Path(config))
    if isinstance(config, Mapping) and not isinstance(config, AdapterConfig):
        return AdapterFusionConfig.from_dict(config)
    if isinstance(config, str):
        name, values = parse_config_string(config)
        preset = FUSIONS[name]
        return preset.replace(**values) if values else preset
    raise TypeError(f"a fusion's config is a name ({listing(FUSIONS)}), a config, a dict or a path, not {config!r}")
