"""The fields that all bottleneck adapters have, named and preset as in AdapterHub's files, and what they may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.fields import CHANCE, NATURAL, POSITIVE, SIZE, Rule, one_of
from adapterzoo.core.keymap import Row
from adapterzoo.core.sites import Site
from adapterzoo.methods.base import AdapterConfig
from adapterzoo.nn.activations import ACTIVATION

SCALES = ("learned", "channel")
PHM_PARTS = ("phm_rule", "phm_rule_left", "phm_rule_right", "W", "W_left", "W_right", "b")
FLAGS = {"attn.join": "mh_adapter", "mlp.join": "output_adapter", "cross.join": "cross_adapter"}


def is_factor(given: float | Mapping[str, float]) -> bool:
    """Whether a number, or a mapping from layers to numbers, may be a `reduction_factor`."""
    if not isinstance(given, Mapping):
        return given > 0
    return all(key == "default" or key.isdecimal() for key in given) and all(map(is_factor, given.values()))


def narrowed(width: int, factor: float) -> int:
    """⌊width / factor⌋.

    Raises:
        ValueError: nothing can be as wide.
    """
    found = width // factor
    if SIZE.most is not None and not found <= SIZE.most:
        raise ValueError(f"a reduction factor of {factor:g} would make {found:g} of {width}; {SIZE.most} is the most")
    return int(found)


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
        inv_adapter: an invertible adapter on the first stack's embeddings, in all layers' stead: "nice" or "glow". Its
            inverse stands before the matrix that scores words (MAD-X, arXiv:2005.00052).
        inv_adapter_reduction_factor: how many times narrower its networks are within.
        phm_layer: both matrices are sums of Kronecker products Σᵢ kron(ruleᵢ, Wᵢ) (Compacter, arXiv:2106.04647). d is
            then a multiple of `phm_dim`, at least once that, and D must be one.
        phm_dim: n, how many products.
        factorized_phm_W, phm_rank: whether each Wᵢ is a product of two matrices, and its rank.
        shared_W_phm: whether all layers have the same Wᵢ.
        shared_phm_rule: whether all layers have the same rule.
        factorized_phm_rule: whether each ruleᵢ is a product of two vectors.
        phm_c_init: "normal" or "uniform": what the rule starts as. A shared one is normal with the standard deviation
            `phm_init_range`, or from -1 to 1; one for each layer is normal with 0.01, or from -0.01 to 0.01.
        phm_init_range: see `phm_c_init` and `hypercomplex_nonlinearity`.
        learn_phm: whether the rule is trained; if not, it stays as it is under `train_adapter`, too.
        hypercomplex_nonlinearity: what W starts as with init_weights="bert": "glorot-uniform", "glorot-normal" (also
            "phm"), or "normal" with the standard deviation `phm_init_range`. With "mam_adapter", up's W (the second
            factor) is 0; with "houlsby", all are from the truncated normal.
        phm_bias: whether there are biases.

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
        "inv_adapter": one_of(None, "nice", "glow"),
        "inv_adapter_reduction_factor": POSITIVE,
        "phm_dim": SIZE,
        "phm_rank": SIZE,
        "phm_c_init": one_of("normal", "uniform"),
        "phm_init_range": NATURAL,
        "hypercomplex_nonlinearity": one_of("glorot-uniform", "glorot-normal", "normal", "phm"),
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
        """`post_add` adds to what only `original_ln_before` makes; an invertible adapter's width has no default."""
        if self.residual_before_ln == "post_add" and not self.original_ln_before:
            yield "residual_before_ln='post_add' needs original_ln_before=True"
        if self.inv_adapter is not None and self.inv_adapter_reduction_factor is None:
            yield f"inv_adapter={self.inv_adapter!r} needs an inv_adapter_reduction_factor"

    def covers(self, site: Site, network: NetworkConfig) -> bool:
        """The joins whose flag is set, and the first stack's embeddings, which are in no layer to be left out."""
        if site.name == "embed":
            return self.inv_adapter is not None and site.stack == next(iter(network.stacks()))
        flag = FLAGS.get(site.name)
        return flag is not None and bool(getattr(self, flag)) and site.layer not in self.leave_out

    def inner_width(self, site: Site) -> int:
        """d at that site; with PHM a multiple of n.

        Raises:
            ValueError: `reduction_factor` is a mapping that has neither the layer nor "default", or so small that
                nothing can be as wide.
        """
        factor = self.reduction_factor
        if isinstance(factor, Mapping):
            by_layer = factor.get(str(site.layer), factor.get("default"))
            if by_layer is None:
                raise ValueError(f"reduction_factor {dict(factor)} has neither layer {site.layer} nor 'default'")
            factor = by_layer
        narrow = max(1, narrowed(site.d_out, factor))
        return max(narrow // self.phm_dim, 1) * self.phm_dim if self.phm_layer else narrow

    def hub_unit(self, site: Site) -> str:
        """The invertible adapter lies elsewhere than the layers'."""
        return "invertible_adapters" if site.name == "embed" else self.hub_infix

    def hub_keys(self) -> list[Row]:
        """Their Sequential numbers the Linear 1 where a LayerNorm stands first, and holds that a second time."""
        linear, again = (1, ("adapter_down.0.{p}",)) if self.ln_before else (0, ())
        parts = PHM_PARTS if self.phm_layer else ("{p}",)
        return [
            *(Row(f"adapter_down.{linear}.{part}", f"down.{part}") for part in parts),
            *(Row(f"adapter_up.{part}", f"up.{part}") for part in parts),
            Row("adapter_norm_before.{p}", "norm_before.{p}", aliases=again),
            Row("adapter_norm_after.{p}", "norm_after.{p}"),
        ]
