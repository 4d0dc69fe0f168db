"""All model classes, made from the registered architectures: `BertModel`, `BertAdapterModel`, `BertForMaskedLM`, …

`zoo.pyi` beside this lists them for readers and type checkers; `make stubs` writes it, and a test holds it to this.
"""

from __future__ import annotations

from typing import Any

from adapterzoo.adapter_model import AdapterModel
from adapterzoo.archs import ARCHITECTURES, Architecture
from adapterzoo.models import Model
from adapterzoo.static import StaticModel


def classes_of(architecture: Architecture) -> dict[str, type]:
    """An architecture's classes by name: its config, base, flexible and fixed ones."""
    name, about = architecture.name, f"model of the {architecture.name} architecture"
    classes: dict[str, type] = {architecture.config.__name__: architecture.config}

    def add(suffix: str, base: type[Model], doc: str, **members: Any) -> None:
        members |= {"architecture": architecture, "family": classes, "__module__": __name__, "__doc__": doc}
        classes[name + suffix] = type(name + suffix, (base,), members)

    add("AdapterModel", AdapterModel, f"The {about}, with flexible heads.")
    for static in architecture.classes:
        if static is None:
            add(architecture.base, Model, f"The bare {about}.")
        else:
            add(static.suffix, StaticModel, f"The {about}, with HF's head {static.suffix}.", static=static)
    return classes


CLASSES: dict[str, type] = {
    name: kind for architecture in ARCHITECTURES.values() for name, kind in classes_of(architecture).items()
}
"""All of them by name."""

globals().update(CLASSES)
__all__ = list(CLASSES)
