"""What is pushed here loads in AdapterHub's library, and what that pushes loads here."""

from __future__ import annotations

import huggingface_hub
import pytest
import torch
from packaging.version import Version

from tests.helpers.hub import call_from_outside
from tests.helpers.hub_repos import WRITER
from tests.helpers.tiny import tiny_model


@pytest.mark.skipif(Version(huggingface_hub.__version__) >= Version("1"), reason="adapters needs huggingface_hub 0")
def test_pushes_load_in_either_library(hub, tmp_path):
    from tests.helpers.peer_adapters import adapters  # which under version 1 cannot be imported

    adapters()  # or the test is skipped
    model = tiny_model("bert")
    model.save_pretrained(tmp_path / "model")
    name = {"model": str(tmp_path / "model"), "name": "task"}
    there = {"model": str(tmp_path / "model")}
    calls = [
        {"do": "push", "by": "adapterzoo", "repo": "org/ours", **name},
        {"do": "push", "by": "adapters", "repo": "org/theirs", "adapter_card_kwargs": {"license": "mit"}, **name},
        {"do": "load", "by": "adapters", "repo": "org/ours", "use_safetensors": True, **there},
        {"do": "load", "by": "adapterzoo", "repo": "org/theirs", **there},
    ]
    around = {"HF_ENDPOINT": hub.url, "HF_TOKEN": WRITER}
    results = call_from_outside(calls, tmp_path / "home", "tests.hub.peer_calls", **around)
    ours, theirs, ours_there, theirs_here = (torch.tensor(result["logits"]) for result in results)
    torch.testing.assert_close(ours_there, ours, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(ours, theirs)
    torch.testing.assert_close(theirs_here, theirs, atol=1e-5, rtol=1e-5)
    assert "pytorch_adapter.bin" in hub.repositories["org/theirs"].files()
