"""A model's config.json that is not there, is none, lacks something or holds what cannot be."""

from __future__ import annotations

import json
import sys

import pytest

from adapterzoo import AutoAdapterModel, AutoConfig, AutoModel, FileError, UnknownName
from adapterzoo.archs import ARCHITECTURES
from adapterzoo.nn.activations import ACTIVATION
from tests.helpers.refusing import refuses
from tests.helpers.spoiling import PARTS, edit_fields, edit_json, fields_of, saved_model
from tests.helpers.tiny import NAMES, class_named, tiny_config


@pytest.fixture(params=NAMES)
def architecture(request):
    return request.param


@pytest.fixture
def src(architecture, tmp_path):
    saved_model(tmp_path / "src", architecture)
    return tmp_path / "src"


def loaders(architecture):
    """Every way from a directory to a config."""
    return [
        AutoConfig.from_pretrained,
        AutoModel.from_pretrained,
        AutoAdapterModel.from_pretrained,
        class_named(architecture, "Model").from_pretrained,
        class_named(architecture, "AdapterModel").from_pretrained,
    ]


def refused_by_all(architecture, src, error, *words, but=0):
    for load in loaders(architecture)[but:]:
        with refuses(error, *words, folder=src if src.is_dir() else None):
            load(src)


def test_a_directory_that_is_not_there_is_told(architecture, tmp_path):
    for source in (tmp_path / "gone", str(tmp_path / "gone"), "./gone", "~/gone", "a/b/c"):
        for load in loaders(architecture):
            with refuses(FileNotFoundError, "there is no directory", str(source)):
                load(source)


def test_a_file_is_no_directory(architecture, src):
    for path in (src / "config.json", src / "model.safetensors"):
        for load in loaders(architecture):
            with refuses(FileNotFoundError, str(path), "is a file; give the directory that it is in", folder=src):
                load(path)


def test_what_is_no_path_is_refused(architecture):
    for source in (None, 5.5, ["x"]):
        for load in loaders(architecture):
            with refuses(TypeError, type(source).__name__):
                load(source)


def test_a_directory_without_config_is_told_with_what_it_has(architecture, src):
    (src / "config.json").unlink()
    refused_by_all(architecture, src, FileNotFoundError, "has no config.json; it has model.safetensors")
    (src / "model.safetensors").unlink()
    refused_by_all(architecture, src, FileNotFoundError, "has no config.json; it has no files")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "config.json is not JSON: "),
        (b"", "config.json is not JSON: "),
        (b"model_type: bert", "config.json is not JSON: "),
        (b"\xff\xfe{}", "config.json is not JSON: "),
        (b"[" * 100_000, "config.json is not JSON: "),
        pytest.param(
            b'{"vocab_size": ' + b"9" * 5000 + b"}",
            "config.json is not JSON: ",
            marks=pytest.mark.skipif(not hasattr(sys, "set_int_max_str_digits"), reason="this Python reads any number"),
        ),
        (b'[{"model_type": "bert"}]', "config.json should hold a JSON object, not list"),
        (b'"bert"', "config.json should hold a JSON object, not str"),
        (b"null", "config.json should hold a JSON object, not NoneType"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_config_that_is_no_json_object_is_told(architecture, src, content, said):
    (src / "config.json").write_bytes(content)
    refused_by_all(architecture, src, FileError, str(src), said)


def test_every_missing_size_is_named(architecture, src):
    kind = fields_of(architecture)
    edit_fields(src, drop=kind.sizes)
    refused_by_all(architecture, src, ValueError, str(src), " lacks ", *kind.sizes)
    for size in kind.sizes:
        saved_model(src, architecture)
        edit_fields(src, drop=(size,))
        said = f" lacks {size}, which a {kind.model_type} model needs"
        refused_by_all(architecture, src, ValueError, str(src / "config.json"), said)


PAIRS = [name for name in NAMES if fields_of(name) is not ARCHITECTURES[name].config]
of_every_pair = pytest.mark.parametrize("architecture", PAIRS)


@of_every_pair
def test_a_pair_needs_the_configs_of_both(src, architecture):
    for part in PARTS:
        saved_model(src, architecture)
        edit_json(src / "config.json", drop=(part,))
        refused_by_all(architecture, src, ValueError, f"config.json lacks {part}, the config of a part of the pair")
        edit_json(src / "config.json", **{part: None})
        refused_by_all(architecture, src, ValueError, f"config.json lacks {part}, the config of a part of the pair")
    edit_json(src / "config.json", drop=PARTS)
    refused_by_all(architecture, src, ValueError, "config.json lacks decoder, encoder, the config")


@of_every_pair
def test_what_is_wrong_in_either_part_is_told_with_the_part(src, architecture):
    edit_fields(src, hidden_dropout_prob=3, hidden_size="x")
    said = [f"{part}: {fields_of(architecture).__name__}: hidden_size must be a whole number" for part in PARTS]
    refused_by_all(architecture, src, ValueError, str(src / "config.json"), *said)
    saved_model(src, architecture)
    edit_fields(src, model_type="bort")
    refused_by_all(architecture, src, ValueError, *(f"{part}: no architecture 'bort'; there are" for part in PARTS))


@pytest.mark.parametrize("role", PARTS)
@pytest.mark.parametrize("architecture", PAIRS)
def test_a_part_of_a_pair_is_one_stack(architecture, role):
    for name in NAMES:
        part = tiny_config(name)
        if ARCHITECTURES[name].network(part).decoder is not None:
            said = f"{role} must be the config of one stack; a {name} model has two"
            with refuses(ValueError, said):
                ARCHITECTURES[architecture].config(**{role: part})
    for given in (5, "bert", ["bert"]):
        with refuses(ValueError, f"{role} must be a model's config, its model_type included, not {given!r}"):
            ARCHITECTURES[architecture].config(**{role: given})


def test_every_wrong_value_is_named_with_its_field(architecture, src):
    kind = ARCHITECTURES[architecture].config
    fields = {name: default for name, default in kind.defaults.items() if not name.endswith("token_id")}
    assert set(kind.sizes) <= set(fields) and fields
    for value in ({"a": 1}, ["x"]):
        edit_json(src / "config.json", **dict.fromkeys(fields, value))
        said = [f"{name} must be" for name in fields]
        refused_by_all(architecture, src, ValueError, str(src / "config.json"), *said)


@pytest.mark.parametrize("value", [0, -1, 1.5, "12", True, None])
def test_a_size_is_a_whole_number_above_0(architecture, src, value):
    for size in fields_of(architecture).sizes:
        saved_model(src, architecture)
        edit_fields(src, **{size: value})
        refused_by_all(architecture, src, ValueError, f"{size} must be", f"not {value!r}")


def test_chances_of_dropout_are_below_1(architecture, src):
    drops = [name for name in fields_of(architecture).defaults if "drop" in name]
    edit_fields(src, **dict.fromkeys(drops, 1))
    refused_by_all(architecture, src, ValueError, *(f"{name} must be from 0 to below 1, not 1" for name in drops))


def test_a_width_that_the_heads_cannot_share_is_told(architecture, src):
    for width, heads in fields_of(architecture).shared_among:
        saved_model(src, architecture)
        edit_fields(src, **{heads: 5})
        said = f"{width} must be divisible by {heads}, but 32 is not by 5"
        refused_by_all(architecture, src, ValueError, said)


def test_an_unknown_activation_function_is_told_with_those_there_are(architecture, src):
    fields = [name for name, rule in fields_of(architecture).rules.items() if rule is ACTIVATION]
    assert fields
    edit_fields(src, **dict.fromkeys(fields, "gleu"))
    said = [f"{name} must be an activation function (gelu," for name in fields]
    refused_by_all(architecture, src, ValueError, *said, "not 'gleu'")


@pytest.mark.parametrize("value", [-1, 60, 1000])
def test_a_padding_token_is_in_the_vocabulary(architecture, src, value):
    edit_json(src / "config.json", pad_token_id=value)
    refused_by_all(architecture, src, ValueError, "pad_token_id must be", f"not {value}")


@pytest.mark.parametrize("value", ["relative_key", "relative_key_query", "rotary"])
@pytest.mark.parametrize(
    "architecture", [name for name in NAMES if "position_embedding_type" in ARCHITECTURES[name].config.defaults]
)
def test_positions_that_are_not_absolute_are_refused(src, architecture, value):
    edit_json(src / "config.json", position_embedding_type=value)
    refused_by_all(architecture, src, ValueError, "position_embedding_type must be one of 'absolute'", repr(value))


def test_an_unknown_problem_type_is_told(architecture, src):
    edit_json(src / "config.json", problem_type="ranking")
    refused_by_all(architecture, src, ValueError, "problem_type must be one of None, 'regression'", "not 'ranking'")


@pytest.mark.parametrize("name", ["gpt5", "", 5, ["bert"], {"a": 1}])
def test_an_unknown_architecture_is_told_with_those_there_are(architecture, src, name):
    edit_json(src / "config.json", model_type=name)
    for load in loaders(architecture)[:3]:
        with refuses(FileError, f"no architecture {name!r}; there are", *NAMES, folder=src):
            load(src)
    for load in loaders(architecture)[3:]:
        with refuses(ValueError, f"is of a {name!r} model, not of a {architecture!r} one", folder=src):
            load(src)


def test_an_architecture_that_is_not_named_is_told_by_those_who_must_know(architecture, src):
    edit_json(src / "config.json", drop=("model_type",))
    for load in loaders(architecture)[:3]:
        with refuses(FileError, "config.json has no model_type", *NAMES, folder=src):
            load(src)
    for load in loaders(architecture)[3:]:
        assert load(src).config.vocab_size == 60


def test_another_architecture_s_directory_is_refused(architecture, src):
    for other in NAMES:
        if other != architecture:
            with refuses(ValueError, f"is of a {architecture!r} model, not of a {other!r} one", folder=src):
                class_named(other, "AdapterModel").from_pretrained(src)
    with refuses(UnknownName, "no architecture 'brt'; there are", "did you mean"):
        AutoConfig.for_model("brt")


HOSTILE = {
    "_attn_implementation_internal": "os.system",
    "_attn_implementation": "flash_attention_99",
    "auto_map": {"AutoModel": "evil.py--EvilModel", "AutoConfig": "evil.EvilConfig"},
    "trust_remote_code": True,
    "architectures": ["EvilModel"],
    "self": "me",
    "__class__": "Evil",
    "extra": {"a": 1},
    "adapters": {"evil": {}},
    "kind": 5,
    "source": "elsewhere",
}


def test_what_a_hostile_config_asks_for_is_kept_as_data_and_never_done(architecture, src, tmp_path):
    evil = src / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'done')!r}, 'w').write('done')")
    edit_json(src / "config.json", **HOSTILE)
    for load in loaders(architecture)[1:]:
        model = load(src)
        assert model.has_adapters() is False
        model.save_pretrained(tmp_path / "again")
        written = json.loads((tmp_path / "again" / "config.json").read_text())
        assert {key: written[key] for key in HOSTILE if key != "architectures"} == {
            key: value for key, value in HOSTILE.items() if key != "architectures"
        }
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize("state", [5, [], {"adapters": 5}, {"adapters": [5]}, {"heads": "x"}, {"adapters": {"a": 1}}])
def test_an_entry_of_ours_that_is_none_is_told(architecture, src, state):
    edit_json(src / "config.json", adapterzoo=state)
    for load in loaders(architecture)[1:]:
        with refuses(FileError, "config.json's 'adapterzoo' must hold lists of names", folder=src):
            load(src)


@pytest.mark.parametrize("setup", [5, {"type": "Stack"}, {"type": "exec", "children": []}, ["gone"], "gone"])
def test_an_active_setup_that_is_none_is_told(architecture, src, setup):
    edit_json(src / "config.json", adapterzoo={"adapters": [], "active_adapters": setup})
    for load in loaders(architecture)[1:]:
        with refuses((ValueError, TypeError), folder=src):
            load(src)


@pytest.mark.parametrize("name", ["../../outside", "/etc", "..", "a/b"])
def test_an_adapter_s_name_leads_to_no_other_directory(architecture, src, tmp_path, name):
    model = class_named(architecture, "AdapterModel").from_pretrained(src)
    model.add_adapter("outside", "lora")
    model.save_adapter(tmp_path / "outside", "outside")
    edit_json(src / "config.json", adapterzoo={"adapters": [name]})
    for load in loaders(architecture)[1:]:
        with refuses(FileNotFoundError, "which its config.json names", folder=tmp_path):
            load(src)
