"""Layers left out at load (AdapterDrop): what is left is what it was."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.adapting import CONFIGS, KINDS, add_random
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close
from tests.helpers.refusing import refuses
from tests.helpers.tiny import DISTINCT, tiny_model

OUT = [1]


@pytest.mark.parametrize("architecture", DISTINCT)
def test_an_adapter_loaded_without_a_layer_is_the_whole_one_skipping_it(architecture, tmp_path):
    torch.manual_seed(0)
    model = tiny_model(architecture)
    batch = batch_for(model)
    for kind in KINDS:
        out = sorted(CONFIGS[kind].left_out)[:1] or OUT  # or nothing would be left of what leaves out the others
        add_random(model, kind)
        model.save_adapter(tmp_path / kind, kind, with_head=False)
        model.load_adapter(tmp_path / kind, load_as="less", leave_out=out, with_head=False)
        config = model.adapters.get("less")
        assert config == CONFIGS[kind].without(frozenset(out))
        outputs = []
        for name, skipped in ((kind, out), ("less", [])):
            model.set_active_adapters(name, skip_layers=skipped)
            with torch.no_grad():
                outputs.append(model(**batch).last_hidden_state)
        model.delete_adapter(kind)
        assert_close(outputs[1], outputs[0], kind)


@pytest.mark.parametrize("architecture", DISTINCT)
def test_what_is_shared_keeps_the_rows_of_layers_that_stay(architecture, tmp_path):
    torch.manual_seed(0)
    model = tiny_model(architecture)
    for name, text in {"deep": "prefix_tuning", "flat": "prefix_tuning_flat", "both": "mam"}.items():
        add_random(model, name, text)
        model.save_adapter(tmp_path / name, name)
        model.load_adapter(tmp_path / name, load_as=f"{name}-less", leave_out=OUT)
        whole, less = (sum(p.numel() for p in model.adapters[n].parameters()) for n in (name, f"{name}-less"))
        assert less < whole


def test_a_union_that_acts_nowhere_is_told(tmp_path):
    model = tiny_model("bert")
    add_random(model, "a", "prefix_tuning[prefix_length=3]|lora")
    model.save_adapter(tmp_path, "a")
    with refuses(ValueError, "covers no site", model=model):
        model.load_adapter(tmp_path, leave_out=list(range(model.base.config.layers)))
