"""Readers of other libraries' checkpoints, and of pickles, as the converter reads them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from adapterzoo import AutoAdapterModel
from adapterzoo.conversion.checkpoint import open_checkpoint
from adapterzoo.conversion.sources import opened
from adapterzoo.formats.fairseq import modern
from adapterzoo.formats.pickled import read_pickled
from adapterzoo.formats.tensorflow import Bundle
from tests.helpers import fairseq_files, tensorflow_files
from tests.helpers.fuzz import on_pickles
from tests.helpers.fuzz.readers import Reader, make_pickled
from tests.helpers.processes_here import all_here
from tests.helpers.tiny import tiny_model


def bits(tensor: Tensor) -> list[Any]:
    """What two tensors have in common that are equal bit for bit."""
    plain = tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return [str(tensor.dtype), list(tensor.shape), hashlib.sha256(plain).hexdigest()]


def told(tensors: Mapping[str, Tensor]) -> dict[str, list[Any]]:
    """The bits of all tensors by name."""
    return {name: bits(tensors[name]) for name in tensors}


# ---------------------------------------------------------------------------------------------- pickles


def make_pickle(folder: Path, **options: Any) -> None:
    """A PyTorch file with a state dict, and plain data beside it."""
    words = torch.randn(5, 8)
    model = {"words": words, "tied": words, "turned": torch.randn(4, 3).t(), "steps": torch.arange(4), "b": words[1:3]}
    args = Namespace(layers=2, rate=0.1, name="bert", none=None, inner={"x": [1, 2.5, "three"]})
    torch.save({"model": model, "args": args, "list": [1, {"a": torch.ones(2)}]}, folder / "file.pt", **options)


def load_pickle(_: Any, folder: Path) -> dict[str, Any]:
    """What the converter finds in it; of the model, that is what PyTorch alone finds, if that can read it."""
    with all_here(), tempfile.TemporaryDirectory() as scratch:
        found = read_pickled(folder / "file.pt", Path(scratch))
        wanted = _of_torch(folder / "file.pt")
        lost = [name for name, one in wanted.items() if one != bits(found.tensors.get(f"model.{name}", NONE))]
        assert not lost, f"other values: {lost[:3]}"
        return {"tensors": told(found.tensors), "facts": found.facts}


NONE = torch.zeros(0)


def _of_torch(path: Path) -> dict[str, list[Any]]:
    """The tensors of a model as PyTorch reads them; none where it cannot."""
    try:
        model = on_pickles.load(path)["model"]
        return told({str(name): tensor for name, tensor in model.items() if isinstance(tensor, Tensor)})
    except Exception:
        return {}


# ---------------------------------------------------------------------------------------------- checkpoints


def _converted(folder: Path, known: Callable[[Path], set[str]]) -> dict[str, Any]:
    """All that a checkpoint comes to, when it is whole and can be loaded.

    Args:
        folder: where it lies.
        known: the digests of the tensors that its files hold, of which all but zeros must be.
    """
    with all_here(), opened(folder, allow_pickle=True) as found:
        checkpoint = open_checkpoint(found.place)
        checkpoint.check()
        AutoAdapterModel.from_pretrained(found.place)
        tensors = told(checkpoint.tensors)
        there = known(folder)
        made_up = [name for name in tensors if tensors[name][2] not in there and checkpoint.tensors[name].any()]
        assert not made_up, f"made up: {made_up[:3]}"
        files = sorted(path for path in Path(found.place).iterdir() if path.suffix in (".txt", ".json"))
        texts = {path.name: _text(path) for path in files}
        return {"tensors": tensors, "texts": texts, "class": checkpoint.class_name}


def _text(path: Path) -> Any:
    """What a file of text says; of JSON, in whatever order."""
    text = path.read_text(errors="replace")
    return json.dumps(json.loads(text), sort_keys=True) if path.suffix == ".json" else text


def _of_fairseq(folder: Path) -> set[str]:
    """The digests of its tensors, and of the thirds of those that join three."""
    model = on_pickles.load(folder / "model.pt")["model"]
    tensors = {str(name): tensor for name, tensor in model.items() if isinstance(tensor, Tensor)}
    return {bits(make())[2] for _, make in modern(tensors)}


def _of_tensorflow(folder: Path) -> set[str]:
    """The digests of its tensors as they are, and turned."""
    (index,) = folder.glob("*.index")
    bundle = Bundle(index.with_suffix(""))
    found: set[str] = set()
    for name in bundle:
        with contextlib.suppress(ValueError):  # what is passed over need not be whole
            tensor = bundle[name]
            found |= {bits(tensor)[2], bits(tensor.t() if tensor.dim() == 2 else tensor)[2]}
    return found


STACKS = ("encoder", "decoder")


def make_fairseq(folder: Path) -> None:
    """A RoBERTa with GPT-2's BPE."""
    fairseq_files.save(folder, fairseq_files.tiny_roberta(False, False), cfg=True)
    rows = range(fairseq_files.TINY.vocab - 5)
    (folder / "dict.txt").write_text("".join(f"{row} 1\n" for row in rows))
    (folder / "encoder.json").write_text(json.dumps({f"Ġ{chr(97 + row)}": row for row in rows}))
    (folder / "vocab.bpe").write_text("#version: 0.2\nĠ a\n", encoding="utf-8")


def make_old_fairseq(folder: Path) -> None:
    """A RoBERTa of words with a classifier, of the first kind in all respects."""
    fairseq_files.save(folder, fairseq_files.tiny_roberta(True, True, ("mnli",)), legacy=True)
    words = [f"w{row}" for row in range(fairseq_files.TINY.vocab - 5)]
    (folder / "dict.txt").write_text("".join(f"{word} 1\n" for word in words))


def make_bart(folder: Path) -> None:
    """A BART."""
    tiny_model("bart", "ForConditionalGeneration").save_pretrained(folder)
    model = {name.removeprefix("model."): tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    del model["final_logits_bias"]
    model["encoder.embed_tokens.weight"] = model["decoder.embed_tokens.weight"] = model.pop("shared.weight")
    for name in ("model.safetensors", "config.json", "generation_config.json"):
        (folder / name).unlink(missing_ok=True)
    config = tiny_model("bart").config
    heads = {
        f"{stack}_attention_heads": getattr(config, f"{stack}_attention_heads") for stack in ("encoder", "decoder")
    }
    torch.save({"model": model, "args": Namespace(**{**fairseq_files.ARGS, **heads})}, folder / "model.pt")


def make_tensorflow(folder: Path) -> None:
    """One of Google's, pretrained."""
    tensorflow_files.written(folder, dict(Bundle(tensorflow_files.SAVED / "bert_model.ckpt")))
    shutil.copy(tensorflow_files.SAVED / "vocab.txt", folder)


def _foreign(make: Callable[[Path], object], known: Callable[[Path], set[str]]) -> Reader:
    return Reader(make, lambda: None, lambda _, folder: _converted(folder, known), None, False)


def _pickled(folder: Path) -> set[str]:
    return {bits(tensor)[2] for tensor in on_pickles.load(folder / "pytorch_model.bin").values()}


def make_pickled_shards(folder: Path) -> None:
    """A checkpoint of PyTorch's files with an index."""
    make_pickled(folder)
    whole = on_pickles.load(folder / "pytorch_model.bin")
    (folder / "pytorch_model.bin").unlink()
    names = [f"pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)]
    where = {key: names[number % 2] for number, key in enumerate(whole)}
    for name in names:
        torch.save({key: whole[key] for key in whole if where[key] == name}, folder / name)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def _sharded(folder: Path) -> set[str]:
    return {bits(tensor)[2] for path in folder.glob("*.bin") for tensor in on_pickles.load(path).values()}


FOREIGN_READERS = {
    "pickle": Reader(make_pickle, lambda: None, load_pickle, None, False),
    "pickle, old": Reader(
        lambda folder: make_pickle(folder, _use_new_zipfile_serialization=False), lambda: None, load_pickle, None, False
    ),
    "convert: pickle": _foreign(make_pickled, _pickled),
    "convert: pickles in shards": _foreign(make_pickled_shards, _sharded),
    "fairseq": _foreign(make_fairseq, _of_fairseq),
    "fairseq, old": _foreign(make_old_fairseq, _of_fairseq),
    "fairseq, BART": _foreign(make_bart, _of_fairseq),
    "TensorFlow": _foreign(make_tensorflow, _of_tensorflow),
}
