"""Every public name of adapters is here, with its arguments in their order, or docs/migrating.md says what to use."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

import adapterzoo
from tests.helpers.peer_adapters import adapters

GUIDE = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text(encoding="utf-8")
ROWS = GUIDE.split("### What is left out")[1].split("\n## ")[0].splitlines()
LEFT_OUT = {name for row in ROWS for name in re.findall(r"`(\w+)`", row.split("|")[1] if "|" in row else "")}
OTHER_WAYS = {"self", "kwargs", "args", "architecture"}
CLASSES = ("BertAdapterModel", "BartAdapterModel", "RobertaAdapterModel", "XLMRobertaAdapterModel", "MBartAdapterModel")


def names() -> list[str]:
    """The public names of the peer's package."""
    return sorted({name for module in adapters()._import_structure.values() for name in module})


def methods(kind: type) -> dict[str, Any]:
    """What the peer adds to transformers' classes: its methods and properties."""
    classes = (*kind.__mro__, transformers.BertForMaskedLM, transformers.BartForConditionalGeneration)
    plain = {name for base in classes if base.__module__.startswith("transformers.") for name in vars(base)}
    return {name: getattr(kind, name) for name in dir(kind) if name[0] != "_" and name not in plain}


def arguments(function: Callable[..., Any]) -> list[str]:
    """The names of a function's arguments, in order."""
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.name not in OTHER_WAYS and p.kind not in kinds]


def test_every_public_name_is_here_or_the_guide_says_what_to_use() -> None:
    missing = [name for name in names() if not hasattr(adapterzoo, name) and name not in LEFT_OUT]
    assert not missing


def test_the_guide_leaves_out_nothing_that_is_here() -> None:
    known = {*names(), *methods(adapters().BertAdapterModel)}
    ours = {*dir(adapterzoo), *dir(adapterzoo.BertAdapterModel)}
    assert not sorted(LEFT_OUT & known & ours)


@pytest.mark.parametrize("name", CLASSES)
def test_every_method_is_here_or_the_guide_says_what_to_use(name: str) -> None:
    ours = getattr(adapterzoo, name)
    missing = [method for method in methods(getattr(adapters(), name)) if not hasattr(ours, method)]
    assert not sorted(set(missing) - LEFT_OUT)


@pytest.mark.parametrize("name", CLASSES)
def test_methods_take_the_peers_arguments_in_their_order(name: str) -> None:
    ours, wrong = getattr(adapterzoo, name), {}
    for method, theirs in methods(getattr(adapters(), name)).items():
        if method in LEFT_OUT or not inspect.isfunction(theirs) or not hasattr(ours, method):
            continue
        wanted, found = arguments(theirs), arguments(getattr(ours, method))
        if found[: len(wanted)] != wanted:
            wrong[method] = (wanted, found)
    assert not wrong


@pytest.mark.parametrize("name", [name for name in names() if name.endswith("Config") and name not in LEFT_OUT])
def test_configs_take_the_peers_fields_with_their_defaults(name: str) -> None:
    theirs, ours = getattr(adapters(), name), getattr(adapterzoo, name)
    try:
        wanted = theirs()
    except TypeError:
        assert set(inspect.signature(theirs).parameters) - OTHER_WAYS <= set(inspect.signature(ours).parameters)
        return
    assert {**ours().to_dict(), **wanted.to_dict()} == ours().to_dict() or ours() == ours().from_dict(wanted.to_dict())
