"""Configs to compare with the peer `adapters`: every preset, and variants of each method that move every field."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

import adapterzoo
from adapterzoo.archs import ARCHITECTURES, Architecture
from adapterzoo.methods import PRESETS, AdapterConfig
from adapterzoo.methods.base import resolve_config
from tests.helpers.peer_adapters import adapters
from tests.helpers.tiny import DISTINCT


@dataclass(frozen=True)
class MethodCase:
    """One config, as either library makes it.

    Args:
        base: a preset's name, or the name of a config class.
        changes: fields.
        members: of a union, its configs.
    """

    base: str
    changes: dict[str, Any] = field(default_factory=dict)
    members: tuple[MethodCase, ...] = ()

    @property
    def ours(self) -> AdapterConfig:
        """Our config."""
        if self.base in PRESETS:
            return resolve_config(self.base, **self.changes)
        members = (member.ours for member in self.members)
        made: AdapterConfig = getattr(adapterzoo, self.base)(*members, **self.changes)
        return made

    @property
    def theirs(self) -> Any:
        """The peer's config."""
        if self.base in PRESETS:
            return adapters().AdapterConfig.load(self.base, **self.changes)
        return getattr(adapters(), self.base)(*(member.theirs for member in self.members), **self.changes)

    @property
    def still(self) -> MethodCase:
        """The same without dropout, for training."""
        return MethodCase(self.base, {**self.changes, "dropout": 0.0}) if self.ours.get("dropout") else self

    @property
    def told(self) -> bool:
        """Whether files can tell the peer all of it."""
        return not set(self.ours.own_fields) & set(self.ours.to_dict())

    @property
    def unpadded(self) -> bool:
        """Whether it is compared without padding.

        The peer's gates average over it, its ReFT looks for suffixes in it, and its invertible adapters make numbers of
        it that DeBERTa's convolution reads.
        """
        said = str(self.ours.to_dict())
        return "'use_gating': True" in said or "'inv_adapter': '" in said or bool(self.ours.get("suffix_positions"))


EVERY_JOIN = {"mh_adapter": True, "output_adapter": True, "cross_adapter": True}
BN = {**EVERY_JOIN, "reduction_factor": 5, "non_linearity": "gelu"}
ALONE = {"original_ln_after": False, "mh_adapter": False, "cross_adapter": False}
"""Without LayerNorm at one join. Were it at all, numbers would grow until float32 itself is off by more than 1e-5."""

PREFIX = {"prefix_length": 3, "bottleneck_size": 11}
QKV = {"attn_matrices": ["q", "k", "v"]}
EVERY_LINEAR = {**QKV, "intermediate_lora": True, "output_lora": True}


def _bn(**changes: Any) -> MethodCase:
    return MethodCase("BnConfig", {**BN, **changes})


def _prefix(**changes: Any) -> MethodCase:
    return MethodCase("PrefixTuningConfig", {**PREFIX, **changes})


def _lora(**changes: Any) -> MethodCase:
    return MethodCase("LoRAConfig", changes)


def _reft(**changes: Any) -> MethodCase:
    fields = {"layers": "all", "prefix_positions": 2, "suffix_positions": 2, "r": 1, "orthogonality": True}
    return MethodCase("ReftConfig", {**fields, **changes})


def _phm(**changes: Any) -> MethodCase:
    return MethodCase("BnConfig", {**BN, "reduction_factor": 4, "phm_layer": True, **changes})


def _union(*members: MethodCase) -> MethodCase:
    return MethodCase("ConfigUnion", members=members)


ONE_BLOCK = {**BN, "cross_adapter": False}
AFTER_ATTENTION = MethodCase("BnConfig", {**ONE_BLOCK, "output_adapter": False, "cross_adapter": True})
AFTER_MLP = MethodCase("BnConfig", {**ONE_BLOCK, "mh_adapter": False, "is_parallel": True, "reduction_factor": 3})
INV = {"inv_adapter": "nice", "inv_adapter_reduction_factor": 3}

VARIANTS: dict[str, MethodCase] = {
    "lora-every-linear": _lora(**EVERY_LINEAR, r=3, alpha=7),
    "lora-qkv": _lora(**QKV),
    "lora-k-bert": _lora(attn_matrices=["k"], init_weights="bert", r=1),
    "lora-mlp": _lora(selfattn_lora=False, intermediate_lora=True, output_lora=True, r=4, alpha=1),
    "lora-gate": _lora(**EVERY_LINEAR, use_gating=True, r=3, alpha=7),
    "lora-leave-out": _lora(leave_out=[0], r=2, alpha=5),
    "ia3-gate": MethodCase("IA3Config", {"use_gating": True, "output_lora": True}),
    "ia3-scaled": MethodCase("IA3Config", {"alpha": 3, "selfattn_lora": False, "init_weights": "bert"}),
    "mtl-every-linear": MethodCase("MTLLoRAConfig", {**EVERY_LINEAR, "n_up_projection": 3, "r": 3, "alpha": 7}),
    "mtl-gate": MethodCase("MTLLoRAConfig", {"use_gating": True, "weights_sharpness": 0.5, "n_up_projection": 2}),
    "bn": _bn(),
    "bn-after-ln": _bn(original_ln_before=True),
    "bn-after-ln-alone": _bn(original_ln_before=True, original_ln_after=False),
    "bn-alone": _bn(original_ln_after=False),
    "bn-residual-after-ln": _bn(original_ln_before=True, residual_before_ln=False),
    "bn-residual-after-ln-alone": _bn(original_ln_before=True, original_ln_after=False, residual_before_ln=False),
    "bn-post-add": _bn(original_ln_before=True, residual_before_ln="post_add"),
    "bn-post-add-alone": _bn(**ALONE, original_ln_before=True, residual_before_ln="post_add"),
    "bn-own-ln-before": _bn(ln_before=True),
    "bn-own-ln-after": _bn(ln_after=True),
    "bn-own-lns": _bn(ln_before=True, ln_after=True, adapter_residual_before_ln=True),
    "bn-residual-before-no-ln": _bn(adapter_residual_before_ln=True),
    "bn-gate": _bn(use_gating=True, original_ln_before=True),
    "bn-learned": _bn(scaling="learned"),
    "bn-channel": _bn(scaling="channel", init_weights="houlsby"),
    "bn-scaled": _bn(scaling=2.5, init_weights="mam_adapter"),
    "bn-parallel": _bn(is_parallel=True),
    "bn-parallel-everything": _bn(is_parallel=True, use_gating=True, ln_before=True, ln_after=True, scaling="channel"),
    "bn-parallel-alone": _bn(**ALONE, is_parallel=True, original_ln_before=True),
    "bn-leave-out": _bn(leave_out=[1]),
    "bn-cross-only": MethodCase("BnConfig", {**BN, "mh_adapter": False}),
    "bn-by-layer": _bn(reduction_factor={"1": 2, "4": 64, "default": 8}),
    "bn-fraction": _bn(reduction_factor=0.5),
    "bn-inv": _bn(**INV, non_linearity="tanh"),
    "bn-inv-leave-out": _bn(**INV, leave_out=[0, 1]),
    "phm-whole": _phm(factorized_phm_W=False),
    "phm-rank": _phm(phm_rank=3, phm_dim=2),
    "phm-shared-w": _phm(shared_W_phm=True),
    "phm-own-rule": _phm(shared_phm_rule=False),
    "phm-factorised-rule": _phm(factorized_phm_rule=True, phm_c_init="uniform"),
    "phm-own-factorised-rule": _phm(shared_phm_rule=False, factorized_phm_rule=True),
    "phm-everything-shared": _phm(factorized_phm_rule=True, shared_W_phm=True, phm_rank=2),
    "phm-no-bias": _phm(phm_bias=False, hypercomplex_nonlinearity="normal", phm_init_range=0.4),
    "phm-parallel-own-lns": _phm(is_parallel=True, ln_before=True, ln_after=True),
    "union-bottlenecks": _union(AFTER_ATTENTION, AFTER_MLP),
    "union-three": _union(_prefix(flat=True), _lora(**QKV, leave_out=[0], r=3), _phm(leave_out=[1], **INV)),
    "adapter-plus": MethodCase("AdapterPlusConfig", {"stochastic_depth": 0.0, "reduction_factor": 4}),
    "prefix": _prefix(),
    "prefix-flat": _prefix(flat=True),
    "prefix-gelu": _prefix(non_linearity="gelu"),
    "prefix-gate": _prefix(use_gating=True),
    "prefix-gates": _prefix(use_gating=True, shared_gating=False),
    "prefix-no-encoder": _prefix(encoder_prefix=False),
    "prefix-no-cross": _prefix(cross_prefix=False, flat=True),
    "prefix-leave-out": _prefix(leave_out=[0]),
    "reft": _reft(r=3, dropout=0.0, non_linearity="tanh"),
    "reft-tied": _reft(r=2, tied_weights=True, orthogonality=False, dropout=0.0),
    "reft-overlapping": _reft(prefix_positions=7, suffix_positions=7, dropout=0.0),
    "reft-square": _reft(r=32, dropout=0.0),
    "reft-layers": _reft(layers=[1], orthogonality=False, dropout=0.0),
    "direft-suffix": MethodCase("DiReftConfig", {"suffix_positions": 2, "r": 2, "dropout": 0.0}),
    "prompt": MethodCase("PromptTuningConfig", {"prompt_length": 3}),
    "prompt-after-bos": MethodCase("PromptTuningConfig", {"prompt_length": 4, "combine": "prefix_after_bos"}),
}
"""Configs by a name for reports. Cross-attention is there in encoder-decoders only."""

DECODER_LAYERS: dict[str, MethodCase] = {
    "lora-decoder-layers": _lora(**EVERY_LINEAR, leave_out=[1, 2, 4]),
    "bn-decoder-layers": _bn(leave_out=[0, 3], reduction_factor={"2": 2, "4": 16, "default": 8}),
    "prefix-decoder-layers": _prefix(leave_out=[1, 3]),
    "reft-decoder-layers": _reft(layers=[0, 3], dropout=0.0),
}
"""Configs for encoder-decoders: the decoder's layers are counted on from the encoder's."""

NARROW = {"compacter": {"reduction_factor": 4}, "compacter++": {"reduction_factor": 4}}
"""Of small models the peer cannot make some presets as they are."""

PRESET_CASES: dict[str, MethodCase] = {
    name: MethodCase(name, NARROW.get(name, {})) for name in PRESETS if name in adapters().ADAPTER_CONFIG_MAP
}
"""Presets that the peer has, too, by their names; some have two."""

_FIRST_NAMES = {PRESETS[name]: name for name in reversed(list(PRESET_CASES))}

CASES: dict[str, MethodCase] = {**{name: PRESET_CASES[name] for name in _FIRST_NAMES.values()}, **VARIANTS}
"""All configs once."""


def each_method(cases: dict[str, MethodCase]) -> pytest.MarkDecorator:
    """Parametrise a test over cases."""
    return pytest.mark.parametrize("case", cases.values(), ids=list(cases))


WHOLE = {*DISTINCT, "bert", "roberta", "xlm-roberta", "bart", "mbart"}
"""Architectures on which all cases are compared: those whose mathematics is their own, and the best known."""

SAMPLE = ("double_seq_bn", "lora-every-linear", "prefix")
"""Cases for the architectures that share code and tables with another: what there may be wrong are names."""


def each_adapter(cases: dict[str, MethodCase]) -> pytest.MarkDecorator:
    """Parametrise a test over architectures and cases: all for those in WHOLE, SAMPLE for the others."""
    both = [
        pytest.param(kind, case, id=f"{kind.name}-{name}")
        for kind in ARCHITECTURES.values()
        for name, case in cases.items()
        if kind.model_type in WHOLE or name in SAMPLE
    ]
    return pytest.mark.parametrize(("architecture", "case"), both)


def _has_decoder(architecture: Architecture) -> bool:
    return architecture.network(architecture.config()).decoder is not None


each_encoder_decoder = pytest.mark.parametrize(
    "architecture",
    [pytest.param(kind, id=kind.name) for kind in ARCHITECTURES.values() if _has_decoder(kind)],
)
"""Parametrises a test over the architectures with two stacks."""

each_architecture = pytest.mark.parametrize(
    "architecture", ARCHITECTURES.values(), ids=[kind.name for kind in ARCHITECTURES.values()]
)
"""Parametrises a test over the architectures."""

each_distinct = pytest.mark.parametrize(
    "architecture", [pytest.param(ARCHITECTURES[n], id=ARCHITECTURES[n].name) for n in DISTINCT]
)
"""Parametrises a test over the architectures in DISTINCT, where it is about the network and not about names."""
