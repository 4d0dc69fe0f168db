"""Prompt tuning (Lester et al. 2021, arXiv:2104.08691): learned vectors among the embeddings of the first stack.

Shapes: B rows, T positions, P prompt length, D width of the embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.fields import POSITIVE, SIZE, Rule, one_of
from adapterzoo.core.run import Ctx, Tokens
from adapterzoo.core.sites import Site
from adapterzoo.methods.base import METHODS, PRESETS, AdapterConfig, WeightOf, seeded


@METHODS.register("prompt_tuning")
@dataclass(frozen=True, kw_only=True, eq=False)
class PromptTuningConfig(AdapterConfig):
    """Prompt tuning: [P; x₀, x₁, …], with P (P, D) learned; in an encoder-decoder in front of the encoder's input.

    The prompt has no positions and comes after the embeddings' LayerNorm. Outputs are by the caller's tokens alone; a
    classification vector that is read at a row's first position is read at the prompt's, if it lies there. An encoder's
    output lacks the prompt, so that a decoder that is given it (`encoder_outputs`) does not look at the prompt.

    Args:
        prompt_length: P.
        prompt_init: "random_uniform", or "from_string": the token embeddings of `prompt_init_text`.
        prompt_init_text: a text, which is repeated and cut to P tokens.
        random_uniform_scale: random values go from minus this to this. The peer's files cannot say so; ours do.
        combine: "prefix": in front of the row; "prefix_after_bos": after its first token; padding is passed over.
        init_weights_seed: a seed for the random values.

    Raises:
        ValueError: a value is outside of what it may be.
    """

    architecture: ClassVar[str | None] = "prompt_tuning"
    hub_infix: ClassVar[str] = "prompt_tuning.prompt_tunings"
    own_fields: ClassVar[tuple[str, ...]] = ("random_uniform_scale",)
    rules: ClassVar[Mapping[str, Rule]] = {
        "prompt_length": SIZE,
        "prompt_init": one_of("random_uniform", "from_string"),
        "random_uniform_scale": POSITIVE,
        "combine": one_of("prefix", "prefix_after_bos"),
    }

    prompt_length: int = 10
    prompt_init: str = "random_uniform"
    prompt_init_text: str | None = None
    random_uniform_scale: float = 0.5
    combine: str = "prefix"
    init_weights_seed: int | None = None

    def covers(self, site: Site, network: NetworkConfig) -> bool:
        """The input of the first stack."""
        return site.kind == "tokens" and site.stack == next(iter(network.stacks()))

    def unit(self, site: Site, shared: Mapping[str, nn.Module], weight_of: WeightOf) -> nn.Module:
        """The prompt."""
        return PromptUnit(self, site)


class PromptUnit(nn.Module):
    """The prompt, put among each row's embeddings.

    Args:
        config: the numbers.
        site: the place, for the width.
    """

    any_dtype = True
    reads_row = True  # a token's number in its row is another one, and keys and values are not kept

    def __init__(self, config: PromptTuningConfig, site: Site) -> None:
        super().__init__()
        self.config, self.positions, self.combine = config, config.prompt_length, config.combine
        scale = config.random_uniform_scale
        with seeded(config.init_weights_seed):
            self.prompt_embedding = nn.Embedding(self.positions, site.d_out)
            nn.init.uniform_(self.prompt_embedding.weight, -scale, scale)

    def start(self, embedded: Callable[[str], Tensor]) -> None:
        """Begin with a text, if the config says so.

        Args:
            embedded: gives the token embeddings (n, D) of a text's tokens.

        Raises:
            ValueError: there is no text, or it has no tokens, or they are of another width.
        """
        if self.config.prompt_init != "from_string":
            return
        if not self.config.prompt_init_text:
            raise ValueError('prompt_init="from_string" needs a text: prompt_init_text="…"')
        rows, weight = embedded(self.config.prompt_init_text), self.prompt_embedding.weight
        if not len(rows) or rows.size(1) != weight.size(1):
            raise ValueError(
                f"a prompt of width {weight.size(1)} cannot start with {len(rows)} token embeddings of width "
                f"{rows.size(1)}"
            )
        with torch.no_grad():
            weight.copy_(rows[torch.arange(self.positions, device=rows.device) % len(rows)])

    def forward(self, tokens: Tokens, ctx: Ctx) -> Tokens:
        """(B, T, D) to (B, T + P, D), with mask and ownership."""
        order, mask = self._order(tokens), tokens.mask
        prompt = self.prompt_embedding.weight.to(tokens.x.dtype).expand(tokens.x.size(0), -1, -1)
        x = torch.cat([tokens.x, prompt], 1)
        x = x.gather(1, order[..., None].expand(-1, -1, x.size(2)))
        mask = None if mask is None else F.pad(mask, (0, self.positions), value=True).gather(1, order)
        return Tokens(x, mask, F.pad(tokens.own, (0, self.positions), value=False).gather(1, order))

    def _order(self, tokens: Tokens) -> Tensor:
        """(B, T + P): of rows with the prompt behind them, the positions in the order that puts it into its place.

        That is in front of what is no padding, or behind the first of the caller's tokens there.
        """
        own, mask = tokens.own, torch.ones_like(tokens.own) if tokens.mask is None else tokens.mask
        if self.combine == "prefix":
            start = mask.int().argmax(1, keepdim=True)
        else:
            start = (own & mask).int().argmax(1, keepdim=True) + 1
        place, length = torch.arange(own.size(1) + self.positions, device=own.device)[None], own.size(1)
        behind = torch.where(place < start + self.positions, length + place - start, place - self.positions)
        return torch.where(place < start, place, behind)


PRESETS.add("prompt_tuning", PromptTuningConfig())
