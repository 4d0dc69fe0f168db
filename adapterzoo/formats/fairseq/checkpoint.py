"""Opening a checkpoint of fairseq's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from adapterzoo.core.registry import UnknownName, unknown
from adapterzoo.formats.fairseq.args import Args
from adapterzoo.formats.fairseq.kinds import BART, HEADS, ROBERTA, Kind, shape_of
from adapterzoo.formats.fairseq.words import tokenizer_files
from adapterzoo.formats.foreign import Foreign
from adapterzoo.formats.lazy import Lazy
from adapterzoo.formats.pickled import read_pickled
from adapterzoo.store import FileError, Source, contents
from adapterzoo.streaming import like, pieces

FILES = ("model.pt", "checkpoint_best.pt", "checkpoint_last.pt")
"""The names that a checkpoint's file usually has, the likeliest first."""

LANGUAGE = "lm_head"
"""What to call the head of pretraining where a head is chosen."""

_NO_WEIGHT = re.compile(r"(.*\.)?(version|_float_tensor)")
_JOINT = re.compile(r"(.*\.(?:self|encoder)_attn\.)in_proj_(weight|bias)")
_HEAD = re.compile(rf"{HEADS}\.(.+)\.((?:dense|out_proj)\.\w+)")


def open_fairseq(source: Source, folder: Path, head: str | None = None) -> Foreign:
    """Read a checkpoint of fairseq's RoBERTa or BART.

    Args:
        source: its file, or the directory that holds it. The dictionary is looked for beside it.
        folder: an empty folder, in which the tensors lie as long as they are used; see `read_pickled`.
        head: which head to take: the name of one of its classification heads, or "lm_head" for that of pretraining. If
            None, it is the one classification head that there is, or else the other.

    Raises:
        FileNotFoundError: there is no such file.
        FileError: it cannot be read, or is no RoBERTa or BART.
        ValueError: there is no such head, or there are several and none is chosen.
    """
    path = find_file(source)
    found = read_pickled(path, folder, parts=("args", "cfg", "model"), kept=False)
    args = Args(path, found.facts)
    names = [name for name in sorted(found.tensors) if name.startswith("model.")]
    own = {name.removeprefix("model."): partial(found.tensors.__getitem__, name) for name in names}
    traced = list(_traced(Lazy(own)))
    tensors, origins = Lazy({new: make for _, new, make in traced}), {new: old for old, new, _ in traced}
    kind = BART if any(name.startswith("decoder.layers.") for name in tensors) else ROBERTA
    turned = _turned(args, kind, tensors, choose(path, kind, tensors, head), origins)
    return replace(turned, unused=tuple(sorted(own.keys() - set(turned.names.values()))))


def find_file(source: Source) -> Path:
    """The file of a checkpoint: `source` itself, or the one that lies there.

    Raises:
        FileNotFoundError: there is none.
        FileError: there are several, and none has the usual name.
    """
    path = Path(source)
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"there is no file or directory {str(path)!r}")
    usual = [path / name for name in FILES if (path / name).is_file()]
    there = usual[:1] or sorted(path.glob("*.pt"))
    if not there:
        raise FileNotFoundError(f"{str(path)!r} has no file *.pt; {contents(path)}")
    if len(there) > 1:
        raise FileError(f"{str(path)!r} has several checkpoints; name one: {', '.join(file.name for file in there)}")
    return there[0]


def modern(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """A checkpoint under fairseq's latest names: RoBERTa is an encoder; queries, keys and values are apart.

    Returns:
        The names, and what makes each tensor.

    Raises:
        FileError: a tensor that joins these cannot be cut.
    """
    return ((new, make) for _, new, make in _traced(tensors))


def _traced(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, str, Callable[[], Tensor]]]:
    """The same, the names in the file first; see `modern`."""
    decoder = any(name.startswith("decoder.sentence_encoder.") for name in tensors)
    for old in tensors:
        if _NO_WEIGHT.fullmatch(old):
            continue
        name = re.sub(r"^decoder\.", "encoder.", old) if decoder else old
        name = name.replace(".emb_layer_norm.", ".layernorm_embedding.")
        joint = _JOINT.fullmatch(name)
        if joint is None:
            yield old, name, partial(tensors.__getitem__, old)
            continue
        shape = tuple(like(tensors, old).shape)
        if not shape or shape[0] % 3:
            raise FileError(f"{name} should be three projections in one, not {shape}")
        for third, part in enumerate("qkv"):
            yield old, f"{joint[1]}{part}_proj.{joint[2]}", partial(_third, tensors, old, third)


def _third(tensors: Mapping[str, Tensor], name: str, third: int) -> Tensor:
    return tensors[name].chunk(3)[third]


def choose(path: Path, kind: Kind, tensors: Mapping[str, Tensor], head: str | None) -> str | None:
    """The name of the head to take; None where there is none. See `open_fairseq`.

    Raises:
        ValueError: there is no such head, or there are several and none is chosen.
    """
    heads = sorted({match[1] for match in map(_HEAD.fullmatch, tensors) if match})
    language = [LANGUAGE] if any(name.startswith(kind.told_by) for name in tensors) else []
    if head is not None:
        if head not in (*heads, *language):
            raise UnknownName(unknown(f"head of {path}", head, (*heads, *language)))
        return head
    if len(heads) > 1:
        names = ", ".join((*heads, *language))
        raise ValueError(f"{path} has several classification heads; choose one of {names} (head=…, --fairseq-head …)")
    return next(iter((*heads, *language)), None)


def _turned(args: Args, kind: Kind, tensors: Lazy, head: str | None, origins: Mapping[str, str]) -> Foreign:
    """The checkpoint under HF's names; `origins` are the names in the file."""
    labels, suffix = None, "Model" if head is None else kind.suffix
    if head not in (None, LANGUAGE):
        args.require("pooler_activation_fn", "tanh")
        labels, suffix = shape_of(args, tensors, f"{HEADS}.{head}.out_proj.weight")[0], "ForSequenceClassification"
    config, tokens = kind.config(args, tensors, labels), tensors[kind.tokens]
    tied = [name for name in (kind.output, "decoder.embed_tokens.weight") if _are_same(tensors, name, kind.tokens)]
    config.tie_word_embeddings = kind.output not in tensors or kind.output in tied
    theirs, names, unknown_names = {}, {}, []
    for name in sorted(name for name in tensors if name not in tied and not _is_beside(name, kind, head)):
        target = kind.table.to_ours(_HEAD.sub(rf"{HEADS}.\2", name))
        if target is None:
            unknown_names.append(name)
        else:
            theirs[target.ours], names[target.ours] = tensors.makers[name], origins[name]
    if unknown_names:
        raise FileError(f"{args.path} holds tensors that {kind.name} does not have: {', '.join(unknown_names)}")
    made = kind.everywhere(tokens) | (kind.beside_language(tokens) if head == LANGUAGE else {})
    theirs |= {name: partial(_given, tensor) for name, tensor in made.items()}
    files = tokenizer_files(args.path.parent, config.vocab_size, words_only=args.tokenizer is None)
    return Foreign(config, Lazy(theirs), kind.name + suffix, files, names=names)


def _given(tensor: Tensor) -> Tensor:
    return tensor


def _are_same(tensors: Mapping[str, Tensor], first: str, second: str) -> bool:
    """Whether the first tensor is there, and holds what the second does."""
    if first not in tensors:
        return False
    one, other = like(tensors, first), like(tensors, second)
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    return all(map(torch.equal, pieces(tensors, first), pieces(tensors, second)))


def _is_beside(name: str, kind: Kind, head: str | None) -> bool:
    """Whether a tensor belongs to another head than the one that was chosen."""
    match = _HEAD.fullmatch(name)
    return match[1] != head if match else head != LANGUAGE and name.startswith(kind.language)
