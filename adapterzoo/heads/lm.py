"""Language-modelling heads: masked, causal and sequence-to-sequence."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from adapterzoo.core.outputs import CausalLMOutput, MaskedLMOutput, ModelOutput, Seq2SeqLMOutput
from adapterzoo.heads.base import HEADS, Activation, HeadHost, PredictionHead, initialise
from adapterzoo.heads.features import Features
from adapterzoo.heads.loss import cross_entropy, without_padding
from adapterzoo.nn.linear import Linear, linear

logger = logging.getLogger("adapterzoo")


class LMHead(PredictionHead):
    """Logits over the vocabulary; the last layer's weight is the token embedding's, where the model ties them.

    Args:
        model: the model.
        head_name: its name.
        vocab_size: V; the model's if None.
        embedding_size: width of the last layer's input; the token embedding's if None.
        layers: linear layers.
        activation_function: after each but the last.
        layer_norm: whether a LayerNorm follows the activation.
        bias: whether the last layer has one.
        shift_labels: whether a token is scored against the label of the next.

    Attributes:
        generates: whether a token's logits are about the next one, so that text can be generated.
    """

    reads_cls = False
    generates: ClassVar[bool] = False
    output: type[ModelOutput] = MaskedLMOutput

    def __init__(
        self,
        model: HeadHost,
        head_name: str,
        vocab_size: int | None = None,
        embedding_size: int | None = None,
        layers: int = 1,
        activation_function: str | None = None,
        layer_norm: bool = False,
        bias: bool = False,
        shift_labels: bool = False,
    ) -> None:
        super().__init__(head_name)
        self.config = {
            "head_type": self.head_type,
            "vocab_size": vocab_size or model.base.config.vocab,
            "embedding_size": embedding_size or model.base.token.embedding_dim,
            "layers": layers,
            "activation_function": activation_function,
            "layer_norm": layer_norm,
            "bias": bias,
            "shift_labels": shift_labels,
            "label2id": None,
        }
        self.build(model)

    def build(self, model: HeadHost) -> None:
        """[linear, activation, LayerNorm] for each layer but the last, and the linear to the vocabulary."""
        config, width = self.config, model.base.config.width
        for _ in range(config["layers"] - 1):
            self.append(nn.Linear(width, config["embedding_size"]))
            width = config["embedding_size"]
            if config["activation_function"]:
                self.append(Activation(config["activation_function"]))
            if config["layer_norm"]:
                self.append(nn.LayerNorm(width, model.base.config.eps))
        self.append(Linear(width, config["vocab_size"], bias=config["bias"]))
        initialise(self, model.base.config.init_std)
        self.tie(model)

    def stack(self) -> list[nn.Module]:
        """The numbered layers; a subclass may have others beside them."""
        return [module for name, module in self.named_children() if name.isdigit()]

    @property
    def decoder(self) -> nn.Linear:
        """The linear to the vocabulary."""
        last = self.stack()[-1]
        assert isinstance(last, nn.Linear)
        return last

    def tie(self, model: HeadHost) -> None:
        """Take the token embedding for the last layer's weight, if the model's config says so and they fit."""
        token = model.base.token.weight
        if getattr(model.config, "ties_words", True) and token.shape == self.decoder.weight.shape:
            self.decoder.weight = token
            self.__dict__["_tied"] = True

    def follow(self, model: HeadHost, biases: Mapping[str, Tensor]) -> None:
        """Score the tokens of another embedding: its weight, biases for its tokens, as many outputs."""
        decoder = self.decoder
        decoder.weight = model.base.token.weight
        self.config["vocab_size"] = decoder.out_features = len(decoder.weight)
        if "bias" in biases:
            bias = biases["bias"]
            assert isinstance(bias, nn.Parameter)
            bias.requires_grad_(decoder.bias.requires_grad)
            decoder.bias = bias

    @property
    def tied(self) -> set[str]:
        """The last layer's weight, if it is the token embedding's."""
        return {f"{len(self.stack()) - 1}.weight"} if self.__dict__.get("_tied") else set()

    @property
    def biases(self) -> dict[str, Tensor]:
        """The last layer's bias, where it has one."""
        return {} if self.decoder.bias is None else {"bias": self.decoder.bias}

    def body(self, hidden: Tensor, unembed: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """The layers, (…, D) to (…, V), with what an invertible adapter takes back before the last."""
        *layers, last = self.stack()
        for layer in layers:
            hidden = layer(hidden)
        out: Tensor = last(hidden if unembed is None else unembed(hidden))
        return out

    def loss(self, logits: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor:
        """Cross-entropy over labels that are not -100, of the next token with `shift_labels`.

        Args:
            logits: (B, T, V).
            labels: (B, T).
            mask: (B, T), True at tokens: padding is neither predicted nor does it predict.
        """
        labels = without_padding(labels, mask)
        if self.config["shift_labels"] and labels.shape == logits.shape[:-1]:  # if not, the loss says so
            before = None if mask is None else mask[:, :-1]
            logits, labels = logits[:, :-1], without_padding(labels[:, 1:], before)
        return cross_entropy(logits, labels)

    def forward(  # type: ignore[override]
        self,
        outputs: Features,
        cls_output: Tensor | None = None,
        attention_mask: Tensor | None = None,
        return_dict: bool = False,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """`logits` (B, T, V), and `loss` if there are labels (B, T)."""
        logits = outputs.per_token(partial(self.body, unembed=outputs.unembed))
        loss = None if labels is None else self.loss(logits, labels, outputs.layout.mask)
        return outputs.answer(self.output, Seq2SeqLMOutput, return_dict, loss=loss, logits=logits)


@HEADS.register("masked_lm")
class BertStyleMaskedLMHead(LMHead):
    """A masked language model's head; two layers with LayerNorm unless told otherwise."""

    head_type = "masked_lm"

    def __init__(
        self,
        model: HeadHost,
        head_name: str,
        vocab_size: int | None = None,
        embedding_size: int | None = None,
        layers: int = 2,
        activation_function: str | None = "gelu",
        layer_norm: bool = True,
        bias: bool = True,
        shift_labels: bool = False,
    ) -> None:
        super().__init__(
            model,
            head_name,
            vocab_size,
            embedding_size,
            layers,
            activation_function,
            layer_norm,
            bias,
            shift_labels,
        )


@HEADS.register("causal_lm")
class CausalLMHead(LMHead):
    """A causal language model's head; each token is scored against the next, unless told otherwise.

    On a network whose tokens look at later ones it has nothing to learn: the next token is in sight. Such a head may be
    there, for checkpoints hold them, and gives logits. That is told by a warning, and the loss is refused, unless the
    call's mask says who looks at whom; so is `generate`.

    Attributes:
        sees_next: whether it is on such a network.
    """

    head_type = "causal_lm"
    generates = True
    output = CausalLMOutput

    def __init__(
        self,
        model: HeadHost,
        head_name: str,
        vocab_size: int | None = None,
        embedding_size: int | None = None,
        layers: int = 1,
        activation_function: str | None = None,
        layer_norm: bool = False,
        bias: bool = False,
        shift_labels: bool = True,
        dropout_prob: float | None = None,
    ) -> None:
        super().__init__(
            model,
            head_name,
            vocab_size,
            embedding_size,
            layers,
            activation_function,
            layer_norm,
            bias,
            shift_labels,
        )
        self.config["dropout_prob"] = dropout_prob  # kept for files; nothing is dropped
        self.sees_next = not model.base.config.last.causal
        if self.sees_next:
            logger.warning("head %r predicts the next token, which the network sees: is_decoder is not set", head_name)

    def forward(  # type: ignore[override]
        self,
        outputs: Features,
        cls_output: Tensor | None = None,
        attention_mask: Tensor | None = None,
        return_dict: bool = False,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """As of every such head.

        Raises:
            ValueError: there are labels, and tokens see those that they should predict.
        """
        masked = attention_mask is not None and attention_mask.dim() > 2
        if labels is not None and self.sees_next and not masked:
            raise ValueError(
                f"head {self.name!r} has no loss: it predicts the next token, which the network's tokens see. "
                "is_decoder=True in the config makes the network a decoder; an attention_mask of shape "
                "(rows, tokens, tokens) may say who looks at whom"
            )
        return super().forward(outputs, cls_output, attention_mask, return_dict, labels, **kwargs)


@HEADS.register("seq2seq_lm")
class Seq2SeqLMHead(LMHead):
    """A decoder's head. `final_logits_bias` (1, V), zero in most checkpoints, is added to the logits.

    Args as for LMHead; `logits_bias` says whether there is that bias.
    """

    head_type = "seq2seq_lm"
    labels_are_inputs = True
    generates = True
    final_logits_bias: Tensor | None

    def __init__(
        self,
        model: HeadHost,
        head_name: str,
        vocab_size: int | None = None,
        layers: int = 1,
        activation_function: str | None = None,
        layer_norm: bool = False,
        bias: bool = False,
        shift_labels: bool = False,
        embedding_size: int | None = None,
        logits_bias: bool = True,
    ) -> None:
        self.logits_bias = logits_bias
        super().__init__(
            model, head_name, vocab_size, embedding_size, layers, activation_function, layer_norm, bias, shift_labels
        )
        if embedding_size is None:
            del self.config["embedding_size"]  # AdapterHub's files have none here
        if not logits_bias:
            self.config["logits_bias"] = False

    def build(self, model: HeadHost) -> None:
        """As the others, and the bias."""
        super().build(model)
        self.register_buffer(
            "final_logits_bias", torch.zeros(1, self.config["vocab_size"]) if self.logits_bias else None
        )

    def follow(self, model: HeadHost, biases: Mapping[str, Tensor]) -> None:
        """As the others, with that bias."""
        super().follow(model, biases)
        self.final_logits_bias = biases.get("final_logits_bias")

    @property
    def biases(self) -> dict[str, Tensor]:
        """The two biases."""
        own = {} if self.final_logits_bias is None else {"final_logits_bias": self.final_logits_bias}
        return {**super().biases, **own}

    def body(self, hidden: Tensor, unembed: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """The layers, the bias in the last one's product."""
        for layer in self.stack()[:-1]:
            hidden = layer(hidden)
        hidden = hidden if unembed is None else unembed(hidden)
        if self.final_logits_bias is None:
            return self.decoder(hidden)  # type: ignore[no-any-return]
        bias = self.final_logits_bias[0].to(hidden.dtype)
        return linear(hidden, self.decoder.weight, bias if self.decoder.bias is None else self.decoder.bias + bias)
