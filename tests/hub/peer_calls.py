"""As `tests.hub.calls`, by AdapterHub's library and by ours: pushes and loads, and the logits that come of them."""

from __future__ import annotations

import json
import sys
from typing import Any

import torch

IDS = [[2, 7, 9, 11, 3], [2, 8, 20, 21, 3]]


def logits(model: Any) -> dict[str, Any]:
    with torch.no_grad():
        return {"logits": model.eval()(input_ids=torch.tensor(IDS)).logits.tolist()}


def library(name: str) -> Any:
    if name == "adapters":
        from tests.helpers.peer_adapters import adapters

        return adapters()
    import adapterzoo

    return adapterzoo


def push(by: str, model: str, repo: str, name: str, **options: Any) -> dict[str, Any]:
    made = library(by).AutoAdapterModel.from_pretrained(model)
    torch.manual_seed(len(by))  # so that each library pushes something else
    made.add_adapter(name, config="double_seq_bn")
    made.add_classification_head(name, num_labels=3)
    for key, parameter in made.named_parameters():
        if name in key:  # of the adapter or the head
            parameter.data += 0.1 * torch.randn_like(parameter)
    made.push_adapter_to_hub(repo, name, **options)
    made.set_active_adapters(name)
    return logits(made)


def load(by: str, model: str, repo: str, **options: Any) -> dict[str, Any]:
    made = library(by).AutoAdapterModel.from_pretrained(model)
    made.load_adapter(repo, set_active=True, **options)
    return logits(made)


if __name__ == "__main__":
    calls = json.loads(sys.argv[1])
    print(json.dumps([globals()[call.pop("do")](**call) for call in calls]))
