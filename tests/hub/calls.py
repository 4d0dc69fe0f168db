"""Pushes, loads and lists: `python -m tests.hub.calls JSON` makes the calls and prints what came of each as JSON.

A call is {"do": the name of a function here, and its arguments}; `model` is a directory with the model to start from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import sys
import time
from typing import Any

import safetensors.torch
from torch import nn

import adapterzoo
from adapterzoo import AutoAdapterModel, AutoConfig, AutoTokenizer, parse_composition
from adapterzoo.core.compose import AdapterCompositionBlock
from weights_conversion.cli import main

slept: list[float] = []
"""How long the Hub's library would have waited between its tries."""


def digest(module: nn.Module) -> str:
    """A module's tensors in a word: it is the same only for the same bits."""
    state = {name: tensor.detach().contiguous().clone() for name, tensor in module.state_dict().items()}
    return hashlib.sha256(safetensors.torch.save(dict(sorted(state.items())))).hexdigest()


def digests(model: Any) -> dict[str, Any]:
    """The bits of all that a model has beside the network, by name, and what is active."""
    fusions = {name: digest(fusion) for name, fusion in model.fusions.items()}
    return {
        "adapters": {name: digest(adapter) for name, adapter in model.adapters.items()},
        "heads": {name: digest(head) for name, head in model.heads_of().items()},
        "fusions": fusions,
        "active": str(model.active_adapters),
    }


def bare(model: str) -> Any:
    """A model of the same config without anything added."""
    return AutoAdapterModel.from_config(AutoConfig.from_pretrained(model))


def setup_of(given: Any) -> Any:
    return AdapterCompositionBlock.from_dict(given) if isinstance(given, dict) else parse_composition(given)


def push(model: str, repo: str, name: str, **options: Any) -> dict[str, Any]:
    url = AutoAdapterModel.from_pretrained(model).push_adapter_to_hub(repo, name, **options)
    return {"url": str(url), "request": getattr(url, "pr_url", None)}


def push_static(model: str, repo: str, name: str) -> dict[str, Any]:
    made = adapterzoo.AutoModelForSequenceClassification.from_pretrained(model)
    made.push_adapter_to_hub(repo, name)
    return {"head": digest(made.head)}


def push_setup(model: str, repo: str, setup: Any, **options: Any) -> dict[str, Any]:
    url = AutoAdapterModel.from_pretrained(model).push_adapter_setup_to_hub(repo, setup_of(setup), **options)
    return {"url": str(url)}


def load_adapter(model: str, source: str, **options: Any) -> dict[str, Any]:
    made = bare(model)
    name = made.load_adapter(source, **options)
    return {"name": name, **digests(made)}


def hotswap(model: str, source: str, name: str, **options: Any) -> dict[str, Any]:
    made = AutoAdapterModel.from_pretrained(model)
    made.hotswap_adapter(source, name, **options)
    return digests(made)


def load_setup(model: str, source: str, **options: Any) -> dict[str, Any]:
    made = bare(model)
    made.load_adapter_setup(source, **options)
    return digests(made)


def load_fusion(model: str, source: str, **options: Any) -> dict[str, Any]:
    made = AutoAdapterModel.from_pretrained(model)
    made.delete_adapter_fusion("en,mrpc")
    made.load_adapter_fusion(source, **options)
    return digests(made)


def load_head(model: str, source: str, **options: Any) -> dict[str, Any]:
    made = bare(model)
    made.load_head(source, **options)
    return digests(made)


def load_model(source: str, kind: str = "AutoAdapterModel", **options: Any) -> dict[str, Any]:
    made = getattr(adapterzoo, kind).from_pretrained(source, **options)
    return {"network": digest(made.base), **digests(made)}


def load_config(source: str, **options: Any) -> dict[str, Any]:
    return AutoConfig.from_pretrained(source, **options).to_dict()


def load_tokenizer(source: str, **options: Any) -> dict[str, Any]:
    return {"tokens": len(AutoTokenizer.from_pretrained(source, **options))}


def load_embeddings(model: str, source: str, **options: Any) -> dict[str, Any]:
    made = bare(model)
    tokenizer = made.load_embeddings(source, "loaded", **options)
    return {"rows": made.base.token.num_embeddings, "tokens": len(tokenizer)}


def list_adapters(**options: Any) -> list[dict[str, Any]]:
    return [dataclasses.asdict(info) for info in adapterzoo.list_adapters(**options)]


def get_adapter_info(**options: Any) -> dict[str, Any] | None:
    info = adapterzoo.get_adapter_info(**options)
    return None if info is None else dataclasses.asdict(info)


def inspect(source: str) -> dict[str, Any]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main(["inspect", source, "--json"])
    told: dict[str, Any] = json.loads(out.getvalue())
    return {"code": code, "facts": told}


def run_code(model: str, code: str) -> dict[str, Any]:
    names = {"model": AutoAdapterModel.from_pretrained(model), **vars(adapterzoo)}
    exec(code, names)
    return digests(names["model"])


def outcome(call: dict[str, Any]) -> dict[str, Any]:
    """What a call gives, or how it fails; and how long it would have waited."""
    given = dict(call)
    slept.clear()
    try:
        told: dict[str, Any] = {"result": globals()[given.pop("do")](**given)}
    except Exception as error:
        told = {"error": [kind.__name__ for kind in type(error).__mro__], "message": str(error)}
    return {**told, "slept": sum(slept)}


def no_links(*args: Any, **kwargs: Any) -> None:
    raise OSError("there are no links in this file system")


if __name__ == "__main__":
    if os.environ.get("NO_LINKS"):
        os.symlink = no_links
    time.sleep = slept.append
    print(json.dumps([outcome(call) for call in json.loads(sys.argv[1])]))
