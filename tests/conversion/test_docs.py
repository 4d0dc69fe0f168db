"""docs/conversion.md is true: its commands run, and print what it says that they print."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch

import adapterzoo
from tests.helpers import fairseq_files
from tests.helpers.converting import Command, command, edit_config, first, rewrite
from tests.helpers.hf_models import peer
from tests.helpers.real import ROOT
from tests.helpers.tiny import class_named
from weights_conversion.cli import commands

__all__ = ["command"]  # a fixture
PAGE = (ROOT / "docs" / "conversion.md").read_text(encoding="utf-8")
SESSION = [line for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
PROGRAM = "$ python -m weights_conversion "
LABELS = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}, "num_labels": 2}


def steps() -> list[tuple[str, str]]:
    """The commands, and what the page says that each prints."""
    found: list[tuple[str, list[str]]] = []
    for line in SESSION:
        if line.startswith("$ "):
            assert line.startswith(PROGRAM), line
            found.append((line.removeprefix(PROGRAM), []))
        else:
            found[-1][1].append(line)
    return [(words, "".join(f"{line}\n" for line in lines)) for words, lines in found]


def pattern(text: str) -> str:
    """A regular expression for a text in which "[...]" is anything."""
    return ".*?".join(map(re.escape, re.split(r"(?:(?<=\n)\[\.\.\.\]\n| *\[\.\.\.\])", text)))


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directories that the page speaks of, and we are in the midst of them."""
    monkeypatch.chdir(tmp_path)
    pretraining = first("pretraining")
    task = next(static for static in pretraining.architecture.statics if static.head_type == "classification")
    model = peer(pretraining._replace(static=task), **LABELS)
    model.save_pretrained("my-bert", safe_serialization=False)
    Path("my-bert", "vocab.txt").write_text("[PAD]\n")
    config = adapterzoo.AutoConfig.from_pretrained("my-bert")
    flexible = class_named(config.model_type, "AdapterModel")(config)
    flexible.add_adapter("sentiment", "lora")
    flexible.add_classification_head("sentiment", id2label=LABELS["id2label"])
    flexible.save_adapter("my-adapter", "sentiment")
    for name in ("old-bert", "published-bert"):
        peer(pretraining).save_pretrained(name)
    narrower = next(one for one in pretraining.architecture.statics if one.head_type == "masked_lm")
    edit_config(Path("published-bert"), architectures=[pretraining.architecture.name + narrower.suffix])
    rewrite(Path("old-bert"), dict)
    edit_config(Path("old-bert"), drop=("model_type", "architectures"))
    fairseq_files.save(tmp_path / "my-fairseq-roberta", fairseq_files.tiny_roberta(False, False, heads=("sst", "mnli")))
    shutil.copytree(ROOT / "tests" / "conversion" / "fixtures" / "bert_ckpt", "my-google-bert")
    return tmp_path


def test_every_command_prints_what_the_page_says(folders: Path, command: Command) -> None:
    assert len(steps()) == 14
    for words, printed in steps():
        done = command(*shlex.split(words))
        assert re.fullmatch(pattern(printed), done.out + done.err, re.DOTALL), f"{words}\n{done.out}{done.err}"
        assert done.code == ("error: " in printed), words
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        names: dict[str, object] = {}
        exec(code, names)
        if "content" in names:
            assert adapterzoo.formats.read("copy").tensors.keys() == names["content"].tensors.keys()  # type: ignore[attr-defined]
            continue
        assert names["flexible"].active_head == "default"  # type: ignore[attr-defined]
        assert torch.equal(names["fixed"].head[-1].weight, names["flexible"].heads["default"][-1].weight)  # type: ignore[attr-defined]


def test_every_option_is_told_and_every_option_that_is_told_is_there(command: Command) -> None:
    told = set(re.findall(r"`(--?[a-z][a-z-]*)", PAGE))
    there = set(
        re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", "".join(command(name, "-h").out for name in commands.commands))
    )
    assert told - there == set()
    assert there - told == {"-h", "--help", "--quiet", "-m"}
