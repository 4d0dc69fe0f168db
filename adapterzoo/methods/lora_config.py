"""LoRA's config, which describes all of its variants: files call every one of them "lora"."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

from torch import Tensor, nn

from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.fields import CHANCE, SIZE, Rule, each, fits, one_of
from adapterzoo.core.keymap import Row
from adapterzoo.core.registry import Registry, listing
from adapterzoo.core.sites import Site
from adapterzoo.methods.base import METHODS, AdapterConfig, WeightOf
from adapterzoo.methods.patterns import matches

Number = TypeVar("Number", int, float)
Tensors = Mapping[str, Tensor]

_ALL_POSITIVE = Rule("above 0, each of them", lambda value: value is None or all(one > 0 for one in value.values()))


def _as_it_is(config: LoRAConfig, tensors: Tensors) -> dict[str, Tensor]:
    return dict(tensors)


class Variant(NamedTuple):
    """What one variant of LoRA does.

    Attributes:
        unit: builds the unit for a site.
        problems: what is wrong with fields for this variant.
        kinds: the kinds of sites where it can act.
        shared: makes what the units share.
        write: turns an adapter's tensors into those of AdapterHub's files; both go by AdapterHub's names.
        read: the inverse.
    """

    unit: Callable[[Any, Site, Mapping[str, nn.Module], WeightOf], nn.Module]
    problems: Callable[[Any], Iterator[str]] = lambda config: iter(())
    kinds: tuple[str, ...] = ("linear",)
    shared: Callable[[Any, list[Site]], dict[str, nn.Module]] = lambda config, sites: {}
    write: Callable[[Any, Tensors], dict[str, Tensor]] = _as_it_is
    read: Callable[[Any, Tensors], dict[str, Tensor]] = _as_it_is


VARIANTS: Registry[Variant] = Registry("variant of LoRA")
"""The variants by how an update is composed and what else is switched on: "add", "scale", "add+vera+dora", …"""


@METHODS.register("lora")
@dataclass(frozen=True, kw_only=True, eq=False)
class LoRAConfig(AdapterConfig):
    """LoRA: y = Wx + b + (α/r)·B·A·dropout(x), with A (r, d_in) and B (d_out, r); and its variants.

    Where AdapterHub's files lack a field, they are written so that its library computes the same: `use_rslora` as an α
    that comes to the same scale, "pissa" as LoRA of twice the rank. `sites` and the patterns cannot be said there.

    Args:
        selfattn_lora: at the attention projections named in `attn_matrices`, cross-attention included.
        intermediate_lora: at the first matrix of the feed-forward block.
        output_lora: at the second matrix of the feed-forward block.
        leave_out: layers without.
        r: rank.
        alpha: α; the update is scaled by α/r.
        dropout: on x, in training.
        attn_matrices: of "q", "k", "v".
        composition_mode: "add" adds the update; "scale" is (IA)³, which multiplies y by a vector.
        init_weights: "lora" (A Kaiming-uniform, B zero: nothing changes at first), "bert" (both normal, 0.02), "ia3"
            (ones), "vera" (both Kaiming-normal), "orthogonal" (A and B random with B·A = 0) or "pissa" (B·A is W's best
            approximation of rank r, which is subtracted again, so that nothing changes at first).
        init_weights_seed: one seed for every unit.
        use_gating: scale by a learned gate, the row's mean of σ(W_g·x), in place of α/r.
        use_dora: learn the magnitudes of the weight's rows apart from their directions: DoRA.
        vera_d, vera_b: what VeRA's vectors are at first; numbers switch VeRA on: A and B are random and shared by all
            layers, and only the vectors are learned.
        dtype: dtype of the units, such as "float32"; the base's if None.
        use_rslora: scale by α/√r (Kalajdzievski 2023, arXiv:2312.03732).
        sites: patterns over sites' names and paths, such as "mlp.*", "attn.out" or ["cross.q", "decoder.0.*"]. They
            take the place of the switches above. At "token" A is (r, vocabulary), and its columns are looked up; heads
            that score words keep their matrix.
        rank_pattern: by such a pattern, the rank there. Of several that fit, the longest decides.
        alpha_pattern: by such a pattern, α there.
        input_sites: of (IA)³'s sites, by such patterns, those where x is multiplied in place of y.

    Raises:
        ValueError: a value is outside of what it may be.
    """

    architecture: ClassVar[str | None] = "lora"
    hub_infix: ClassVar[str] = "loras"
    own_fields: ClassVar[tuple[str, ...]] = ("use_rslora", "sites", "rank_pattern", "alpha_pattern", "input_sites")
    rules: ClassVar[Mapping[str, Rule]] = {
        "r": SIZE,
        "dropout": CHANCE,
        "attn_matrices": each(one_of("q", "k", "v")),
        "composition_mode": one_of("add", "scale"),
        "init_weights": one_of("lora", "bert", "ia3", "vera", "pissa", "orthogonal"),
        "dtype": one_of(None, "float16", "bfloat16", "float32", "float64"),
        "rank_pattern": _ALL_POSITIVE._replace(most=SIZE.most),
        "alpha_pattern": _ALL_POSITIVE,
    }

    selfattn_lora: bool = True
    intermediate_lora: bool = False
    output_lora: bool = False
    leave_out: tuple[int, ...] = ()
    r: int = 8
    alpha: float = 8
    dropout: float = 0.0
    attn_matrices: tuple[str, ...] = ("q", "v")
    composition_mode: str = "add"
    init_weights: str = "lora"
    init_weights_seed: int | None = None
    use_gating: bool = False
    use_dora: bool = False
    vera_d: float | None = None
    vera_b: float | None = None
    dtype: str | None = None
    use_rslora: bool = False
    sites: str | tuple[str, ...] | None = None
    rank_pattern: Mapping[str, int] | None = None
    alpha_pattern: Mapping[str, float] | None = None
    input_sites: str | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("vera_d", "vera_b"):  # AdapterHub's library takes a whole number for no VeRA
            if type(value := getattr(self, name)) is int and fits(value, float):
                object.__setattr__(self, name, float(value))
        super().__post_init__()

    @property
    def variant_name(self) -> str:
        """The variant's name in VARIANTS."""
        switches = {"vera": self.vera_d is not None, "dora": self.use_dora}
        return "+".join([self.composition_mode, *(name for name, on in switches.items() if on)])

    @property
    def variant(self) -> Variant:
        """What the config's variant does."""
        return VARIANTS[self.variant_name]

    def problems(self) -> Iterator[str]:
        """What is wrong with values that are right by themselves, but not together."""
        if (self.vera_d is None) != (self.vera_b is None):
            yield "vera_d and vera_b must both be numbers, or both None"
        elif self.variant_name not in VARIANTS:
            yield f"there is no {self.variant_name!r}; what goes together is {listing(VARIANTS)}"
        else:
            yield from self.variant.problems(self)
        if self.input_sites is not None and self.composition_mode != "scale":
            yield "input_sites is for composition_mode='scale', which is (IA)³"

    def covers(self, site: Site, network: NetworkConfig) -> bool:
        """The sites that the patterns or the three switches choose."""
        kinds = ("linear",) if self.use_gating else self.variant.kinds  # a gate cannot read ids
        if site.kind not in kinds or site.layer in self.leave_out:
            return False
        if self.sites is not None:
            return matches(self.sites, site)
        block, _, part = site.name.partition(".")
        if block == "mlp":
            return self.intermediate_lora if part == "up" else self.output_lora
        return self.selfattn_lora and part in self.attn_matrices

    def rank(self, site: Site) -> int:
        """r at a site."""
        return _at(site, self.rank_pattern, self.r)

    def strength(self, site: Site) -> float:
        """α at a site."""
        return _at(site, self.alpha_pattern, self.alpha)

    def scale(self, site: Site) -> float:
        """What the update is multiplied by at a site: α/r, or α/√r."""
        rank = self.rank(site)
        return self.strength(site) / (math.sqrt(rank) if self.use_rslora else rank)

    def shared(self, sites: list[Site], network: NetworkConfig) -> dict[str, nn.Module]:
        """What the variant's units share."""
        return self.variant.shared(self, sites)

    def unit(self, site: Site, shared: Mapping[str, nn.Module], weight_of: WeightOf) -> nn.Module:
        """The variant's unit for one site."""
        return self.variant.unit(self, site, shared, weight_of)

    def hub_keys(self) -> list[Row]:
        """Magnitudes are the weight of a linear map there."""
        return [Row("m.weight", "magnitude")]

    def hub_config(self) -> dict[str, Any]:
        """A plain LoRA that computes the same, where AdapterHub's library lacks a field."""
        widened = 2 if self.init_weights == "pissa" else 1
        if widened == 1 and not self.use_rslora and self.init_weights != "orthogonal":
            return self.to_dict()
        alpha = self.alpha * widened * (math.sqrt(self.r) if self.use_rslora else 1)
        init = "lora" if self.init_weights in ("pissa", "orthogonal") else self.init_weights
        return {**self.replace(use_rslora=False, init_weights=init).to_dict(), "r": widened * self.r, "alpha": alpha}

    def to_hub(self, tensors: Tensors) -> dict[str, Tensor]:
        """An adapter's tensors as AdapterHub's files hold them."""
        return self.variant.write(self, tensors)

    def from_hub(self, tensors: Tensors) -> dict[str, Tensor]:
        """The inverse."""
        return self.variant.read(self, tensors)

    def fitted(self, tensors: Tensors) -> AdapterConfig:
        """Without VeRA where a file's matrices are not diagonal: it has learned what LoRA learns."""
        trained = [tensor for name, tensor in tensors.items() if name.rpartition(".")[2] in ("vera_D", "vera_B")]
        square = [tensor for tensor in trained if tensor.dim() == 2 and tensor.size(0) == tensor.size(1)]
        if len(square) < len(trained) or not any(bool(tensor.clone().fill_diagonal_(0).any()) for tensor in square):
            return self
        return LoRAConfig.from_dict({**self, "vera_d": None, "vera_b": None, "init_weights": "lora"})


def _at(site: Site, patterns: Mapping[str, Number] | None, otherwise: Number) -> Number:
    """The value of the longest pattern that fits."""
    fitting = [pattern for pattern in patterns or {} if matches(pattern, site)]
    return otherwise if patterns is None or not fitting else patterns[max(fitting, key=lambda p: (len(p), p))]
