"""What the directory of a setup holds: a composition, and its adapters, fusions and heads in folders of their own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from adapterzoo import peft_files
from adapterzoo.conversion import written_by
from adapterzoo.conversion.adapters import adapter_facts
from adapterzoo.conversion.facts import every
from adapterzoo.conversion.fusions import fusion_facts
from adapterzoo.conversion.heads import head_facts
from adapterzoo.conversion.peft_facts import peft_facts
from adapterzoo.core.compose import fusions_in, names_in
from adapterzoo.formats import adapterhub, adapterhub_fusion, peft
from adapterzoo.fusing import folder_of, heads_in
from adapterzoo.store import Source, find, read_json, require

ADAPTER = (adapterhub.CONFIG, *adapterhub.WEIGHTS, *peft.WEIGHTS, adapterhub.HEAD_CONFIG, *adapterhub.HEAD_WEIGHTS)
FUSION = (adapterhub_fusion.CONFIG, *adapterhub_fusion.WEIGHTS)
HEAD = (adapterhub.HEAD_CONFIG, *adapterhub.HEAD_WEIGHTS)
"""The files of a member."""


def setup_facts(source: Source, allow_pickle: bool = False, model_type: str | None = None) -> dict[str, Any]:
    """What a setup's directory holds. A member that is not there, or cannot be read, is among its problems.

    Args:
        source: the directory or repository.
        allow_pickle: whether PyTorch's own files may be read, too (tensors only).
        model_type: the architecture, for members in PEFT's format, which do not say it.

    Raises:
        FileNotFoundError: there is no setup.
        ValueError: its file describes none.
    """
    content = read_json(require(source, adapterhub_fusion.SETUP))
    block, heads = adapterhub_fusion.read_setup_json(content)
    tried = _Tried(source)
    adapters = tried.all("adapter", names_in(block), ADAPTER, lambda one: any_adapter(one, allow_pickle, model_type))
    fusions = tried.all("fusion", fusions_in(block), FUSION, lambda one: fusion_facts(one, allow_pickle))
    beside = {one["source"] for one in adapters if one["head"]}
    apart = [name for name in heads_in(heads) if os.path.join(source, folder_of(name)) not in beside]
    own = tried.all("head", apart, HEAD, lambda one: head_facts(one, allow_pickle))
    if heads is True:  # that of a class with a fixed head, which lies beside
        own += tried.one("head", "default", lambda: head_facts(source, allow_pickle))
    parts = [part for one in (*adapters, *fusions, *own) for part in every(one)]
    return {
        "kind": "setup",
        "format": "adapterhub",
        "source": os.fspath(source),
        "architecture": " or ".join(dict.fromkeys(str(one["architecture"]) for one in parts if one["architecture"])),
        "setup": block.to_dict(),
        "composition": str(block),
        "head_setup": content.get("head_setup"),
        "version": content.get("version"),
        "library": written_by.of_adapterhub(content),
        "parameters": sum(one["parameters"] for one in parts),
        "dtypes": dict(sum((Counter(one["dtypes"]) for one in parts), Counter())),
        "tensors": [],
        "problems": tried.problems,
        "adapters": adapters,
        "fusions": fusions,
        "heads": own,
    }


def any_adapter(source: Source, allow_pickle: bool = False, model_type: str | None = None) -> dict[str, Any]:
    """What an adapter's directory holds, in AdapterHub's format or in PEFT's; see `adapter_facts`."""
    if peft_files.is_peft(read_json(require(source, adapterhub.CONFIG))):
        return peft_facts(source, allow_pickle, model_type)
    return adapter_facts(source, allow_pickle)


class _Tried:
    """Looks at a setup's members, and keeps what is wrong with each.

    Args:
        source: where they lie.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.problems = source, list[str]()

    def one(self, what: str, name: str, look: Callable[[], dict[str, Any]]) -> list[dict[str, Any]]:
        """What `look` tells of a member; nothing if that fails."""
        try:
            return [look()]
        except (ValueError, OSError) as error:
            self.problems.append(f"{what} {name!r}: {error}")
            return []

    def all(
        self, what: str, names: Iterable[str], files: Sequence[str], look: Callable[[Path], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """What `look` tells of the members of some names, each in its folder."""

        def found(name: str) -> dict[str, Any]:
            return look(self._folder(name, files))

        return [told for name in dict.fromkeys(names) for told in self.one(what, name, partial(found, name))]

    def _folder(self, name: str, files: Sequence[str]) -> Path:
        """Where a member lies; on the Hub, its files are fetched first."""
        folder = folder_of(name)
        paths = [path for file in files if (path := find(self.source, f"{folder}/{file}")) is not None]
        if not paths:
            raise FileNotFoundError(f"there is no {folder}/{files[0]}")
        return paths[0].parent
