"""Law 3, for what else a model may be called with, and for the classes whose head is fixed."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.adapting import add_random
from tests.helpers.alone import Alone, by_name
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close
from tests.helpers.every_class import CLASSES, IDS, VARIANTS, tiny_of
from tests.helpers.tiny import DISTINCT, decoders, tiny_decoder, tiny_model

ROWS = ["lora_all", None, "prefix_longer", "lora_all"]
MODELS = {
    **dict.fromkeys(DISTINCT, tiny_model),
    **{kind: tiny_decoder for kind in decoders(DISTINCT) if kind not in DISTINCT},
}


def with_adapters(model):
    for kind in ("lora_all", "prefix_longer"):
        add_random(model, kind)
    return model


@pytest.mark.parametrize("kind", MODELS)
def test_embeddings_and_positions_in_place_of_ids(kind):
    model = with_adapters(MODELS[kind](kind))
    batch = batch_for(model)
    for name in [name for name in batch if name.endswith("input_ids")]:
        embeds = torch.randn(*batch.pop(name).shape, model.base.config.first.token_width)
        batch[name.replace("input_ids", "inputs_embeds")] = embeds
    if "decoder_inputs_embeds" not in batch:
        batch["position_ids"] = torch.randint(10, batch["attention_mask"].shape)
    rows = Alone(model, batch)
    with torch.no_grad():
        rows.check(model(**rows.batch, adapter_names=ROWS), by_name(ROWS))


@pytest.mark.parametrize("architecture", [name for name in DISTINCT if name in decoders(DISTINCT)])
def test_an_encoders_output_computed_before(architecture):
    model = with_adapters(tiny_model(architecture)).double()
    batch = batch_for(model)
    with torch.no_grad():
        whole = model(**batch, adapter_names=ROWS)
        given = {name: tensor for name, tensor in batch.items() if name != "input_ids"}
        decoded = model(**given, encoder_outputs=(whole.encoder_last_hidden_state,), adapter_names=ROWS)
    assert_close(decoded.last_hidden_state, whole.last_hidden_state)


@pytest.mark.parametrize(("name", "changes"), VARIANTS, ids=IDS)
def test_a_fixed_head_answers_in_the_callers_order(name, changes):
    model = with_adapters(tiny_of(name, changes))
    rows = Alone(model, batch_for(model, decoder=False), output_hidden_states=True)
    head = next(iter(model.heads_of().values()), None)
    if head is not None and "num_choices" in head.config:
        head.config["num_choices"] = 1  # each row is a question by itself
    with torch.no_grad():
        output = model(**rows.batch, **rows.call, adapter_names=ROWS)
        if "start_logits" in output:  # what is padding in the batch is not there in the row
            assert bool(output.start_logits.isfinite().all())
        rows.check(output, by_name(ROWS))


def test_all_classes_are_among_them():
    assert {name for name, _ in VARIANTS} == set(CLASSES)
