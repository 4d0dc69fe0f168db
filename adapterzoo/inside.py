"""A model takes up the adapters, fusions and heads that AdapterHub's library saved inside its files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor

from adapterzoo import adapting, fusing, head_files
from adapterzoo.adapter import Adapter
from adapterzoo.formats import Content, adapterhub_model
from adapterzoo.formats.adapterhub_model import Inside
from adapterzoo.fusion import Fusion
from adapterzoo.heads.base import PredictionHead
from adapterzoo.host import Host

logger = logging.getLogger("adapterzoo")
T = TypeVar("T")


def taken_apart(config: Any, tensors: Mapping[str, Tensor]) -> Inside | None:
    """What is inside a model's files; None where there is nothing.

    Args:
        config: the model's config, as `config.json` holds it.
        tensors: the model's tensors; only names are looked at.

    Raises:
        FileError: `config.json` does not tell it as it should.
    """
    told = config.to_dict()
    if not adapterhub_model.is_inside(told):
        return None
    found = adapterhub_model.split(told, tensors)
    if any(content.tensors for _, _, content in adapterhub_model.each(found)):
        return found
    names = ", ".join(f"{kind}/{name}" for kind, name, _ in adapterhub_model.each(found))
    logger.warning("config.json tells of %s, of which there is no tensor; the model is loaded without", names)
    return None


def restore(model: Any, inside: Inside) -> None:
    """Give a model what is inside its files. The last head is active, as in AdapterHub's library, and no adapter.

    A class with a fixed head takes no others.

    Raises:
        ValueError: something does not fit; every problem is named, and the model is as it was.
    """
    reader = _Reader(model)
    adapters = reader.all(inside.parts["adapters"], reader.adapter)
    there = {**dict(model.adapters.items()), **adapters}
    fusions = reader.all(inside.parts["fusions"], lambda name, content: reader.fusion(content, there))
    flexible = hasattr(model, "active_head")  # asked for, and not the class: it stands on a module above this one
    heads = reader.all(inside.parts["heads"] if flexible else {}, reader.head)
    if reader.problems:
        raise ValueError("what is inside the model does not fit:\n  " + "\n  ".join(reader.problems))
    for name, head in heads.items():
        model.add_prediction_head(head, overwrite_ok=True, set_active=name == list(heads)[-1])
    for name, adapter in adapters.items():
        model.adapters.put(name, adapter.requires_grad_(True))
    for name, fusion in fusions.items():
        model.adapters.put_fusion(name, fusion)


class _Reader:
    """Reads parts for a model, and keeps what is wrong with each."""

    def __init__(self, model: Host) -> None:
        self.model, self.problems = model, list[str]()

    def all(self, parts: Mapping[str, Content], read: Callable[[str, Content], T]) -> dict[str, T]:
        """Those that can be read, by name."""
        found = {}
        for name, content in parts.items():
            try:
                found[name] = read(name, content)
            except ValueError as error:
                self.problems.append(str(error))
        return found

    def adapter(self, name: str, content: Content) -> Adapter:
        """An adapter."""
        return adapting.made_of(self.model, content.config, content.tensors)

    def fusion(self, content: Content, adapters: Mapping[str, Adapter]) -> Fusion:
        """A fusion of these adapters."""
        return fusing.made_of(self.model, content.config, content.tensors, adapters)

    def head(self, name: str, content: Content) -> PredictionHead:
        """A head."""
        file = head_files.head_file(content.config, content.tensors)
        return head_files.flexible_head(self.model, file, name)
