"""The tree keeps the house rules, and the checker of these rules can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.real import ROOT
from tools.floors import MAX_LINES, breaches

GOOD = {
    "adapterzoo/__init__.py": "from adapterzoo.models import Model",
    "adapterzoo/version.py": "__version__ = '1'\n",
    "adapterzoo/core/__init__.py": "",
    "adapterzoo/core/sites.py": "import json\nimport torch\nfrom ..version import __version__\n",
    "adapterzoo/core/config.py": "from . import sites\n",
    "adapterzoo/methods/__init__.py": (
        "import importlib, pkgutil\n"
        "for found in pkgutil.iter_modules(__path__): importlib.import_module(f'{__name__}.{found.name}')\n"
    ),
    "adapterzoo/methods/base.py": "from adapterzoo.core.sites import Site\n",
    "adapterzoo/methods/lora.py": "from adapterzoo.core import config\nfrom adapterzoo.methods.base import B",
    "adapterzoo/archs/bert.py": "def f(c): return c.model_type == 'bert'\n",
    "adapterzoo/formats/hub.py": "import safetensors.torch\ndef f(c): return 'model_type' in c",
    "adapterzoo/models.py": "from adapterzoo.formats.hub import f\nfrom adapterzoo.archs.bert import f as g",
    "adapterzoo/models.pyi": "x: int\n" * 2 * MAX_LINES,
    "weights_conversion/__init__.py": "",
    "weights_conversion/peers/peft.py": "import click, peft, torch, transformers",
    "weights_conversion/__main__.py": "import json\nfrom adapterzoo import models\nimport weights_conversion",
}

BAD = [  # what the checker says, the file, what is written there
    ("floor 1 imports adapterzoo.nn.layer of floor 2", "core/sites.py", "from adapterzoo.nn.layer import x"),
    ("floor 2 imports adapterzoo.plan of floor 3", "nn/layer.py", "import adapterzoo.plan"),
    ("floor 2 imports adapterzoo.plan of floor 3", "nn/layer.py", "from ..plan import x"),
    ("floor 5 imports adapterzoo of floor 6", "store.py", "from adapterzoo import x"),
    ("adapterzoo.brandnew of floor 6", "store.py", "from adapterzoo.brandnew import x"),
    ("floor 1 imports adapterzoo.heads.x", "core/deep/er.py", "from adapterzoo.heads.x import y"),
    ("imports weights_conversion, which adapterzoo", "models.py", "import weights_conversion"),
    ("import cycle: ", "core/sites.py", "from adapterzoo.core.config import y"),
    ("import cycle: ", "methods/base.py", "from adapterzoo.methods import METHODS"),
    ("import cycle: adapterzoo.plan -> adapterzoo.plan", "plan.py", "import adapterzoo.plan"),
    ("models.py:3: imports inside a function", "models.py", "def f():\n    import json"),
    ("inside a function", "models.py", "class A:\n    async def f(self):\n        from json import loads"),
    ("inside a function", "models.py", "import importlib\ndef f(): importlib.import_module('x')"),
    ("imports by a call outside an __init__", "models.py", "__import__('x')"),
    ("imports transformers, which adapterzoo may not", "models.py", "from transformers.utils import x"),
    ("imports peft, which", "models.py", "try:\n    import peft\nexcept ImportError:\n    pass"),
    ("imports numpy, which adapterzoo may not", "models.py", "import numpy as np"),
    ("which weights_conversion may not", "../weights_conversion/x.py", "import requests"),
    ("which weights_conversion may not", "../weights_conversion/x.py", "import transformers"),
    ("which weights_conversion may not", "../weights_conversion/peers/adapters.py", "import peft"),
    ("models.py:2: uses TYPE_CHECKING", "models.py", "from typing import TYPE_CHECKING"),
    ("uses TYPE_CHECKING", "models.py", "import typing\nif typing.TYPE_CHECKING: pass"),
    ("the most", "models.py", "x = 1\n" * MAX_LINES),
    ("leftover: NotImplementedError", "models.py", "def f(): raise NotImplementedError('x')"),
    ("models.py:2: leftover: TODO", "models.py", "x = 1  # TODO later"),
    ("branches on model_type", "models.py", "if c.model_type == 'bert': pass"),
    ("branches on model_type", "models.py", "if c['model_type'] != 'bert': pass"),
    ("branches on model_type", "models.py", "if 'bert' == c.get('model_type'): pass"),
    ("branches on model_type", "models.py", "if 'bert' in c.model_type: pass"),
    ("branches on model_type", "models.py", "if c.model_type.startswith('b'): pass"),
    ("branches on model_type", "models.py", "match c.model_type:\n    case 'bert': pass"),
]  # fmt: skip


def write(root: Path, files: dict[str, str]) -> None:
    for name, body in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'"""What {path.stem} is."""\n{body}', encoding="utf-8")


def test_the_tree_keeps_the_rules():
    assert breaches(ROOT) == []


def test_a_good_tree_passes(tmp_path):
    write(tmp_path, GOOD)
    assert breaches(tmp_path) == []


@pytest.mark.parametrize(("expected", "name", "body"), BAD)
def test_a_breach_is_found_and_named(tmp_path, expected, name, body):
    write(tmp_path, GOOD | {f"adapterzoo/{name}": body})
    found = breaches(tmp_path)
    assert len(found) == 1, found
    assert expected in found[0]


def test_every_file_has_a_docstring(tmp_path):
    write(tmp_path, GOOD)
    (tmp_path / "adapterzoo/core/__init__.py").write_text("", encoding="utf-8")
    assert breaches(tmp_path) == ["adapterzoo/core/__init__.py:1: has no docstring"]


def test_an_empty_tree_is_not_a_good_tree(tmp_path):
    assert breaches(tmp_path) == ["adapterzoo: no modules found", "weights_conversion: no modules found"]


@pytest.mark.parametrize(
    "line",
    [
        "known = c['model_type']",
        "if 'model_type' in c: pass",
        "x = c.model_type in KNOWN",
        "key != 'model_type'",
    ],
)
def test_a_model_type_may_be_looked_up(tmp_path, line):
    write(tmp_path, GOOD | {"adapterzoo/auto.py": line})
    assert breaches(tmp_path) == []
