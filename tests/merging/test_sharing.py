"""Parameters that adapters have in common."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from adapterzoo import MultiTask, UnknownName
from tests.helpers.adapting import add_random, same_bits, tensors_of
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close
from tests.helpers.refusing import refuses
from tests.helpers.tiny import tiny_model

MTL = "mtl_lora[r=2, alpha=3, n_up_projection=2]"
NAMES = ["a", "b", "c"]


def with_tasks(config=MTL):
    model = tiny_model("bert")
    for name in NAMES:
        add_random(model, name, config)
    return model


def parameters(model, name):
    return dict(model.adapters[name].named_parameters())


def shared_by(model, names, leaf=("lora_A", "lora_B")):
    """Whether adapters have the parameters of these names in common, and no others."""
    first = parameters(model, names[0])
    for name in names[1:]:
        for key, parameter in parameters(model, name).items():
            same = parameter is first[key]
            assert same == (key.rpartition(".")[2] in leaf), key
    return True


@pytest.mark.parametrize("given", [NAMES, MultiTask(*NAMES), "a,b,c"], ids=["list", "block", "commas"])
def test_they_share_copies_of_the_references(given):
    model = with_tasks()
    before, reference = {name: tensors_of(model.adapters[name]) for name in NAMES}, parameters(model, "b")
    model.share_parameters(given, reference_adapter_name="b")
    assert shared_by(model, NAMES) and list(model.adapters.shares) == ["a,b,c"]
    for name in NAMES:
        for key, parameter in parameters(model, name).items():
            common = key.endswith(("lora_A", "lora_B"))
            assert torch.equal(parameter, before["b" if common else name][key])
            assert not common or parameter is not reference[key]


def test_unshared_they_have_equal_tensors_of_their_own():
    model = with_tasks()
    model.share_parameters(NAMES, name="tasks")
    together = {name: tensors_of(model.adapters[name]) for name in NAMES}
    model.unshare_parameters(NAMES, name="tasks")
    for name in NAMES:
        assert same_bits(tensors_of(model.adapters[name]), together[name])
        for other in NAMES:
            if other != name:
                pointers = {p.data_ptr() for p in parameters(model, name).values()}
                assert not pointers & {p.data_ptr() for p in parameters(model, other).values()}
    with torch.no_grad():
        parameters(model, "a")["units.encoder-0-attn-q.lora_A"].zero_()
    assert parameters(model, "b")["units.encoder-0-attn-q.lora_A"].any()
    with refuses(UnknownName, "no shared parameters named 'tasks'", model=model):
        model.unshare_parameters(NAMES, name="tasks")


def test_one_is_trained_for_all():
    model = with_tasks()
    model.share_parameters(NAMES)
    model.add_classification_head("head")
    model.train_adapter("a")
    assert all(parameter.requires_grad for parameter in parameters(model, "a").values())
    assert not parameters(model, "b")["units.encoder-0-attn-q.task_specific"].requires_grad
    before = {name: tensors_of(model.adapters[name]) for name in NAMES}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model(**{**batch_for(model), "labels": torch.tensor([0, 1, 1, 0])}).loss.backward()
    optimizer.step()
    for name in "bc":
        moved = {
            key
            for key, tensor in tensors_of(model.adapters[name]).items()
            if not torch.equal(tensor, before[name][key])
        }
        assert {key.rpartition(".")[2] for key in moved} == {"lora_A", "lora_B"}
    assert shared_by(model, NAMES)
    assert model.num_parameters() < sum(tensor.numel() for tensor in model.state_dict().values())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_shares_within_itself(copied):
    model = with_tasks()
    model.share_parameters(NAMES)
    other = copied(model)
    assert shared_by(other, NAMES) and other.adapters.shares == model.adapters.shares
    assert not {id(p) for p in other.parameters()} & {id(p) for p in model.parameters()}
    assert shared_by(other.to(torch.float64), NAMES)
    model.copy_adapter("a", "alone")
    assert not {id(p) for p in parameters(model, "alone").values()} & {id(p) for p in parameters(model, "a").values()}


def test_sharing_outlives_saving(tmp_path):
    model = with_tasks()
    model.share_parameters(NAMES, name="tasks")
    model.save_pretrained(tmp_path / "model")
    again = type(model).from_pretrained(tmp_path / "model")
    assert again.adapters.shares == model.adapters.shares and shared_by(again, NAMES)
    assert same_bits(tensors_of(again), tensors_of(model))
    model.save_adapter(tmp_path / "a", "a")
    model.load_adapter(tmp_path / "a", load_as="alone")
    assert same_bits(tensors_of(model.adapters["alone"]), tensors_of(model.adapters["a"]))
    state = copy.deepcopy(model.state_dict())
    other = with_tasks()
    other.share_parameters(NAMES)
    add_random(other, "alone", MTL)
    other.load_state_dict(state)
    assert same_bits(tensors_of(other), tensors_of(model)) and shared_by(other, NAMES)


def test_who_goes_shares_no_more():
    model = with_tasks()
    model.share_parameters(NAMES, name="tasks")
    kept = tensors_of(model.adapters["b"])
    model.delete_adapter("a")
    assert model.adapters.shares["tasks"].adapters == ("b", "c")
    assert same_bits(tensors_of(model.adapters["b"]), kept) and shared_by(model, ["b", "c"])
    model.rename_adapter("b", "x")
    assert model.adapters.shares["tasks"].adapters == ("x", "c")
    model.add_adapter("c", MTL, overwrite_ok=True)
    assert not model.adapters.shares
    assert not {id(p) for p in parameters(model, "x").values()} & {id(p) for p in parameters(model, "c").values()}


def test_what_is_shared_may_be_chosen():
    model = with_tasks("seq_bn")
    model.share_parameters(["a", "b"], parameters=["down.*", "*.down.*"])
    assert all("down" in name for name in model.adapters.shares["a,b"].parameters)
    model.unshare_parameters(["a", "b"])
    model.share_parameters(["a", "b"], parameters="*")
    assert parameters(model, "a") == parameters(model, "b")
    batch = batch_for(model)
    with torch.no_grad():
        found = [model(**batch, adapter_names=[name] * 4)[0] for name in "ab"]
    assert_close(*found)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"adapter_names": ["a"]}, "two or more different adapters"),
        ({"adapter_names": ["a", "a"]}, "two or more different adapters"),
        ({"adapter_names": ["a", "mrpc"]}, "no adapter named 'mrpc'"),
        ({"adapter_names": ["a", "bn"]}, "'bn' cannot be combined with 'a'"),
        ({"adapter_names": ["a", "b"], "reference_adapter_name": "c"}, "named 'c'"),
        ({"adapter_names": ["a", "b"], "parameters": "lora_C"}, "no parameter named 'lora_C'"),
    ],
)
def test_what_cannot_be_shared_is_refused(given, said):
    model = with_tasks()
    add_random(model, "bn", "seq_bn")
    with refuses(ValueError, said, model=model):
        model.share_parameters(**given)


def test_nobody_shares_twice():
    model = with_tasks()
    model.share_parameters(["a", "b"])
    with refuses(ValueError, "already shared parameters named 'a,b'", model=model):
        model.share_parameters(["a", "b"])
    with refuses(ValueError, "b: shares parameters already", model=model):
        model.share_parameters(["b", "c"])
