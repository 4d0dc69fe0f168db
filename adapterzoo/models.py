"""The model that users hold, run: from HF's arguments to HF's outputs, with adapters, and heads in subclasses."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from adapterzoo.context import Scope, current_scope
from adapterzoo.forward import encode
from adapterzoo.generation.config import GenerationConfig
from adapterzoo.generation.decoder import Route
from adapterzoo.generation.generate import Generation
from adapterzoo.generation.prompt import prompt_of, split_inputs
from adapterzoo.generation.runs import generating_heads
from adapterzoo.generation.stream import Streamer
from adapterzoo.heads.arguments import check_arguments
from adapterzoo.heads.base import PredictionHead
from adapterzoo.heads.features import Features
from adapterzoo.heads.lm import LMHead
from adapterzoo.input_checks import checked
from adapterzoo.inputs import Inputs
from adapterzoo.nn.cache import Cache
from adapterzoo.published_model import PublishedModel
from adapterzoo.routing import Routing, route
from adapterzoo.rows import in_order, restore, tiled
from adapterzoo.scores import attach


class Model(PublishedModel):
    """A network with adapters and no head. `BertModel` and its like are this with an architecture.

    See AdaptedModel for making, loading, saving and adapting it, EmbeddedModel for its token embeddings, and
    PublishedModel for the Hub.
    """

    generation_file: Mapping[str, Any] | None = None  # what generation_config.json beside the checkpoint held
    _generation_config: GenerationConfig | None = None
    accepts_loss_kwargs = False  # transformers' Trainer asks: heads average a loss over the batch that they see

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        output_adapter_gating_scores: bool | None = None,
        output_adapter_fusion_attentions: bool | None = None,
        adapter_names: Sequence[str | None] | None = None,
        task_ids: Sequence[int | str] | Tensor | None = None,
        head: Any = None,
        **labels: Any,
    ) -> Any:
        """Run the model. Arguments and outputs are HF's; these are ours:

        Args:
            output_adapter_gating_scores: whether to tell adapters' gates: see ModelOutput.
            output_adapter_fusion_attentions: whether to tell fusions' weights.
            adapter_names: an adapter's name for each row, in any order; None for the bare model.
            task_ids: under a MultiTask setup each row's task, in any order: a child's number or name.
            head: the head to use, before any that is active.
            use_cache: whether to return a decoder's keys and values as `past_key_values`; not unless asked for.
            past_key_values: what an earlier call returned. The ids are those of the tokens after it; the decoder's
                mask, if any, says of all tokens. Rows and adapters must be those of the earlier call.
            labels: `labels`, `start_positions`, `end_positions`, and what else the head takes. Where several heads
                answer, each may be a dict with an entry for each head by its name (None: no labels), or a list in
                the heads' order. Where heads have rows of their own, an entry holds these, or all rows.

        Returns:
            An output that reads as attributes, keys and tuple; with `return_dict=False` a tuple.

        Raises:
            TypeError: an argument that neither the model nor its head has, or that is no tensor.
            ValueError: inputs that do not fit the model or each other; the message names them.
        """
        if encoder_outputs is not None:
            encoder_hidden_states = encoder_outputs[0]
            encoder_attention_mask = attention_mask if encoder_attention_mask is None else encoder_attention_mask
        given = Inputs(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            decoder_inputs_embeds=decoder_inputs_embeds,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
        )
        cache = self._cache(past_key_values, use_cache)
        inputs = checked(given, self.base.config, type(self).__name__, 0 if cache is None else cache.length)
        labels = {name: value for name, value in labels.items() if value is not None}
        config = self.config
        keep_hidden = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        keep_attention = config.output_attentions if output_attentions is None else output_attentions
        as_dict = config.return_dict if return_dict is None else return_dict
        scores = {
            "adapter_gating_scores": output_adapter_gating_scores,
            "adapter_fusion_attentions": output_adapter_fusion_attentions,
        }
        noted = any(scores.values())
        routing = route(self.adapters, self.base, adapter_names, task_ids, inputs.rows, self.heads_of(), noted)
        plan, order, groups = routing
        if cache is not None:
            plan.check_cache(self.base.config.last_stack)
        heads = self._heads(head, current_scope(), adapter_names, routing)
        by_name = adapter_names is not None
        check_arguments(type(self).__name__, NETWORK_ARGUMENTS, self._modules_of(heads), labels, by_name)
        if order is not None:
            inputs = inputs.picked(torch.tensor(order))
            labels = {name: in_order(value, order) for name, value in labels.items()}
        inputs = self._with_decoder_input(inputs, heads, labels)
        features = encode(self, inputs, plan, groups, keep_hidden, keep_attention, cache)
        labels = {name: tiled(value, inputs.rows, plan.copies) for name, value in labels.items()}
        output = self._respond(features, heads, inputs.tiled(plan.copies), labels, as_dict)
        whole = routing.whole_order
        output = output if whole is None else restore(output, whole, inputs.choices)
        return attach(output, scores, self, features.notes, whole, inputs.choices) if noted else output

    # ------------------------------------------------------------------------------------------ less memory

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None) -> None:
        """Compute layers again in the backward pass: less memory, about a third more time (arXiv:1604.06174).

        Args:
            gradient_checkpointing_kwargs: as HF has it; there is one way to do it, `{"use_reentrant": False}`.

        Raises:
            ValueError: it asks for another.
        """
        if gradient_checkpointing_kwargs and dict(gradient_checkpointing_kwargs) != {"use_reentrant": False}:
            raise ValueError(
                f"gradient checkpointing takes use_reentrant=False alone, not {dict(gradient_checkpointing_kwargs)!r}: "
                "reentrant checkpoints give adapters on a frozen network no gradients"
            )
        self.base.checkpointing = True

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether layers are computed again in the backward pass."""
        return self.base.checkpointing

    def gradient_checkpointing_disable(self) -> None:
        """Keep what the backward pass needs."""
        self.base.checkpointing = False

    # ------------------------------------------------------------------------------------------ generating

    @property
    def generation_config(self) -> GenerationConfig:
        """What `generate` does unless told otherwise: what was set or lay beside the checkpoint, else the config's."""
        if self._generation_config is not None:
            return self._generation_config
        if self.generation_file is not None:
            return GenerationConfig.from_dict(self.generation_file, "generation_config.json")
        return GenerationConfig.from_model_config(self.config.to_dict(), f"{type(self).__name__}'s config")

    @generation_config.setter
    def generation_config(self, config: GenerationConfig | None) -> None:
        if config is not None and not isinstance(config, GenerationConfig):
            raise TypeError(f"generation_config is a GenerationConfig or None, not a {type(config).__name__}")
        self._generation_config = config

    def generation_entries(self) -> Mapping[str, Any] | None:
        """What belongs into generation_config.json; None if the config says it all."""
        return self.generation_file if self._generation_config is None else self._generation_config.to_dict()

    def generate(
        self,
        input_ids: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
        adapter_names: Sequence[str | None] | None = None,
        task_ids: Sequence[int | str] | Tensor | None = None,
        head: Any = None,
        streamer: Streamer | None = None,
        generation_config: GenerationConfig | None = None,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Any:
        """Go on from a prompt, or answer an encoder's input, with a head that says which token is next.

        Shapes: B inputs, T tokens, n sequences for each input.

        Args:
            input_ids: (B, T), the encoder's input, or the prompt where there is no encoder. Prompts are padded on the
                left. Without any, `bos_token_id` begins.
            attention_mask: (B, T), its padding; told by the padding token if None.
            adapter_names: an adapter's name for each row, in any order; None for the bare model.
            task_ids: under a MultiTask setup each row's task, in any order: a child's number or name.
            head: the head to use, before any that is active.
            streamer: is given the prompt and each step's tokens as they come, by `put`, and told by `end`.
            generation_config: options, before the model's `generation_config`.
            generator: what to draw by; PyTorch's own if None.
            options: options of GenerationConfig, before all others; and a network's other inputs, of which
                `decoder_input_ids` is the prompt of an encoder-decoder.

        Returns:
            (B·n, tokens), the prompt included, padding after the end; a GenerateOutput with `return_dict_in_generate`.

        Raises:
            TypeError: an option or input that there is not.
            ValueError: there is no head that generates, or options or inputs do not fit the model or each other.
        """
        given = {"input_ids": input_ids, "attention_mask": attention_mask, **options}
        return self._generation(given, adapter_names, task_ids, head, generation_config, generator).run(streamer)

    def generate_stream(
        self,
        input_ids: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
        adapter_names: Sequence[str | None] | None = None,
        task_ids: Sequence[int | str] | Tensor | None = None,
        head: Any = None,
        generation_config: GenerationConfig | None = None,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Iterator[Tensor]:
        """As `generate`, each step's tokens (B·n,) as they come, without the prompt.

        Raises:
            TypeError: an option or input that there is not.
            ValueError: as for `generate`, or there are beams, whose tokens are known at the end alone.
        """
        given = {"input_ids": input_ids, "attention_mask": attention_mask, **options}
        generation = self._generation(given, adapter_names, task_ids, head, generation_config, generator)
        generation.check_stream()
        return generation.stream()

    def _generation(
        self,
        given: dict[str, Any],
        names: Sequence[str | None] | None,
        tasks: Sequence[int | str] | Tensor | None,
        head: Any,
        config: GenerationConfig | None,
        generator: torch.Generator | None,
    ) -> Generation:
        """A call of `generate`, checked."""
        inputs, options = split_inputs(given)
        defaults = self.generation_config
        if config is not None and not isinstance(config, GenerationConfig):
            raise TypeError(f"generation_config is a GenerationConfig, not a {type(config).__name__}")
        least = any(options.get(name) or getattr(config, name, None) for name in ("min_length", "min_new_tokens"))
        config = (defaults if config is None else config.over(defaults)).changed(**options)
        config.check_available()
        prompt = prompt_of(inputs, config, self.base.config, type(self).__name__, self.device)
        routing = route(self.adapters, self.base, names, tasks, len(prompt.ids), self.heads_of())
        plan, chosen = routing.plan, self._heads(head, current_scope(), names, routing)
        heads = self._generating(chosen, len(prompt.ids), plan.copies)
        if not self.base.config.last.causal:
            raise ValueError(
                f"{type(self).__name__} cannot generate: its tokens look at later ones, too; is_decoder=True in its "
                "config makes it a decoder"
            )
        way = Route(plan, routing.whole_order, routing.groups, heads)
        return Generation.of(self, prompt.tiled(plan.copies), way, config, least, generator)

    def _generating(self, heads: Any, rows: int, copies: int) -> list[tuple[LMHead, int]]:
        """The heads that generate, each for its run of rows, from what `_heads` gave.

        Args:
            heads: what `_heads` gave.
            rows: rows of the caller's batch.
            copies: how many times the batch is answered.
        """
        return generating_heads(type(self).__name__, self.heads_of(), [(None, rows)])

    # ------------------------------------------------------------------------------------------ for subclasses

    def _cache(self, given: Any, use: bool | None) -> Cache | None:
        """The cache of this call, if there is one."""
        if given is None and not use:
            return None
        last = self.base.config.last
        if not last.causal:
            raise ValueError(
                f"{type(self).__name__} keeps no keys and values, for its tokens look at later ones, too; "
                "a decoder does (is_decoder=True)"
            )
        if given is not None and (not isinstance(given, Cache) or len(given.layers) != last.layers):
            raise TypeError(f"past_key_values is what an earlier call with use_cache=True returned, not {given!r}")
        return Cache(last.layers) if given is None else given

    def _heads(
        self,
        head: Any,
        scope: Scope | None,
        names: Sequence[str | None] | None,
        routing: Routing,
    ) -> Any:
        """The heads for this call, for `_respond`; a model without heads has none."""
        if head is not None:
            raise ValueError(f"{type(self).__name__} has no heads; an AdapterModel class does")
        return None

    def _modules_of(self, heads: Any) -> Sequence[PredictionHead | None]:
        """The modules of what `_heads` gave; None where rows have no head."""
        return []

    def _with_decoder_input(self, inputs: Inputs, heads: Any, labels: dict[str, Any]) -> Inputs:
        return inputs

    def _respond(self, features: Features, heads: Any, inputs: Inputs, labels: dict[str, Any], as_dict: bool) -> Any:
        """The model's output from the network's."""
        output = features.pooled_outputs()
        return output if as_dict else output.to_tuple()


NETWORK_ARGUMENTS = tuple(set(inspect.signature(Model.forward).parameters) - {"self", "labels"})
