"""The card of an adapter's repository: a README.md whose head the Hub reads, with how to load what is there."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import huggingface_hub
import huggingface_hub.constants

from adapterzoo.core.fields import fits
from adapterzoo.core.registry import unknown

NAME = "README.md"

LIBRARY = "adapters"
TAGS = ("adapter-transformers", "adapterzoo")
"""The Hub shows what has the first of them as an adapter, with AdapterHub's way to load it."""

TEXTS = {"architecture_training": "Architecture and training", "results": "Results", "citation": "Citation"}
ENTRIES = {
    "tags": list[str] | str,
    "language": list[str] | str,
    "license": str,
    "metrics": list[str] | str,
    **dict.fromkeys(TEXTS, str),
}
"""What the caller may say in a card, and of what type it is."""

MOST_LABELS = 20

_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)  # of a repository on the Hub


class Part(NamedTuple):
    """One thing in the repository: an adapter, a fusion or a head.

    Attributes:
        what: "adapter", "fusion" or "head".
        name: its name.
        kind: its method, or a head's type.
        parameters: how many it has.
        labels: the names of a head's labels.
    """

    what: str
    name: str
    kind: str
    parameters: int
    labels: Sequence[str] = ()


class About(NamedTuple):
    """What a card is about.

    Attributes:
        title: "Adapter `mrpc`", say.
        model_type: the architecture.
        model_name: what the model was loaded from; empty if that is not known.
        size: the network's size in words.
        parts: what is in the repository.
        load: the method that loads it.
    """

    title: str
    model_type: str
    model_name: str
    size: str
    parts: Sequence[Part]
    load: str = "load_adapter"

    @property
    def base_model(self) -> str | None:
        """The model's repository on the Hub; None if it was not loaded from there."""
        is_id = _ID.fullmatch(self.model_name) and not os.path.exists(self.model_name)
        return self.model_name if is_id else None


def check_entries(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the caller says for a card, without what is None.

    Raises:
        TypeError: there is no such entry, or it is of another type.
    """
    entries = {key: value for key, value in (given or {}).items() if value is not None}
    for key, value in entries.items():
        if key not in ENTRIES:
            raise TypeError(unknown("entry of adapter_card_kwargs named", key, ENTRIES))
        if not fits(value, ENTRIES[key]):
            kind = "a string" if ENTRIES[key] is str else "a string or a list of strings"
            raise TypeError(f"adapter_card_kwargs[{key!r}] must be {kind}, not {value!r}")
    return entries


def card(repository: str, about: About, datasets_tag: str | None, entries: Mapping[str, Any]) -> str:
    """A card's text.

    Args:
        repository: the repository's id, from which to load.
        about: what it is about.
        datasets_tag: the dataset's id on the Hub, if there is one.
        entries: more, as `check_entries` gives it.
    """
    texts = [f"## {title}\n\n{entries[key].strip()}" for key, title in TEXTS.items() if key in entries]
    body = [_head(about, datasets_tag), _table(about.parts), _usage(repository, about), *texts]
    return f"---\n{_metadata(about, datasets_tag, entries)}\n---\n\n" + "\n\n".join(body) + "\n"


def _metadata(about: About, datasets_tag: str | None, entries: Mapping[str, Any]) -> str:
    base = about.base_model
    relation: dict[str, Any] = {} if base is None else {"base_model_relation": "adapter"}
    data = huggingface_hub.ModelCardData(
        library_name=LIBRARY,
        tags=list(dict.fromkeys([*TAGS, about.model_type, *_listed(entries.get("tags"))])),
        datasets=None if datasets_tag is None else [datasets_tag],
        language=entries.get("language"),
        license=entries.get("license"),
        metrics=_listed(entries.get("metrics")) or None,
        base_model=base,
        **relation,
    )
    return str(data.to_yaml()).strip()


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _head(about: About, datasets_tag: str | None) -> str:
    model = about.base_model
    for_what = f"{code(model)}" if model else f"models of the type {code(about.model_type)}"
    trained = ""
    if datasets_tag is not None:
        place = f"{huggingface_hub.constants.ENDPOINT}/datasets/{datasets_tag}"
        trained = f" Trained on the dataset [{datasets_tag}]({place})."
    return f"# {about.title} for {for_what}\n\nFor {code(about.model_type)} of {about.size}.{trained}"


def _table(parts: Sequence[Part]) -> str:
    rows = [f"| {part.what} {code(part.name)} | {_kind(part)} | {part.parameters:,} |" for part in parts]
    return "\n".join(["| part | kind | parameters |", "|---|---|---|", *rows])


def _kind(part: Part) -> str:
    shown = [code(label) for label in part.labels[:MOST_LABELS]]
    more = [f"and {len(part.labels) - MOST_LABELS} more"] if len(part.labels) > MOST_LABELS else []
    return f"{code(part.kind)}: {', '.join(shown + more)}" if shown else code(part.kind)


def _usage(repository: str, about: About) -> str:
    model = about.base_model or "path/to/the/model"
    return f"""## Usage

```python
from adapterzoo import AutoAdapterModel

model = AutoAdapterModel.from_pretrained("{model}")
model.{about.load}("{repository}", set_active=True)
```

The files are safetensors in AdapterHub's format. The library `adapters` loads them, too: give its `{about.load}` the
argument `use_safetensors=True`."""


def code(text: str) -> str:
    """A name in a line or a cell of Markdown."""
    return "`" + " ".join(text.replace("`", "'").replace("|", "\\|").split()) + "`"
