"""A network with adapters: made, kept, loaded, saved and adapted. `models.py` runs it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from adapterzoo import adapting, parts, pretrained, prompts, quantizing
from adapterzoo.archs.base import Architecture, StaticHead
from adapterzoo.archs.config import ModelConfig
from adapterzoo.core.blank import blank
from adapterzoo.core.compose import AdapterCompositionBlock, Setup
from adapterzoo.core.config import NetworkConfig
from adapterzoo.embedding_pool import EmbeddingPool
from adapterzoo.head_files import HeadFile
from adapterzoo.heads.base import HEADS, PredictionHead
from adapterzoo.hub.fetch import Token, visit
from adapterzoo.nn.transformer import Transformer
from adapterzoo.pool import AdapterPool
from adapterzoo.store import Source

Self = TypeVar("Self", bound="AdaptedModel")


class AdaptedModel(nn.Module):
    """A network and its adapters, with what HF's models can do, but for running it.

    Args:
        config: the architecture's config.
        add_pooling_layer: whether to have the pooler, in architectures that have one.
        initialise: whether to give the weights random values; without, they lie on the meta device until loaded.

    Attributes:
        base: the network.
        adapters: the adapters by name.
        fusions: the fusions of adapters by name.
        embeddings: the named token embeddings that are not in use.
        padding_free: whether batches leave padding out (the normal way).
        family: the architecture's classes by name.
    """

    architecture: Architecture
    family: ClassVar[Mapping[str, type[Any]]] = {}
    static: StaticHead | None = None

    def __init__(self, config: ModelConfig, add_pooling_layer: bool = True, initialise: bool = True) -> None:
        super().__init__()
        if not isinstance(config, self.architecture.config):
            kind = self.architecture.config.__name__
            raise TypeError(f"{type(self).__name__} needs a {kind}, not {type(config).__name__}")
        config.check()
        self.config = copy.copy(config)  # the caller's is not ours to change: labels, adapters
        if self.static is not None and self.static.decoder_only:
            self.config.is_decoder, self.config.is_encoder_decoder = True, False
        self.architecture = type(self).architecture.under(self.config)
        if self.static is not None:
            self.static = self._static_head(self.static)
        with blank():
            self.base = Transformer(self._numbers(add_pooling_layer))
        self.adapters = AdapterPool()
        self.fusions = self.adapters.fusions
        self.embeddings = EmbeddingPool()
        self.config.adapters = self.adapters
        self.padding_free = True
        if initialise:
            pretrained.initialise_all(self.base)

    def _static_head(self, static: StaticHead) -> StaticHead:
        """The class's fixed head under its config."""
        found = self.architecture.static(self.architecture.class_name(static), self.config)
        if found is None:
            raise ValueError(
                f"{type(self).__name__} has an encoder, too, but its config is that of a decoder alone: "
                "is_decoder, and not is_encoder_decoder"
            )
        return found

    def _numbers(self, pooler: bool) -> NetworkConfig:
        numbers = self.architecture.network(self.config)
        return replace(numbers, pooler=numbers.pooler and (pooler if self.static is None else self.static.pooler))

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
        ignore_mismatched_sizes: bool = False,
        output_loading_info: bool = False,
        token: Token = None,
        **changes: Any,
    ) -> Any:
        """A model with the weights of a checkpoint, and with the adapters and heads that `save_pretrained` wrote.

        Args:
            source: a directory, or a repository's id on the Hub. A directory never touches the network.
            config: the config, in place of the checkpoint's.
            revision: branch, tag or commit on the Hub.
            allow_pickle: whether PyTorch's own files may be read, too (tensors only; no code is run).
            dtype: dtype of the weights: float32 if None, the checkpoint's own if "auto".
            ignore_mismatched_sizes: whether a head whose tensors have other shapes (another number of labels) is made
                anew; without, it is an error.
            output_loading_info: whether to return the report of missing and unexpected tensors, too.
            token: for a private repository on the Hub; that of HF_TOKEN or of the last login if None.
            changes: fields of the config to set, or options of the class.

        Raises:
            FileNotFoundError: there is no such checkpoint.
            ValueError: the checkpoint does not fit; every problem is named.
        """
        with visit(token):
            model, report = pretrained.load(
                cls, source, config, revision, allow_pickle, dtype, ignore_mismatched_sizes, changes
            )
        return (model, report) if output_loading_info else model

    @classmethod
    def from_encoder_decoder_pretrained(
        cls: type[Self],
        encoder: Source,
        decoder: Source,
        *,
        allow_pickle: bool = False,
        dtype: torch.dtype | str | None = None,
        token: Token = None,
        **changes: Any,
    ) -> Self:
        """An encoder-decoder whose parts have the weights of two checkpoints (Rothe et al. 2019, arXiv:1907.12461).

        What neither has is new: cross-attention, and the decoder's head where its checkpoint has no words' head.

        Args:
            encoder, decoder: directories or repositories' ids on the Hub.
            allow_pickle, dtype, token: see `from_pretrained`.
            changes: fields of the pair's config to set, such as `decoder_start_token_id`.

        Raises:
            TypeError: the class is no pair.
            FileNotFoundError: there is no such checkpoint.
            ValueError: a checkpoint does not fit; every problem is named.
        """
        with visit(token):
            model: Self = parts.load(cls, encoder, decoder, allow_pickle, dtype, changes)
        return model

    def save_pretrained(self, save_directory: Source) -> None:
        """Write config.json and model.safetensors as HF does; adapters, heads, embeddings in folders of their own."""
        pretrained.save(self, save_directory)

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
        """The token embedding that is in use."""
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
        self,
        adapter_name: str,
        config: Any = None,
        overwrite_ok: bool = False,
        set_active: bool = False,
        tokenizer: Any = None,
    ) -> None:
        """Add an adapter. It is not active until you say so.

        Args:
            adapter_name: any name.
            config: a preset's name ("lora", "seq_bn", "prefix_tuning", …), a string such as "lora[r=16]", a config,
                a dict or the path of a JSON file; "seq_bn" if None.
            overwrite_ok: whether to replace an adapter of that name.
            set_active: whether to activate it.
            tokenizer: what makes a prompt's `prompt_init_text` token ids; if None, that of the embedding in use, or the
                one that the model's config names as `tokenizer_name_or_path`.

        Raises:
            ValueError: the name is taken, or the config is none. Nothing is changed then.
        """
        embedded = prompts.embedded_by(self, tokenizer)
        self.adapters.add(adapter_name, config, self.base, overwrite_ok, embedded)
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
        """Freeze or unfreeze the network's weights, embeddings that are not in use included.

        Raises:
            ValueError: they are int8 and shall be trained.
        """
        if not freeze:
            quantizing.check_float(self, "cannot be trained; adapters and heads can")
        self.base.requires_grad_(not freeze)
        self.embeddings.requires_grad_(not freeze)

    def train_adapter(self, adapter_setup: Setup, train_embeddings: bool = False) -> None:
        """Prepare training of adapters: freeze everything else but heads, activate the setup, switch to train mode.

        Args:
            adapter_setup: the adapters.
            train_embeddings: whether to train the active token embedding, too.

        Raises:
            UnknownName: an adapter does not exist.
        """
        adapting.prepare_training(self, adapter_setup, train_embeddings)

    def save_adapter(
        self,
        save_directory: Source,
        adapter_name: str,
        with_head: bool = True,
        meta_dict: Mapping[str, Any] | None = None,
        custom_weights_loaders: None = None,
        use_safetensors: bool = True,
        *,
        to: str = "adapterhub",
    ) -> None:
        """Write an adapter in AdapterHub's or PEFT's format, and with it the head of its name, where there is one.

        Args:
            save_directory: where to.
            adapter_name: the adapter.
            with_head: whether to write the head of its name.
            meta_dict: more entries for `adapter_config.json`.
            custom_weights_loaders, use_safetensors: see `adapting.check_file_options`.
            to: the format: "adapterhub" or "peft".

        Raises:
            UnknownName: there is no such adapter.
            ValueError: entries that the file has already; or PEFT has no such adapter or head. The message says why.
        """
        adapting.check_file_options(custom_weights_loaders, use_safetensors)
        adapting.save_adapter(self, save_directory, adapter_name, with_head, meta_dict, to)

    def load_adapter(
        self,
        adapter_name_or_path: Source,
        config: None = None,
        version: str | None = None,
        model_name: None = None,
        load_as: str | None = None,
        with_head: bool = True,
        custom_weights_loaders: None = None,
        leave_out: Sequence[int] | None = None,
        id2label: Mapping[int, str] | None = None,
        set_active: bool = False,
        use_safetensors: bool = True,
        *,
        allow_pickle: bool = True,
        overwrite_ok: bool = True,
        token: Token = None,
    ) -> str:
        """Load an adapter in AdapterHub's or PEFT's format, and the head beside it.

        Args:
            adapter_name_or_path: a directory, or a repository's id on the Hub.
            config, model_name: not needed; the files say both.
            version: branch, tag or commit on the Hub.
            load_as: the name to give it; its own if None.
            with_head: whether to load the head, too.
            custom_weights_loaders: see `adapting.check_file_options`.
            leave_out: layers to leave without (AdapterDrop).
            id2label: names of the head's labels, in place of the file's.
            set_active: whether to activate it.
            use_safetensors: a safetensors file is taken before any other, whatever this is.
            allow_pickle: whether PyTorch's own files, which most published adapters are, may be read (tensors only).
            overwrite_ok: whether it may replace an adapter of that name.
            token: for a private repository on the Hub; that of HF_TOKEN or of the last login if None.

        Returns:
            The adapter's name.

        Raises:
            FileNotFoundError: there is no such adapter.
            ValueError: it does not fit; every problem is named, and nothing is changed.
        """
        adapting.check_file_options(custom_weights_loaders)
        with visit(token):
            return adapting.load_adapter(
                self,
                adapter_name_or_path,
                load_as=load_as,
                with_head=with_head,
                version=version,
                leave_out=tuple(leave_out or ()),
                id2label=id2label,
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
        self, directory: Source, name: str, allow_pickle: bool, revision: str | None, id2label: Any = None
    ) -> Callable[[], None] | None:
        """What puts the head beside an adapter in place."""
        return None

    def head_placer(self, file: HeadFile, name: str, id2label: Any = None) -> Callable[[], None] | None:
        """What puts a head that was read in place."""
        return None
