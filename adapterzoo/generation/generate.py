"""`Model.generate`: from what it was called with to sequences, all at once or token by token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from adapterzoo.generation.beam import BeamOptions, BeamSearch, Found
from adapterzoo.generation.config import GenerationConfig
from adapterzoo.generation.decoder import NetworkDecoder, Route
from adapterzoo.generation.outputs import GenerateOutput
from adapterzoo.generation.processors import Processor
from adapterzoo.generation.prompt import Prompt
from adapterzoo.generation.rules import check_shortest, check_tokens, ends_of, longest, processors
from adapterzoo.generation.steps import Ends, each_token
from adapterzoo.generation.stream import Streamer
from adapterzoo.host import Host


class Kept:
    """Each step's scores and logits, as far as they were asked for."""

    def __init__(self, config: GenerationConfig) -> None:
        self.scores: list[Tensor] | None = [] if config.output_scores else None
        self.logits: list[Tensor] | None = [] if config.output_logits else None

    def __call__(self, scores: Tensor, logits: Tensor) -> None:
        """Take a step's."""
        if self.scores is not None:
            self.scores.append(scores)
        if self.logits is not None:
            self.logits.append(logits)

    def output(self, sequences: Tensor, found: Found | None = None) -> GenerateOutput:
        """With the sequences."""
        return GenerateOutput(
            sequences=sequences,
            sequences_scores=None if found is None or self.scores is None else found.scores,
            scores=None if self.scores is None else tuple(self.scores),
            logits=None if self.logits is None else tuple(self.logits),
            beam_indices=None if found is None else found.beam_indices,
        )


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One call of `generate`, checked and ready to run.

    Attributes:
        model: the model.
        prompt: what to go on from.
        route: who acts on which input.
        config: the options.
        process: what changes the scores.
        ends: when sequences end.
        generator: what to draw by; PyTorch's own if None.
    """

    model: Host
    prompt: Prompt
    route: Route
    config: GenerationConfig
    process: Processor
    ends: Ends
    generator: torch.Generator | None = None

    @staticmethod
    def of(
        model: Host,
        prompt: Prompt,
        route: Route,
        config: GenerationConfig,
        least: bool,
        generator: torch.Generator | None,
    ) -> Generation:
        """Check what was asked for against the model.

        Args:
            model: the model.
            prompt: what to go on from.
            route: who acts on which input.
            config: the options.
            least: whether the call itself asks for a least length. The model's own does not bind one that is shorter.
            generator: what to draw by.

        Raises:
            ValueError: it asks for what cannot be.
        """
        rows, length = prompt.ids.shape
        sizes = [size for _, size in route.heads]
        if sum(sizes) != rows:
            raise ValueError(f"the heads' batch sizes {sizes} add up to {sum(sizes)}, but the batch has {rows} rows")
        most = longest(config, length, getattr(model.config, "max_position_embeddings", None))
        if least:
            check_shortest(config, length, most)
        prompt.check_room(model.base.config, most)
        check_tokens(config, model.base.config.vocab)
        ends = ends_of(config, most, prompt.ids.device)
        process = processors(config, ends, length, prompt.source)
        return Generation(
            model=model,
            prompt=prompt,
            route=route,
            config=config,
            process=process,
            ends=ends,
            generator=generator,
        )

    @torch.no_grad()
    def run(self, streamer: Streamer | None = None) -> Any:
        """The sequences (N, T), or a GenerateOutput.

        Args:
            streamer: is given the prompt and each step's tokens as they come.

        Raises:
            ValueError: there is a streamer, and beams, whose tokens are not known before the end.
        """
        kept = Kept(self.config)
        if self.config.num_beams > 1:
            if streamer is not None:
                raise ValueError(self._no_stream())
            found = self._beams(kept)
            return kept.output(found.sequences, found) if self.config.return_dict_in_generate else found.sequences
        ids = [self._ids()]
        if streamer is not None:
            streamer.put(ids[0].cpu())
        for tokens in self._tokens(kept):
            ids.append(tokens[:, None])
            if streamer is not None:
                streamer.put(tokens.cpu())
        if streamer is not None:
            streamer.end()
        sequences = torch.cat(ids, 1)
        return kept.output(sequences) if self.config.return_dict_in_generate else sequences

    @torch.no_grad()
    def stream(self) -> Iterator[Tensor]:
        """Each step's tokens (N,) as they come, without the prompt."""
        yield from self._tokens(Kept(replace(self.config, output_scores=False, output_logits=False)))

    def check_stream(self) -> None:
        """Check that tokens can be had as they come.

        Raises:
            ValueError: there are beams.
        """
        if self.config.num_beams > 1:
            raise ValueError(self._no_stream())

    def _no_stream(self) -> str:
        beams = self.config.num_beams
        return f"with num_beams={beams}, tokens are known at the end alone, and cannot be streamed"

    @property
    def _rows(self) -> int:
        """K, rows of each input."""
        return max(self.config.num_beams, self.config.num_return_sequences)

    def _ids(self) -> Tensor:
        return self.prompt.ids.repeat_interleave(self._rows, 0)

    def _decoder(self) -> NetworkDecoder:
        return NetworkDecoder(self.model, self.prompt.inputs, self.route, self._rows, self.config.use_cache)

    def _tokens(self, kept: Kept) -> Iterator[Tensor]:
        draws = self.config.do_sample
        return each_token(self._decoder(), self._ids(), self.process, self.ends, kept, draws, self.generator)

    def _beams(self, kept: Kept) -> Found:
        config = self.config
        options = BeamOptions(
            beams=config.num_beams,
            length_penalty=config.length_penalty,
            early_stopping=config.early_stopping,
            do_sample=config.do_sample,
            returned=config.num_return_sequences,
        )
        search = BeamSearch(self._decoder(), self._ids(), self.process, self.ends, options, self.generator)
        return search.run(kept)
