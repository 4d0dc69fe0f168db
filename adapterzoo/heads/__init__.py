"""Floor 3: prediction heads, one file a kind. A file here registers its heads; nothing else needs to name them."""

from __future__ import annotations

import importlib
import pkgutil

from adapterzoo.heads.base import HEADS, PredictionHead
from adapterzoo.heads.features import Features

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["HEADS", "Features", "PredictionHead"]
