"""A model's weights that are not there, not whole, not of the right shapes, or too many."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from adapterzoo import CheckpointError, FileError
from adapterzoo.archs import ARCHITECTURES
from adapterzoo.core.keymap import KeyMap
from tests.helpers.refusing import refuses
from tests.helpers.spoiling import BROKEN, edit_fields, edit_tensors, keys_of, saved_model
from tests.helpers.tiny import NAMES, class_named, tiny_config

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture(params=NAMES)
def architecture(request):
    return request.param


@pytest.fixture
def src(architecture, tmp_path):
    saved_model(tmp_path, architecture)
    return tmp_path


def tables_of(architecture: str) -> KeyMap:
    return ARCHITECTURES[architecture].under(tiny_config(architecture)).keymap


def refused(architecture, src, error, *words, **options):
    for suffix in ("Model", "AdapterModel"):
        with refuses(error, *words, folder=src):
            class_named(architecture, suffix).from_pretrained(src, **options)


def test_missing_weights_are_told_with_what_there_is(architecture, src):
    (src / WEIGHTS).unlink()
    said = "has no weights: none of model.safetensors, model.safetensors.index.json, pytorch_model.bin"
    refused(architecture, src, FileNotFoundError, said, "it has config.json")


def test_a_directory_in_the_place_of_the_weights_is_none(architecture, src):
    (src / WEIGHTS).unlink()
    (src / WEIGHTS).mkdir()
    refused(architecture, src, FileNotFoundError, "has no weights")


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_is_not_whole_is_told(architecture, src, kind):
    (src / WEIGHTS).write_bytes(BROKEN[kind]((src / WEIGHTS).read_bytes()))
    refused(architecture, src, FileError, str(src / WEIGHTS), "is no whole safetensors file: ")


def test_every_missing_tensor_is_named(architecture, src):
    lost = [key for key in keys_of(src / WEIGHTS) if key.endswith(("bias", "embeddings.weight", "positions.weight"))]
    lost = [key for key in lost if "pooler" not in key]
    edit_tensors(src / WEIGHTS, lambda tensors: {key: tensors[key] for key in tensors if key not in lost})
    tables = tables_of(architecture)
    names = {tables.to_ours(key).ours for key in lost}
    assert len(names) > 10
    refused(
        architecture, src, CheckpointError, "the checkpoint does not fit:", *(f"{name} is not there" for name in names)
    )


def test_every_tensor_of_another_shape_is_named(architecture, src):
    wrong = [key for key in keys_of(src / WEIGHTS) if key.endswith("weight")]
    assert len(wrong) > 10
    edit_tensors(src / WEIGHTS, lambda tensors: {k: t[..., :-1] if k in wrong else t for k, t in tensors.items()})
    refused(architecture, src, CheckpointError, *(f"{key}: shape" for key in wrong), "but the model needs 32")


def test_problems_of_all_kinds_are_told_together(architecture, src):
    keys = [key for key in keys_of(src / WEIGHTS) if key.endswith("bias") and "pooler" not in key]
    tables = tables_of(architecture)
    whole = [key for key in keys if tables.to_ours(key).parts == 1]
    part = next(key for key in keys if tables.to_ours(key).parts > 1)

    def spoil(tensors):
        kept = {key: tensor for key, tensor in tensors.items() if key not in (whole[0], part)}
        return {**kept, whole[1]: tensors[whole[1]][:-1]}

    edit_tensors(src / WEIGHTS, spoil)
    lost, half = tables.to_ours(whole[0]).ours, tables.to_ours(part).ours
    said = [f"{lost} is not there", f"{whole[1]}: shape", f"only part of base.{half} is there: "]
    refused(architecture, src, CheckpointError, *said)


def test_a_wrong_size_in_the_config_is_told_by_every_tensor_that_it_concerns(architecture, src):
    edit_fields(src, vocab_size=61)
    width = ARCHITECTURES[architecture].network(tiny_config(architecture)).first.token_width
    refused(architecture, src, CheckpointError, f"shape 60×{width}, but the model needs 61×{width}")


def test_weights_of_something_else_are_told(architecture, src):
    edit_tensors(src / WEIGHTS, lambda tensors: {f"vision.{key}": tensor for key, tensor in tensors.items()})
    said = "it holds none of the network's tensors: it is of another architecture, or has other names"
    refused(architecture, src, CheckpointError, said)


def test_tensors_that_have_no_place_are_reported_and_do_no_harm(architecture, src):
    before = class_named(architecture, "Model").from_pretrained(src)
    extra = ["vision.weight", "classifier.weight", "zzz"]
    edit_tensors(src / WEIGHTS, lambda tensors: {**tensors, **{key: torch.ones(3) for key in extra}})
    for suffix in ("Model", "AdapterModel"):
        kind = class_named(architecture, suffix)
        model, report = kind.from_pretrained(src, output_loading_info=True)
        assert report.unexpected_keys == sorted(extra) and report.missing_keys == []
        assert all(t.equal(model.base.state_dict()[name]) for name, t in before.base.state_dict().items())


def test_a_checkpoint_of_no_tensors_is_told(architecture, src):
    edit_tensors(src / WEIGHTS, lambda tensors: {})
    refused(architecture, src, CheckpointError, "it holds none of the network's tensors")


# ---------------------------------------------------------------------------------------------- shards


def sharded(src):
    """Split a folder's weights into two files with an index, and return where each tensor is."""
    keys = keys_of(src / WEIGHTS)
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    where = {key: names[number % 2] for number, key in enumerate(keys)}
    for name in names:
        shutil.copyfile(src / WEIGHTS, src / name)
        edit_tensors(src / name, lambda tensors, name=name: {k: t for k, t in tensors.items() if where[k] == name})
    (src / WEIGHTS).unlink()
    write_index(src, where)
    return where


def write_index(src, where):
    (src / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))


def test_a_shard_that_is_not_there_is_told(architecture, src):
    sharded(src)
    class_named(architecture, "Model").from_pretrained(src)
    (src / "model-00002-of-00002.safetensors").unlink()
    said = "has no model-00002-of-00002.safetensors; it has config.json, model-00001-of-00002.safetensors"
    refused(architecture, src, FileNotFoundError, said)


def test_a_shard_that_is_not_whole_is_told(architecture, src):
    sharded(src)
    path = src / "model-00002-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    refused(architecture, src, FileError, str(path), "is no whole safetensors file")


def test_tensors_that_the_index_names_and_no_shard_holds_are_told(architecture, src):
    where = sharded(src)
    write_index(
        src, {**where, "ghost.b": "model-00001-of-00002.safetensors", "ghost.a": "model-00002-of-00002.safetensors"}
    )
    refused(architecture, src, FileError, "the index names tensors that their files do not hold: ghost.a, ghost.b")


@pytest.mark.parametrize("where", [None, {}, [], 5, "model.safetensors", {"a": 5}, {"a": ["x"]}])
def test_an_index_that_is_none_is_told(architecture, src, where):
    sharded(src)
    write_index(src, where)
    refused(architecture, src, FileError, INDEX, "has no weight_map that names each tensor's file")


@pytest.mark.parametrize(
    "path", ["../outside.safetensors", "/{tmp}/outside.safetensors", "sub/../../outside.safetensors", "..", "."]
)
def test_an_index_leads_to_no_other_directory(architecture, src, tmp_path_factory, path):
    where = sharded(src)
    outside = tmp_path_factory.mktemp("outside") / "outside.safetensors"
    shutil.copyfile(src / "model-00001-of-00002.safetensors", outside)
    shutil.copyfile(outside, src.parent / "outside.safetensors")
    path = path.format(tmp=outside.parent)
    write_index(src, {key: name.replace("model-00001-of-00002.safetensors", path) for key, name in where.items()})
    refused(architecture, src, FileError, f"names files outside of its own directory: {path}")
