"""What a directory holds, as plain data: a model, an adapter or a head, and which tensor of it is which of ours."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from adapterzoo.conversion.adapters import adapter_facts, head_facts
from adapterzoo.conversion.checkpoint import Checkpoint, open_checkpoint
from adapterzoo.conversion.facts import labels, network_sizes, tensor_row, weights
from adapterzoo.conversion.peft_facts import peft_facts
from adapterzoo.core.registry import NamedModules
from adapterzoo.formats import adapterhub, hf
from adapterzoo.peft_files import is_peft
from adapterzoo.pretrained import STATE, kept_folder, kept_names
from adapterzoo.store import Source, find, read_json, require


def inspect_source(
    source: Source, allow_pickle: bool = False, model_type: str | None = None, class_name: str | None = None
) -> dict[str, Any]:
    """What a directory or a repository on the Hub holds: an adapter, a head, or a model with what lies beside it.

    Args:
        source: the directory or repository.
        allow_pickle: whether PyTorch's own files may be read, too (tensors only).
        model_type: a model's architecture, where its config.json does not say it.
        class_name: a model's class, in place of the one that its config.json names.

    Returns:
        Numbers, texts, lists and dicts of these, as JSON has them.

    Raises:
        FileNotFoundError: it is not there, or holds none of these.
        ValueError: its files cannot be read.
    """
    if find(source, "config.json") is None:
        if find(source, adapterhub.CONFIG) is not None:
            content = read_json(require(source, adapterhub.CONFIG))
            return (peft_facts if is_peft(content) else adapter_facts)(source, allow_pickle)
        if find(source, adapterhub.HEAD_CONFIG) is not None:
            return head_facts(source, allow_pickle)
    return model_facts(open_checkpoint(source, allow_pickle, model_type, class_name), allow_pickle)


def model_facts(checkpoint: Checkpoint, allow_pickle: bool = False) -> dict[str, Any]:
    """What a model's directory holds, the adapters and heads beside it included."""
    found, tensors, network = checkpoint.fit, checkpoint.tensors, checkpoint.model.base.config
    heads = list(checkpoint.model.heads_of().values())
    turns = partial(hf.turns_in, checkpoint.architecture, checkpoint.model.static)
    return {
        "kind": "model",
        "source": os.fspath(checkpoint.source),
        "architecture": checkpoint.architecture.model_type,
        "class": checkpoint.class_name,
        "stated_class": checkpoint.stated,
        "sizes": network_sizes(network),
        **weights(tensors, [key for parts in found.sources.values() for key in parts]),
        "head": {"type": heads[0].head_type, **labels(heads[0].config.get("label2id"))} if heads else None,
        "tensors": [
            tensor_row(tensors, key, ours, part, len(found.sources[ours]), turns(ours))
            for ours in found.wanted
            if ours in found.sources
            for part, key in enumerate(found.sources[ours])
        ],
        "unused": sorted(found.unused),
        "without_place": sorted(set(found.left_over) - set(found.unexpected)),
        "unexpected": sorted(found.unexpected),
        "missing": found.told,
        "problems": sorted(checkpoint.problems),
        "adapters": [adapter_facts(folder, allow_pickle, network) for folder in kept(checkpoint, "adapters")],
        "heads": [head_facts(folder, allow_pickle) for folder in kept(checkpoint, "heads")],
    }


def kept(checkpoint: Checkpoint, kind: str) -> list[os.PathLike[str]]:
    """The folders of the adapters, heads or embeddings (`kind`) that `save_pretrained` wrote beside a model.

    Raises:
        FileNotFoundError: one is not there, though config.json names it.
        FileError: config.json does not name them as it should.
    """
    names = kept_names(checkpoint.config.extra.get(STATE), checkpoint.source)[kind]
    return [kept_folder(checkpoint.source, kind, NamedModules.slug(name)) for name in names]
