"""Google's BERT as TensorFlow saved it: a checkpoint of TensorFlow's own, and small ones of every shape."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import adapterzoo
from adapterzoo.formats.tensorflow import TABLE, Bundle, dotted, open_tensorflow, slashed
from adapterzoo.formats.tensorflow.sstable import MAGIC, entries
from adapterzoo.formats.tensorflow.wire import Broken, checksum, fields, varint
from adapterzoo.store import FileError
from tests.helpers.post_norm import tensorflow_bert
from tests.helpers.tensorflow_files import SAVED, block, field, number, written

TRAINING = ("adam_m", "adam_v", "global_step")


def value(name: str, shape: tuple[int, ...]) -> Tensor:
    """The numbers that a variable of that name has there."""
    numbers = torch.arange(torch.Size(shape).numel()) * 7919 + zlib.crc32(name.encode())
    return ((numbers % 1024 - 512) / 512).view(shape)


@pytest.fixture
def src(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAVED, tmp_path / "src"))


def test_each_number_is_what_tensorflow_wrote() -> None:
    bundle = Bundle(SAVED / "bert_model.ckpt")
    assert (len(bundle), bundle["global_step"].item(), bundle["global_step"].dtype) == (55, 7, torch.int64)
    for name, tensor in bundle.items():
        if name.endswith(("adam_m", "adam_v")):
            assert not tensor.any()
        elif name != "global_step":
            assert torch.equal(tensor, value(name, tuple(tensor.shape))), name


def test_each_variable_has_its_place() -> None:
    found, bundle = open_tensorflow(SAVED), Bundle(SAVED / "bert_model.ckpt")
    assert (found.class_name, list(found.files)) == ("BertForPreTraining", ["vocab.txt"])
    assert found.config.extra == {"directionality": "bidi"}
    assert all(name.endswith(TRAINING) for name in found.unused) and len(found.unused) == 9
    back = {slashed(TABLE.to_theirs(name)[0]): tensor for name, tensor in found.tensors.items()}  # type: ignore[index]
    assert sorted(back) == sorted(set(bundle) - set(found.unused))
    for name, tensor in back.items():
        assert torch.equal(tensor.t() if name.endswith("kernel") else tensor, bundle[name])
        assert slashed(dotted(name)) == name


def test_it_computes_what_it_does_by_hand(tmp_path: Path) -> None:
    open_tensorflow(SAVED).write(tmp_path / "dst")
    transformers = pytest.importorskip("transformers", reason="parity is with transformers")
    ours = adapterzoo.AutoModelForPreTraining.from_pretrained(tmp_path / "dst").eval()
    theirs, told = transformers.BertForPreTraining.from_pretrained(tmp_path / "dst", output_loading_info=True)
    assert not any(told.values())
    tokens = torch.randint(0, 20, (3, 9))
    with torch.no_grad():
        words, sentence = tensorflow_bert(dict(Bundle(SAVED / "bert_model.ckpt")), tokens, heads=2)
        for model in (ours, theirs.eval()):
            output = model(tokens)
            torch.testing.assert_close(output.prediction_logits, words, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(output.seq_relationship_logits, sentence, rtol=1e-4, atol=1e-4)
    text = adapterzoo.AutoTokenizer.from_pretrained(tmp_path / "dst")("ab A")["input_ids"]
    assert text == [2, 5, 16, 5, 3]


@pytest.mark.parametrize("name", ["two_shards.ckpt", "two_shards.ckpt.index"])
def test_several_files_are_one_checkpoint(name: str) -> None:
    whole, parts = open_tensorflow(SAVED), open_tensorflow(SAVED / name)
    assert whole.tensors.keys() == parts.tensors.keys()
    assert all(torch.equal(tensor, parts.tensors[name]) for name, tensor in whole.tensors.items())


def test_a_variable_in_pieces_is_refused() -> None:
    bundle = Bundle(SAVED / "sliced.ckpt")
    assert list(bundle) == ["sliced"]
    with pytest.raises(FileError, match="holds sliced in several pieces"):
        bundle["sliced"]


def test_a_missing_file_is_told(src: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no .*other\.ckpt\.index"):
        open_tensorflow(src / "other.ckpt")
    (src / "two_shards.ckpt.data-00001-of-00002").unlink()
    with pytest.raises(FileError, match=r"names a file two_shards\.ckpt\.data-00001-of-00002 that is not there"):
        open_tensorflow(src / "two_shards.ckpt")
    (src / "bert_model.ckpt.index").unlink()
    with pytest.raises(FileError, match=r"several checkpoints; name one: sliced\.ckpt, two_shards\.ckpt"):
        open_tensorflow(src)
    (src / "bert_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no bert_config\.json; it has bert_model"):
        open_tensorflow(src / "two_shards.ckpt")
    (src / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no TensorFlow checkpoint, \*.index; it has no files"):
        open_tensorflow(src / "empty")


def test_cut_numbers_are_told(src: Path) -> None:
    data = src / "bert_model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-20])  # of these, 8 are the number of steps
    with pytest.raises(FileError, match=r"ends before .* does \(cut short\?\): it has 8,236 bytes"):
        open_tensorflow(src)


def test_changed_numbers_are_told(src: Path) -> None:
    data = src / "bert_model.ckpt.data-00000-of-00001"
    whole = bytearray(data.read_bytes())
    whole[-20] ^= 1
    data.write_bytes(whole)
    with pytest.raises(FileError, match="with another checksum than it should"):
        open_tensorflow(src)


def test_a_cut_or_changed_index_is_told(src: Path) -> None:
    index = src / "bert_model.ckpt.index"
    whole = index.read_bytes()
    for length in range(0, len(whole), 97):
        index.write_bytes(whole[:length])
        with pytest.raises(
            FileError, match=r"no whole index of a TensorFlow checkpoint: it does not end as a table does"
        ):
            Bundle(src / "bert_model.ckpt")
    footer = len(whole) - 48
    for place in (*range(0, footer, 97), *range(footer, footer + 6), len(whole) - 1):
        index.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        try:
            assert Bundle(src / "bert_model.ckpt").entries == Bundle(SAVED / "bert_model.ckpt").entries
        except FileError as error:
            assert "is no whole index of a TensorFlow checkpoint: " in str(error)


def fine_tuned(head: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """A byte, so that nothing after it lies where it should; then BERT without its heads; then a head."""
    yield "good_steps", torch.ones(1, dtype=torch.int8)
    yield from (
        (name, tensor) for name, tensor in Bundle(SAVED / "bert_model.ckpt").items() if name.startswith("bert/")
    )
    yield from head.items()


@pytest.mark.parametrize(
    ("place", "rows", "class_name"),
    [
        ("", 3, "BertForSequenceClassification"),
        ("cls/squad/", 2, "BertForQuestionAnswering"),
        ("cls/seq_relationship/", 2, "BertForNextSentencePrediction"),
        (None, 0, "BertModel"),
    ],
)
def test_each_program_of_googles_has_its_class(place: str | None, rows: int, class_name: str, tmp_path: Path) -> None:
    head = (
        {}
        if place is None
        else {f"{place}output_weights": torch.randn(rows, 8), f"{place}output_bias": torch.randn(rows)}
    )
    src = written(tmp_path / "src", dict(fine_tuned(head)))
    found = open_tensorflow(src)
    assert (found.class_name, found.files) == (class_name, {})
    assert "good_steps" in found.unused
    found.write(tmp_path / "dst")
    model, told = getattr(adapterzoo, class_name).from_pretrained(tmp_path / "dst", output_loading_info=True)
    assert not told.missing_keys
    assert all("pooler" in name for name in told.unexpected_keys)  # some classes have none; it is kept for others
    if class_name == "BertForSequenceClassification":
        flexible = adapterzoo.AutoAdapterModel.from_pretrained(tmp_path / "dst")
        assert model.config.num_labels == 3 and list(flexible.heads) == ["default"]


def test_a_task_leaves_pretrainings_heads_out(tmp_path: Path) -> None:
    head = {
        "output_weights": torch.randn(3, 8),
        "output_bias": torch.randn(3),
        "cls/predictions/output_bias": torch.ones(20),
    }
    found = open_tensorflow(written(tmp_path / "src", dict(fine_tuned(head))))
    assert found.class_name == "BertForSequenceClassification"
    assert "cls/predictions/output_bias" in found.unused and "output_bias" not in found.unused


def test_another_model_is_refused(tmp_path: Path) -> None:
    src = written(tmp_path / "src", {"bert/encoder/layer_0/attention/gate": torch.ones(2)})
    with pytest.raises(FileError, match="tensors that BERT does not have: bert/encoder/layer_0/attention/gate"):
        open_tensorflow(src)


ONE = {"a": torch.ones(2)}
ENTRY = field(1, 1) + field(2, field(2, field(1, 2))) + field(5, 8)
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "compressed": ({"compression": 1}, r"its blocks are compressed \(kind 1, mostly Snappy\)"),
    "big-endian": ({"header": field(2, 1)}, "puts a number's highest byte first"),
    "no files": ({"header": field(1, 0)}, "it has 0 files"),
    "objects": ({"rows": {b"_CHECKPOINTABLE_OBJECT_GRAPH": ENTRY}}, "of TensorFlow 2's objects"),
    "text": ({"rows": {b"a": field(1, 7)}}, "holds a as TensorFlow's dtype 7"),
    "shape": ({"rows": {b"a": ENTRY + field(5, 9)}}, r"gives a the shape \(2,\), but 9 bytes of torch.float32"),
    "place": ({"rows": {b"a": ENTRY + field(4, 1 << 40)}}, r"ends before a does \(cut short\?\): it has 8 bytes"),
    "below 0": ({"rows": {b"a": ENTRY + field(4, (1 << 64) - 8)}}, "should be a number of 0 or more"),
    "kind": ({"rows": {b"a": ENTRY + b"\x0b"}}, "a field is of an unknown kind, 3"),
    "cut entry": ({"rows": {b"a": ENTRY + b"\x12\x7f"}}, "it ends within a field"),
    "long number": ({"rows": {b"a": b"\x08" + b"\xff" * 11}}, "more than 64 bits"),
    "shard": ({"rows": {b"a": ENTRY + field(3, 1)}}, "names a file model.ckpt-7.data-00001-of-00001 that is not there"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused(name: str, tmp_path: Path) -> None:
    options, message = REFUSED[name]
    src = written(tmp_path / "src", ONE, **options)
    with pytest.raises(FileError, match=message):
        Bundle(src / "model.ckpt-7")["a"]


def test_a_small_table_cannot_hold_huge_keys() -> None:
    long = b"a" * 3000
    shared = (
        block({long: b""})[:-8]
        + number(3000)
        + number(2000)
        + number(0)
        + b"b" * 2000
        + bytes(4)
        + (1).to_bytes(4, "little")
    )
    content = shared + b"\0"
    data = content + checksum(content).to_bytes(4, "little")
    index = block({b"z": number(0) + number(len(shared))}) + b"\0"
    place = number(len(data)) + number(len(index) - 1)
    data += index + checksum(index).to_bytes(4, "little")
    with pytest.raises(Broken, match="longer than it can be"):
        list(entries(data + (place * 2).ljust(40, b"\0") + MAGIC.to_bytes(8, "little")))


def test_a_block_is_told_once() -> None:
    """Else a small table could name one block again and again."""
    content = block({b"a": b"1"}) + b"\0"
    data = content + checksum(content).to_bytes(4, "little")
    handle = number(0) + number(len(content) - 1)
    index = block({b"a": handle, b"b": handle}) + b"\0"
    place = number(len(data)) + number(len(index) - 1)
    data += index + checksum(index).to_bytes(4, "little")
    with pytest.raises(Broken, match="its keys are not sorted"):
        list(entries(data + (place * 2).ljust(40, b"\0") + MAGIC.to_bytes(8, "little")))


def test_the_checksum_is_castagnolis() -> None:
    known = 0xE3069283  # of "123456789", in the standards that use it
    assert checksum(b"123456789") == ((known >> 15 | known << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_numbers_and_fields_are_read_as_they_are_written() -> None:
    for count in (0, 1, 127, 128, 300, 1 << 40, (1 << 64) - 1):
        assert varint(b"\0" + number(count), 1) == (count, 1 + len(number(count)))
    assert list(fields(field(1, 300) + field(9, b"abc") + b"\x35\x01\0\0\0")) == [(1, 300), (9, b"abc"), (6, 1)]
    with pytest.raises(Broken, match="ends within a number"):
        varint(b"\x80", 0)


def test_the_config_is_berts(src: Path) -> None:
    config = json.loads((src / "bert_config.json").read_text())
    (src / "bert_config.json").write_text(json.dumps({**config, "num_attention_heads": 3}))
    with pytest.raises(ValueError, match=r"bert_config\.json: .*must be divisible by num_attention_heads"):
        open_tensorflow(src)
