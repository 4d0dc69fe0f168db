"""Models with one fixed head, as HF's classes have it: `BertForSequenceClassification` and its like."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from torch import nn

from adapterzoo import head_files, recast
from adapterzoo.adapting import model_name
from adapterzoo.archs.base import StaticHead
from adapterzoo.archs.config import ModelConfig
from adapterzoo.core.blank import blank
from adapterzoo.core.registry import listing
from adapterzoo.embedding_pool import biases_of
from adapterzoo.generation.runs import generating_heads
from adapterzoo.heads import Features, PredictionHead
from adapterzoo.heads.arguments import for_head
from adapterzoo.heads.lm import LMHead
from adapterzoo.heads.loss import check_labels
from adapterzoo.heads.make import make_head
from adapterzoo.heads.run import run_head
from adapterzoo.hub.fetch import Token, visit
from adapterzoo.inputs import Inputs, decoder_start
from adapterzoo.models import Model
from adapterzoo.store import Source

logger = logging.getLogger("adapterzoo")


class StaticModel(Model):
    """A network with adapters and one fixed head. The head is a flexible one under HF's names.

    Args:
        config: the architecture's config.
        initialise: whether to give the weights random values.

    Attributes:
        head: the head.
    """

    def __init__(self, config: ModelConfig, initialise: bool = True) -> None:
        super().__init__(config, initialise=initialise)
        assert self.static is not None
        with nullcontext() if initialise else blank():
            self.head = make_head(self, "default", self.static.flexible(config))

    def heads_of(self) -> dict[str, nn.Module]:
        """The one head."""
        return {"default": self.head}

    def get_labels(self) -> list[str] | None:
        """Names of the labels in order."""
        return self.head.get_labels()

    def head_target(
        self, checkpoint: StaticHead | None, options: dict[str, Any]
    ) -> tuple[nn.Module, StaticHead] | None:
        """The one head, under its own table, whatever the checkpoint's class is."""
        if options:
            raise TypeError(f"{type(self).__name__} takes no {listing(options)}")
        assert self.static is not None
        return self.head, self.static

    def to_flexible(self, head_name: str = "default") -> Any:
        """The same as a model with flexible heads, of which this class's head is one, and active.

        It has copies of all tensors: training one model leaves the other as it is. Adapters come along, and so do the
        active setup and named embeddings. A pooler that this class has not is new, with random weights.

        Args:
            head_name: the head's name there.

        Raises:
            ValueError: the name is empty.
        """
        return recast.to_flexible(self, head_name)

    def save_head(self, save_directory: Source, head_name: str | None = None) -> None:
        """Write the head in AdapterHub's format."""
        assert self.static is not None
        common = head_files.common_entries(self, model_name(self))
        head_files.write_static(save_directory, self.head, self.static, self.config.label2id, common)

    def write_head(self, directory: Source, name: str) -> None:
        """A fixed head is saved beside every adapter."""
        self.save_head(directory)

    def head_reader(
        self,
        directory: Source,
        name: str,
        allow_pickle: bool,
        revision: str | None,
        id2label: Mapping[int, str] | None = None,
    ) -> Callable[[], None] | None:
        """What puts the head beside an adapter in place; None, and a warning, if it is another class's."""
        if not head_files.has_head(directory, revision):
            return None
        return self.head_placer(head_files.read_head(directory, allow_pickle, revision), name, id2label)

    def head_placer(
        self, file: head_files.HeadFile, name: str, id2label: Mapping[int, str] | None = None
    ) -> Callable[[], None] | None:
        """What puts a head that was read in place; None, and a warning, if it is another class's."""
        if file.model_class != type(self).__name__:
            logger.warning("%s; the adapter is loaded without it", head_files.mismatch(file, type(self).__name__))
            return None
        return self._placer(file if id2label is None else replace(file, labels=dict(id2label)))

    def _placer(self, file: head_files.HeadFile) -> Callable[[], None]:
        assert self.static is not None
        file.check_for(self)
        if file.labels is not None and len(file.labels) != self.config.num_labels:
            raise ValueError(f"the head in the file has {len(file.labels)} labels, the model {self.config.num_labels}")
        named = type(self.config)(**{**self.config.to_dict(), "id2label": file.labels or self.config.id2label})
        like = self.base.token.weight
        with blank():
            head = make_head(self, "default", self.static.flexible(named)).to(dtype=like.dtype)
        head_files.fill_from_static(head, file, self.static)
        head.to(device=like.device).train(self.training)

        def place() -> None:
            head.tie(self)
            self.head = head
            self.embeddings.renew_head("default", biases_of(head))
            if file.labels is not None:
                self.config._set_labels(None, file.labels)

        return place

    def load_head(
        self,
        save_directory: Source,
        load_as: str | None = None,
        allow_pickle: bool = True,
        *,
        version: str | None = None,
        token: Token = None,
    ) -> None:
        """Load a head that was saved from this class. Arguments as for `AdapterModel.load_head`.

        Raises:
            FileNotFoundError: there is no head.
            ValueError: it was saved from another class, or does not fit.
        """
        with visit(token):
            file = head_files.read_head(save_directory, allow_pickle, version)
        if file.model_class != type(self).__name__:
            raise ValueError(head_files.mismatch(file, type(self).__name__))
        self._placer(file)()

    def _heads(self, head: Any, scope: Any, names: Sequence[str | None] | None, routing: Any) -> Any:
        if head is not None:
            raise ValueError(f"{type(self).__name__} has one fixed head; an AdapterModel class has named ones")
        return self.head

    def _modules_of(self, heads: Any) -> list[PredictionHead | None]:
        return [self.head]

    def _generating(self, heads: Any, rows: int, copies: int) -> list[tuple[LMHead, int]]:
        return generating_heads(type(self).__name__, self.heads_of(), [(heads, rows * copies)])

    def _with_decoder_input(self, inputs: Inputs, heads: Any, labels: dict[str, Any]) -> Inputs:
        return decoder_input_from_labels(self, inputs, heads, for_head(labels, [self.head], 0))

    def _respond(self, features: Features, heads: Any, inputs: Inputs, labels: dict[str, Any], as_dict: bool) -> Any:
        return run_head(heads, features, inputs.attention_mask, for_head(labels, [self.head], 0), as_dict)


def decoder_input_from_labels(model: Model, inputs: Inputs, head: Any, labels: dict[str, Any]) -> Inputs:
    """Where a head's labels are what the decoder should say, and its input is not given: the labels shifted by one."""
    given = inputs.decoder_input_ids is not None or inputs.decoder_inputs_embeds is not None
    if given or "labels" not in labels or not getattr(head, "labels_are_inputs", False):
        return inputs
    config = model.config
    if labels["labels"].dim() != 2 or len(labels["labels"]) != inputs.rows:
        shape = tuple(labels["labels"].shape)
        raise ValueError(f"labels have shape {shape}, but must be token ids of shape ({inputs.rows}, tokens)")
    check_labels(labels["labels"], config.vocab_size)
    shifted = decoder_start(config, model.architecture.starts_with_last, labels["labels"])
    return replace(inputs, decoder_input_ids=shifted)
