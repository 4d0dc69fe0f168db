"""The numbers of one network. Nothing in here is a string that the network's code branches on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RelativeConfig:
    """Disentangled attention: what tokens' distances have to say in it (arXiv:2006.03654).

    Attributes:
        span: half the rows of the table of distances; what lies further apart shares its first and last rows.
        far: where distances are put into buckets that grow, the distance that ends the last; None where each distance
            has a row of its own.
        keys: whether queries look at distances, as they do at keys.
        queries: whether keys are looked at by distances, as they are by queries.
        shared: whether distances are projected as tokens are; if not, by projections of their own.
        normed: whether the table goes through a LayerNorm.
    """

    span: int
    far: int | None = None
    keys: bool = True
    queries: bool = True
    shared: bool = False
    normed: bool = False


@dataclass(frozen=True, kw_only=True)
class ConvolutionConfig:
    """A convolution over the embeddings, added to the first layer's output.

    Attributes:
        kernel: how many tokens it looks at; an odd number.
        groups: into how many parts the width is divided.
        activation: name of the activation that follows it.
    """

    kernel: int
    groups: int
    activation: str


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """One stack of layers, with the embedding below it.

    Attributes:
        layers: how many layers.
        width: the hidden size.
        heads: attention heads; the head width is `width / heads`.
        inner: width between the two matrices of the feed-forward block.
        vocab: rows of the token embedding.
        causal: whether a position sees only itself and those before it.
        cross: whether each layer has a cross-attention block.
        pre_norm: whether each block's LayerNorm comes before it, and one more after the last layer.
        last_state_normed: whether the LayerNorm after the last layer is in the last of `hidden_states`, too.
        layerdrop: chance with which a whole layer is left out in training.
        positions: rows of the position embedding, `position_offset` included; 0 where there is none.
        position_offset: added to every position number (BART: 2).
        padding_position: the padding's row of the position embedding, where only tokens that are not padding are
            counted, from the row after it (RoBERTa: 1); None where all are.
        segments: token types; 0 where there are none.
        pad_id: the padding token's id.
        embed_width: width of the embeddings, where they are projected to `width`.
        project_first: whether they are so before their LayerNorm, without a bias; after it if not.
        embed_scale: factor on token embeddings.
        eps: epsilon of every LayerNorm.
        dropout, attention_dropout, activation_dropout: dropout after each block, on attention, after the activation.
        activation: name of the feed-forward activation (`adapterzoo.nn.activations`).
        key_bias: whether projections to keys have a bias.
        score_terms: attention scores are divided by √(E·`score_terms`), E the head width.
        relative: what distances have to say in self-attention; None: nothing.
        convolution: the convolution beside the first layer; None where there is none.
    """

    layers: int
    width: int
    heads: int
    inner: int
    vocab: int
    causal: bool = False
    cross: bool = False
    pre_norm: bool = False
    last_state_normed: bool = True
    layerdrop: float = 0.0
    positions: int = 512
    position_offset: int = 0
    padding_position: int | None = None
    segments: int = 0
    pad_id: int = 0
    embed_width: int | None = None
    project_first: bool = False
    embed_scale: float = 1.0
    eps: float = 1e-12
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    activation: str = "gelu"
    key_bias: bool = True
    score_terms: int = 1
    relative: RelativeConfig | None = None
    convolution: ConvolutionConfig | None = None

    @property
    def token_width(self) -> int:
        """Width of the token embedding."""
        return self.embed_width or self.width

    @property
    def first_position(self) -> int:
        """The position embedding's row of a row's first token."""
        return self.position_offset if self.padding_position is None else self.padding_position + 1

    @property
    def room(self) -> int | None:
        """How many tokens there are positions for; None where there is no limit."""
        return self.positions - self.first_position if self.positions else None


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """A whole network: up to two stacks and what they share.

    Attributes:
        encoder, decoder: the stacks; a network has at least one of them.
        one_vocabulary: whether two stacks have one token embedding.
        tied: whether the decoder's embeddings and layers are the encoder's, but for its cross-attention.
        pooler: whether there is a pooler, tanh(W h_first + b), on the first stack.
        init_std: standard deviation of newly initialised weights.
    """

    encoder: StackConfig | None = None
    decoder: StackConfig | None = None
    one_vocabulary: bool = True
    tied: bool = False
    pooler: bool = False
    init_std: float = 0.02

    def stacks(self) -> dict[str, StackConfig]:
        """The stacks that are there, by name, in the order in which their layers are counted."""
        both = {"encoder": self.encoder, "decoder": self.decoder}
        return {name: stack for name, stack in both.items() if stack is not None}

    @property
    def alone(self) -> bool:
        """Whether it is an encoder-decoder's decoder without the encoder."""
        return self.encoder is None

    @property
    def first(self) -> StackConfig:
        """The stack that reads the network's input."""
        return next(iter(self.stacks().values()))

    @property
    def last(self) -> StackConfig:
        """The stack whose output is the network's output."""
        return self.stacks()[self.last_stack]

    @property
    def last_stack(self) -> str:
        """Its name."""
        return "decoder" if self.decoder is not None else "encoder"

    @property
    def layers(self) -> int:
        """Layers of all stacks together: adapters count them through, the decoder after the encoder."""
        return sum(stack.layers for stack in self.stacks().values())

    @property
    def width(self) -> int:
        """Width of the network's output."""
        return self.last.width

    @property
    def vocab(self) -> int:
        """Rows of the last stack's token embedding: what a language model's head chooses from."""
        return self.last.vocab

    @property
    def eps(self) -> float:
        """Epsilon of the last stack's LayerNorms."""
        return self.last.eps
