"""The fields that all bottleneck adapters have, named and preset as in AdapterHub's files, and what they may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.fields import CHANCE, Rule, one_of
from adapterzoo.core.keymap import Row
from adapterzoo.core.sites import Site
from adapterzoo.methods.base import AdapterConfig
from adapterzoo.nn.activations import ACTIVATION

SCALES = ("learned", "channel")
FLAGS = {"attn.join": "mh_adapter", "mlp.join": "output_adapter", "cross.join": "cross_adapter"}


def is_factor(given: float | Mapping[str, float]) -> bool:
    """Whether a number, or a mapping from layers to numbers, may be a `reduction_factor`."""
    if not isinstance(given, Mapping):
        return given > 0
    return all(key == "default" or key.isdecimal() for key in given) and all(map(is_factor, given.values()))


@dataclass(frozen=True, kw_only=True, eq=False)
class BnFields(AdapterConfig):
    """A bottleneck adapter: W_up·f(W_down·z) added at the end of a block, d = max(1, ⌊D / reduction_factor⌋) wide.

    Args:
        mh_adapter, output_adapter, cross_adapter: after self-attention, the feed-forward block, cross-attention.
        reduction_factor: D / d; or a mapping from layer numbers (as strings) to it, with "default" for the others.
        non_linearity: f.
        original_ln_before: z = LayerNorm(h + x) instead of h.
        original_ln_after: whether residual and LayerNorm follow the adapter.
        ln_before, ln_after: own LayerNorms before and after.
        init_weights: "bert" (normal, 0.02), "mam_adapter" (down Kaiming, up 0), "houlsby" (truncated normal, 0.01).
        init_weights_seed: one seed for every unit.
        is_parallel: z = x, the block's input, and the result is added to h (He et al. 2021, arXiv:2110.04366).
        scaling: a number, "learned" (one) or "channel" (one a channel).
        use_gating: scale by a learned gate, the row's mean of σ(W_g·z).
        residual_before_ln: the residual around the adapter is h (True), z (False) or h + x ("post_add").
        adapter_residual_before_ln: whether `ln_after` comes after the residual.
        leave_out: layers without.
        dropout: on the update, in training.
        stochastic_depth: chance with which a row goes without, in training (AdapterPlus).
        inv_adapter, inv_adapter_reduction_factor, phm_layer and the other phm fields: kept for files; must be off.

    Raises:
        ValueError: a value is outside of what it may be.
    """

    hub_infix: ClassVar[str] = "adapters"
    rules: ClassVar[Mapping[str, Rule]] = {
        "reduction_factor": Rule("above 0; by layer, its keys are '0', '1', … and 'default'", is_factor),
        "non_linearity": ACTIVATION,
        "init_weights": one_of("bert", "mam_adapter", "houlsby"),
        "scaling": Rule("a number, 'learned' or 'channel'", lambda s: not isinstance(s, str) or s in SCALES),
        "residual_before_ln": one_of(True, False, "post_add"),
        "dropout": CHANCE,
        "stochastic_depth": CHANCE,
        "phm_layer": one_of(False),
        "inv_adapter": one_of(None),
    }

    mh_adapter: bool
    output_adapter: bool
    reduction_factor: float | Mapping[str, float]
    non_linearity: str
    original_ln_before: bool = False
    original_ln_after: bool = True
    ln_before: bool = False
    ln_after: bool = False
    init_weights: str = "bert"
    init_weights_seed: int | None = None
    is_parallel: bool = False
    scaling: float | str = 1.0
    use_gating: bool = False
    residual_before_ln: bool | str = True
    adapter_residual_before_ln: bool = False
    inv_adapter: str | None = None
    inv_adapter_reduction_factor: float | None = None
    cross_adapter: bool = False
    leave_out: tuple[int, ...] = ()
    dropout: float = 0.0
    phm_layer: bool = False
    phm_dim: int = 4
    factorized_phm_W: bool = True
    shared_W_phm: bool = False
    shared_phm_rule: bool = True
    factorized_phm_rule: bool = False
    phm_c_init: str = "normal"
    phm_init_range: float = 0.0001
    learn_phm: bool = True
    hypercomplex_nonlinearity: str = "glorot-uniform"
    phm_rank: int = 1
    phm_bias: bool = True
    stochastic_depth: float = 0.0

    def problems(self) -> Iterator[str]:
        """`post_add` adds to what only `original_ln_before` makes."""
        if self.residual_before_ln == "post_add" and not self.original_ln_before:
            yield "residual_before_ln='post_add' needs original_ln_before=True"

    def covers(self, site: Site, network: NetworkConfig) -> bool:
        """The joins whose flag is set."""
        flag = FLAGS.get(site.name)
        return flag is not None and bool(getattr(self, flag)) and site.layer not in self.leave_out

    def inner_width(self, site: Site) -> int:
        """d at that site.

        Raises:
            ValueError: `reduction_factor` is a mapping that has neither the layer nor "default".
        """
        factor = self.reduction_factor
        if isinstance(factor, Mapping):
            by_layer = factor.get(str(site.layer), factor.get("default"))
            if by_layer is None:
                raise ValueError(f"reduction_factor {dict(factor)} has neither layer {site.layer} nor 'default'")
            factor = by_layer
        return max(1, int(site.d_out // factor))

    def hub_keys(self) -> list[Row]:
        """Their Sequential numbers the Linear 1 where a LayerNorm stands first, and holds that a second time."""
        linear, again = (1, ("adapter_down.0.{p}",)) if self.ln_before else (0, ())
        return [
            Row(f"adapter_down.{linear}.{{p}}", "down.{p}"),
            Row("adapter_up.{p}", "up.{p}"),
            Row("adapter_norm_before.{p}", "norm_before.{p}", aliases=again),
            Row("adapter_norm_after.{p}", "norm_after.{p}"),
        ]
