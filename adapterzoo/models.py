"""The model that users hold, run: from HF's arguments to HF's outputs, with adapters, and heads in subclasses."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adapterzoo.adapted_model import AdaptedModel
from adapterzoo.context import Scope, current_scope
from adapterzoo.encode import encode
from adapterzoo.heads.base import PredictionHead
from adapterzoo.heads.features import Features
from adapterzoo.heads.run import check_arguments
from adapterzoo.input_checks import checked
from adapterzoo.inputs import Inputs
from adapterzoo.nn.cache import Cache
from adapterzoo.plan import Plan
from adapterzoo.rows import in_order, restore


class Model(AdaptedModel):
    """A network with adapters and no head. `BertModel` and its like are this with an architecture.

    See AdaptedModel for making, loading, saving and adapting it.
    """

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
        adapter_names: Sequence[str | None] | None = None,
        head: Any = None,
        **labels: Any,
    ) -> Any:
        """Run the model. Arguments and outputs are HF's; these are ours:

        Args:
            adapter_names: an adapter's name for each row, in any order; None for the bare model.
            head: the head to use, before any that is active.
            use_cache: whether to return a decoder's keys and values as `past_key_values`; not unless asked for.
            past_key_values: what an earlier call returned. The ids are those of the tokens after it; the decoder's
                mask, if any, says of all tokens. Rows and adapters must be those of the earlier call.
            labels: `labels`, `start_positions`, `end_positions`, and what else the head takes.

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
        plan, order, groups = self._route(adapter_names, inputs.rows)
        heads = self._heads(head, current_scope(), adapter_names, order)
        check_arguments(type(self).__name__, NETWORK_ARGUMENTS, self._modules_of(heads), labels)
        if order is not None:
            inputs = inputs.picked(torch.tensor(order))
            labels = {name: in_order(value, order) for name, value in labels.items()}
        inputs = self._with_decoder_input(inputs, heads, labels)
        features = encode(self, inputs, plan, groups, keep_hidden, keep_attention, cache)
        output = self._respond(features, heads, inputs, labels, as_dict)
        return output if order is None else restore(output, order, inputs.choices)

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

    def _route(self, names: Sequence[str | None] | None, rows: int) -> tuple[Plan, list[int] | None, tuple[int, ...]]:
        """The plan for this call, the order of rows (None: as they are), and the sizes of the runs of rows."""
        if names is not None:
            if isinstance(names, str) or not isinstance(names, Sequence):
                raise TypeError(f"adapter_names is a list with a name or None for each row, not {names!r}")
            if len(names) != rows:
                raise ValueError(f"adapter_names has {len(names)} names, but the batch has {rows} rows")
            # Rows without a head of their adapter's name share one: they lie together, for its loss is their mean.
            plan, order, groups = self.adapters.rows_plan(names, self.base, self.heads_of())
            return plan, None if order == list(range(rows)) else order, groups
        scope = current_scope()
        setup = self.adapters.active if scope is None else self.adapters.checked(scope.adapters)
        return self.adapters.plan(setup, self.base), None, ()

    def _heads(
        self,
        head: Any,
        scope: Scope | None,
        names: Sequence[str | None] | None,
        order: list[int] | None,
    ) -> Any:
        """The heads for this call, for `_respond`; a model without heads has none."""
        if head is not None:
            raise ValueError(f"{type(self).__name__} has no heads; an AdapterModel class does")
        return None

    def _modules_of(self, heads: Any) -> list[PredictionHead]:
        """The modules of what `_heads` gave."""
        return []

    def _with_decoder_input(self, inputs: Inputs, heads: Any, labels: dict[str, Any]) -> Inputs:
        return inputs

    def _respond(self, features: Features, heads: Any, inputs: Inputs, labels: dict[str, Any], as_dict: bool) -> Any:
        """The model's output from the network's."""
        output = features.pooled_outputs()
        return output if as_dict else output.to_tuple()


NETWORK_ARGUMENTS = tuple(set(inspect.signature(Model.forward).parameters) - {"self", "labels"})
