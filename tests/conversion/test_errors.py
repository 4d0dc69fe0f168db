"""Wrong input: a message that names what is wrong on stderr, nothing on stdout, exit code 1; 2 for a wrong command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterzoo.archs import ARCHITECTURES
from tests.helpers.converting import Command, command, contents, edit_config, rewrite, saved
from tests.helpers.tiny import tiny_model

__all__ = ["command"]  # a fixture


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good checkpoint, to be copied and spoilt."""
    folder = tmp_path_factory.mktemp("good")
    saved(folder)
    return folder


@pytest.fixture
def src(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "src"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def without(*endings: str) -> Callable[[Path], Any]:
    return lambda src: rewrite(src, lambda tensors: {n: t for n, t in tensors.items() if not n.endswith(endings)})


def reshaped(ending: str) -> Callable[[Path], Any]:
    return lambda src: rewrite(
        src, lambda tensors: {n: t[..., :-1].clone() if n.endswith(ending) else t for n, t in tensors.items()}
    )


def indexed(weight_map: Any) -> Callable[[Path], Any]:
    def spoil(src: Path) -> None:
        (src / "model.safetensors").unlink()
        (src / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    return spoil


SPOILT: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "no directory": (shutil.rmtree, ["there is no directory", "src"]),
    "no config": (lambda src: (src / "config.json").unlink(), ["has none of config.json", "model.safetensors"]),
    "not JSON": (lambda src: (src / "config.json").write_text("{]"), ["config.json is not JSON"]),
    "no object": (lambda src: (src / "config.json").write_text("[]"), ["should hold a JSON object, not list"]),
    "no sizes": (lambda src: edit_config(src, drop=("vocab_size",)), ["lacks vocab_size"]),
    "odd sizes": (lambda src: edit_config(src, vocab_size="many"), ["vocab_size must be a whole number"]),
    "no architecture": (lambda src: edit_config(src, drop=("model_type",)), ["no model_type", "--model-type"]),
    "other architecture": (
        lambda src: edit_config(src, model_type="gpt5"),
        ["no architecture 'gpt5'", *ARCHITECTURES],
    ),
    "no weights": (lambda src: (src / "model.safetensors").unlink(), ["has no weights", "pytorch_model.bin"]),
    "truncated": (lambda src: cut(src / "model.safetensors"), ["no whole safetensors file"]),
    "empty": (lambda src: (src / "model.safetensors").write_bytes(b""), ["no whole safetensors file"]),
    "no index": (indexed({}), ["has no weight_map"]),
    "lost shard": (indexed({"a": "gone.safetensors"}), ["has no gone.safetensors"]),
    "no head": (
        without("classifier.weight", "out_proj.weight", "classifier.bias", "out_proj.bias"),
        ["is not there", "out_proj"],
    ),
    "wrong shape": (reshaped("fc1.weight"), ["fc1.weight: shape", "but the model needs"]),
    "part of one": (without("k_proj.weight"), ["only part of", "q_proj.weight", "v_proj.weight"]),
    "no names of adapters": (
        lambda src: edit_config(src, adapterzoo={"adapters": 3}),
        ["'adapterzoo' must hold lists of names"],
    ),
    "an adapter that is lost": (
        lambda src: edit_config(src, adapterzoo={"adapters": ["en"]}),
        ["no adapters/en, which its config.json names"],
    ),
    "nothing known": (
        lambda src: rewrite(src, lambda tensors: {f"x{n}": t for n, t in tensors.items()}),
        ["none of the network's tensors"],
    ),
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_checkpoint_that_is_wrong_is_named_and_nothing_is_written(
    spoil: str, src: Path, tmp_path: Path, command: Command
) -> None:
    change, words = SPOILT[spoil]
    change(src)
    before = contents(tmp_path)
    done = command("convert", src, tmp_path / "dst", "--allow-pickle")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ") and "Traceback" not in done.err
    assert [word for word in words if word not in done.err] == [], done.err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("spoil", SPOILT)
def test_inspect_says_the_same(spoil: str, src: Path, command: Command) -> None:
    change, words = SPOILT[spoil]
    change(src)
    done = command("inspect", src, "--allow-pickle")
    assert done.code == 1 and done.err.startswith("error: ") and "Traceback" not in done.err
    assert [word for word in words if word not in done.out + done.err] == [], done


@pytest.mark.parametrize("name", ["inspect", "convert"])
def test_pickle_is_read_only_when_the_caller_says_so(name: str, src: Path, tmp_path: Path, command: Command) -> None:
    rewrite(src, dict, pickled=True)
    target = [tmp_path / "dst"] if name == "convert" else []
    done = command(name, src, *target)
    assert (done.code, done.out) == (1, "") and "--allow-pickle" in done.err
    assert command(name, src, *target, "--allow-pickle").code == 0


def test_a_pickle_of_anything_but_tensors_is_refused(src: Path, tmp_path: Path, command: Command) -> None:
    rewrite(src, dict, pickled=True)
    torch.save({"a": Path("/")}, src / "pytorch_model.bin")
    done = command("convert", src, tmp_path / "dst", "--allow-pickle")
    assert (done.code, done.out) == (1, "") and "pytorch_model.bin" in done.err and "Path" in done.err


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != next(iter(ARCHITECTURES))])
def test_a_model_type_beside_another_is_refused(name: str, src: Path, command: Command) -> None:
    done = command("inspect", src, "--model-type", name)
    assert (done.code, done.out) == (1, "") and f"not of a '{name}' one" in done.err


def test_an_unknown_class_is_refused_and_those_that_there_are_listed(src: Path, command: Command) -> None:
    done = command("inspect", src, "--class", "BortModel")
    known = ARCHITECTURES[json.loads((src / "config.json").read_text())["model_type"]]
    assert done.code == 1 and all(known.name + static.suffix in done.err for static in known.statics)


@pytest.fixture(scope="module")
def good_adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    model = tiny_model(next(iter(ARCHITECTURES)))
    model.add_adapter("a", "lora")
    model.save_adapter(folder, "a")
    return folder


def adapter_config(**changes: Any) -> Callable[[Path], None]:
    def spoil(src: Path) -> None:
        path = src / "adapter_config.json"
        content = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return spoil


ADAPTERS: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "not JSON": (lambda src: (src / "adapter_config.json").write_text("{"), ["adapter_config.json is not JSON"]),
    "no config": (adapter_config(config=None), ["has no 'config'"]),
    "no model_type": (adapter_config(model_type=None), ["has no model_type"]),
    "other model": (adapter_config(model_type="gpt5"), ["no architecture 'gpt5'", *ARCHITECTURES]),
    "other method": (adapter_config(config={"architecture": "lara"}), ["no adapter method 'lara'", "lora"]),
    "other field": (adapter_config(config={"architecture": "lora", "rr": 3}), ["no field 'rr'"]),
    "of PEFT": (adapter_config(peft_type="LORA"), ["neither adapter_model.safetensors nor adapter_model.bin"]),
    "no weights": (lambda src: (src / "adapter.safetensors").unlink(), ["no adapter's tensors"]),
    "truncated": (lambda src: cut(src / "adapter.safetensors"), ["no whole safetensors file"]),
}


@pytest.mark.parametrize("spoil", ADAPTERS)
def test_an_adapter_that_is_wrong_is_named(spoil: str, good_adapter: Path, tmp_path: Path, command: Command) -> None:
    change, words = ADAPTERS[spoil]
    src = Path(shutil.copytree(good_adapter, tmp_path / "src"))
    change(src)
    done = command("inspect", src)
    assert (done.code, done.out) == (1, "") and done.err.startswith("error: ")
    assert [word for word in words if word not in done.err] == [], done.err


@pytest.mark.parametrize("to", ["hf", "adapterzoo"])
def test_an_adapter_becomes_no_model(to: str, good_adapter: Path, tmp_path: Path, command: Command) -> None:
    done = command("convert", good_adapter, tmp_path / "dst", "--to", to)
    assert (done.code, done.out) == (1, "") and "can become is adapterhub or peft" in done.err
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["inspect"],
        ["convert", "src"],
        ["transmogrify", "src"],
        ["convert", "src", "dst", "--dtype", "int8"],
        ["inspect", "src", "--model-type", "gpt5"],
        ["inspect", "src", "--force"],
        ["convert", "src", "dst", "--shard-size", "many"],
        ["diff", "src"],
        ["merge", "src", "dst"],
        ["verify", "src"],
    ],
)
def test_a_command_that_cannot_be_understood_exits_with_2(words: list[str], command: Command) -> None:
    done = command(*words)
    assert (done.code, done.out) == (2, "") and done.err.startswith("Usage: ")


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["inspect", "-h"], ["convert", "-h"]])
def test_help_is_no_error(words: list[str], command: Command) -> None:
    done = command(*words)
    assert (done.code, done.err) == (0, "") and done.out
