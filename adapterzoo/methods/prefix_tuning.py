"""Prefix tuning (Li & Liang 2021, arXiv:2101.00190): learned keys and values before those of each attention block.

Shapes: P prefix length, n layers of a group, H heads, E head width, D = H·E width.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.fields import CHANCE, SIZE, Rule
from adapterzoo.core.keymap import Row
from adapterzoo.core.run import KV, Ctx
from adapterzoo.core.sites import Site
from adapterzoo.methods.base import METHODS, PRESETS, AdapterConfig, WeightOf, seeded
from adapterzoo.nn.activations import ACTIVATION, activation


@METHODS.register("prefix_tuning")
@dataclass(frozen=True, kw_only=True, eq=False)
class PrefixTuningConfig(AdapterConfig):
    """K ← [P_K; K], V ← [P_V; V] in every attention block; the prefixes come from an MLP or are learned as they are.

    The layers of one group (`encoder_prefix`, `self_prefix`, `cross_prefix`) share one MLP; a lone stack's
    self-attention is `self_prefix`, an encoder under a decoder `encoder_prefix`.

    Args:
        encoder_prefix: in the encoder of an encoder-decoder.
        cross_prefix: in cross-attention.
        leave_out: layers without.
        flat: learn the prefixes themselves, without an MLP.
        prefix_length: P.
        bottleneck_size: the MLP's inner width.
        non_linearity: the MLP's activation.
        dropout: on the prefixes, in training.
        use_gating: scale the prefixes by a learned gate, the row's mean of σ(W_g·x).
        shared_gating: one gate for keys and values, or one each.
        init_weights_seed: a seed for the prefixes and the gates.

    Raises:
        ValueError: a value is outside of what it may be.
    """

    architecture: ClassVar[str | None] = "prefix_tuning"
    hub_infix: ClassVar[str] = "prefix_tuning.prefix_gates"
    hub_shared: ClassVar[str] = "prefix_tuning.prefix_tunings"
    rules: ClassVar[Mapping[str, Rule]] = {
        "prefix_length": SIZE,
        "bottleneck_size": SIZE,
        "non_linearity": ACTIVATION,
        "dropout": CHANCE,
    }

    encoder_prefix: bool = True
    cross_prefix: bool = True
    leave_out: tuple[int, ...] = ()
    flat: bool = False
    prefix_length: int = 30
    bottleneck_size: int = 512
    non_linearity: str = "tanh"
    dropout: float = 0.0
    use_gating: bool = False
    shared_gating: bool = True
    init_weights_seed: int | None = None

    def covers(self, site: Site, network: NetworkConfig) -> bool:
        """The kv sites of the groups that are switched on."""
        if site.kind != "kv" or site.layer in self.leave_out:
            return False
        group = group_of(site, network)
        return {"encoder_prefix": self.encoder_prefix, "cross_prefix": self.cross_prefix}.get(group, True)

    def hub_keys(self) -> list[Row]:
        """Their MLP counts the activation between its layers, and a layer's gate has no name beside the adapter's."""
        gate = [Row(part, f"gate.{part}") for part in ("weight", "bias")]
        return [Row("control_trans.0.{p}", "net.0.{p}"), Row("control_trans.2.{p}", "net.1.{p}"), *gate]

    def shared(self, sites: list[Site], network: NetworkConfig) -> dict[str, nn.Module]:
        """One module a group, which makes the prefixes of all its layers."""
        groups: dict[str, list[Site]] = {}
        for site in sites:
            groups.setdefault(group_of(site, network), []).append(site)
        return {name: Prefixes(self, group) for name, group in groups.items()}

    def unit(self, site: Site, shared: Mapping[str, nn.Module], weight_of: WeightOf) -> nn.Module:
        """What puts a layer's prefix before its keys and values."""
        prefixes = next(p for p in shared.values() if isinstance(p, Prefixes) and site.slug in p.order)
        return PrefixUnit(self, site, prefixes)


def group_of(site: Site, network: NetworkConfig) -> str:
    """The group of a kv site: "encoder_prefix", "self_prefix" or "cross_prefix"."""
    if site.name == "cross.kv":
        return "cross_prefix"
    return "encoder_prefix" if site.stack == "encoder" and network.decoder is not None else "self_prefix"


class Prefixes(nn.Module):
    """The prefixes of one group's layers. Made once a forward: (2n, H, P, E), keys and values in turns.

    Args:
        config: the numbers.
        sites: the group's kv sites.
    """

    def __init__(self, config: PrefixTuningConfig, sites: list[Site]) -> None:
        super().__init__()
        self.config, self.heads, width = config, sites[0].heads, sites[0].d_in
        self.order = {site.slug: number for number, site in enumerate(sites)}
        out = 2 * len(sites) * width
        with seeded(config.init_weights_seed):
            if config.flat:
                self.control_trans = nn.Parameter(torch.empty(config.prefix_length * out).normal_())
            else:
                self.wte = nn.Embedding(config.prefix_length, width)
                inner = config.bottleneck_size
                self.net = nn.ModuleList([nn.Linear(width, inner), nn.Linear(inner, out)])

    def once(self) -> Tensor:
        """(2n, H, P, E)."""
        if self.config.flat:
            flat = self.control_trans.unflatten(0, (self.config.prefix_length, -1))
        else:
            inner = activation(self.config.non_linearity)(self.net[0](self.wte.weight))
            flat = self.net[1](inner)
        layers = flat.unflatten(1, (2 * len(self.order), self.heads, -1))  # (P, 2n, H, E)
        return F.dropout(layers, self.config.dropout, self.training).permute(1, 2, 0, 3)

    def part_of(self, larger: Prefixes) -> dict[str, Tensor]:
        """Its state by name, out of that of prefixes for more layers: the rows for the layers that it has."""
        state, turns = larger.state_dict(), [larger.order[slug] for slug in self.order]
        dims = {"control_trans": 1} if self.config.flat else {"net.1.weight": 0, "net.1.bias": 0}
        for name, dim in dims.items():
            tensor = state[name].unflatten(0, (self.config.prefix_length, -1)) if self.config.flat else state[name]
            layers = tensor.unflatten(dim, (len(larger.order), -1))
            kept = layers.index_select(dim, torch.tensor(turns, device=tensor.device))
            state[name] = kept.reshape(self.get_parameter(name).shape)
        return state


class PrefixUnit(nn.Module):
    """A layer's prefix, put before its keys and values.

    Args:
        config: the numbers.
        site: the place.
        prefixes: what makes the prefixes; it belongs to the adapter, not to this unit.
    """

    any_dtype = True
    prefixes: Prefixes

    def __init__(self, config: PrefixTuningConfig, site: Site, prefixes: Prefixes) -> None:
        super().__init__()
        self.__dict__["prefixes"] = prefixes  # past nn.Module, which would register it again in every layer
        self.number, self.positions = prefixes.order[site.slug], config.prefix_length
        self.gate = nn.Linear(site.d_in, 1 if config.shared_gating else 2) if config.use_gating else None
        if self.gate is not None:
            with seeded(config.init_weights_seed):
                nn.init.normal_(self.gate.weight, std=0.02)
                nn.init.zeros_(self.gate.bias)

    @property
    def reads_row(self) -> bool:
        """Whether a token's value depends on the row's other tokens: a gate is their mean."""
        return self.gate is not None

    @property
    def alike(self) -> Hashable:
        """What units agree in that can act together."""
        return None if self.gate is not None else self.positions

    def tensors(self, ctx: Ctx) -> tuple[Tensor, ...]:
        """The prefix, (2, H, P, E)."""
        pair: Tensor = ctx.once[self.prefixes][2 * self.number : 2 * self.number + 2]
        return (pair,)

    def forward(self, kv: KV, ctx: Ctx, *stacks: Tensor) -> KV:
        """(B, H, S, E) to (B, H, P + S, E), keys and values. For `stacks` see AdapterConfig.unit."""
        (pair,) = stacks or (self.tensors(ctx)[0].expand(kv.k.size(0), -1, -1, -1, -1),)
        keys, values = pair.to(kv.k.dtype).unbind(1)
        if self.gate is not None:
            assert ctx.x is not None
            open_by = torch.sigmoid(self.gate(ctx.x.to(self.gate.weight.dtype)))
            rows = ctx.layout.mean(open_by)
            ctx.note("gate", rows)
            gate = rows[..., None, None].to(kv.k.dtype)  # (B, 1 or 2, 1, 1)
            keys, values = keys * gate[:, :1], values * gate[:, -1:]
        valid = kv.valid
        if valid is not None:
            valid = F.pad(valid, (self.positions, 0), value=True)
        k, v = torch.cat([keys, kv.k], 2), torch.cat([values, kv.v], 2)
        return KV(k, v, kv.prefix + self.positions, valid)


PRESETS.add("prefix_tuning", PrefixTuningConfig())
PRESETS.add("prefix_tuning_flat", PrefixTuningConfig(flat=True))
