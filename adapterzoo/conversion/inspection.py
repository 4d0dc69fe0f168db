"""What a directory holds, as plain data: a model, an adapter or a head, and which tensor of it is which of ours."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from adapterzoo import embedding_files
from adapterzoo.conversion import written_by
from adapterzoo.conversion.adapters import adapter_facts
from adapterzoo.conversion.checkpoint import Checkpoint, open_checkpoint
from adapterzoo.conversion.embeddings import embedding_facts
from adapterzoo.conversion.facts import labels, network_sizes, tensor_row, weights
from adapterzoo.conversion.fusions import fusion_facts
from adapterzoo.conversion.heads import head_facts
from adapterzoo.conversion.setups import any_adapter, setup_facts
from adapterzoo.conversion.within import within
from adapterzoo.core.registry import NamedModules
from adapterzoo.formats import hf
from adapterzoo.formats.content import FILES, held
from adapterzoo.peft_files import folder_of
from adapterzoo.pretrained import KINDS, STATE, kept_folder, kept_names
from adapterzoo.store import Source, contents, find


def inspect_source(
    source: Source, allow_pickle: bool = False, model_type: str | None = None, class_name: str | None = None
) -> dict[str, Any]:
    """What a directory or a repository on the Hub holds: a model with what lies beside it, or one of these things.

    No values are read: see `odd.add_odd`.

    Args:
        source: the directory or repository.
        allow_pickle: whether PyTorch's own files may be read, too (tensors only).
        model_type: the architecture, where config.json does not say it, and for adapters of PEFT's, which do not.
        class_name: a model's class, in place of the one that its config.json names.

    Returns:
        Numbers, texts, lists and dicts of these, as JSON has them.

    Raises:
        FileNotFoundError: it is not there, or holds none of these.
        ValueError: its files cannot be read.
    """
    source = folder_of(source) if _kind(source) is None else source
    kind = _kind(source)
    if kind == "adapter":
        return any_adapter(source, allow_pickle, model_type)
    if kind == "setup":
        return setup_facts(source, allow_pickle, model_type)
    if kind == "fusion":
        return fusion_facts(source, allow_pickle)
    if kind == "head":
        return head_facts(source, allow_pickle)
    if kind == "embedding":
        return embedding_facts(source)
    if kind is None:
        names = ", ".join(dict.fromkeys(one.config for one in FILES))
        raise FileNotFoundError(f"{os.fspath(source)!r} has none of {names} that is known; {contents(source)}")
    return model_facts(open_checkpoint(source, allow_pickle, model_type, class_name), allow_pickle)


def _kind(source: Source) -> str | None:
    """What a directory holds first of all; None if it is nothing known."""
    here = held(source)
    if here:
        return here[0][0].kind
    return "embedding" if find(source, embedding_files.WEIGHTS) is not None else None


def model_facts(checkpoint: Checkpoint, allow_pickle: bool = False) -> dict[str, Any]:
    """What a model's directory holds, the adapters, fusions, heads and embeddings beside it included."""
    found, tensors, network = checkpoint.fit, checkpoint.tensors, checkpoint.model.base.config
    heads, extra = list(checkpoint.model.heads_of().values()), checkpoint.config.extra
    turns = partial(hf.turns_in, checkpoint.architecture)
    inside = within(checkpoint)
    token = checkpoint.model.base.token.weight.shape[1]
    return {
        "kind": "model",
        "format": "adapterzoo" if STATE in extra else "adapterhub" if inside.parts else "hf",
        "source": os.fspath(checkpoint.source),
        "architecture": checkpoint.architecture.model_type,
        "class": checkpoint.class_name,
        "stated_class": checkpoint.stated,
        "version": extra.get("transformers_version"),
        "library": written_by.named("transformers", extra.get("transformers_version")),
        "sizes": network_sizes(network),
        "initial_deviation": network.init_std,
        **weights(tensors, [key for parts in found.sources.values() for key in parts]),
        "head": {"type": heads[0].head_type, **labels(heads[0].config.get("label2id"))} if heads else None,
        "tensors": [
            tensor_row(tensors, key, ours, part, len(found.sources[ours]), turns(ours))
            for ours in found.wanted
            if ours in found.sources
            for part, key in enumerate(found.sources[ours])
        ],
        "unused": sorted([*found.unused, *inside.unused]),
        "without_place": sorted(set(found.left_over) - set(found.unexpected)),
        "unexpected": inside.unexpected,
        "missing": found.told,
        "problems": sorted([*checkpoint.problems, *inside.problems]),
        "inside": inside.parts,
        "adapters": [adapter_facts(folder, allow_pickle, network) for folder in kept(checkpoint, "adapters")],
        "fusions": [fusion_facts(folder, allow_pickle, network) for folder in kept(checkpoint, "fusions")],
        "heads": [head_facts(folder, allow_pickle) for folder in kept(checkpoint, "heads")],
        "embeddings": [
            embedding_facts(folder, NamedModules.unslug(Path(folder).name), token)
            for folder in kept(checkpoint, "embeddings")
        ],
        "not_loaded": _not_loaded(checkpoint),
    }


def _not_loaded(checkpoint: Checkpoint) -> list[str]:
    """The folders that could be of adapters and the like, and are not loaded with the model: config.json does not name
    them. Of a repository on the Hub they are not looked for."""
    if not os.path.isdir(checkpoint.source):
        return []
    named = {Path(folder) for kind in KINDS for folder in kept(checkpoint, kind)}
    there = {
        path.parent for kind, (first, *_) in KINDS.items() for path in Path(checkpoint.source).glob(f"{kind}/*/{first}")
    }
    return sorted(path.relative_to(checkpoint.source).as_posix() for path in there - named)


def kept(checkpoint: Checkpoint, kind: str) -> list[os.PathLike[str]]:
    """The folders of the adapters, heads or embeddings (`kind`) that `save_pretrained` wrote beside a model.

    Raises:
        FileNotFoundError: one is not there, though config.json names it.
        FileError: config.json does not name them as it should.
    """
    names = kept_names(checkpoint.config.extra.get(STATE), checkpoint.source)[kind]
    return [kept_folder(checkpoint.source, kind, NamedModules.slug(name)) for name in names]
