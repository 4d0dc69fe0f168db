"""A model with named heads, made, added, averaged and deleted. `adapter_model.py` chooses, keeps and runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from adapterzoo.archs.config import ModelConfig
from adapterzoo.combining import Options, weights_of
from adapterzoo.core.compose import AdapterCompositionBlock
from adapterzoo.core.registry import NamedModules, unknown
from adapterzoo.embedding_pool import biases_of
from adapterzoo.head_setup import HeadChoice
from adapterzoo.heads import HEADS, PredictionHead
from adapterzoo.heads.average import average
from adapterzoo.heads.make import make_head
from adapterzoo.models import Model
from adapterzoo.pool import renamed


class HeadedModel(Model):
    """A network with adapters and named heads. See AdapterModel.

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
        self.embeddings.renew_head(head.name, biases_of(head))
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

    def add_dependency_parsing_head(
        self,
        head_name: str,
        num_labels: int = 2,
        overwrite_ok: bool = False,
        id2label: Mapping[int, str] | None = None,
    ) -> None:
        """Add a head that finds each word's head and the relation to it, and activate it. See BiaffineParsingHead."""
        settings = _settings(num_labels=num_labels, id2label=id2label)
        self._add("dependency_parsing", head_name, overwrite_ok, settings)

    def add_similarity_head(
        self,
        head_name: str,
        pooling: str = "mean",
        normalize: bool = True,
        embedding_size: int | None = None,
        activation_function: str | None = None,
        scale: float = 20.0,
        overwrite_ok: bool = False,
    ) -> None:
        """Add a head that makes an embedding of each row and activate it. See SimilarityHead."""
        layer = _settings(embedding_size=embedding_size, activation_function=activation_function)
        settings = _settings(pooling=pooling, normalize=normalize, scale=scale, **layer)
        self._add("similarity", head_name, overwrite_ok, settings)

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

    def register_custom_head(self, identifier: str, head: type[PredictionHead]) -> None:
        """Make a class of yours known under a type's name, for `add_custom_head` and for loading.

        Raises:
            TypeError: it is no subclass of PredictionHead.
            ValueError: the type is a built-in one.
        """
        if not (isinstance(identifier, str) and isinstance(head, type) and issubclass(head, PredictionHead)):
            raise TypeError(f"register a string and a subclass of PredictionHead, not {identifier!r} and {head!r}")
        if not identifier or identifier in HEADS:
            raise ValueError(f"a custom head's type must not be empty or a built-in one's, but it is {identifier!r}")
        self.custom_heads[identifier] = head

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

    def average_head(
        self,
        head_name: str,
        head_list: Sequence[str] | Mapping[str, float],
        weights: Sequence[float] | None = None,
        normalize_weights: bool = True,
        overwrite_ok: bool = False,
        set_active: bool = False,
        *,
        combine_strategy: str = "linear",
        density: float | None = None,
        majority_sign_method: str | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """Add a head made of heads of one type with the same settings: W = Σ wᵢ Wᵢ, or another strategy.

        What a head shares with the network stays shared.

        Args:
            head_name: the new head's name; it may be one of those that are averaged, with `overwrite_ok`.
            head_list: the heads' names; or names with weights.
            weights: a weight for each; equal ones if there are none.
            normalize_weights: whether to divide the weights by their sum.
            overwrite_ok: whether to replace a head of that name.
            set_active: whether to activate it.
            combine_strategy: "linear", "magnitude_prune", "ties", "dare_linear" or "dare_ties"; see `average_adapter`.
            density, majority_sign_method, generator: as for `average_adapter`.

        Raises:
            UnknownName: there is no such head or strategy.
            ValueError: heads or settings differ, weights are not one number each or cannot be normalised, or the
                strategy's options are wrong.
        """
        self.heads.check_new(head_name, overwrite_ok)
        options = Options(density, majority_sign_method, generator)
        shares = weights_of("head", head_list, weights, normalize_weights)
        head = average(self, self.heads, head_name, shares, combine_strategy, options)
        self.add_prediction_head(head, overwrite_ok, set_active)

    def rename_adapter(self, old: str, new: str) -> None:
        """Give an adapter, and the head of its name, another name. See ManagedModel.rename_adapter."""
        there = old in self.heads
        if there:
            self.heads.check_new(new)
        super().rename_adapter(old, new)
        if there:
            self.heads.rename(old, new)
            self.heads[new].name = new
            self.embeddings.rename_head(old, new)
            self._active_head = _renamed(self._active_head, old, new)

    def delete_head(self, head_name: str) -> None:
        """Delete a head; if it was active, none is.

        Raises:
            UnknownName: there is none of that name.
        """
        del self.heads[head_name]
        self.embeddings.renew_head(head_name, {})
        if head_name in HeadChoice.names(self._active_head):
            self._active_head = None


def _renamed(heads: Any, old: str, new: str) -> Any:
    """What is active, with a head under another name."""
    if isinstance(heads, list):
        return [_renamed(name, old, new) for name in heads]
    return renamed(heads, old, new) if isinstance(heads, (str, AdapterCompositionBlock)) else heads


def _settings(**values: Any) -> dict[str, Any]:
    return values
