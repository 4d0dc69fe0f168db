"""The model that users hold: a network, its adapters, and what HF's models can do."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from adapterzoo import adapting, pretrained
from adapterzoo.archs.base import Architecture, StaticHead
from adapterzoo.archs.config import ModelConfig
from adapterzoo.context import Scope, current_scope
from adapterzoo.core.compose import AdapterCompositionBlock, Setup
from adapterzoo.core.config import NetworkConfig
from adapterzoo.encode import encode
from adapterzoo.heads.base import HEADS, PredictionHead
from adapterzoo.heads.features import Features
from adapterzoo.heads.run import check_arguments
from adapterzoo.input_checks import checked
from adapterzoo.inputs import Inputs
from adapterzoo.nn.transformer import Transformer
from adapterzoo.plan import Plan
from adapterzoo.pool import AdapterPool
from adapterzoo.rows import in_order, restore
from adapterzoo.store import Source

Self = TypeVar("Self", bound="Model")


class Model(nn.Module):
    """A network with adapters and no head. `BertModel` and its like are this with an architecture.

    Args:
        config: the architecture's config.
        add_pooling_layer: whether to have the pooler, in architectures that have one.
        initialise: whether to give the weights random values; without, they lie on the meta device until loaded.

    Attributes:
        base: the network.
        adapters: the adapters by name.
        padding_free: whether batches leave padding out (the normal way).
    """

    architecture: ClassVar[Architecture]
    static: ClassVar[StaticHead | None] = None

    def __init__(self, config: ModelConfig, add_pooling_layer: bool = True, initialise: bool = True) -> None:
        super().__init__()
        if not isinstance(config, self.architecture.config):
            kind = self.architecture.config.__name__
            raise TypeError(f"{type(self).__name__} needs a {kind}, not {type(config).__name__}")
        config.check()
        self.config = copy.copy(config)  # the caller's is not ours to change: labels, adapters
        with torch.device("meta"):
            self.base = Transformer(self._numbers(add_pooling_layer))
        self.adapters = AdapterPool()
        self.config.adapters = self.adapters
        self.padding_free = True
        if initialise:
            pretrained.initialise_all(self.base)

    def _numbers(self, pooler: bool) -> NetworkConfig:
        numbers, static = self.architecture.network(self.config), self.static
        if static is not None:
            pooler = static.pooler
            numbers = replace(numbers, encoder=None) if static.decoder_only else numbers
        return replace(numbers, pooler=numbers.pooler and pooler)

    # ------------------------------------------------------------------------------------------ making and keeping

    @classmethod
    def from_config(cls: type[Self], config: ModelConfig, **options: Any) -> Self:
        """A model with random weights."""
        return cls(config, **options)

    @classmethod
    def from_pretrained(
        cls: type[Self],
        source: Source,
        *,
        config: ModelConfig | None = None,
        revision: str | None = None,
        allow_pickle: bool = False,
        dtype: torch.dtype | str | None = None,
        output_loading_info: bool = False,
        **changes: Any,
    ) -> Any:
        """A model with the weights of a checkpoint, and with the adapters and heads that `save_pretrained` wrote.

        Args:
            source: a directory, or a repository's id on the Hub. A directory never touches the network.
            config: the config, in place of the checkpoint's.
            revision: branch, tag or commit on the Hub.
            allow_pickle: whether PyTorch's own files may be read, too (tensors only; no code is run).
            dtype: dtype of the weights: float32 if None, the checkpoint's own if "auto".
            output_loading_info: whether to return the report of missing and unexpected tensors, too.
            changes: fields of the config to set, or options of the class.

        Raises:
            FileNotFoundError: there is no such checkpoint.
            ValueError: the checkpoint does not fit; every problem is named.
        """
        model, report = pretrained.load(cls, source, config, revision, allow_pickle, dtype, changes)
        return (model, report) if output_loading_info else model

    def save_pretrained(self, directory: Source) -> None:
        """Write config.json and model.safetensors as HF does, adapters and heads in folders of their own."""
        pretrained.save(self, directory)

    @property
    def device(self) -> torch.device:
        """Where the network's weights lie."""
        return self.base.token.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The network's dtype."""
        return self.base.token.weight.dtype

    def num_parameters(self, only_trainable: bool = False) -> int:
        """How many parameters there are, those that are shared counted once."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad or not only_trainable)

    def get_input_embeddings(self) -> nn.Embedding:
        """The token embedding."""
        return self.base.token

    # ------------------------------------------------------------------------------------------ adapters

    @property
    def adapters_config(self) -> AdapterPool:
        """The adapters' configs: `model.adapters_config.get("mrpc")`, `"mrpc" in model.adapters_config`."""
        return self.adapters

    def has_adapters(self) -> bool:
        """Whether there are any."""
        return len(self.adapters) > 0

    def add_adapter(
        self, adapter_name: str, config: Any = None, overwrite_ok: bool = False, set_active: bool = False
    ) -> None:
        """Add an adapter. It is not active until you say so.

        Args:
            adapter_name: any name.
            config: a preset's name ("lora", "seq_bn", "prefix_tuning", …), a string such as "lora[r=16]", a config,
                a dict or the path of a JSON file; "seq_bn" if None.
            overwrite_ok: whether to replace an adapter of that name.
            set_active: whether to activate it.

        Raises:
            ValueError: the name is taken, or the config is none. Nothing is changed then.
        """
        self.adapters.add(adapter_name, config, self.base, overwrite_ok)
        if set_active:
            self.set_active_adapters(adapter_name)

    def delete_adapter(self, adapter_name: str) -> None:
        """Delete an adapter; a setup in which it is active ends.

        Raises:
            UnknownName: there is none of that name.
        """
        self.adapters.remove(adapter_name)

    def set_active_adapters(self, adapter_setup: Setup, skip_layers: Sequence[int] | None = None) -> None:
        """Make a setup the active one.

        Args:
            adapter_setup: a name, a block such as Stack("en", "mrpc"), or None for the bare model.
            skip_layers: layers in which nothing acts (AdapterDrop).

        Raises:
            UnknownName: an adapter does not exist.
        """
        self.adapters.activate(adapter_setup, self.base, skip_layers)

    @property
    def active_adapters(self) -> AdapterCompositionBlock | None:
        """The active setup, always as a block."""
        return self.adapters.active

    @active_adapters.setter
    def active_adapters(self, adapter_setup: Setup) -> None:
        self.set_active_adapters(adapter_setup)

    def freeze_model(self, freeze: bool = True) -> None:
        """Freeze or unfreeze the network's weights."""
        self.base.requires_grad_(not freeze)

    def train_adapter(self, adapter_setup: Setup) -> None:
        """Prepare training of adapters: freeze everything else but heads, activate the setup, switch to train mode.

        Raises:
            UnknownName: an adapter does not exist.
        """
        adapting.prepare_training(self, adapter_setup)

    def save_adapter(self, save_directory: Source, adapter_name: str, with_head: bool = True) -> None:
        """Write an adapter in AdapterHub's format, and beside it the head of its name, where there is one.

        Raises:
            UnknownName: there is no such adapter.
        """
        adapting.save_adapter(self, save_directory, adapter_name, with_head)

    def load_adapter(
        self,
        adapter_name_or_path: Source,
        *,
        load_as: str | None = None,
        with_head: bool = True,
        version: str | None = None,
        leave_out: Sequence[int] = (),
        set_active: bool = False,
        allow_pickle: bool = True,
        overwrite_ok: bool = True,
    ) -> str:
        """Load an adapter in AdapterHub's format, and the head beside it.

        Args:
            adapter_name_or_path: a directory, or a repository's id on the Hub.
            load_as: the name to give it; its own if None.
            with_head: whether to load the head, too.
            version: branch, tag or commit on the Hub.
            leave_out: layers to leave without (AdapterDrop).
            set_active: whether to activate it.
            allow_pickle: whether PyTorch's own files, which most published adapters are, may be read (tensors only).
            overwrite_ok: whether it may replace an adapter of that name.

        Returns:
            The adapter's name.

        Raises:
            FileNotFoundError: there is no such adapter.
            ValueError: it does not fit; every problem is named, and nothing is changed.
        """
        return adapting.load_adapter(
            self,
            adapter_name_or_path,
            load_as=load_as,
            with_head=with_head,
            version=version,
            leave_out=tuple(leave_out),
            set_active=set_active,
            allow_pickle=allow_pickle,
            overwrite_ok=overwrite_ok,
        )

    def adapter_summary(self, as_dict: bool = False) -> Any:
        """A table of the adapters: method, parameters, whether active and trained; or the same as a list of dicts."""
        return adapting.summary(self, as_dict)

    # ------------------------------------------------------------------------------------------ heads: none here

    def heads_of(self) -> dict[str, nn.Module]:
        """The heads by name."""
        return {}

    @property
    def head_types(self) -> dict[str, type[PredictionHead]]:
        """The heads that the architecture may have, by type."""
        return {kind: HEADS[kind] for kind in self.architecture.head_types}

    def head_target(
        self, checkpoint: StaticHead | None, options: dict[str, Any]
    ) -> tuple[nn.Module, StaticHead] | None:
        """The head that a checkpoint's head tensors go to, and whose table names them."""
        if options:
            raise TypeError(f"{type(self).__name__} takes no {', '.join(options)}")
        return None

    def write_head(self, directory: Source, name: str) -> None:
        """Write the head that belongs to an adapter."""

    def head_reader(
        self, directory: Source, name: str, allow_pickle: bool, revision: str | None
    ) -> Callable[[], None] | None:
        """What puts the head beside an adapter in place."""
        return None

    # ------------------------------------------------------------------------------------------ running

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
        inputs = checked(given, self.base.config, type(self).__name__)
        labels = {name: value for name, value in labels.items() if value is not None}
        config = self.config
        keep_hidden = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        keep_attention = config.output_attentions if output_attentions is None else output_attentions
        as_dict = config.return_dict if return_dict is None else return_dict
        plan, order, groups = self._route(adapter_names, inputs.rows)
        heads = self._heads(head, current_scope(), adapter_names, order, groups)
        check_arguments(type(self).__name__, NETWORK_ARGUMENTS, self._modules_of(heads), labels)
        if order is not None:
            inputs = inputs.picked(torch.tensor(order))
            labels = {name: in_order(value, order) for name, value in labels.items()}
        features = encode(
            self, self._with_decoder_input(inputs, heads, labels), plan, groups, keep_hidden, keep_attention
        )
        output = self._respond(features, heads, inputs, labels, as_dict)
        return output if order is None else restore(output, order, inputs.choices)

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
        groups: tuple[int, ...],
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
