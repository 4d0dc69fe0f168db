"""Fixed to flexible and back: every class of every architecture, with whatever its config may say."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapterzoo import AutoAdapterModel, BatchSplit, Stack
from adapterzoo.archs import ARCHITECTURES, ModelConfig
from adapterzoo.archs.base import LABELLED, StaticHead
from tests.helpers.adapting import CONFIGS, KINDS, add_random, same_bits, tensors_of
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_same
from tests.helpers.heads import shaped
from tests.helpers.tiny import BECOMES, class_named, randomise, tiny_config
from tests.helpers.vocabularies import NEW, OLD, add_new

STATICS = [(name, static) for name, kind in ARCHITECTURES.items() for static in kind.statics]


def each(statics: Iterable[tuple[str, StaticHead]]) -> pytest.MarkDecorator:
    """Parametrise a test over classes."""
    found = [pytest.param(name, one, id=f"{name}-{one.suffix}") for name, one in statics]
    return pytest.mark.parametrize(("architecture", "static"), found)


def first(statics: list[tuple[str, StaticHead]]) -> list[tuple[str, StaticHead]]:
    """The first class of each network: of an architecture, and of its decoder alone."""
    return list({(name, one.decoder_only): (name, one) for name, one in reversed(statics)}.values())


of_every_architecture = each(first(STATICS))
of_every_class = each(STATICS)
PROBLEMS = ("regression", "single_label_classification", "multi_label_classification")
LABEL_NAMES = st.text(min_size=1, max_size=6)


@st.composite
def changes(draw: st.DrawFn, architecture: str, static: StaticHead) -> dict[str, Any]:
    """What a config may say that heads look at."""
    found: dict[str, Any] = {"tie_word_embeddings": draw(st.booleans())}
    defaults = ARCHITECTURES[architecture].config.defaults
    for field in [field for field in defaults if field.endswith("dropout") and "class" in field]:
        found[field] = draw(st.sampled_from([0.0, 0.25, *([None] if defaults[field] is None else [])]))
    if static.head_type in LABELLED and static.head_type not in ("question_answering", "multiple_choice"):
        labels = draw(st.lists(LABEL_NAMES, min_size=1, max_size=4, unique=True))
        found["id2label"] = dict(enumerate(labels))
    if static.head_type == "classification":
        found["problem_type"] = draw(st.sampled_from([None, *PROBLEMS]))
    return found


def fixed(architecture: str, static: StaticHead, change: dict[str, Any]) -> Any:
    """A model of a class with a fixed head, every tensor random."""
    base = {"num_labels": 2} if static.head_type in ("question_answering", "multiple_choice") else {}
    model = class_named(architecture, static)(tiny_config(architecture, **base, **change))
    randomise(model)
    return model.eval()


def same_model(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    assert one.config == other.config
    assert same_bits(tensors_of(one), tensors_of(other))
    assert {name: p.requires_grad for name, p in one.named_parameters()} == {
        name: p.requires_grad for name, p in other.named_parameters()
    }


def there_and_back(architecture: str, static: StaticHead, change: dict[str, Any]) -> None:
    """A model of one layer, made flexible and fixed again, is the same."""
    shallow = {field: 1 for field in ARCHITECTURES[architecture].config.sizes if "layers" in field}
    model = fixed(architecture, static, {**shallow, **change})
    flexible = model.to_flexible("any name")
    assert flexible.active_head == "any name" and list(flexible.heads) == ["any name"]
    head, own = flexible.heads["any name"], model.head
    assert type(head) is type(own) and head.config == own.config and head.tied == own.tied
    back = flexible.to_static()
    same_model(back, model)
    batch = shaped(static.head_type, batch_for(model, rows=2, decoder=False))
    with torch.no_grad():
        expected = model(**batch)
        assert_same(flexible(**batch), expected)
        assert_same(back(**batch), expected)


@of_every_class
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_there_and_back_is_the_same_model(architecture: str, static: StaticHead, data: st.DataObject) -> None:
    there_and_back(architecture, static, data.draw(changes(architecture, static)))


@pytest.mark.slow
@of_every_class
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_there_and_back_is_the_same_model_ever_so_often(
    architecture: str, static: StaticHead, data: st.DataObject
) -> None:
    there_and_back(architecture, static, data.draw(changes(architecture, static)))


@of_every_class
def test_the_way_through_files_is_the_same(architecture: str, static: StaticHead, tmp_path: Path) -> None:
    model = fixed(architecture, static, {})
    model.save_pretrained(tmp_path / "fixed")
    flexible = AutoAdapterModel.from_pretrained(tmp_path / "fixed", convert_head=True)
    in_memory = model.to_flexible()
    assert same_bits(tensors_of(flexible.heads), tensors_of(in_memory.heads))
    flexible.to_static().save_pretrained(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "fixed" / name).read_bytes()


@of_every_architecture
def test_adapters_and_what_is_active_come_along(architecture: str, static: StaticHead) -> None:
    model = fixed(architecture, static, {})
    for name in KINDS[:4]:
        add_random(model, name)
    add_random(model, "a/b.c", CONFIGS["double_seq_bn"])
    model.train_adapter(Stack("a/b.c", BatchSplit(*KINDS[:2], batch_sizes=1)))
    flexible = model.to_flexible()
    back = flexible.to_static()
    same_model(back, model)
    for other in (flexible, back):
        assert other.active_adapters == model.active_adapters
        assert other.training
        assert list(other.adapters) == list(model.adapters)
    model.adapters.activate(model.active_adapters, model.base, skip_layers=[1])
    assert model.to_flexible().adapters.skip_layers == frozenset([1])


@of_every_architecture
def test_neither_shares_memory_with_the_other(architecture: str, static: StaticHead) -> None:
    model = fixed(architecture, static, {})
    add_random(model, "lora", CONFIGS["lora_all"])
    before = tensors_of(model)
    flexible = model.to_flexible()
    back = flexible.to_static()
    kept = tensors_of(back)
    randomise(flexible)
    flexible.config.eos_token_id = 7
    assert same_bits(tensors_of(model), before)
    assert same_bits(tensors_of(back), kept)
    assert model.config == back.config
    assert not any(torch.equal(flexible.state_dict()[name], kept[name]) for name in kept if name.startswith("base."))


@each(first([(name, one) for name, one in STATICS if one.head_type.endswith("_lm")]))
def test_named_embeddings_come_along(architecture: str, static: StaticHead) -> None:
    model = add_new(fixed(architecture, static, {"vocab_size": len(OLD)}).to_flexible())
    randomise(model)
    made = model.to_static()
    assert list(made.loaded_embeddings) == ["default", "new"] and made.active_embeddings == "new"
    assert made.config.vocab_size == len(NEW)
    ids = torch.arange(5, 17).view(2, 6)
    ids[:, -1] = model.config.eos_token_id or 4
    with torch.no_grad():
        assert_same(made(ids), model(ids))
    assert made.head.config == model.heads["default"].config


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@of_every_architecture
def test_half_and_double_stay_so(architecture: str, static: StaticHead, dtype: torch.dtype) -> None:
    model = fixed(architecture, static, {}).to(dtype)
    flexible = model.to_flexible()
    assert {tensor.dtype for tensor in flexible.state_dict().values()} == {dtype}
    same_model(flexible.to_static(), model)


@of_every_class
def test_every_head_with_the_settings_of_a_class_becomes_its_head(architecture: str, static: StaticHead) -> None:
    config = tiny_config(architecture, num_labels=2)
    name = ARCHITECTURES[architecture].class_name(static)
    if static.decoder_only:
        config = tiny_config(architecture, num_labels=2, **BECOMES["only"])
    model = class_named(architecture, "AdapterModel")(config).eval()
    model.add_prediction_head_from_config("mine", model.architecture.static(name, config).flexible(config))
    randomise(model)
    batch = shaped(static.head_type, batch_for(model, rows=2, decoder=False))
    with torch.no_grad():
        assert_same(model.to_static("mine", name)(**batch), model(**batch))


LIKE_HF = {"tagging": "add_tagging_head", "question_answering": "add_qa_head", "masked_lm": "add_masked_lm_head"}
ADDED = [
    (name, one) for name, one in STATICS if one.head_type in LIKE_HF and one.head_type in ARCHITECTURES[name].heads
]


@pytest.mark.parametrize(("architecture", "static"), ADDED, ids=lambda value: str(value)[:12])
def test_a_head_added_without_settings_is_the_classs_where_these_agree(architecture: str, static: StaticHead) -> None:
    model = class_named(architecture, "AdapterModel")(tiny_config(architecture)).eval()
    getattr(model, LIKE_HF[static.head_type])("mine")
    randomise(model)
    batch = batch_for(model, rows=2, decoder=False)
    with torch.no_grad():
        assert_same(model.to_static()(**batch), model(**batch))


CLASSIFYING = [(name, one) for name, one in STATICS if one.head_type == "classification"]


@pytest.mark.parametrize("problem", [None, *PROBLEMS])
@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize(("architecture", "static"), CLASSIFYING, ids=lambda value: str(value)[:12])
def test_a_flexible_classifier_brings_its_labels_problem_and_dropout(
    architecture: str, static: StaticHead, labels: int, problem: str | None
) -> None:
    config: ModelConfig = tiny_config(architecture, num_labels=5)
    model = class_named(architecture, "AdapterModel")(config).eval()
    names = {number: f"class {number}" for number in range(labels)}
    wanted = tiny_config(architecture, id2label=names, problem_type=problem)
    settings = static.flexible(wanted)
    model.add_prediction_head_from_config("mine", settings)
    model.add_prediction_head_from_config("other", static.flexible(config))  # its labels are the model's now
    made = model.to_static("mine")
    assert made.config.id2label == names
    assert made.head.config == model.heads["mine"].config
    assert static.flexible(made.config) == settings
    assert model.config.num_labels == 5, "the flexible model stays as it is"


@pytest.mark.parametrize(
    ("architecture", "static"),
    [pair for pair in CLASSIFYING if "classifier_dropout" in ARCHITECTURES[pair[0]].config.defaults],
    ids=lambda value: str(value)[:12],
)
def test_a_heads_own_dropout_becomes_the_configs(architecture: str, static: StaticHead) -> None:
    config = tiny_config(architecture)
    model = class_named(architecture, "AdapterModel")(config)
    model.add_prediction_head_from_config("mine", {**static.flexible(config), "dropout_prob": 0.3})
    made = model.to_static()
    assert made.config.classifier_dropout == 0.3
    chances = [part.p for part in made.head.modules() if isinstance(part, torch.nn.Dropout)]
    assert chances and set(chances) == {0.3}
