"""Models with flexible heads: named, several at once, added and deleted as you like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from adapterzoo import head_files
from adapterzoo.adapting import model_name
from adapterzoo.archs.base import StaticHead
from adapterzoo.archs.config import ModelConfig
from adapterzoo.context import Scope
from adapterzoo.core.compose import Setup, parse_composition
from adapterzoo.core.registry import NamedModules, unknown
from adapterzoo.head_setup import HeadChoice, choose, heads_from_setup
from adapterzoo.heads import HEADS, Features, PredictionHead
from adapterzoo.heads.make import make_head
from adapterzoo.heads.run import run_by_rows, run_head
from adapterzoo.inputs import Inputs
from adapterzoo.models import Model
from adapterzoo.static import decoder_input_from_labels
from adapterzoo.store import Source


class AdapterModel(Model):
    """A network with adapters and named heads.

    Which head a forward uses: `head=` of the call, else that of `AdapterSetup`, else `active_head`.

    Args:
        config: the architecture's config.
        initialise: whether to give the weights random values.

    Attributes:
        heads: the heads by name.
    """

    def __init__(self, config: ModelConfig, initialise: bool = True) -> None:
        super().__init__(config, initialise=initialise)
        self.heads: NamedModules[PredictionHead] = NamedModules("head")
        self.custom_heads: dict[str, type[PredictionHead]] = {}
        self._active_head: Any = None

    # ------------------------------------------------------------------------------------------ adding and deleting

    def add_prediction_head(self, head: PredictionHead, overwrite_ok: bool = False, set_active: bool = True) -> None:
        """Add a head that is made already, under its own name.

        Raises:
            TypeError: it is no head.
            ValueError: the name is taken, or its labels are none.
        """
        self._check_head(head, overwrite_ok)
        like = self.base.token.weight
        if not like.is_meta:
            head.to(device=like.device, dtype=like.dtype)
            head.tie(self)
        self.heads[head.name] = head.train(self.training)
        if set_active:
            self.active_head = head.name

    def _check_head(self, head: PredictionHead, overwrite_ok: bool) -> None:
        if not isinstance(head, PredictionHead):
            raise TypeError(f"a head is a PredictionHead, not {head!r}")
        self.heads.check_new(head.name, overwrite_ok)
        head.id2label()  # for the error

    def add_prediction_head_from_config(
        self, head_name: str, config: Mapping[str, Any], overwrite_ok: bool = False, set_active: bool = True
    ) -> None:
        """Add a head of a config's `head_type`, with its other entries.

        Raises:
            ValueError: the name is taken, or the type or an entry is none.
        """
        self.heads.check_new(head_name, overwrite_ok)
        self.add_prediction_head(make_head(self, head_name, config), overwrite_ok, set_active)

    @property
    def head_types(self) -> dict[str, type[PredictionHead]]:
        """The heads that the model may have, by type: its architecture's, and the custom ones."""
        return {**super().head_types, **self.custom_heads}

    def _add(self, kind: str, name: str, overwrite_ok: bool, settings: dict[str, Any]) -> None:
        if kind not in self.architecture.heads:
            raise ValueError(unknown(f"head for {type(self).__name__} of type", kind, self.architecture.heads))
        id2label = settings.pop("id2label", None)
        settings |= {} if id2label is None else {"id2label": id2label}
        self.add_prediction_head_from_config(name, {"head_type": kind, **settings}, overwrite_ok)

    def add_classification_head(
        self,
        head_name: str,
        num_labels: int = 2,
        layers: int = 2,
        activation_function: str | None = "tanh",
        overwrite_ok: bool = False,
        multilabel: bool = False,
        id2label: Mapping[int, str] | None = None,
        use_pooler: bool = False,
    ) -> None:
        """Add a head that classifies rows and activate it; one label means regression. See ClassificationHead."""
        settings = _settings(num_labels=num_labels, layers=layers, activation_function=activation_function)
        kind = "multilabel_classification" if multilabel else "classification"
        self._add(kind, head_name, overwrite_ok, {**settings, "id2label": id2label, "use_pooler": use_pooler})

    def add_multiple_choice_head(
        self,
        head_name: str,
        num_choices: int = 2,
        layers: int = 2,
        activation_function: str | None = "tanh",
        overwrite_ok: bool = False,
        id2label: Mapping[int, str] | None = None,
        use_pooler: bool = False,
    ) -> None:
        """Add a head that picks one of several choices and activate it. See MultipleChoiceHead."""
        settings = _settings(num_choices=num_choices, layers=layers, activation_function=activation_function)
        more = {"id2label": id2label, "use_pooler": use_pooler}
        self._add("multiple_choice", head_name, overwrite_ok, {**settings, **more})

    def add_tagging_head(
        self,
        head_name: str,
        num_labels: int = 2,
        layers: int = 1,
        activation_function: str | None = "tanh",
        overwrite_ok: bool = False,
        id2label: Mapping[int, str] | None = None,
    ) -> None:
        """Add a head that labels tokens and activate it. See TaggingHead."""
        settings = _settings(num_labels=num_labels, layers=layers, activation_function=activation_function)
        self._add("tagging", head_name, overwrite_ok, {**settings, "id2label": id2label})

    def add_qa_head(
        self,
        head_name: str,
        num_labels: int = 2,
        layers: int = 1,
        activation_function: str | None = "tanh",
        overwrite_ok: bool = False,
        id2label: Mapping[int, str] | None = None,
    ) -> None:
        """Add a head that finds an answer's start and end and activate it. See QuestionAnsweringHead."""
        settings = _settings(num_labels=num_labels, layers=layers, activation_function=activation_function)
        self._add("question_answering", head_name, overwrite_ok, {**settings, "id2label": id2label})

    def add_masked_lm_head(
        self,
        head_name: str,
        activation_function: str | None = "gelu",
        layers: int = 2,
        overwrite_ok: bool = False,
    ) -> None:
        """Add a masked language model's head and activate it. See BertStyleMaskedLMHead."""
        settings = _settings(layers=layers, activation_function=activation_function)
        self._add("masked_lm", head_name, overwrite_ok, settings)

    def add_causal_lm_head(
        self,
        head_name: str,
        activation_function: str | None = "gelu",
        layers: int = 2,
        overwrite_ok: bool = False,
    ) -> None:
        """Add a causal language model's head and activate it. See CausalLMHead."""
        settings = _settings(layers=layers, activation_function=activation_function, layer_norm=True, bias=True)
        self._add("causal_lm", head_name, overwrite_ok, settings)

    def add_seq2seq_lm_head(self, head_name: str, layers: int = 1, overwrite_ok: bool = False) -> None:
        """Add a decoder's language-model head and activate it. See Seq2SeqLMHead."""
        self._add("seq2seq_lm", head_name, overwrite_ok, {"layers": layers})

    def register_custom_head(self, identifier: str, head_cls: type[PredictionHead]) -> None:
        """Make a class of yours known under a type's name, for `add_custom_head` and for loading.

        Raises:
            TypeError: it is no subclass of PredictionHead.
            ValueError: the type is a built-in one.
        """
        if not (isinstance(identifier, str) and isinstance(head_cls, type) and issubclass(head_cls, PredictionHead)):
            raise TypeError(f"register a string and a subclass of PredictionHead, not {identifier!r} and {head_cls!r}")
        if not identifier or identifier in HEADS:
            raise ValueError(f"a custom head's type must not be empty or a built-in one's, but it is {identifier!r}")
        self.custom_heads[identifier] = head_cls

    def add_custom_head(
        self,
        head_type: str,
        head_name: str,
        overwrite_ok: bool = False,
        set_active: bool = True,
        **kwargs: Any,
    ) -> None:
        """Add a head of a registered or built-in type; `kwargs` go to its class.

        Raises:
            ValueError: the type is not registered, or the name is taken.
        """
        self.add_prediction_head_from_config(head_name, {"head_type": head_type, **kwargs}, overwrite_ok, set_active)

    def delete_head(self, head_name: str) -> None:
        """Delete a head; if it was active, none is.

        Raises:
            UnknownName: there is none of that name.
        """
        del self.heads[head_name]
        if head_name in HeadChoice.names(self._active_head):
            self._active_head = None

    # ------------------------------------------------------------------------------------------ choosing

    @property
    def active_head(self) -> Any:
        """The active head's name; a BatchSplit of names; a list of names; or None."""
        return self._active_head

    @active_head.setter
    def active_head(self, heads: Any) -> None:
        for name in HeadChoice.names(heads):
            self.heads[name]
        names = self.heads[heads].id2label() if isinstance(heads, str) and heads else None
        if names is not None:
            self.config._set_labels(None, names)
        self._active_head = heads or None

    def set_active_adapters(self, adapter_setup: Setup, skip_layers: Sequence[int] | None = None) -> None:
        """Make a setup the active one, and the heads of its adapters' names the active ones, where there are such."""
        super().set_active_adapters(adapter_setup, skip_layers)
        found = heads_from_setup(parse_composition(adapter_setup), self.heads)
        if found is not None:
            self.active_head = found

    def get_labels(self, head_name: str | None = None) -> list[str] | None:
        """Names of a head's labels in order; of the active head's if none is named."""
        names = self.get_labels_dict(head_name)
        return None if names is None else [names[number] for number in sorted(names)]

    def get_labels_dict(self, head_name: str | None = None) -> dict[int, str] | None:
        """Names of a head's labels by number; of the active head's if none is named.

        Raises:
            ValueError: no head is named, and not just one is active.
        """
        name = self._active_head if head_name is None else head_name
        if not isinstance(name, str):
            raise ValueError("name a head: not just one is active")
        return self.heads[name].id2label()

    def get_prediction_heads_config(self) -> dict[str, dict[str, Any]]:
        """The heads' configs by name."""
        return {name: head.config for name, head in self.heads.items()}

    # ------------------------------------------------------------------------------------------ files

    def save_head(self, save_directory: Source, head_name: str) -> None:
        """Write a head in AdapterHub's format.

        Raises:
            UnknownName: there is none of that name.
        """
        common = head_files.common_entries(self, model_name(self))
        head_files.write_flexible(Path(save_directory), self.heads[head_name], head_name, common)

    def load_head(
        self,
        save_directory: Source,
        load_as: str | None = None,
        id2label: Mapping[int, str] | None = None,
        set_active: bool = True,
        allow_pickle: bool = True,
    ) -> str:
        """Load a head; a fixed head of HF's classes becomes a flexible one.

        Args:
            save_directory: where it lies.
            load_as: the name to give it; its own if None.
            id2label: names of its labels, in place of the file's.
            set_active: whether to activate it.
            allow_pickle: whether PyTorch's own files may be read (tensors only).

        Returns:
            The head's name.

        Raises:
            FileNotFoundError: there is no head.
            ValueError: it does not fit, or has no name and none is given.
        """
        file = head_files.read_head(save_directory, allow_pickle)
        name = load_as or file.name
        if name is None:
            raise ValueError(f"the head of {file.model_class} has no name; give it one with load_as=")
        head = head_files.flexible_head(self, file, name, id2label)
        self.add_prediction_head(head, overwrite_ok=True, set_active=set_active)
        return name

    def heads_of(self) -> dict[str, nn.Module]:
        """The heads by name."""
        return dict(self.heads.items())

    def write_head(self, directory: Source, name: str) -> None:
        """The head of an adapter's name is saved beside it, where there is one."""
        if name in self.heads:
            self.save_head(directory, name)

    def head_reader(
        self, directory: Source, name: str, allow_pickle: bool, revision: str | None
    ) -> Callable[[], None] | None:
        """What puts the head beside an adapter in place, under the adapter's name."""
        if not head_files.has_head(directory, revision):
            return None
        file = head_files.read_head(directory, allow_pickle, revision)
        head = head_files.flexible_head(self, file, name)
        self._check_head(head, overwrite_ok=True)  # before the adapter is put in place, not after
        return lambda: self.add_prediction_head(head, overwrite_ok=True, set_active=False)

    def head_target(
        self, checkpoint: StaticHead | None, options: dict[str, Any]
    ) -> tuple[nn.Module, StaticHead] | None:
        """The head "default" that a task checkpoint's head becomes; None where there is none to make.

        With `convert_head=True` every head is made flexible, with False none.
        """
        convert = options.pop("convert_head", None)
        if options:
            raise TypeError(f"{type(self).__name__} takes no {', '.join(options)}")
        if checkpoint is None or convert is False or (checkpoint.pretraining and not convert):
            return None
        with torch.device("meta"):
            head = make_head(self, "default", checkpoint.flexible(self.config))
        self.add_prediction_head(head)
        return head, checkpoint

    # ------------------------------------------------------------------------------------------ running

    def _heads(
        self,
        head: Any,
        scope: Scope | None,
        names: Sequence[str | None] | None,
        order: list[int] | None,
    ) -> Any:
        return choose(self.heads, head, scope, names, order, self._active_head)

    def _modules_of(self, heads: HeadChoice) -> list[PredictionHead]:
        return [self.heads[name] for name in heads.heads if name is not None]

    def _with_decoder_input(self, inputs: Inputs, heads: HeadChoice, labels: dict[str, Any]) -> Inputs:
        shifting = next((head for head in self._modules_of(heads) if head.labels_are_inputs), None)
        return decoder_input_from_labels(self, inputs, shifting, labels)

    def _respond(
        self, features: Features, heads: HeadChoice, inputs: Inputs, labels: dict[str, Any], as_dict: bool
    ) -> Any:
        mask = inputs.attention_mask
        if not heads.heads:
            return super()._respond(features, heads, inputs, labels, as_dict)
        if not heads.by_rows and len(heads.heads) == 1:
            return run_head(self.heads[str(heads.heads[0])], features, mask, labels, as_dict)
        modules = [None if name is None else self.heads[name] for name in heads.heads]
        if not heads.by_rows:
            return HeadChoice.each(modules, features, mask, labels)
        rows = features.layout.rows // features.choices
        numbers = heads.order or list(range(rows))
        output = run_by_rows(modules, heads.sizes, numbers, features, mask, labels)
        return output if as_dict else output.to_tuple()


def _settings(**values: Any) -> dict[str, Any]:
    return values
