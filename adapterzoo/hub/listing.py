"""Which adapters there are on the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import huggingface_hub

from adapterzoo.core.fields import fits
from adapterzoo.formats import adapterhub
from adapterzoo.hub.card import LIBRARY, TAGS
from adapterzoo.hub.fetch import Token, as_os_errors, visit
from adapterzoo.store import find, read_json

_TASK = "adapterhub:"
"""How the tag begins that names an adapter's task: "adapterhub:nli/multinli"."""


@dataclass
class AdapterInfo:
    """What the Hub tells of an adapter.

    Attributes:
        source: "hf", the Hub; there are no others.
        adapter_id: its repository's id, for `load_adapter`.
        model_name: the model that it is for.
        task, subtask: what it was trained for, where its tags say so.
        username: whose it is.
        adapter_config: its config; only `get_adapter_info` reads it.
        sha1_checksum: the newest commit.
    """

    source: str
    adapter_id: str
    model_name: str | None = None
    task: str | None = None
    subtask: str | None = None
    username: str | None = None
    adapter_config: dict[str, Any] | None = None
    sha1_checksum: str | None = None


def list_adapters(model_name: str | None = None, *, token: Token = None) -> list[AdapterInfo]:
    """The adapters on the Hub.

    Args:
        model_name: the model that they are for; of all if None.
        token: to see private ones, too; that of HF_TOKEN or of the last login if None.

    Raises:
        OSError: the Hub cannot be asked.
    """
    api, found = huggingface_hub.HfApi(token=token), {}
    with as_os_errors():
        for tag in (TAGS[0], LIBRARY):
            for info in api.list_models(filter=tag, full=True, cardData=True, fetch_config=True):
                one = _info(info)
                found[one.adapter_id] = one
    return [one for one in found.values() if model_name is None or one.model_name == model_name]


def get_adapter_info(adapter_id: str, *, token: Token = None) -> AdapterInfo | None:
    """What the Hub tells of an adapter, and its config; None where there is no such repository.

    Args:
        adapter_id: the repository's id.
        token: for a private one; that of HF_TOKEN or of the last login if None.

    Raises:
        OSError: the Hub cannot be asked.
    """
    api = huggingface_hub.HfApi(token=token)
    try:
        with as_os_errors():
            info = api.model_info(adapter_id)
    except (huggingface_hub.errors.RepositoryNotFoundError, huggingface_hub.errors.HFValidationError):
        return None
    found = _info(info)
    with visit(token):
        path = find(adapter_id, adapterhub.CONFIG, info.sha)
    if path is not None:
        content = read_json(path)
        config, model = content.get("config", content), content.get("model_name")  # PEFT's file is the config
        found.adapter_config = config if isinstance(config, dict) else None
        found.model_name = found.model_name or (model if isinstance(model, str) else None)
    return found


def _info(info: Any) -> AdapterInfo:
    """What an answer of the Hub's says. Its library checks little of that; what is of another kind is left out."""
    name, tags = str(info.id), info.tags if fits(info.tags, list[str]) else []
    task = next((tag.removeprefix(_TASK) for tag in tags if tag.startswith(_TASK)), "")
    kind, _, subtask = task.partition("/")
    return AdapterInfo(
        source="hf",
        adapter_id=name,
        model_name=_model_name(info),
        task=kind or None,
        subtask=subtask or None,
        username=name.split("/")[0],
        sha1_checksum=info.sha if isinstance(info.sha, str) else None,
    )


def _model_name(info: Any) -> str | None:
    """The model's name, as the Hub read it from the adapter's config, or as the card has it."""
    config = info.config if isinstance(info.config, Mapping) else {}
    told = [config.get(key) for key in ("adapter_transformers", "adapters")]
    names = [entry.get("model_name") for entry in told if isinstance(entry, Mapping)]
    base = getattr(info.card_data, "base_model", None)
    names += base if isinstance(base, list) else [base]
    return next((name for name in names if isinstance(name, str) and name), None)
