"""A model as a graph, for batches of any shape, beside the model itself."""

from __future__ import annotations

import copy

import pytest
import torch

from adapterzoo import BatchSplit, Stack, export, export_onnx
from tests.helpers.adapting import add_random
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close, leaves
from tests.helpers.tiny import DISTINCT, tiny_config, tiny_model


def adapted(architecture):
    """A model of one layer with an active stack of adapters and a head, and a batch."""
    layers = {field: 1 for field in tiny_config(architecture).sizes if "layers" in field}
    model = tiny_model(architecture, **layers)
    add_random(model, "lora")
    add_random(model, "seq_bn")
    model.add_classification_head("head", num_labels=3)
    model.set_active_adapters(Stack("lora", "seq_bn"))
    model.active_head = "head"
    return model, batch_for(model, 3, 7, decoder=False)


def check(model, run):
    """The graph gives what the model gives, for other rows, lengths and paddings."""
    for rows, length in ((2, 4), (5, 12)):
        batch = batch_for(model, rows, length, decoder=False)
        with torch.no_grad():
            expected = leaves(model(**batch))
        found = run(batch)
        assert list(found) == list(expected)
        for name in {"logits"} & set(expected):
            assert_close(torch.as_tensor(found[name]), expected[name], name)


@pytest.fixture(scope="module")
def bert():
    return adapted("bert")


def test_a_program_answers_any_batch_and_the_model_is_as_it_was(bert):
    model, batch = copy.deepcopy(bert[0]), bert[1]
    model.train()
    program = export(model, batch).module()
    assert model.training and model.padding_free
    check(model.eval(), lambda other: program(**other))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", DISTINCT)
def test_every_architecture_has_a_program(architecture):
    model, batch = adapted(architecture)
    program = export(model, batch).module()
    check(model, lambda other: program(**other))


@pytest.mark.slow
# What PyTorch's exporter and onnxscript themselves still use.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("architecture", ["bert", "bart", "deberta"])
def test_onnx_runs_in_another_runtime(architecture, tmp_path):
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name)
    runtime = pytest.importorskip("onnxruntime")
    model, batch = adapted(architecture)
    export_onnx(model, tmp_path / "model.onnx", batch)
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert [given.name for given in session.get_inputs()] == list(batch)
    names = [given.name for given in session.get_outputs()]

    def run(other):
        return dict(zip(names, session.run(None, {key: tensor.numpy() for key, tensor in other.items()}), strict=True))

    check(model, run)


def test_what_makes_no_graph_is_refused(bert, tmp_path, monkeypatch):
    model, batch = copy.deepcopy(bert[0]), bert[1]
    with pytest.raises(TypeError, match=r"no labels; it may have .*input_ids"):
        export(model, {**batch, "labels": torch.tensor([0, 1, 1])})
    with pytest.raises(ValueError, match="two rows and two tokens"):
        export(model, {name: tensor[:1] for name, tensor in batch.items()})
    model.set_active_adapters(BatchSplit("lora", "seq_bn", batch_sizes=[1, 2]))
    with pytest.raises(ValueError, match=r"BatchSplit.*goes by the number of rows"):
        export(model, batch)
    model.set_active_adapters("lora")
    model.add_classification_head("other")
    model.active_head = ["head", "other"]
    with pytest.raises(ValueError, match="pick a head"):
        export(model, batch)
    model.active_head = "head"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"onnx, onnxscript: pip install 'adapterzoo\[export\]'"):
        export_onnx(model, tmp_path / "model.onnx", batch)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    with pytest.raises(ValueError, match="are int8, which PyTorch does not write to ONNX"):
        export_onnx(model.quantize_base(), tmp_path / "model.onnx", batch)
    assert not list(tmp_path.iterdir())
