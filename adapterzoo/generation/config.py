"""What generation may be asked for: HF's names and defaults, read from `generation_config.json` or a model's config."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from types import MappingProxyType
from typing import Any, get_type_hints

from adapterzoo.core.fields import NATURAL, POSITIVE, Rule, one_of, wrong_fields
from adapterzoo.core.registry import unknown

TokenIds = int | list[int] | None

SHARE = Rule("from 0 to 1", lambda value: value is None or 0 <= value <= 1)
TOKENS = Rule(
    "0 or more, each of them, and at least one",
    lambda value: value is None or (min(value, default=-1) >= 0 if isinstance(value, list) else value >= 0),
)
SUPPRESSED = Rule("0 or more, each of them", lambda value: value is None or min(value, default=0) >= 0)
WORDS = Rule("lists of ids, 0 or more, none of them empty", lambda value: value is None or _words(value))
DECAY = Rule("a start, 0 or more, and a factor above 0", lambda value: value is None or _decays(value))


def _words(words: list[list[int]]) -> bool:
    return bool(words) and all(word and min(word) >= 0 for word in words)


def _decays(value: list[float]) -> bool:
    return len(value) == 2 and isinstance(value[0], int) and value[0] >= 0 and value[1] > 0


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("max_length", "max_new_tokens", "num_beams", "num_return_sequences"), POSITIVE),
    **dict.fromkeys(("temperature", "repetition_penalty"), POSITIVE),
    **dict.fromkeys(("min_length", "min_new_tokens", "top_k"), NATURAL),
    **dict.fromkeys(("no_repeat_ngram_size", "encoder_no_repeat_ngram_size"), NATURAL),
    **dict.fromkeys(("pad_token_id", "bos_token_id", "decoder_start_token_id", "forced_bos_token_id"), NATURAL),
    **dict.fromkeys(("eos_token_id", "forced_eos_token_id"), TOKENS),
    **dict.fromkeys(("suppress_tokens", "begin_suppress_tokens"), SUPPRESSED),
    **dict.fromkeys(("top_p", "min_p", "typical_p"), SHARE),
    "early_stopping": one_of(True, False, "never"),
    "bad_words_ids": WORDS,
    "exponential_decay_length_penalty": DECAY,
}

NOT_HERE: Mapping[str, tuple[Any, ...]] = {
    "max_time": (None,),
    "stop_strings": (None,),
    "epsilon_cutoff": (None, 0.0),
    "eta_cutoff": (None, 0.0),
    "encoder_repetition_penalty": (None, 1.0),
    "sequence_bias": (None,),
    "token_healing": (None, False),
    "guidance_scale": (None, 1, 1.0),
    "watermarking_config": (None,),
    "output_attentions": (None, False),
    "output_hidden_states": (None, False),
    "prompt_lookup_num_tokens": (None,),
    "assistant_early_exit": (None,),
    "penalty_alpha": (None, 0.0),
    "dola_layers": (None,),
    "diversity_penalty": (None, 0.0),
    "num_beam_groups": (None, 1),
    "constraints": (None,),
    "force_words_ids": (None,),
}
"""HF's options that change what comes out and that are not here, each with the values that ask for nothing."""


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """How to generate. Names and defaults are those of HF's GenerationConfig.

    Attributes:
        max_length: tokens of a sequence at most, the prompt's included; its default counts as 20 new tokens.
        max_new_tokens: tokens after the prompt at most, in place of `max_length`.
        min_length: tokens of a sequence, the prompt's included, before which it may not end.
        min_new_tokens: tokens after the prompt before which it may not end, in place of `min_length`.
        do_sample: whether to draw each token, not to take the likeliest.
        num_beams: sequences that beam search follows for each input; 1: none.
        early_stopping: when an input's beam search ends: with `num_beams` finished sequences (True), when no running
            one is likely to become better (False), or when none can (`"never"`).
        length_penalty: a finished sequence's score is its log-probability by (new tokens)^length_penalty.
        num_return_sequences: sequences for each input.
        temperature: scores are divided by it before a token is drawn.
        top_k: draw from the k likeliest tokens; 0 or None: from all.
        top_p: draw from the likeliest tokens that together have this probability.
        min_p: draw from tokens that are at least this times as likely as the likeliest.
        typical_p: draw from the tokens whose surprise is nearest to the expected one and that together have this
            probability (Meister et al. 2022, arXiv:2202.00666).
        repetition_penalty: makes tokens that are there already less likely (Keskar et al. 2019, arXiv:1909.05858).
        no_repeat_ngram_size: no run of so many tokens comes twice; 0: any may.
        encoder_no_repeat_ngram_size: no run of so many tokens of the input comes in the output; 0: any may.
        bad_words_ids: runs of tokens that may not come.
        suppress_tokens: tokens that may not come.
        begin_suppress_tokens: tokens that may not come first.
        forced_bos_token_id: the token after the first.
        forced_eos_token_id: the last token where `max_length` is reached; several: one of them.
        exponential_decay_length_penalty: (start, factor): so many tokens after the prompt, ends become likelier by a
            factor that grows with each token.
        remove_invalid_values: whether scores that are no numbers become 0, and infinite ones finite.
        renormalize_logits: whether scores are made log-probabilities once more after all changes.
        pad_token_id: what fills a sequence after its end; the end's token if None.
        bos_token_id: the prompt where none is given.
        eos_token_id: the token, or the tokens, that end a sequence.
        decoder_start_token_id: a decoder's first token; `bos_token_id` if None.
        use_cache: whether keys and values of earlier tokens are kept, not computed anew for each token.
        output_scores: whether to return each step's scores, and those of beam search's sequences.
        output_logits: whether to return each step's logits, as the head gave them.
        return_dict_in_generate: whether to return a GenerateOutput, not the sequences alone.
        extra: other entries of a file, kept.

    Raises:
        ValueError: values are out of what they may be, or at odds; all are listed.
    """

    max_length: int = 20
    max_new_tokens: int | None = None
    min_length: int = 0
    min_new_tokens: int | None = None
    do_sample: bool = False
    num_beams: int = 1
    early_stopping: bool | str = False
    length_penalty: float = 1.0
    num_return_sequences: int = 1
    temperature: float = 1.0
    top_k: int | None = 50
    top_p: float | None = 1.0
    min_p: float | None = None
    typical_p: float | None = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    encoder_no_repeat_ngram_size: int = 0
    bad_words_ids: list[list[int]] | None = None
    suppress_tokens: list[int] | None = None
    begin_suppress_tokens: list[int] | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: TokenIds = None
    exponential_decay_length_penalty: list[float] | tuple[float, ...] | None = None
    remove_invalid_values: bool = False
    renormalize_logits: bool = False
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: TokenIds = None
    decoder_start_token_id: int | None = None
    use_cache: bool = True
    output_scores: bool = False
    output_logits: bool = False
    return_dict_in_generate: bool = False
    extra: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    def __post_init__(self) -> None:
        values = self.options()
        wrong = list(wrong_fields(values, _kinds(), RULES)) or list(self._at_odds())
        if wrong:
            raise ValueError("GenerationConfig: " + "; ".join(wrong))

    def _at_odds(self) -> Iterator[str]:
        """What is wrong with values that are right by themselves."""
        if self.num_beams > 1 and self.num_return_sequences > self.num_beams:
            yield (
                f"num_return_sequences is {self.num_return_sequences}, but {self.num_beams} beams find only as many "
                "sequences"
            )
        elif self.num_beams == 1 and self.num_return_sequences > 1 and not self.do_sample:
            yield (
                f"num_return_sequences is {self.num_return_sequences}, but there is only one likeliest token at each "
                "step; use num_beams or do_sample=True"
            )

    def options(self) -> dict[str, Any]:
        """The options by name, without `extra`."""
        return {name: getattr(self, name) for name in OPTIONS}

    def changed(self, **options: Any) -> GenerationConfig:
        """The same with other options.

        Raises:
            TypeError: there is no such option.
            ValueError: a value is out of what it may be.
        """
        for name, value in options.items():
            if name in NOT_HERE:
                if value not in NOT_HERE[name]:
                    raise TypeError(f"generate does not have HF's option {name}; it has {', '.join(sorted(OPTIONS))}")
            elif name not in OPTIONS:
                raise TypeError(unknown("option of generate named", name, OPTIONS))
        return replace(self, **{name: value for name, value in options.items() if name in OPTIONS})

    def over(self, defaults: GenerationConfig) -> GenerationConfig:
        """The same, with `defaults` in place of what is left at HF's default."""
        plain = GenerationConfig()
        own = {name: value for name, value in self.options().items() if value != getattr(plain, name)}
        return replace(defaults, **own, extra={**defaults.extra, **self.extra})

    def to_dict(self) -> dict[str, Any]:
        """As `generation_config.json` holds it: what is not left at its default, and other entries."""
        plain = GenerationConfig()
        own = {name: value for name, value in self.options().items() if value != getattr(plain, name)}
        return {**self.extra, **own}

    @staticmethod
    def from_dict(data: Mapping[str, Any], source: str = "the generation config") -> GenerationConfig:
        """The config of a `generation_config.json`. Entries that are no options are kept in `extra`.

        Args:
            data: its content.
            source: what to call it in messages.

        Raises:
            ValueError: a value is out of what it may be, or at odds with another.
        """
        kinds = _kinds()
        given = {name: data[name] for name in OPTIONS if name in data}
        # Files of older versions say null where they leave an option at its default.
        own = {name: value for name, value in given.items() if value is not None or type(None) in _union(kinds[name])}
        try:
            return GenerationConfig(**own, extra={name: value for name, value in data.items() if name not in OPTIONS})
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error

    @staticmethod
    def from_model_config(config: Mapping[str, Any], source: str = "the config") -> GenerationConfig:
        """The options that a model's `config.json` holds, as older checkpoints have them there.

        Where it holds a decoder's config, what it leaves at its default is that one's.
        """
        own = {name: config[name] for name in (*OPTIONS, *NOT_HERE) if config.get(name) is not None}
        inner, plain = config.get("decoder"), GenerationConfig().options()
        if isinstance(inner, Mapping):
            unset = [name for name in OPTIONS if own.get(name, plain[name]) == plain[name]]
            own |= {name: inner[name] for name in unset if inner.get(name) is not None}
        shared = ("output_attentions", "output_hidden_states")  # there they are about every call of the model
        return GenerationConfig.from_dict({name: own[name] for name in own if name not in shared}, source)

    def check_available(self) -> None:
        """Check that a file asks for nothing that is not here.

        Raises:
            ValueError: it does.
        """
        wanted = {name: self.extra[name] for name in NOT_HERE if self.extra.get(name) not in NOT_HERE[name]}
        if wanted:
            asked = ", ".join(f"{name}={json.dumps(value, default=str)}" for name, value in wanted.items())
            raise ValueError(
                f"the model's generation config asks for {asked}, which generate does not have; set "
                "model.generation_config to one that does without"
            )


OPTIONS = tuple(f.name for f in fields(GenerationConfig) if f.name != "extra")
"""The names of all options."""


@cache
def _kinds() -> dict[str, Any]:
    return {name: kind for name, kind in get_type_hints(GenerationConfig).items() if name in OPTIONS}


def _union(kind: Any) -> tuple[Any, ...]:
    return getattr(kind, "__args__", (kind,))
