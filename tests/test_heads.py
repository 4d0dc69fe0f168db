"""Named heads: several at once, added, deleted, switched."""

from __future__ import annotations

import pytest
import torch

import adapterzoo as az
from adapterzoo.archs import ARCHITECTURES
from tests.helpers.batches import batch_for
from tests.helpers.heads import labels_for
from tests.helpers.tiny import tiny_model

ADD = {
    "classification": lambda model, name: model.add_classification_head(name, num_labels=3),
    "multilabel_classification": lambda model, name: model.add_classification_head(name, multilabel=True),
    "multiple_choice": lambda model, name: model.add_multiple_choice_head(name),
    "tagging": lambda model, name: model.add_tagging_head(name, num_labels=5),
    "question_answering": lambda model, name: model.add_qa_head(name),
    "dependency_parsing": lambda model, name: model.add_dependency_parsing_head(name, num_labels=4),
    "similarity": lambda model, name: model.add_similarity_head(name),
    "masked_lm": lambda model, name: model.add_masked_lm_head(name),
    "causal_lm": lambda model, name: model.add_causal_lm_head(name),
    "seq2seq_lm": lambda model, name: model.add_seq2seq_lm_head(name),
}
KINDS = [(model_type, kind) for model_type, arch in ARCHITECTURES.items() for kind in arch.heads]


@pytest.mark.parametrize(("model_type", "kind"), KINDS)
def test_every_head_type_of_an_architecture_is_added_and_run(model_type: str, kind: str) -> None:
    model = tiny_model(model_type).eval()
    ADD[kind](model, "mine")
    assert model.active_head == "mine"
    assert model.heads["mine"].config["head_type"] == kind
    batch = batch_for(model, rows=4, decoder=False)
    labels = labels_for(model, kind, batch)
    output = model(**batch, **{name: labels[name] for name in model.heads["mine"].needs})
    assert any(output.get(name) is not None for name in ("logits", "start_logits", "arc_preds", "embeddings"))


@pytest.mark.parametrize(("model_type", "kind"), KINDS)
def test_heads_tied_to_the_embeddings_share_their_weight(model_type: str, kind: str) -> None:
    model = tiny_model(model_type)
    ADD[kind](model, "mine")
    head = model.heads["mine"]
    for name in head.tied:
        assert head.get_parameter(name) is model.base.token.weight
    assert bool(head.tied) == kind.endswith("_lm")


def test_several_heads_are_there_at_once_and_the_call_picks_one() -> None:
    model = tiny_model("bert").eval()
    model.add_classification_head("a", num_labels=2)
    model.add_tagging_head("b", num_labels=5)
    batch = batch_for(model, decoder=False)
    assert model.active_head == "b"
    assert model(**batch).logits.shape == (*batch["input_ids"].shape, 5)
    assert model(**batch, head="a").logits.shape == (len(batch["input_ids"]), 2)
    assert sorted(model.get_prediction_heads_config()) == ["a", "b"]


def test_a_list_of_heads_runs_each_over_all_rows_and_adds_their_losses() -> None:
    model = tiny_model("bert").eval()
    model.add_classification_head("a")
    model.add_classification_head("b")
    batch = batch_for(model, decoder=False)
    labels = torch.zeros(len(batch["input_ids"]), dtype=torch.long)
    both = model(**batch, head=["a", "b"], labels=labels)
    alone = [model(**batch, head=name, labels=labels) for name in "ab"]
    assert isinstance(both, az.MultiHeadOutput)
    assert torch.equal(both.loss, alone[0].loss + alone[1].loss)
    assert torch.equal(both[1].logits, alone[1].logits)


def test_deleting_the_active_head_leaves_none_active_and_the_bare_output() -> None:
    model = tiny_model("bert").eval()
    model.add_classification_head("a")
    model.delete_head("a")
    assert model.active_head is None
    assert model(**batch_for(model, decoder=False)).last_hidden_state is not None
    with pytest.raises(KeyError, match="no head named 'a'; there are none"):
        model.delete_head("a")


def test_labels_follow_the_active_head() -> None:
    model = tiny_model("bert")
    model.add_classification_head("a", num_labels=3, id2label={0: "x", 1: "y", 2: "z"})
    assert model.get_labels() == ["x", "y", "z"]
    assert model.config.label2id == {"x": 0, "y": 1, "z": 2}
    model.add_tagging_head("b", num_labels=2)
    assert model.config.num_labels == 2
    assert model.get_labels_dict("a") == {0: "x", 1: "y", 2: "z"}


def test_one_label_means_regression() -> None:
    model = tiny_model("bert").eval()
    model.add_classification_head("a", num_labels=1)
    batch = batch_for(model, decoder=False)
    labels = torch.randn(len(batch["input_ids"]))
    output = model(**batch, labels=labels)
    assert torch.allclose(output.loss, (output.logits[:, 0] - labels).square().mean())


def test_activating_an_adapter_activates_the_head_of_its_name() -> None:
    model = tiny_model("bert")
    for name in ("mrpc", "sst2"):
        model.add_adapter(name, "lora")
        model.add_classification_head(name)
    model.set_active_adapters("mrpc")
    assert model.active_head == "mrpc"
    model.train_adapter("sst2")
    assert model.active_head == "sst2"
    model.set_active_adapters(None)
    assert model.active_head == "sst2"
    model.set_active_adapters(az.BatchSplit("mrpc", "sst2", batch_sizes=[1, 2]))
    assert model.active_head == az.BatchSplit("mrpc", "sst2", batch_sizes=[1, 2])
