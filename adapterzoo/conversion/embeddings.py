"""What the directory of a named embedding holds."""

from __future__ import annotations

import os
from typing import Any

from adapterzoo import embedding_files
from adapterzoo.conversion.facts import tensor_row, weights
from adapterzoo.core.misfit import misfit
from adapterzoo.core.registry import NamedModules
from adapterzoo.store import Source, find, read_tensors, require


def embedding_facts(source: Source, name: str | None = None, width: int | None = None) -> dict[str, Any]:
    """What the directory of an embedding holds that was saved here.

    Args:
        source: the directory or repository.
        name: what it is called, which the files do not say.
        width: of the model that it is for, as far as that is known.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be read.
    """
    stored = read_tensors(require(source, embedding_files.WEIGHTS))
    name = os.path.basename(os.path.abspath(source)) if name is None else name
    stem = f"embeddings.{NamedModules.slug(name)}"
    ours = {key: f"{stem}.{'token.weight' if key == 'weight' else key}" for key in stored}
    unexpected = sorted(key for key in stored if key != "weight" and not key.startswith("heads."))
    weight = stored.get("weight")
    shape = () if weight is None else tuple(weight.shape)
    rows, wide = shape if len(shape) == 2 else (None, None)
    problems = [f"{key} has no place" for key in unexpected]
    if weight is None:
        problems.append("weight is not there")
    elif wrong := misfit(weight, (rows or 0, (wide or 0) if width is None else width)):
        problems.append(f"weight {wrong}")
    return {
        "kind": "embedding",
        "format": "adapterzoo",
        "source": os.fspath(source),
        "name": name,
        "sizes": {"vocabulary": rows, "width": wide},
        "tokenizer": [one for one in embedding_files.TOKENIZER_FILES if find(source, one) is not None],
        **weights(stored, (key for key in stored if key not in unexpected)),
        "tensors": [tensor_row(stored, key, ours[key]) for key in stored if key not in unexpected],
        "unused": [],
        "unexpected": unexpected,
        "missing": [] if weight is not None else ["weight"],
        "problems": sorted(problems),
    }
