"""Hugging Face checkpoints: which file holds the tensors, which tensor is which of ours, and the way back."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from adapterzoo.archs.base import Architecture, StaticHead
from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.fields import fits
from adapterzoo.nn.transformer import Transformer
from adapterzoo.store import FileError, Shards, Source, contents, find, read_json, read_tensors, require

WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_LEGACY = {"gamma": "weight", "beta": "bias"}


def open_checkpoint(
    source: Source, allow_pickle: bool = False, revision: str | None = None, kept: bool = True
) -> Mapping[str, Tensor]:
    """The tensors of a checkpoint: of safetensors before PyTorch files, of one file before shards.

    Args:
        source: the directory, or the repository's id on the Hub.
        allow_pickle: whether PyTorch's own files may be read (tensors only).
        revision: branch, tag or commit on the Hub.
        kept: whether what was looked at stays in memory: see TensorFile.

    Raises:
        FileNotFoundError: none of the files is there.
        FileError: a file cannot be read, or only PyTorch files are there and `allow_pickle` is not set.
    """
    for name in WEIGHTS:
        path = find(source, name, revision)
        if path is None:
            continue
        if not name.endswith(".json"):
            return read_tensors(path, allow_pickle, mapped=True, kept=kept)
        where = read_json(path).get("weight_map")
        if not where or not fits(where, Mapping[str, str]):
            raise FileError(f"{path} has no weight_map that names each tensor's file")
        outside = sorted({shard for shard in where.values() if Path(shard).name != shard or shard == ".."})
        if outside:
            raise FileError(f"{path} names files outside of its own directory: {', '.join(outside)}")
        paths = {shard: require(source, shard, revision) for shard in set(where.values())}
        files = {shard: read_tensors(file, allow_pickle, mapped=True, kept=kept) for shard, file in paths.items()}
        return Shards(where, files)
    raise FileNotFoundError(f"{os.fspath(source)!r} has no weights: none of {', '.join(WEIGHTS)}; {contents(source)}")


@dataclass
class Placement:
    """Which foreign tensor goes where.

    Attributes:
        sources: for each tensor of ours, "base.…" or "head.…", the foreign names of its parts, in order.
        unexpected: foreign tensors that no row of the tables knows, or whose place another one has already.
        unused: foreign tensors that are known and not needed.
    """

    sources: dict[str, list[str | None]] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)


def place(keys: Iterable[str], architecture: Architecture, static: StaticHead | None) -> Placement:
    """Find the place of each of a checkpoint's tensors.

    Args:
        keys: the checkpoint's names; with or without the base's prefix, legacy LayerNorm names included.
        architecture: whose tables to use.
        static: the head that the tensors beside the base belong to, if any.
    """
    base, head = architecture.keymap, static.keymap if static else None
    placed = Placement()
    aliases: list[tuple[str, str]] = []
    for key in keys:
        name = modern(key)
        bare = name.removeprefix(architecture.stem)
        target, space = base.to_ours(bare), "base"
        if target is None and head is not None:
            target, space = head.to_ours(name), "head"
        if target is None:
            (placed.unused if bare in architecture.unused else placed.unexpected).append(key)
        elif target.alias:
            aliases.append((f"{space}.{target.ours}", key))
        else:
            parts = placed.sources.setdefault(f"{space}.{target.ours}", [None] * target.parts)
            if parts[target.part] is None:
                parts[target.part] = key
            else:  # with and without prefix, or under the legacy name and the modern one
                placed.unexpected.append(key)
    for ours, key in aliases:
        if ours in placed.sources:
            placed.unused.append(key)
        else:
            placed.sources[ours] = [key]
    return placed


def modern(key: str) -> str:
    """The name as written since 2019: LayerNorm's gamma and beta are weight and bias."""
    match = re.fullmatch(r"(.*LayerNorm\.)(gamma|beta)", key)
    return f"{match[1]}{_LEGACY[match[2]]}" if match else key


def gather(parts: Sequence[str], tensors: Mapping[str, Tensor], order: Sequence[int] = ()) -> Tensor:
    """Our tensor from its parts: the file's own memory if there is one, joined if there are several.

    Args:
        parts: their names, in order.
        tensors: the tensors by name.
        order: see `block_order`.
    """
    pieces = [tensors[part] for part in parts]
    if order:
        (whole,) = pieces
        blocks = whole.chunk(len(order))
        pieces = [blocks[number] for number in order]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def scatter(tensor: Tensor, names: Sequence[str], order: Sequence[int] = ()) -> dict[str, Tensor]:
    """Their tensors from ours: the way back from `gather`."""
    if order:
        blocks = dict(zip(order, tensor.chunk(len(order)), strict=True))
        tensor = torch.cat([blocks[number] for number in sorted(blocks)])
    return dict(zip(names, tensor.chunk(len(names)), strict=True))


def block_order(architecture: Architecture, network: NetworkConfig, ours: str) -> tuple[int, ...]:
    """Where in their tensor the blocks of rows lie that ours "base.…" is made of; empty where ours is theirs.

    A block is one head's rows of the query, key or value projection, where theirs has these head by head.
    """
    turns = turns_in(architecture, ours)
    if turns == 1:
        return ()
    heads = network.stacks()[ours.split(".")[1]].heads
    return tuple(head * turns + part for part in range(turns) for head in range(heads))


def turns_in(architecture: Architecture, ours: str) -> int:
    """How many parts of our tensor "base.…" take turns in theirs, head by head; 1 where ours is theirs."""
    space, _, name = ours.partition(".")
    return architecture.keymap.turns(name) if space == "base" else 1


def foreign_names(architecture: Architecture, static: StaticHead | None, ours: str) -> tuple[str, ...]:
    """HF's names for our tensor "base.…" or "head.…", in HF's class with that head (None: the bare model).

    Raises:
        KeyError: no row of the tables knows it.
    """
    space, _, name = ours.partition(".")
    if space == "base":
        names = architecture.keymap.to_theirs(name)
        prefix = architecture.stem if static else ""
    else:
        names, prefix = (static.keymap.to_theirs(name) if static else None), ""
    if names is None:
        raise KeyError(f"no row of {architecture.name}'s tables names {ours!r}")
    return tuple(prefix + theirs for theirs in names)


def twins(base: nn.Module) -> dict[str, str]:
    """Names of a network's tensors that have another name, too; the one that files hold is the last."""
    names: dict[int, list[str]] = {}
    for name, tensor in base.state_dict(keep_vars=True).items():
        names.setdefault(id(tensor), []).append(name)
    return {name: same[-1] for same in names.values() for name in same[:-1]}


def export(
    base: Transformer,
    head: nn.Module | None,
    tied: set[str],
    architecture: Architecture,
    static: StaticHead | None,
) -> dict[str, Tensor]:
    """HF's state dict of a network and, for a class with a fixed head, of its head; tied tensors once."""
    other = twins(base)
    ours = {f"base.{name}": tensor for name, tensor in base.state_dict().items() if name not in other}
    if head is not None and static is not None:
        ours |= {f"head.{name}": tensor for name, tensor in head.state_dict().items() if name not in tied}
    theirs: dict[str, Tensor] = {}
    network = base.config
    for name, tensor in ours.items():
        names = foreign_names(architecture, static, name)
        theirs |= scatter(tensor, names, block_order(architecture, network, name))
    return theirs
