"""Models with flexible heads: which of them answers, their files, and how they are run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from adapterzoo import head_files, recast
from adapterzoo.adapting import check_file_options, model_name
from adapterzoo.archs.base import StaticHead
from adapterzoo.context import Scope
from adapterzoo.core.blank import blank
from adapterzoo.core.compose import Setup, parse_composition
from adapterzoo.fusing import folder_of
from adapterzoo.generation.runs import generating_heads
from adapterzoo.head_setup import HeadChoice, choose, heads_from_setup
from adapterzoo.headed_model import HeadedModel
from adapterzoo.heads import Features, PredictionHead
from adapterzoo.heads.arguments import entry, for_head, is_for_each, is_list
from adapterzoo.heads.lm import LMHead
from adapterzoo.heads.make import make_head
from adapterzoo.heads.run import run_by_rows, run_each, run_head
from adapterzoo.hub.fetch import Token, visit
from adapterzoo.inputs import Inputs
from adapterzoo.pretrained import fixed_head_name
from adapterzoo.routing import Routing
from adapterzoo.static import decoder_input_from_labels
from adapterzoo.store import Source
from adapterzoo.writing import together


class AdapterModel(HeadedModel):
    """A network with adapters and named heads.

    Which head a forward uses: `head=` of the call, else that of `AdapterSetup`, else `active_head`.

    Args:
        config: the architecture's config.
        initialise: whether to give the weights random values.

    Attributes:
        heads: the heads by name.
    """

    # ------------------------------------------------------------------------------------------ choosing

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

    def save_head(self, save_directory: Source, head_name: str, use_safetensors: bool = True) -> None:
        """Write a head in AdapterHub's format; for `use_safetensors` see `adapting.check_file_options`.

        Raises:
            UnknownName: there is none of that name.
        """
        check_file_options(None, use_safetensors)
        common = head_files.common_entries(self, model_name(self))
        head_files.write_flexible(Path(save_directory), self.heads[head_name], head_name, common)

    def save_all_heads(self, save_directory: Source, use_safetensors: bool = True) -> None:
        """Write every head, each into a folder of its name; for `use_safetensors` see `adapting.check_file_options`."""
        check_file_options(None, use_safetensors)
        with together():
            for name in self.heads:
                self.save_head(Path(save_directory) / folder_of(name), name)

    def load_head(
        self,
        save_directory: Source,
        load_as: str | None = None,
        id2label: Mapping[int, str] | None = None,
        use_safetensors: bool = True,
        *,
        set_active: bool = True,
        version: str | None = None,
        allow_pickle: bool = True,
        token: Token = None,
    ) -> str:
        """Load a head; a fixed head of HF's classes becomes a flexible one.

        Args:
            save_directory: a directory, or a repository's id on the Hub.
            load_as: the name to give it; its own if None.
            id2label: names of its labels, in place of the file's.
            use_safetensors: a safetensors file is taken before any other, whatever this is.
            set_active: whether to activate it.
            version: branch, tag or commit on the Hub.
            allow_pickle: whether PyTorch's own files may be read (tensors only).
            token: for a private repository on the Hub; that of HF_TOKEN or of the last login if None.

        Returns:
            The head's name.

        Raises:
            FileNotFoundError: there is no head.
            ValueError: it does not fit, or has no name and none is given.
        """
        with visit(token):
            file = head_files.read_head(save_directory, allow_pickle, version)
        name = load_as or file.name
        if name is None:
            raise ValueError(f"the head of {file.model_class} has no name; give it one with load_as=")
        head = head_files.flexible_head(self, file, name, id2label)
        self.add_prediction_head(head, overwrite_ok=True, set_active=set_active)
        return name

    def to_static(self, head_name: str | None = None, class_name: str | None = None) -> Any:
        """The same as a model of HF's class with one of the heads as its fixed head, such as BertForMaskedLM.

        It has copies of all tensors: training one model leaves the other as it is. Adapters come along, and so does
        the active setup; other heads and embeddings do not, nor does a pooler that HF's class has not. Its config has
        the head's labels and problem type. With `save_pretrained` it becomes a checkpoint that transformers opens.

        Args:
            head_name: the head; the active one if None.
            class_name: the class; the one that the head fits if None.

        Raises:
            UnknownName: there is no such head or class.
            ValueError: no head is named, and not just one is active; or the head fits no class. The message lists the
                classes, and in what each of them differs.
        """
        return recast.to_static(self, head_name, class_name)

    def heads_of(self) -> dict[str, nn.Module]:
        """The heads by name."""
        return dict(self.heads.items())

    def write_head(self, directory: Source, name: str) -> None:
        """The head of an adapter's name is saved beside it, where there is one."""
        if name in self.heads:
            self.save_head(directory, name)

    def head_reader(
        self,
        directory: Source,
        name: str,
        allow_pickle: bool,
        revision: str | None,
        id2label: Mapping[int, str] | None = None,
    ) -> Callable[[], None] | None:
        """What puts the head beside an adapter in place, under the adapter's name."""
        if not head_files.has_head(directory, revision):
            return None
        return self.head_placer(head_files.read_head(directory, allow_pickle, revision), name, id2label)

    def head_placer(
        self, file: head_files.HeadFile, name: str, id2label: Mapping[int, str] | None = None
    ) -> Callable[[], None] | None:
        """What puts a head that was read in place, under an adapter's name."""
        head = head_files.flexible_head(self, file, name, id2label)
        self._check_head(head, overwrite_ok=True)  # before the adapter is put in place, not after
        return lambda: self.add_prediction_head(head, overwrite_ok=True, set_active=False)

    def head_target(
        self, checkpoint: StaticHead | None, options: dict[str, Any]
    ) -> tuple[nn.Module, StaticHead] | None:
        """The head "default" that a task checkpoint's head becomes; None where there is none to make.

        A checkpoint that was made of a flexible model has its head's name.

        With `convert_head=True` every head is made flexible, with False none.
        """
        convert = options.pop("convert_head", None)
        if options:
            raise TypeError(f"{type(self).__name__} takes no {', '.join(options)}")
        if checkpoint is None or convert is False or (checkpoint.pretraining and not convert):
            return None
        with blank():
            head = make_head(self, fixed_head_name(self.config), checkpoint.flexible(self.config))
        self.add_prediction_head(head)
        return head, checkpoint

    # ------------------------------------------------------------------------------------------ running

    def _heads(
        self,
        head: Any,
        scope: Scope | None,
        names: Sequence[str | None] | None,
        routing: Routing,
    ) -> Any:
        return choose(self.heads, head, scope, names, routing.order, routing.groups, self._active_head)

    def _modules_of(self, heads: HeadChoice) -> list[PredictionHead | None]:
        return [None if name is None else self.heads[name] for name in heads.heads]

    def _generating(self, heads: HeadChoice, rows: int, copies: int) -> list[tuple[LMHead, int]]:
        modules = [None if name is None else self.heads[name] for name in heads.heads]
        sizes, times = (rows * copies,) * max(len(modules), 1), 1
        if heads.by_rows:
            sizes, times = heads.rows(rows), heads.repeats(rows, copies)
        runs = list(zip(modules or [None], sizes, strict=True)) * times
        return generating_heads(type(self).__name__, self.heads_of(), runs, heads.by_rows)

    def _with_decoder_input(self, inputs: Inputs, heads: HeadChoice, labels: dict[str, Any]) -> Inputs:
        modules, said = self._modules_of(heads), labels.get("labels")
        shifting = [n for n, head in enumerate(modules) if head is not None and head.labels_are_inputs]
        if said is not None and is_for_each(said, modules):
            shifting = [n for n in shifting if entry(said, modules, n) is not None]
            given = inputs.decoder_input_ids is not None or inputs.decoder_inputs_embeds is not None
            if not given and (len(shifting) > 1 or (shifting and heads.by_rows)):
                raise ValueError(
                    "labels of one head do not say what the decoder reads for others: give decoder_input_ids"
                )
        if not shifting:
            return inputs
        first = shifting[0]
        return decoder_input_from_labels(self, inputs, modules[first], for_head(labels, modules, first))

    def _respond(
        self, features: Features, heads: HeadChoice, inputs: Inputs, labels: dict[str, Any], as_dict: bool
    ) -> Any:
        mask, modules = inputs.attention_mask, self._modules_of(heads)
        if not modules:
            return super()._respond(features, heads, inputs, labels, as_dict)
        if not heads.by_rows and len(modules) == 1 and modules[0] is not None:
            return run_head(modules[0], features, mask, for_head(labels, modules, 0), as_dict)
        if heads.by_rows:
            batch = features.layout.rows // features.choices // features.copies
            numbers = (heads.order or list(range(batch))) * features.copies
            times = heads.repeats(batch, features.copies)
            labels = {name: value * times if is_list(value) else value for name, value in labels.items()}
            output = run_by_rows(modules * times, heads.rows(batch) * times, numbers, features, mask, labels)
        else:
            output = run_each(modules, features, mask, labels)
        return output if as_dict else output.to_tuple()
