"""Readers of the converter: directories as they lie there, conversions, comparisons, the Hub's lists."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.hf_api import ModelInfo

from adapterzoo import formats
from adapterzoo.conversion.adapter_files import convert_adapter
from adapterzoo.conversion.checkpoint import open_checkpoint
from adapterzoo.conversion.convert import as_it_is
from adapterzoo.conversion.differences import differences, flat
from adapterzoo.conversion.output import write
from adapterzoo.formats import Content
from adapterzoo.hub import listing
from adapterzoo.store import read_json
from tests.helpers.fuzz.foreign_readers import told
from tests.helpers.fuzz.peft_readers import PASSED, PEFT_READERS
from tests.helpers.fuzz.readers import READERS, Reader, host, make_model, make_setup, make_sharded, make_task
from tests.helpers.fuzz.verdicts import unfaithful


class Seen(dict[str, Any]):
    """All that a directory holds, as plain data.

    Args:
        content: the same, to be written.
    """

    def __init__(self, content: Content) -> None:
        self.content = content
        parts = {name: Seen(part) for name, part in content.parts.items()}
        super().__init__(kind=content.kind, format=content.format, config=content.config)
        self.update(tensors=told(content.tensors), parts=parts)


def _read(make: Callable[[Path], object]) -> Reader:
    """`formats.read` and `formats.write`."""
    return Reader(
        make,
        lambda: None,
        lambda _, folder: Seen(formats.read(folder)),
        lambda _, seen, folder: formats.write(seen.content, folder),
        of_host=False,
    )


def _written(write: Callable[[Path, Path], object], make: Callable[[Path], object]) -> Reader:
    """What is written of a directory, which must not have other values than were read."""

    def load(_: Any, folder: Path) -> Any:
        with tempfile.TemporaryDirectory() as place:
            target = Path(place, "target")
            write(folder, target)
            wrong = next(unfaithful(folder, target, lambda name: True, PASSED), None)
            assert wrong is None, wrong
            return json.loads(json.dumps(Seen(formats.read(target))))

    return Reader(make, lambda: None, load, None, of_host=False)


def _model(source: Path, target: Path) -> None:
    checkpoint = open_checkpoint(source)
    checkpoint.check()
    target.mkdir()
    write(as_it_is(checkpoint), target, None, lambda name: None)


def _adapter(to: str, model_type: str | None = None, name: str | None = None) -> Callable[[Path, Path], object]:
    return lambda source, target: convert_adapter(source, target, to, name, model_type=model_type)


def make_two(folder: Path) -> None:
    """Two checkpoints of the same class."""
    for name in ("one", "other"):
        make_task(folder / name)


def compare(_: Any, folder: Path) -> Any:
    """What differs between the two."""
    lines = differences(*(flat(formats.read(folder / name)) for name in ("one", "other")))
    return [line._asdict() for line in lines]


# ---------------------------------------------------------------------------------------------- the Hub


def make_list(folder: Path) -> None:
    """What the Hub answers when it is asked for models, for one of them, and for a file of it."""
    card = {"base_model": "org/bert", "tags": ["adapterzoo"]}
    config = {"adapter_transformers": {"model_name": "org/bert"}}
    one = {"id": "org/a", "sha": "0" * 40, "tags": ["adapter-transformers", "adapterhub:nli/rte"], "cardData": card}
    other = {"id": "org/b", "sha": None, "tags": [], "config": config, "siblings": [{"rfilename": "x.json"}]}
    (folder / "models.json").write_text(json.dumps({"models": [one, other]}))
    (folder / "adapter_config.json").write_text(json.dumps({"config": {"r": 8}, "model_name": "org/bert"}))


class Answers:
    """Stands for `huggingface_hub.HfApi`: its answers lie in a folder.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.models: list[ModelInfo] = []
        if not (folder / "models.json").is_file():
            return
        with contextlib.suppress(
            TypeError, KeyError, AttributeError
        ):  # what is no list of models is not passed on to us
            self.models = [ModelInfo(**one) for one in read_json(folder / "models.json")["models"]]

    def list_models(self, **_: Any) -> list[ModelInfo]:
        """All of them."""
        return self.models

    def model_info(self, adapter_id: str, **_: Any) -> ModelInfo:
        """The first."""
        return (self.models or [ModelInfo(id=adapter_id)])[0]


def ask(_: Any, folder: Path) -> Any:
    """What is made of the answers."""
    there = folder / "adapter_config.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub, "HfApi", lambda token=None: Answers(folder))
        patch.setattr(listing, "find", lambda *asked: there if there.is_file() else None)
        found = [*listing.list_adapters(), *listing.list_adapters("org/bert"), listing.get_adapter_info("org/a")]
    return [None if one is None else vars(one) for one in found]


def _lora(folder: Path) -> None:
    """A LoRA without a head."""
    model = host()
    model.save_adapter(folder, "own", with_head=False)


def _of(name: str) -> Callable[[Path], object]:
    return {**READERS, **PEFT_READERS}[name].make


ADAPTERS = ("adapter, LoRA and head", "adapter, bottleneck", "adapter, Compacter", "adapter, union")

CONVERSIONS = {
    "read: model": _read(make_model),
    "read: setup": _read(make_setup),
    "convert: model": _written(_model, make_task),
    "convert: model, sharded": _written(_model, make_sharded),
    **{f"convert: {name}": _written(_adapter("adapterhub"), _of(name)) for name in ADAPTERS},
    "convert: to PEFT": _written(_adapter("peft"), _lora),
    "convert: PEFT, LoRA": _written(_adapter("peft", "bert"), _of("PEFT, LoRA")),
    "convert: from PEFT": _written(_adapter("adapterhub", "bert", "named"), _of("PEFT, LoRA by patterns")),
    "diff": Reader(make_two, lambda: None, compare, None, of_host=False),
    "the Hub's lists": Reader(make_list, lambda: None, ask, None, of_host=False),
}
