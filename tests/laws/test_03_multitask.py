"""Law 3 for MultiTask: a row is the row run alone under its task's child, whatever the order; heads and labels, too."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import AdapterSetup, Average, BatchSplit, MultiTask, Parallel, Split, Stack
from tests.helpers.adapting import CONFIGS, add_all, add_random
from tests.helpers.batches import batch_for, rows_of, unmasked
from tests.helpers.comparing import assert_close, assert_gradients, gradients, leaves
from tests.helpers.tiny import DISTINCT, tiny_model

TASKS = [1, 0, 2, 1, 0, 1]
NAMES = [["a", "b", "c"][task] for task in TASKS]
CHILDREN = {"a": "lora", "b": Stack("prefix_tuning", "double_seq_bn"), "c": "bn_final"}
HEADED = [name for name in DISTINCT if "classification" in tiny_model(name).head_types]


@pytest.fixture(scope="module", params=DISTINCT)
def model(request):
    torch.manual_seed(0)
    return add_all(tiny_model(request.param, "Model")).double()


def last(model, batch, setup=None, **call):
    with AdapterSetup(setup), torch.no_grad():
        return model(**batch, **call)[0]


SETUPS = {
    "alone": lambda a, b, c: MultiTask(a, b, c),
    "in a stack": lambda a, b, c: Stack("seq_bn", MultiTask(a, b, c), "par_bn"),
    "in a mean": lambda a, b, c: Average("seq_bn", MultiTask(a, b, c), weights=[1, 3]),
    "twice": lambda a, b, c: Stack(MultiTask(a, b, c), MultiTask(b, c, a)),
}


@pytest.mark.parametrize("padding_free", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("where", SETUPS)
def test_each_row_is_as_alone_under_its_tasks_child(model, where, padding_free):
    batch = batch_for(model, rows=len(TASKS))
    model.padding_free = padding_free
    children = list(CHILDREN.values())
    found = last(model, batch, SETUPS[where](*children), task_ids=TASKS)
    for row, task in enumerate(TASKS):
        turned = [*children[task:], *children[:task]]
        alone = last(model, rows_of(batch, [row]), SETUPS[where](*turned), task_ids=[0])
        assert_close(found[row : row + 1], alone, f"row {row}")


def test_it_is_the_same_as_names_by_row_and_as_a_split_of_sorted_rows(model):
    batch = batch_for(model, rows=len(TASKS))
    kinds = ["lora", "prefix_tuning", "seq_bn"]
    found = last(model, batch, MultiTask(*kinds), task_ids=torch.tensor(TASKS))
    assert_close(found, last(model, batch, adapter_names=[kinds[task] for task in TASKS]))
    order = sorted(range(len(TASKS)), key=TASKS.__getitem__)
    split = BatchSplit(*kinds, batch_sizes=[TASKS.count(task) for task in range(3)])
    assert_close(found[order], last(model, rows_of(batch, order), split))


def test_copies_of_the_batch_are_each_sorted(model):
    batch = batch_for(model, rows=len(TASKS))
    seen = unmasked(model, batch, model.base.config.last_stack)
    multi = MultiTask("lora", "prefix_tuning", "seq_bn")
    for setup, alone in (
        (Parallel(multi, "par_bn"), [multi, "par_bn"]),
        (Stack(multi, Parallel("par_bn", "bn_final")), [Stack(multi, "par_bn"), Stack(multi, "bn_final")]),
        (Parallel(Stack(multi, "par_bn"), multi), [Stack(multi, "par_bn"), multi]),
    ):
        parts = last(model, batch, setup, task_ids=TASKS).chunk(2)
        for child, part in zip(alone, parts, strict=True):
            call = {} if child == "par_bn" else {"task_ids": TASKS}
            assert_close(part[seen], last(model, batch, child, **call)[seen], f"{child} of {setup}")


def test_all_that_comes_out_is_in_the_callers_order(model):
    batch = batch_for(model, rows=len(TASKS))
    call = {"output_hidden_states": True, "output_attentions": True}
    with AdapterSetup(MultiTask("lora", "seq_bn", "par_bn")), torch.no_grad():
        found = leaves(model(**batch, **call, task_ids=TASKS))
        one_by_one = [leaves(model(**rows_of(batch, [row]), **call, task_ids=[t])) for row, t in enumerate(TASKS)]
    for field, tensor in found.items():
        assert_close(tensor, torch.cat([alone[field] for alone in one_by_one]), field)


def headed(architecture):
    """A model with three adapters and two heads' names among them."""
    model = tiny_model(architecture)
    for name, kind in zip("abc", ("seq_bn", "lora", "prefix_tuning"), strict=True):
        add_random(model, name, CONFIGS[kind])
        model.add_classification_head(name, num_labels=2)
    return model.double()


@pytest.mark.parametrize("architecture", HEADED)
def test_each_task_has_its_head_and_its_labels(architecture):
    model = headed(architecture)
    batch, labels = batch_for(model, rows=6, decoder=False), torch.randint(2, (6,))
    model.set_active_adapters(MultiTask("a", Stack("a", "b"), "c"))
    assert model.active_head == MultiTask("a", "b", "c")
    output = model(**batch, labels=labels, task_ids=NAMES)
    assert output.rows == tuple(tuple(row for row, task in enumerate(TASKS) if task == one) for one in range(3))
    own = {name: labels[[row for row, task in enumerate(NAMES) if task == name]] for name in "abc"}
    for given in (own, list(own.values()), dict.fromkeys("abc", labels)):
        assert_close(model(**batch, labels=given, task_ids=TASKS).loss, output.loss)
    total = 0
    for name, setup, part, rows in zip("abc", ("a", Stack("a", "b"), "c"), output, output.rows, strict=True):
        model.set_active_adapters(setup)
        alone = model(**rows_of(batch, list(rows)), labels=own[name])
        assert_close(part.logits, alone.logits)
        assert_close(part.loss, alone.loss)
        total = total + alone.loss
    assert_close(output.loss, total)


@pytest.mark.parametrize("architecture", HEADED)
def test_one_head_for_all_tasks_answers_in_the_callers_order(architecture):
    model = headed(architecture)
    batch = batch_for(model, rows=6, decoder=False)
    with AdapterSetup(MultiTask("a", "b", "c"), head_setup="b"), torch.no_grad():
        found = model(**batch, task_ids=NAMES).logits
        for row, task in enumerate(TASKS):
            assert_close(found[row : row + 1], model(**rows_of(batch, [row]), task_ids=[task]).logits)


@pytest.mark.parametrize("architecture", HEADED)
def test_a_task_may_have_no_row_and_its_head_does_not_answer_then(architecture):
    model = headed(architecture)
    batch = batch_for(model, rows=2, decoder=False)
    model.set_active_adapters(MultiTask("a", "b", "c"))
    output = model(**batch, task_ids=["c", "a"], labels={"a": torch.tensor([1]), "c": torch.tensor([0])})
    assert output.rows == ((1,), (0,))


@pytest.mark.parametrize("architecture", HEADED)
def test_heads_of_copies_and_tasks_together(architecture):
    model = headed(architecture)
    batch, labels = batch_for(model, rows=6, decoder=False), torch.randint(2, (6,))
    setup = Parallel(MultiTask("a", "b", "c"), "b")
    model.set_active_adapters(setup)
    output = model(**batch, task_ids=TASKS, labels=labels)
    assert len(output) == 4
    with AdapterSetup("b"):
        assert_close(output[3].logits[torch.tensor(output.rows[3]).argsort()], model(**batch, labels=labels).logits)
    model.set_active_adapters(setup[0])
    for mine, alone in zip(output, model(**batch, task_ids=TASKS, labels=labels), strict=False):
        assert_close(mine.logits, alone.logits)
        assert_close(mine.loss, alone.loss)


@pytest.mark.parametrize("name", [name for name in DISTINCT if "seq2seq_lm" in tiny_model(name).head_types])
@pytest.mark.parametrize("beams", [1, 2])
def test_each_row_generates_by_its_task(name, beams):
    model = tiny_model(name)
    for adapter, kind in zip("abc", ("lora", "prefix_tuning", "seq_bn"), strict=True):
        add_random(model, adapter, CONFIGS[kind])
        model.add_seq2seq_lm_head(adapter)
        model.heads[adapter].final_logits_bias.normal_()
    batch = batch_for(model, rows=6, decoder=False)
    options = {"num_beams": beams, "max_new_tokens": 5, "decoder_start_token_id": 3, "pad_token_id": 1}
    model.set_active_adapters(MultiTask("a", "b", "c"))
    together = model.generate(**batch, **options, task_ids=NAMES)
    by_name = model.generate(**batch, **options, adapter_names=NAMES)
    assert torch.equal(together, by_name)
    assert len({tuple(row) for row in together.tolist()}) > 1


@pytest.mark.parametrize("architecture", HEADED)
def test_gradients_are_those_of_each_task_alone(architecture):
    model = headed(architecture).train()
    batch, labels = batch_for(model, rows=6, decoder=False), torch.randint(2, (6,))
    model.train_adapter(MultiTask("a", "b", "c"))
    model(**batch, labels=labels, task_ids=TASKS).loss.backward()
    together = gradients(model)
    for number, name in enumerate("abc"):
        rows = [row for row, task in enumerate(TASKS) if task == number]
        with AdapterSetup(name):
            model(**rows_of(batch, rows), labels=labels[rows]).loss.backward()
    assert_gradients(together, gradients(model))


REFUSED = {
    "no tasks": (MultiTask("a", "b"), {}, ValueError, "say each row's task by task_ids"),
    "no MultiTask": (
        "a",
        {"task_ids": [0] * 4},
        ValueError,
        "task_ids are for a MultiTask setup, but what is active is",
    ),
    "nothing active": (None, {"task_ids": [0] * 4}, ValueError, "what is active is None"),
    "names, too": (
        MultiTask("a", "b"),
        {"task_ids": [0] * 4, "adapter_names": ["a"] * 4},
        ValueError,
        "adapter_names say each row's adapter",
    ),
    "too few": (MultiTask("a", "b"), {"task_ids": [0]}, ValueError, "has 1 tasks, but the batch has 4 rows"),
    "too large": (
        MultiTask("a", "b"),
        {"task_ids": [0, 1, 2, 0]},
        ValueError,
        "holds 2, but the tasks of .* are 0 to 1",
    ),
    "negative": (MultiTask("a", "b"), {"task_ids": torch.tensor([0, 1, -1, 0])}, ValueError, "holds -1"),
    "unknown": (MultiTask("a", "b"), {"task_ids": ["a", "b", "c", "a"]}, ValueError, "holds 'c'.* by name a, b"),
    "of two tasks": (MultiTask("a", "a"), {"task_ids": ["a"] * 4}, ValueError, "holds 'a'"),
    "a fraction": (MultiTask("a", "b"), {"task_ids": torch.zeros(4)}, ValueError, "holds 0.0"),
    "one word": (MultiTask("a", "b"), {"task_ids": "abab"}, TypeError, "a list or tensor"),
    "a number": (MultiTask("a", "b"), {"task_ids": 3}, TypeError, "a list or tensor"),
    "one tensor": (MultiTask("a", "b"), {"task_ids": torch.tensor(1)}, TypeError, "a list or tensor"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_tasks_are_checked(what):
    setup, call, error, said = REFUSED[what]
    model = tiny_model("bert", "Model")
    for name in "ab":
        add_random(model, name, "seq_bn")
    model.set_active_adapters(setup)
    with pytest.raises(error, match=said):
        model(**batch_for(model), **call)


@pytest.mark.parametrize(
    ("setup", "said"),
    [
        (Stack(MultiTask("a", "b"), MultiTask("a", "b", "a")), "MultiTask blocks of 2 and 3 children"),
        (MultiTask("a", MultiTask("a", "b")), "is for all tasks"),
        (BatchSplit(MultiTask("a", "b"), "a", batch_sizes=2), "take.* rows by their order in the batch"),
        (Stack(MultiTask("a", "b"), BatchSplit("a", "b", batch_sizes=2)), "take.* rows by their order in the batch"),
        (MultiTask("a", Parallel("a", "b")), "holds a Parallel block"),
        (MultiTask(), "at least one child"),
    ],
    ids=str,
)
def test_what_has_no_meaning_is_refused_when_it_is_set(setup, said):
    model = tiny_model("bert", "Model")
    for name in "ab":
        add_random(model, name, "seq_bn")
    with pytest.raises(ValueError, match=said):
        model.set_active_adapters(setup)
    assert model.active_adapters is None


def test_heads_must_have_the_rows_that_adapters_have():
    model = headed("bert")
    batch = batch_for(model)
    for setup, call, said in (
        ("a", {"head": MultiTask("a", "b")}, "rows have no tasks"),
        (MultiTask("a", "b", "c"), {"head": MultiTask("a", "b"), "task_ids": TASKS[:4]}, "rows have tasks 0 to 2"),
        (
            MultiTask("a", "b"),
            {"head": BatchSplit("a", "b", batch_sizes=2), "task_ids": [0, 1, 0, 1]},
            "adapters by task_ids",
        ),
        ("a", {"head": BatchSplit("a", "b", batch_sizes=2), "adapter_names": ["a", "b"] * 2}, "by adapter_names"),
    ):
        with AdapterSetup(setup, head_setup="a"), pytest.raises(ValueError, match=said):
            model(**batch, **call)


def test_a_split_may_lie_in_a_tasks_child_and_tasks_in_a_split(model):
    batch = batch_for(model, rows=4, decoder=False)
    if len(model.base.config.stacks()) == 2:
        batch |= {"decoder_input_ids": batch["input_ids"], "decoder_attention_mask": batch["attention_mask"]}
    rows = [1, 3]
    split = BatchSplit("seq_bn", "bn_final", batch_sizes=1)
    found = last(model, batch, MultiTask("lora", split), task_ids=[0, 1, 0, 1])
    assert_close(found[rows], last(model, rows_of(batch, rows), split))
    found = last(model, batch, Split(MultiTask("seq_bn", "bn_final"), "par_bn", splits=[3, 5]), task_ids=[0, 1, 0, 1])
    alone = last(model, rows_of(batch, rows), Split("bn_final", "par_bn", splits=[3, 5]))
    assert_close(found[rows], alone)
