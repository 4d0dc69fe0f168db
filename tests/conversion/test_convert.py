"""Every class's checkpoint converts, and the result computes the same here and in transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import adapterzoo
from tests.helpers.converting import contents, convert, same_tensors, saved
from tests.helpers.hf_batches import inputs_for
from tests.helpers.hf_compare import same_output
from tests.helpers.hf_models import CASES, Case, each, peer

TASKS = [case for case in CASES if case.static and not case.static.pretraining and case.head_type in case.tables.heads]
SHAPES: dict[str, dict[str, Any]] = {
    "safetensors": {},
    "bin": {"safe_serialization": False},
    "sharded-safetensors": {"max_shard_size": "20KB"},
    "sharded-bin": {"max_shard_size": "20KB", "safe_serialization": False},
}


class Converted(NamedTuple):
    """A model of transformers', where it was saved, and where it was converted to."""

    model: Any
    source: Path
    target: Path

    def answers(self, model: Any, case: Case) -> bool:
        """Check that a model computes what the saved one does."""
        torch.manual_seed(1)
        inputs = inputs_for(case, self.model.config, "none")
        with torch.no_grad():
            same_output(model(**inputs), self.model(**inputs))
        return True


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Converted]:
    """A function from a class and a shape of its files to the class's small model, converted once for all tests."""
    made: dict[tuple[str, str], Converted] = {}

    def get(case: Case, shape: str = "safetensors") -> Converted:
        if (case.name, shape) not in made:
            folder, names = tmp_path_factory.mktemp(case.name), ["no", "maybe", "yes"]
            labels = {} if case.head_type == "question_answering" else {"id2label": dict(enumerate(names))}
            model = peer(case, **labels, label2id={name: i for i, name in enumerate(names)})
            model.save_pretrained(folder / "src", **SHAPES[shape])
            made[case.name, shape] = Converted(model, folder / "src", convert(folder / "src", folder / "dst"))
        return made[case.name, shape]

    return get


def auto(case: Case) -> Any:
    """The Auto class that chooses the case's class; the class itself where none does."""
    kinds = [kind for name, kind in vars(adapterzoo).items() if name.startswith("AutoModel")]
    return next((kind for kind in kinds if chosen(kind, case) is case.ours), case.ours)


def chosen(kind: Any, case: Case) -> Any:
    """The class that an Auto class chooses for a case's architecture, if it chooses any."""
    try:
        return kind.class_for(case.architecture.config())
    except ValueError:
        return None


@each(CASES)
def test_a_converted_checkpoint_computes_the_same_here_and_there(case: Case, converted: Any) -> None:
    check(case, converted(case))


OF_EACH = list({case.architecture.name: case for case in CASES}.values())


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.name, marks=[pytest.mark.slow] * (number > 2)) for number, case in enumerate(OF_EACH)],
)
def test_so_does_one_that_another_process_read_from_a_pickle(case: Case, converted: Any) -> None:
    check(case, converted(case, "bin"))


def check(case: Case, made: Converted) -> None:
    """Check that transformers and we load a converted checkpoint, and that it computes the same."""
    theirs, info = case.theirs.from_pretrained(made.target, output_loading_info=True)
    assert not any(info.values()), info
    same_tensors(theirs.state_dict(), made.model.state_dict())
    assert made.answers(auto(case).from_pretrained(made.target), case)


@each(TASKS)
def test_a_tasks_head_is_the_flexible_head_default(case: Case, converted: Any) -> None:
    made = converted(case)
    model = adapterzoo.AutoAdapterModel.from_pretrained(made.target)
    assert (list(model.heads), model.active_head) == (["default"], "default")
    assert made.answers(model, case)


@each(TASKS)
def test_the_head_beside_a_task_checkpoint_can_be_loaded_by_itself(case: Case, converted: Any) -> None:
    made = converted(case)
    model = adapterzoo.AutoAdapterModel.from_pretrained(made.target, convert_head=False)
    assert not list(model.heads)
    assert model.load_head(made.target / "heads" / "default", load_as="again") == "again"
    assert made.answers(model, case)
    assert model.get_labels_dict() in (None, made.model.config.id2label)


@each([case for case in CASES if case not in TASKS])
def test_no_flexible_head_lies_beside_what_is_no_task(case: Case, converted: Any) -> None:
    assert not (converted(case).target / "heads").exists()


@each(CASES)
def test_configs_say_the_same_to_transformers(case: Case, converted: Any) -> None:
    _, source, target = converted(case)
    read = [case.theirs.config_class.from_pretrained(folder).to_dict() for folder in (source, target)]
    assert read[0] == read[1]


@each(CASES)
def test_to_convert_again_changes_no_byte(case: Case, converted: Any, tmp_path: Path) -> None:
    target = converted(case).target
    assert contents(convert(target, tmp_path / "again")) == contents(target)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if "sharded" in shape])
@pytest.mark.parametrize("head_type", ["classification", "seq2seq_lm"])
def test_shards_are_put_together(shape: str, head_type: str, tmp_path: Path) -> None:
    model = saved(tmp_path / "whole", head_type)
    model.save_pretrained(tmp_path / "src", **SHAPES[shape])
    assert len(list((tmp_path / "src").glob("*-of-*"))) > 2
    target = convert(tmp_path / "src", tmp_path / "dst")
    same_tensors(type(model).from_pretrained(target).state_dict(), model.state_dict())
