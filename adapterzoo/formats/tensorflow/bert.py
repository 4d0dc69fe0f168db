"""Google's BERT checkpoints: which variable is which of HF's tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator
from functools import partial
from pathlib import Path

from torch import Tensor

from adapterzoo.archs.bert import BertConfig
from adapterzoo.core.keymap import KeyMap, Row
from adapterzoo.formats.foreign import Foreign, read_text
from adapterzoo.formats.lazy import Lazy
from adapterzoo.formats.tensorflow.bundle import INDEX, Bundle
from adapterzoo.store import FileError, Source, contents, read_json

CONFIG, VOCABULARY = "bert_config.json", "vocab.txt"
PREFIX = "bert_model.ckpt"
"""What Google's own checkpoints are called."""

TRAINING = re.compile(
    r"(.*/)?(adam_[mv]|lamb_[mv]|Adam(_\d+)?|Momentum|global_step|beta[12]_power|(current_)?loss_scale|good_steps)"
)
"""Variables of the training alone."""

HEADS = (
    ("qa_outputs.", "ForQuestionAnswering"),
    ("classifier.", "ForSequenceClassification"),
)
"""What HF's names of a task's head begin with, and what its class is called."""


def _dense(theirs: str, ours: str) -> tuple[Row, ...]:
    return Row(f"{theirs}.kernel", f"{ours}.weight"), Row(f"{theirs}.bias", f"{ours}.bias")


def _norm(place: str) -> tuple[Row, ...]:
    """Rows of a LayerNorm, which both libraries call by the same name."""
    name = f"{place}.LayerNorm"
    return Row(f"{name}.gamma", f"{name}.weight"), Row(f"{name}.beta", f"{name}.bias")


def _output(theirs: str, ours: str) -> tuple[Row, ...]:
    return Row(f"{theirs}output_weights", f"{ours}.weight"), Row(f"{theirs}output_bias", f"{ours}.bias")


_LAYER = "bert.encoder.layer.{i}"
_DENSE = (
    *(f"{_LAYER}.attention.self.{part}" for part in ("query", "key", "value")),
    *(f"{_LAYER}.{part}.dense" for part in ("attention.output", "intermediate", "output")),
    "bert.pooler.dense",
    "cls.predictions.transform.dense",
)
_NORMED = ("bert.embeddings", f"{_LAYER}.attention.output", f"{_LAYER}.output", "cls.predictions.transform")
_EMBEDDED = ("word", "position", "token_type")

TABLE = KeyMap(
    (
        *(Row(name, f"{name}.weight") for name in (f"bert.embeddings.{kind}_embeddings" for kind in _EMBEDDED)),
        *(row for name in _DENSE for row in _dense(name, name)),
        *(row for name in _NORMED for row in _norm(name)),
        Row("cls.predictions.output_bias", "cls.predictions.bias"),
        *_output("cls.seq_relationship.", "cls.seq_relationship"),
        *_output("cls.squad.", "qa_outputs"),
        *_output("", "classifier"),
    )
)
"""TensorFlow's names, as `dotted` has them, against HF's. A kernel is the weight transposed."""


def dotted(name: str) -> str:
    """A variable's name with dots between its parts, and a layer's number as a part of its own."""
    return re.sub(r"/layer_(\d+)/", r"/layer/\1/", name).replace("/", ".")


def slashed(name: str) -> str:
    """The way back from `dotted`."""
    return re.sub(r"/layer/(\d+)/", r"/layer_\1/", name.replace(".", "/"))


def open_tensorflow(source: Source) -> Foreign:
    """Read one of Google's BERTs, pretrained or fine-tuned by their programs for classification or SQuAD.

    Args:
        source: its directory, with `bert_config.json` and, if it is there, `vocab.txt`; or, where several checkpoints
            lie in that, the path of one up to its ending: "model.ckpt-1000".

    Raises:
        FileNotFoundError: there is no such checkpoint, or no config.
        FileError: a file cannot be read, or it is another model.
        ValueError: the config is not one of a BERT.
    """
    prefix = find_prefix(Path(source))
    folder = prefix.parent
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"{str(folder)!r} has no {CONFIG}; {contents(folder)}")
    told, bundle = read_json(folder / CONFIG), Bundle(prefix)
    tensors = dict(_makers(bundle))
    class_name = "Bert" + _suffix(tensors)
    task = next((start for start, suffix in HEADS if class_name.endswith(suffix)), None)
    if task is not None:
        tensors = {name: make for name, make in tensors.items() if not name.startswith("cls.")}
        told["num_labels"] = tensors[f"{task}weight"]().shape[:1].numel()
    config = BertConfig.from_dict(told, str(folder / CONFIG))
    vocabulary = folder / VOCABULARY
    files = {VOCABULARY: read_text(vocabulary)} if vocabulary.is_file() else {}
    names = {name: _theirs(name) for name in tensors}
    unused = tuple(name for name in bundle if name not in set(names.values()))
    turned = frozenset(name for name, theirs in names.items() if theirs.endswith("/kernel"))
    return Foreign(config, Lazy(tensors), class_name, files, unused, names, turned)


def files_of(source: Source) -> tuple[list[Path], Path]:
    """The files that `open_tensorflow` reads tensors from, the index first; and the file of the config."""
    prefix = find_prefix(Path(source))
    pattern = re.escape(prefix.name) + rf"({re.escape(INDEX)}|\.data-\d+-of-\d+)"
    there = (path for path in prefix.parent.iterdir() if re.fullmatch(pattern, path.name))
    return sorted(there, key=lambda path: (path.suffix != INDEX, path.name)), prefix.parent / CONFIG


def find_prefix(path: Path) -> Path:
    """What the names of a checkpoint's files begin with.

    Raises:
        FileNotFoundError: there is no checkpoint.
        FileError: there are several.
    """
    if path.name.endswith(INDEX) and path.is_file():
        return path.with_name(path.name.removesuffix(INDEX))
    if not path.is_dir():
        return path  # the index is looked for when it is opened
    there = sorted(file.name.removesuffix(INDEX) for file in path.glob(f"*{INDEX}"))
    if not there:
        raise FileNotFoundError(f"{str(path)!r} has no TensorFlow checkpoint, *{INDEX}; {contents(path)}")
    if len(there) > 1 and PREFIX not in there:
        raise FileError(f"{str(path)!r} has several checkpoints; name one: {', '.join(there)}")
    return path / (PREFIX if PREFIX in there else there[0])


def _makers(bundle: Bundle) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """HF's names, and what makes each tensor, which it did once."""
    unknown = []
    for name in bundle:
        known = not TRAINING.fullmatch(name) and slashed(dotted(name)) == name
        target = TABLE.to_ours(dotted(name)) if known else None
        if target is not None:
            make = partial(_turned if name.endswith("/kernel") else Bundle.__getitem__, bundle, name)
            make()
            yield target.ours, make
        elif not TRAINING.fullmatch(name):
            unknown.append(name)
    if unknown:
        raise FileError(f"{bundle.index} holds tensors that BERT does not have: {', '.join(unknown)}")


def _turned(bundle: Bundle, name: str) -> Tensor:
    """A kernel as a weight.

    Raises:
        FileError: it is no matrix.
    """
    kernel = bundle[name]
    if kernel.dim() != 2:
        raise FileError(f"{bundle.index} gives {name} the shape {tuple(kernel.shape)}, which is no matrix's")
    return kernel.t()


def _suffix(tensors: Container[str]) -> str:
    """What the class that is whole with tensors of these names is called after the architecture's name."""
    for start, suffix in HEADS:
        if f"{start}weight" in tensors:
            return suffix
    words, sentences = "cls.predictions.bias" in tensors, "cls.seq_relationship.weight" in tensors
    if words:
        return "ForPreTraining" if sentences else "ForMaskedLM"
    return "ForNextSentencePrediction" if sentences else "Model"


def _theirs(name: str) -> str:
    """TensorFlow's name of HF's tensor."""
    names = TABLE.to_theirs(name)
    return slashed(names[0]) if names else name
