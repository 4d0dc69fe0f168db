"""Encoder-decoders of two encoders, such as BERT2BERT (Rothe et al. 2019, arXiv:1907.12461): tables made of theirs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar

from adapterzoo.archs.base import ARCHITECTURES, Architecture, register
from adapterzoo.archs.config import ModelConfig
from adapterzoo.archs.pairs import PAIR_HEAD, PART, pair_network, paired, part_configs
from adapterzoo.archs.two_stacks import ENCODER_DECODER_HEADS
from adapterzoo.core.fields import NATURAL
from adapterzoo.core.registry import listing

PARTS = ("encoder", "decoder")


class EncoderDecoderConfig(ModelConfig):
    """The `config.json` of a pair: the configs of the encoder and the decoder, and what generation needs."""

    model_type = "encoder-decoder"
    defaults: ClassVar[dict[str, Any]] = {**dict.fromkeys(PARTS), "pad_token_id": 0, "tie_encoder_decoder": False}
    kinds: ClassVar[dict[str, Any]] = dict.fromkeys(PARTS, object)
    rules: ClassVar[dict[str, Any]] = {**dict.fromkeys(PARTS, PART), "pad_token_id": NATURAL}

    def __init__(self, /, *, encoder: Any = None, decoder: Any = None, **fields: Any) -> None:
        first, last = part_configs(encoder=encoder, decoder=decoder)
        if isinstance(last, ModelConfig):
            last = type(last).from_dict({**last.to_dict(), "is_decoder": True, "add_cross_attention": True})
            fields = {key: value for key, value in fields.items() if (key, value) != ("pad_token_id", None)}
            fields.setdefault("pad_token_id", last.pad_token_id)
        super().__init__(**{"is_encoder_decoder": True, **fields, "encoder": first, "decoder": last})

    @classmethod
    def from_encoder_decoder_configs(cls, encoder: ModelConfig, decoder: ModelConfig, **fields: Any) -> Any:
        """The config of a pair."""
        return cls(encoder=encoder, decoder=decoder, **fields)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str = "the config") -> Any:
        """See ModelConfig.

        Raises:
            ValueError: the encoder's or the decoder's config is missing, too.
        """
        missing = [part for part in PARTS if data.get(part) is None]
        if missing and data.get("model_type", cls.model_type) == cls.model_type:
            raise ValueError(f"{source} lacks {listing(missing)}, the config of a part of the pair")
        return super().from_dict(data, source)

    def _at_odds(self) -> Iterator[str]:
        yield from super()._at_odds()
        for role in PARTS:
            if (kind := ARCHITECTURES[getattr(self, role).model_type]).network(getattr(self, role)).decoder is not None:
                yield f"{role} must be the config of one stack; a {kind.model_type} model has two"

    @property
    def vocab_size(self) -> int:
        """How many tokens the decoder chooses from."""
        return int(self.decoder.vocab_size)

    @vocab_size.setter
    def vocab_size(self, size: int) -> None:
        for part in PARTS if self.tie_encoder_decoder else PARTS[1:]:  # copies: the parts' configs may be the caller's
            own = copy.copy(getattr(self, part))
            own.vocab_size = size
            setattr(self, part, own)

    def to_dict(self) -> dict[str, Any]:
        """As `config.json` holds it."""
        return {**super().to_dict(), "encoder": self.encoder.to_dict(), "decoder": self.decoder.to_dict()}


def pair(config: Any) -> Architecture:
    """The tables of a pair."""
    return _pair(config.encoder.model_type, config.decoder.model_type, config.tie_encoder_decoder)


@cache
def _pair(encoder: str, decoder: str, tied: bool) -> Architecture:
    return replace(ENCODER_DECODER, **paired(ARCHITECTURES[encoder], ARCHITECTURES[decoder], tied))


ENCODER_DECODER = register(
    Architecture(
        name="EncoderDecoder",
        config=EncoderDecoderConfig,
        prefix="",
        network=pair_network,
        rows=(),
        places={},
        heads=ENCODER_DECODER_HEADS,
        statics=(PAIR_HEAD,),
        specialise=pair,
    )
)
