"""Floor 3: adapter methods, one file each. A file here registers itself; nothing else needs to name it."""

from __future__ import annotations

import importlib
import pkgutil

from adapterzoo.methods.base import METHODS, PRESETS, AdapterConfig

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["METHODS", "PRESETS", "AdapterConfig"]
