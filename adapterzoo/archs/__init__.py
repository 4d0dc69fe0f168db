"""Floor 4: architectures, one table each. A file here registers itself; nothing else needs to name it."""

from __future__ import annotations

import importlib
import pkgutil

from adapterzoo.archs.base import ARCHITECTURES, Architecture, StaticHead
from adapterzoo.archs.config import ModelConfig

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["ARCHITECTURES", "Architecture", "ModelConfig", "StaticHead"]
