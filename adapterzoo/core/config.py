"""The numbers of one network. Nothing in here is a string that the network's code branches on."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """One stack of layers.

    Attributes:
        layers: how many layers.
        heads: attention heads; the head width is `width / heads`.
        inner: width between the two matrices of the feed-forward block.
        causal: whether a position sees only itself and those before it.
        cross: whether each layer has a cross-attention block.
        layerdrop: chance with which a whole layer is left out in training.
    """

    layers: int
    heads: int
    inner: int
    causal: bool = False
    cross: bool = False
    layerdrop: float = 0.0


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """A whole network: up to two stacks and what they share.

    Attributes:
        width: the hidden size.
        vocab: rows of the token embedding.
        encoder, decoder: the stacks; a network has at least one of them.
        positions: rows of the position embedding, `position_offset` included.
        position_offset: added to every position number (BART: 2).
        positions_skip_padding: number only the tokens that are not padding, from `pad_id + 1` (RoBERTa).
        segments: token types; 0 where there are none.
        pad_id: the padding token's id.
        eps: epsilon of every LayerNorm.
        embed_scale: factor on token embeddings.
        dropout, attention_dropout, activation_dropout: dropout after each block, on attention, after the activation.
        activation: name of the feed-forward activation (`adapterzoo.nn.activations`).
        pooler: whether there is a pooler, tanh(W h_first + b).
        init_std: standard deviation of newly initialised weights.
    """

    width: int
    vocab: int
    encoder: StackConfig | None = None
    decoder: StackConfig | None = None
    positions: int = 512
    position_offset: int = 0
    positions_skip_padding: bool = False
    segments: int = 0
    pad_id: int = 0
    eps: float = 1e-12
    embed_scale: float = 1.0
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    activation: str = "gelu"
    pooler: bool = False
    init_std: float = field(default=0.02)

    def stacks(self) -> dict[str, StackConfig]:
        """The stacks that are there, by name, in the order in which their layers are counted."""
        both = {"encoder": self.encoder, "decoder": self.decoder}
        return {name: stack for name, stack in both.items() if stack is not None}

    @property
    def layers(self) -> int:
        """Layers of all stacks together: adapters count them through, the decoder after the encoder."""
        return sum(stack.layers for stack in self.stacks().values())

    @property
    def last_stack(self) -> str:
        """The stack whose output is the network's output."""
        return "decoder" if self.decoder is not None else "encoder"
