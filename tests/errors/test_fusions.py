"""Fusions and setups that cannot be are refused with the reason, and nothing is changed."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapterzoo import BatchSplit, Fuse, Stack
from adapterzoo.fusion import FUSIONS, resolve_fusion_config
from tests.helpers.adapting import add_random
from tests.helpers.fusion_cases import add_pair
from tests.helpers.refusing import refuses
from tests.helpers.tiny import DISTINCT, tiny_model

WEIGHTS, CONFIG = "model_adapter_fusion.safetensors", "adapter_fusion_config.json"


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = tiny_model(DISTINCT[1]).eval()
    add_pair(made, "seq_bn")
    for name, config in {"p": "prefix_tuning", "t": "prompt_tuning", "i": "seq_bn_inv", "l": "lora"}.items():
        add_random(made, name, config)
    made.add_classification_head("head")
    return made


@pytest.mark.parametrize(
    ("names", "config", "words"),
    [
        (["a", "x"], None, ("no adapter named 'x'; there are",)),
        (["x", "y"], None, ("'x'", "'y'")),
        ("a,b", None, ("already an adapter fusion named 'a,b'", "overwrite_ok")),
        (["a", "l"], "dynmic", ("no adapter fusion config 'dynmic'; there are dynamic, static", "'dynamic'?")),
        (["a", "l"], {"key": True}, ("cannot be made",)),
        (["a", "l"], "static[dropout_prob=1.5, query='yes']", ("dropout_prob", "query", "True or False")),
        (["a", "l"], {"keys": 1, "key": True}, ("no field 'keys'",)),
        (["p", "p"], None, ("p", "attn.kv", "positions")),
        (["a", "p"], None, ("attn.kv", "no output at each token")),
        (["t"], None, ("input", "positions")),
        (["i", "a"], None, ("invertible", "no function inverts")),
        ([], None, ("empty",)),
    ],
)
def test_a_fusion_that_cannot_be_made(model, names, config, words):
    with refuses(ValueError, *words, model=model):
        model.add_adapter_fusion(names, config)
    assert list(model.fusions) == ["a,b"]


@pytest.mark.parametrize("wrong", [5, object(), ["a", 3], None])
def test_what_names_no_fusion(model, wrong):
    for call in (model.add_adapter_fusion, model.delete_adapter_fusion, model.adapter_fusion_to):
        with refuses((TypeError, ValueError), model=model):
            call(wrong)


@pytest.mark.parametrize("wrong", [5, ["static"], torch.nn.ReLU(), "seq_bn"])
def test_what_is_no_config(model, wrong):
    with refuses((TypeError, ValueError), "static", model=model):
        model.add_adapter_fusion(["a", "l"], wrong)
    with pytest.raises((TypeError, ValueError)):
        resolve_fusion_config(wrong)
    assert resolve_fusion_config() == FUSIONS["dynamic"]


@pytest.mark.parametrize(
    ("setup", "words"),
    [
        (Fuse("a", "l"), ("no adapter fusion named 'a,l'; there are a,b", "add_adapter_fusion")),
        (Stack("l", Fuse("b", "a")), ("no adapter fusion named 'b,a'",)),
        (Fuse("a", "l", name="a,b"), ("l acts at encoder.0.attn.q", "has no weights", "made for a, b")),
        (Fuse("a", "p", name="a,b"), ("p adds positions at encoder.0.attn.kv",)),
        (BatchSplit(Fuse("a", "x", name="a,b"), "a", batch_sizes=1), ("no adapter named 'x'",)),
        (Fuse(name="a,b"), ("Fuse needs at least one child",)),
    ],
)
def test_a_setup_that_cannot_be(model, setup, words):
    with refuses(ValueError, *words, model=model):
        model.set_active_adapters(setup)
    with refuses(ValueError, *words, model=model):
        model.train_adapter_fusion(setup)


def test_training_needs_a_fusion(model):
    for setup in ("a", Stack("a", "b"), None):
        with refuses(ValueError, "Fuse", model=model):
            model.train_adapter_fusion(setup)


@pytest.mark.parametrize("method", ["delete_adapter_fusion", "adapter_fusion_to", "save_adapter_fusion"])
def test_a_fusion_that_is_not_there(model, method, tmp_path):
    first = (tmp_path,) if method.startswith("save") else ()
    with refuses(KeyError, "no adapter fusion named 'l'; there are a,b", model=model, folder=tmp_path):
        getattr(model, method)(*first, "l")


def test_a_head_that_is_not_there(model, tmp_path):
    for head in (True, "haed"):
        with refuses(ValueError, "no head named", "head", model=model, folder=tmp_path):
            model.save_adapter_fusion(tmp_path, "a,b", with_head=head)
        with refuses(ValueError, model=model, folder=tmp_path):
            model.save_adapter_setup(tmp_path, "a", head_setup=head)


def spoil_tensors(change):
    def spoil(folder):
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS)

    return spoil


def spoil_config(**entries):
    def spoil(folder):
        content = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps({**content, **entries}))

    return spoil


KEY = "bert.encoder.layer.{}.output.adapter_fusion_layer.a,b.{}.weight"


def lose_layers(tensors):
    for name in [name for name in tensors if ".layer.1." in name]:
        del tensors[name]
    tensors["bert.encoder.layer.7.output.adapter_fusion_layer.a,b.query.weight"] = torch.zeros(2)
    tensors[KEY.format(0, "key")] = torch.zeros(3, 3)


SPOILT = {
    "several problems": (
        spoil_tensors(lose_layers),
        ("layer.1.output.adapter_fusion_layer.a,b.query.weight is not there", "layer.7", "no place", "(3, 3)"),
    ),
    "another model": (spoil_config(model_type="bart", hidden_size=3), ("model_type is 'bart'", "hidden_size is 3")),
    "no names": (spoil_config(adapter_names=[], config=[]), ("adapter_names", "no 'config'")),
    "a wrong config": (spoil_config(config={"key": 3, "kee": 2}), ("kee",)),
    "no JSON": (lambda folder: (folder / CONFIG).write_text("{"), ("JSON",)),
    "half a file": (lambda folder: (folder / WEIGHTS).write_bytes(b"12345"), ("safetensors",)),
}


@pytest.mark.parametrize("case", SPOILT, ids=str)
def test_files_that_do_not_fit(model, case, tmp_path):
    spoil, words = SPOILT[case]
    model.save_adapter_fusion(tmp_path / "fusion", "a,b")
    spoil(tmp_path / "fusion")
    with refuses(ValueError, *words, model=model, folder=tmp_path):
        model.load_adapter_fusion(tmp_path / "fusion", set_active=True)


def test_files_that_are_not_there(model, tmp_path):
    with refuses(FileNotFoundError, "adapter_fusion_config.json", model=model):
        model.load_adapter_fusion(tmp_path)
    model.save_adapter_fusion(tmp_path, "a,b")
    (tmp_path / WEIGHTS).unlink()
    with refuses(FileNotFoundError, WEIGHTS, "pytorch_model_adapter_fusion.bin", model=model):
        model.load_adapter_fusion(tmp_path)
    with refuses(FileNotFoundError, "adapter_setup.json", model=model):
        model.load_adapter_setup(tmp_path)


def test_a_fusion_cannot_be_activated_without_its_adapters(model, tmp_path):
    model.save_adapter_fusion(tmp_path, "a,b")
    model.delete_adapter("b")
    with refuses(ValueError, "no adapter named 'b'", model=model):
        model.load_adapter_fusion(tmp_path, load_as="twin", set_active=True)
    assert list(model.fusions) == ["a,b"]


def test_entries_that_a_file_has_already(model, tmp_path):
    with refuses(ValueError, "name", model=model, folder=tmp_path):
        model.save_adapter_fusion(tmp_path, "a,b", meta_dict={"name": "c"})
    for option in ({"use_safetensors": False}, {"custom_weights_loaders": [object()]}):
        with refuses(ValueError, model=model, folder=tmp_path):
            model.save_adapter_fusion(tmp_path, "a,b", **option)


def test_a_setup_of_which_parts_are_missing_or_wrong(model, tmp_path):
    setup = Stack("l", Fuse("a", "b"))
    model.save_adapter_setup(tmp_path, setup, head_setup="head")
    for path in sorted((tmp_path / "a").iterdir()):
        path.unlink()
    spoil_config(hidden_size=3)(tmp_path / "a,b")
    (tmp_path / "l" / "adapter_config.json").write_text("[]")
    words = ("adapter 'a'", "adapter 'l'", "JSON object", "adapter fusion 'a,b'", "hidden_size is 3")
    with refuses(ValueError, *words, model=model, folder=tmp_path):
        model.load_adapter_setup(tmp_path, set_active=True)
    content = {"adapter_setup": {"type": "Stack"}, "head_setup": 3}
    (tmp_path / "adapter_setup.json").write_text(json.dumps(content))
    with refuses(ValueError, "describes no composition", "head_setup is 3", model=model):
        model.load_adapter_setup(tmp_path)
