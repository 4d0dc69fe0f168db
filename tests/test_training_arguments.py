"""Training scripts: their arguments, and transformers' Trainer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from adapterzoo import AdapterArguments, Stack, setup_adapter_training
from tests.helpers.adapting import add_random, tensors_of
from tests.helpers.batches import batch_for
from tests.helpers.tiny import tiny_model


def arguments(**given: Any) -> AdapterArguments:
    return AdapterArguments(train_adapter=True, **given)


def trained(model: Any) -> set[str]:
    return {name.split(".")[1] for name, p in model.named_parameters() if p.requires_grad and "adapters." in name}


def test_an_adapter_is_added_and_is_all_that_trains() -> None:
    model = tiny_model("bert")
    names = setup_adapter_training(model, arguments(adapter_config="lora"), "mine", {"r": 3})
    assert names == ("mine", None)
    assert model.adapters_config.get("mine")["r"] == 3
    assert model.active_adapters == Stack("mine")
    assert trained(model) == {"mine"}


def test_adapters_are_loaded_and_the_language_lies_below(tmp_path: Any) -> None:
    other = tiny_model("bert")
    for name in ("en", "task"):
        add_random(other, name, "seq_bn")
        other.save_adapter(tmp_path / name, name)
    model = tiny_model("bert")
    paths = {"load_adapter": str(tmp_path / "task"), "load_lang_adapter": str(tmp_path / "en")}
    names = setup_adapter_training(model, arguments(**paths), "mine")
    assert names == ("mine", "en")
    assert model.active_adapters == Stack("en", "mine")
    assert trained(model) == {"mine"}
    loaded, saved = tensors_of(model.adapters["mine"]), tensors_of(other.adapters["task"])
    assert all(torch.equal(loaded[key], saved[key]) for key in saved)


def test_an_adapter_that_is_there_is_trained_on() -> None:
    model = tiny_model("bert")
    add_random(model, "mine", "lora")
    before = tensors_of(model.adapters["mine"])
    setup_adapter_training(model, arguments(), "mine")
    assert all(torch.equal(tensor, before[key]) for key, tensor in tensors_of(model.adapters["mine"]).items())


def test_without_training_nothing_is_done_and_adapters_are_refused() -> None:
    model = tiny_model("bert")
    assert setup_adapter_training(model, AdapterArguments(), "mine") == (None, None)
    assert not model.has_adapters()
    with pytest.raises(ValueError, match="train_adapter"):
        setup_adapter_training(model, AdapterArguments(load_adapter="somewhere"), "mine")


def test_its_fields_are_the_peers() -> None:
    adapters = pytest.importorskip("adapters", reason="the fields are compared with the peer's")
    theirs, ours = adapters.AdapterArguments(), AdapterArguments()
    assert vars(ours) == vars(theirs)


def test_transformers_trainer_trains_an_adapter_and_its_head_alone(tmp_path: Any) -> None:
    transformers = pytest.importorskip("transformers", reason="its Trainer is what is tried")
    model = tiny_model("bert")
    model.add_adapter("mine", "lora")
    model.add_classification_head("mine", num_labels=2)
    model.train_adapter("mine")
    rows = batch_for(model, 8, 6)
    data = [{**{key: value[row] for key, value in rows.items()}, "labels": torch.tensor(row % 2)} for row in range(8)]
    before = tensors_of(model)
    options = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=3,
        per_device_train_batch_size=4,
        learning_rate=0.1,
        report_to=[],
        remove_unused_columns=False,
        label_names=["labels"],
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        use_cpu=True,
    )
    trainer = transformers.Trainer(model=model, args=options, train_dataset=data, eval_dataset=data)
    trainer.train()
    moved = {name for name, tensor in tensors_of(model).items() if not torch.equal(tensor, before[name])}
    assert moved
    assert all(name.startswith(("adapters.mine.", "heads.mine.")) for name in moved)
    assert 0 < trainer.evaluate()["eval_loss"] < 100
