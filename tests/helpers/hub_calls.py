"""Loads things by their ids on the Hub: `python -m tests.helpers.hub_calls JSON`, and prints what came of it as JSON.

A call is {"load": "config", "model", "adapter" or "embedding", "source": …, "options": …}; the last two are loaded into
a new model of the config that "into" names.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from adapterzoo import AutoAdapterModel, AutoConfig


def made(call: dict[str, Any]) -> dict[str, Any]:
    """What a call gives."""
    source, options = call["source"], call.get("options", {})
    if call["load"] == "config":
        return AutoConfig.from_pretrained(source, **options).to_dict()
    if call["load"] == "model":
        model = AutoAdapterModel.from_pretrained(source, **options)
        return {"sum": float(model.base.token.weight.double().sum()), "adapters": list(model.adapters)}
    model = AutoAdapterModel.from_config(AutoConfig.from_pretrained(call["into"]))
    if call["load"] == "embedding":
        tokenizer = model.load_embeddings(source, "loaded", **options)
        return {"sum": float(model.base.token.weight.double().sum()), "tokens": tokenizer and len(tokenizer)}
    name = model.load_adapter(source, **options)
    total = sum(float(tensor.double().sum()) for tensor in model.adapters[name].state_dict().values())
    return {"sum": total, "name": name, "heads": list(model.heads)}


def outcome(call: dict[str, Any]) -> dict[str, Any]:
    """What a call gives, or how it fails."""
    try:
        return {"result": made(call)}
    except Exception as error:
        return {"error": [kind.__name__ for kind in type(error).__mro__], "message": str(error)}


if __name__ == "__main__":
    time.sleep = lambda seconds: None  # what the Hub's library does between its tries
    print(json.dumps([outcome(call) for call in json.loads(sys.argv[1])]))
