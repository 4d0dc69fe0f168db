"""Writes adapterzoo/zoo.pyi, which lists the model classes that the registry makes: `python -m tools.stubs`."""

from __future__ import annotations

from pathlib import Path

from adapterzoo import zoo
from adapterzoo.archs import ModelConfig

PATH = Path(zoo.__file__).with_suffix(".pyi")

HEAD = '''"""The model classes that the registered architectures make. Written by `make stubs`; see zoo.py."""

from adapterzoo.adapter_model import AdapterModel
from adapterzoo.archs import Architecture, ModelConfig
from adapterzoo.models import Model
from adapterzoo.static import StaticModel

def classes_of(architecture: Architecture) -> dict[str, type]: ...

CLASSES: dict[str, type]

'''


def _base(kind: type) -> str:
    return "ModelConfig" if issubclass(kind, ModelConfig) else kind.__mro__[1].__name__


def stubs() -> str:
    """The file's text."""
    lines = [f"class {name}({_base(kind)}): ..." for name, kind in zoo.CLASSES.items()]
    names = ",\n    ".join(f'"{name}"' for name in zoo.CLASSES)
    return HEAD + "\n".join(lines) + f"\n\n__all__ = [\n    {names},\n]\n"


if __name__ == "__main__":
    PATH.write_text(stubs(), encoding="utf-8")
