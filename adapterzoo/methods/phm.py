"""Parametrised hypercomplex multiplication (PHM, Zhang et al. 2021, arXiv:2102.08597), as Compacter has it.

Shapes: n = phm_dim, r = phm_rank, d_in and d_out the widths, both multiples of n.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from adapterzoo.core.sites import Site
from adapterzoo.methods.base import seeded
from adapterzoo.methods.bottleneck_config import BnFields

OWN_STD = 0.01
"""The spread of a rule that is one layer's own."""


class SharedPHM(nn.Module):
    """What an adapter's PHM layers share: the rule, W_down and W_up, or either.

    Args:
        config: the numbers.
        sites: where the adapter has layers.

    Raises:
        ValueError: W cannot be shared, for layers have different widths.
    """

    def __init__(self, config: BnFields, sites: list[Site]) -> None:
        super().__init__()
        widths = {(site.d_out, config.inner_width(site)) for site in sites}
        if config.shared_W_phm and len(widths) > 1:
            said = ", ".join(f"{width} to {inner}" for width, inner in sorted(widths))
            raise ValueError(f"shared_W_phm needs layers of one width; there are {said}")
        with seeded(config.init_weights_seed), torch.no_grad():
            if config.shared_phm_rule:
                _add_rule(self, config, config.phm_init_range, 1.0)
            if config.shared_W_phm:
                ((width, inner),) = widths
                _add_weight(self, config, "W_down", width, inner)
                _add_weight(self, config, "W_up", inner, width)


class PHMLayer(nn.Module):
    """y = x·Σᵢ kron(ruleᵢ, Wᵢ) + b, with the rule (n, n, n) and W (n, d_in/n, d_out/n).

    Factorised, Wᵢ = leftᵢ·rightᵢ of rank r and ruleᵢ = leftᵢ·rightᵢ of rank 1. The product with factors takes
    n·r·(d_in + d_out) multiplications a token and never makes the Kronecker products; with a whole W, they are made.

    Args:
        config: the numbers.
        d_in, d_out: widths.
        place: "down" or "up".
        shared: what layers share; it belongs to the adapter, not to this layer.

    Raises:
        ValueError: n divides a width not.
    """

    shared: SharedPHM | None
    b: Tensor | None

    def __init__(self, config: BnFields, d_in: int, d_out: int, place: str, shared: SharedPHM | None) -> None:
        super().__init__()
        for width in (d_in, d_out):
            if width % config.phm_dim:
                raise ValueError(f"phm_dim={config.phm_dim} must divide the layer's width, which is {width}")
        self.config, self.place = config, place
        self.__dict__["shared"] = shared  # past nn.Module, which would register it again in every layer
        with seeded(config.init_weights_seed), torch.no_grad():
            if not config.shared_phm_rule:
                _add_rule(self, config, OWN_STD, OWN_STD)
            if not config.shared_W_phm:
                _add_weight(self, config, f"W_{place}", d_in, d_out, "W")
        self.register_parameter("b", nn.Parameter(torch.zeros(d_out)) if config.phm_bias else None)

    def forward(self, x: Tensor) -> Tensor:
        """(…, d_in) to (…, d_out)."""
        config = self.config
        rule = _rule(self._holder(config.shared_phm_rule), config)
        holder, name = self._holder(config.shared_W_phm), f"W_{self.place}" if config.shared_W_phm else "W"
        if config.factorized_phm_W:
            y = times_factors(x, rule, getattr(holder, f"{name}_left"), getattr(holder, f"{name}_right"))
        else:
            y = x @ kronecker_sum(rule, getattr(holder, name))
        return y if self.b is None else y + self.b

    def _holder(self, shared: bool) -> nn.Module:
        if not shared:
            return self
        assert self.shared is not None
        return self.shared


def kronecker_sum(rule: Tensor, weight: Tensor) -> Tensor:
    """Σᵢ kron(ruleᵢ, Wᵢ): rule (n, a, c) and W (n, b, d) to (a·b, c·d)."""
    products = (rule.flatten(1).T @ weight.flatten(1)).unflatten(0, rule.shape[1:]).unflatten(2, weight.shape[1:])
    whole: Tensor = products.transpose(1, 2).flatten(0, 1).flatten(1)
    return whole


def times_factors(x: Tensor, rule: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """x·Σᵢ kron(ruleᵢ, leftᵢ·rightᵢ), without the Kronecker products.

    Args:
        x: (…, d_in).
        rule: (n, n, n).
        left: (n, d_in/n, r).
        right: (n, r, d_out/n).
    """
    parts = x.unflatten(-1, (rule.size(1), -1)) @ left.transpose(0, 1).flatten(1)  # (…, a, i·r)
    mixed = torch.einsum("iac,...air->...cir", rule, parts.unflatten(-1, (left.size(0), -1)))
    y: Tensor = (mixed.flatten(-2) @ right.flatten(0, 1)).flatten(-2)
    return y


def _rule(holder: nn.Module, config: BnFields) -> Tensor:
    rule: Tensor = holder.phm_rule_left @ holder.phm_rule_right if config.factorized_phm_rule else holder.phm_rule  # type: ignore[assignment, operator]
    return rule


def _add_rule(holder: nn.Module, config: BnFields, std: float, most: float) -> None:
    """Give a module the rule; a buffer if it is not learned, which no optimiser sees and every file holds."""
    n = config.phm_dim
    shapes = {"phm_rule": (n, n, n)}
    if config.factorized_phm_rule:
        shapes = {"phm_rule_left": (n, n, 1), "phm_rule_right": (n, 1, n)}
    for name, shape in shapes.items():
        rule = torch.empty(shape)
        rule.normal_(std=std) if config.phm_c_init == "normal" else rule.uniform_(-most, most)
        if config.learn_phm:
            holder.register_parameter(name, nn.Parameter(rule))
        else:
            holder.register_buffer(name, rule)


def _add_weight(
    holder: nn.Module, config: BnFields, place: str, d_in: int, d_out: int, name: str | None = None
) -> None:
    """Give a module W, or its two factors.

    Args:
        holder: the module.
        config: the numbers.
        place: "W_down" or "W_up".
        d_in, d_out: widths.
        name: its name; its place's if None.
    """
    n, r, name = config.phm_dim, config.phm_rank, name or place
    shapes = {name: (n, d_in // n, d_out // n)}
    if config.factorized_phm_W:
        shapes = {f"{name}_left": (n, d_in // n, r), f"{name}_right": (n, r, d_out // n)}
    for part, shape in shapes.items():
        weight = torch.empty(shape)
        for one in weight:
            _initialise(one, config)
        holder.register_parameter(part, nn.Parameter(weight))
    if config.init_weights == "mam_adapter" and place == "W_up":
        nn.init.zeros_(getattr(holder, part))


def _initialise(weight: Tensor, config: BnFields) -> None:
    """Fill one Wᵢ or factor of it, (rows, columns)."""
    if config.init_weights == "mam_adapter":
        nn.init.uniform_(weight, -1 / math.sqrt(weight.size(0)), 1 / math.sqrt(weight.size(0)))
    elif config.init_weights == "houlsby":
        nn.init.trunc_normal_(weight, std=0.01, a=-0.02, b=0.02)
    elif config.hypercomplex_nonlinearity == "normal":
        nn.init.normal_(weight, std=config.phm_init_range)
    else:
        GLOROT[config.hypercomplex_nonlinearity](weight)


GLOROT: dict[str, Callable[[Tensor], Tensor]] = {
    "glorot-uniform": nn.init.xavier_uniform_,
    "glorot-normal": nn.init.xavier_normal_,
    "phm": nn.init.xavier_normal_,
}
"""By `hypercomplex_nonlinearity`; "phm" is in files, and AdapterHub's library makes it Glorot-normal."""
