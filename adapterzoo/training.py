"""Arguments of training scripts: which adapter to train, on top of which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adapterzoo.adapted_model import AdaptedModel
from adapterzoo.core.compose import Stack
from adapterzoo.methods.base import resolve_config


@dataclass
class AdapterArguments:
    """What a training script asks about adapters; transformers' HfArgumentParser makes options of it.

    Args:
        train_adapter: whether to train an adapter, and not the whole model.
        load_adapter: where an adapter lies from which to start.
        adapter_config: the new adapter's config: a preset, a config string or a file.
        load_lang_adapter: where a language's adapter lies, to be put below.
        lang_adapter_config: not needed; its files say it.
    """

    train_adapter: bool = field(default=False, metadata={"help": "Train an adapter, not the whole model."})
    load_adapter: str | None = field(default="", metadata={"help": "Directory or id of an adapter to start from."})
    adapter_config: str | None = field(default="seq_bn", metadata={"help": "Preset, config string or config file."})
    load_lang_adapter: str | None = field(default=None, metadata={"help": "Directory or id of a language's adapter."})
    lang_adapter_config: str | None = field(default=None, metadata={"help": "Not needed: its files say it."})


def setup_adapter_training(
    model: AdaptedModel,
    adapter_args: AdapterArguments,
    adapter_name: str,
    adapter_config_kwargs: Mapping[str, Any] | None = None,
    adapter_load_kwargs: Mapping[str, Any] | None = None,
) -> tuple[str | None, str | None]:
    """Make, load and activate adapters as arguments say, and freeze all else.

    Args:
        model: the model.
        adapter_args: the arguments.
        adapter_name: the name of the adapter to train.
        adapter_config_kwargs: fields to set in its config.
        adapter_load_kwargs: more arguments of `load_adapter`.

    Returns:
        The trained adapter's and the language adapter's names; None for what there is not.

    Raises:
        ValueError: adapters are named, but none is to be trained; or one does not fit.
    """
    if not adapter_args.train_adapter:
        if adapter_args.load_adapter or adapter_args.load_lang_adapter:
            raise ValueError("adapters are loaded for training alone: set train_adapter")
        return None, None
    load = dict(adapter_load_kwargs or {})
    if adapter_args.load_adapter:
        model.load_adapter(adapter_args.load_adapter, load_as=adapter_name, **load)
    elif adapter_name not in model.adapters:
        config = resolve_config(adapter_args.adapter_config, **(adapter_config_kwargs or {}))
        model.add_adapter(adapter_name, config)
    below = model.load_adapter(adapter_args.load_lang_adapter, **load) if adapter_args.load_lang_adapter else None
    model.train_adapter(adapter_name)
    if below is not None:
        model.set_active_adapters(Stack(below, adapter_name))
    return adapter_name, below
