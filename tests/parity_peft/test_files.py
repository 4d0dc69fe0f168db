"""PEFT's files: where they lie, what in them cannot be had, and what becomes of broken ones."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapterzoo import FileError, LoRAConfig
from adapterzoo.archs import ARCHITECTURES
from adapterzoo.core.sites import sites_of
from adapterzoo.formats import peft as format_of
from tests.helpers.adapting import CONFIGS, add_random, same_bits, tensors_of
from tests.helpers.hf_models import Case
from tests.helpers.peft_adapters import CASES, NAMES, QUIET, opened, peft, small_peer, wrapped
from tests.helpers.refusing import refuses
from tests.helpers.spoiling import BROKEN, edit_json, edit_tensors, keys_of
from tests.helpers.tiny import DISTINCT, tiny_model
from tests.parity_peft.test_methods import WRITTEN

pytestmark = QUIET
CONFIG, WEIGHTS = format_of.CONFIG, format_of.WEIGHTS[0]


@pytest.fixture
def pair() -> Any:
    return small_peer(Case(ARCHITECTURES["bert"], None))


@pytest.fixture
def src(pair: Any, tmp_path: Path) -> Path:
    """A saved LoRA of PEFT's."""
    wrapped(pair[0], CASES["lora"](ARCHITECTURES["bert"])).save_pretrained(tmp_path / "mrpc")
    return tmp_path / "mrpc"


def refused(model: Any, src: Path, *words: str, error: Any = ValueError, **options: Any) -> None:
    with refuses(error, *words, model=model, folder=src):
        model.load_adapter(src, **options)


# ---------------------------------------------------------------------------------------------- places and names


def test_an_adapter_is_called_as_its_folder_is(pair: Any, src: Path, monkeypatch: Any) -> None:
    assert pair[1].load_adapter(src) == "mrpc"
    assert pair[1].load_adapter(src, load_as="other") == "other"
    monkeypatch.chdir(src)
    assert pair[1].load_adapter(".") == "mrpc"


def test_an_adapter_in_a_folder_of_its_name_is_found(tmp_path: Path) -> None:
    model, ours = small_peer(Case(ARCHITECTURES["roberta"], None))
    theirs = wrapped(model, CASES["lora"](ARCHITECTURES["roberta"]))
    theirs.add_adapter("sst", CASES["lora"](ARCHITECTURES["roberta"]))
    theirs.save_pretrained(tmp_path / "one", selected_adapters=["sst"])
    assert ours.load_adapter(tmp_path / "one") == "sst"
    theirs.add_adapter("qa", CASES["lora"](ARCHITECTURES["roberta"]))
    theirs.save_pretrained(tmp_path / "two", selected_adapters=["sst", "qa"])
    refused(ours, tmp_path / "two", "has several adapters: give one of", "two/qa", "two/sst")


def test_a_taken_name_is_refused_if_it_may_not_be_replaced(pair: Any, src: Path) -> None:
    pair[1].load_adapter(src)
    refused(pair[1], src, "there is already an adapter named 'mrpc'", overwrite_ok=False)


def test_tensors_in_a_pytorch_file_are_read_if_they_may_be(pair: Any, src: Path) -> None:
    pair[1].load_adapter(src, load_as="a")
    torch.save(load_file(src / WEIGHTS), src / "adapter_model.bin")
    (src / WEIGHTS).unlink()
    pair[1].load_adapter(src, load_as="b")
    assert same_bits(tensors_of(pair[1].adapters["a"]), tensors_of(pair[1].adapters["b"]))
    refused(pair[1], src, "is a PyTorch file, in pickle's format", error=FileError, allow_pickle=False)


def test_an_adapter_of_pefts_is_swapped_in(pair: Any, src: Path) -> None:
    _, ours = pair
    add_random(ours, "a", LoRAConfig(r=3, alpha=7, sites=["attn.q", "attn.v"], dropout=0.1))
    own = {name: tensor.data_ptr() for name, tensor in ours.adapters["a"].state_dict().items()}
    edit_tensors(src / WEIGHTS, lambda tensors: {key: tensor + 1 for key, tensor in tensors.items()})
    ours.hotswap_adapter(src, "a")
    ours.load_adapter(src, load_as="b")
    assert same_bits(tensors_of(ours.adapters["a"]), tensors_of(ours.adapters["b"]))
    assert {name: tensor.data_ptr() for name, tensor in ours.adapters["a"].state_dict().items()} == own


def test_layers_may_be_left_out(pair: Any, src: Path) -> None:
    pair[1].load_adapter(src, load_as="a", leave_out=[0])
    assert pair[1].adapters_config.get("a").leave_out == (0,)


def test_what_is_written_says_which_model_and_format_it_is(pair: Any, tmp_path: Path) -> None:
    _, ours = pair
    add_random(ours, "a", CONFIGS["lora"])
    ours.config.extra["_name_or_path"] = "org/some-bert"
    ours.save_adapter(tmp_path, "a", to="peft")
    said = json.loads((tmp_path / CONFIG).read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == [CONFIG, WEIGHTS]
    assert said["base_model_name_or_path"] == "org/some-bert"
    assert peft.PeftConfig.from_pretrained(str(tmp_path)).peft_type == "LORA"
    assert said["auto_mapping"]["base_model_class"] == "BertModel"
    del ours.config.extra["_name_or_path"]


def test_a_format_that_there_is_not_is_told(pair: Any, tmp_path: Path) -> None:
    add_random(pair[1], "a", CONFIGS["lora"])
    with refuses(ValueError, "no format of adapters 'pefft'; there are adapterhub, peft", folder=tmp_path):
        pair[1].save_adapter(tmp_path, "a", to="pefft")
    with refuses(ValueError, "meta_dict is for AdapterHub's files", folder=tmp_path):
        pair[1].save_adapter(tmp_path, "a", meta_dict={"by": "me"}, to="peft")


# ---------------------------------------------------------------------------------------------- what cannot be had

WRONG = [
    ({"peft_type": "LOHA"}, "no PEFT method that can be had here, 'LOHA'; there are IA3, LN_TUNING, LORA"),
    ({"peft_type": None}, "no PEFT method that can be had here, None"),
    ({"peft_type": ["LORA"]}, "no PEFT method that can be had here, ['LORA']"),
    ({"bias": "lora_only"}, "its bias is 'lora_only', not 'none': it has changed biases of the model itself"),
    ({"lora_bias": True}, "its lora_bias is True, not False: B has no bias here"),
    ({"r": "3"}, "its r must be a whole number, not '3'"),
    ({"r": 0}, "its r must be above 0, not 0"),
    ({"lora_alpha": float("nan")}, "its lora_alpha must be a number, not nan"),
    ({"lora_dropout": 2}, "its lora_dropout must be from 0 to below 1, not 2"),
    ({"target_modules": "(("}, "'((' is no regular expression"),
    ({"target_modules": ["q_proj"]}, "its target_modules ['q_proj'] mean no module that there is: dense, key"),
    ({"target_modules": None}, "its target_modules [] mean no module that there is"),
    ({"target_modules": 5}, "its target_modules must be a list, each element a string or a string, not 5"),
    ({"modules_to_save": ["classi fier"]}, "modules_to_save has 'classi fier', which is no name of a module"),
    ({"rank_pattern": {"q(": 2}}, "'q(' in its rank_pattern is no regular expression"),
    ({"rank_pattern": {"query": "2"}}, "its rank_pattern must be a mapping from a string to a whole number"),
    ({"rank_pattern": {"query": 0}}, "rank_pattern must be above 0"),
    ({"init_lora_weights": "olora"}, "its init_lora_weights is 'olora': it began with weights of the model"),
    ({"init_lora_weights": "pissa_niter_4"}, "its init_lora_weights is 'pissa_niter_4'"),
    ({"target_parameters": ["a.weight"]}, "it acts on parameters without a module"),
    ({"trainable_token_indices": [1]}, "it has changed rows of the model's token embedding"),
    ({"layer_replication": [[0, 2]]}, "it changes which layers the model has"),
    ({"use_qalora": True}, "its use_qalora is True: there is no such thing here"),
    ({"a_field_of_tomorrow": "on"}, "its a_field_of_tomorrow is 'on': there is no such thing here"),
]


@pytest.mark.parametrize(("changes", "said"), WRONG, ids=[str(changes) for changes, _ in WRONG])
def test_a_field_that_cannot_be_had_is_told(pair: Any, src: Path, changes: dict[str, Any], said: str) -> None:
    edit_json(src / CONFIG, **changes)
    refused(pair[1], src, said)


def test_all_that_is_wrong_with_a_config_is_told_at_once(pair: Any, src: Path) -> None:
    edit_json(src / CONFIG, r=0, bias="all", use_dora="yes", lora_bias=True)
    refused(pair[1], src, "its r must be above 0", "its bias is 'all'", "its use_dora must be", "its lora_bias is True")


def test_fields_that_say_nothing_are_no_reason_to_refuse(pair: Any, src: Path) -> None:
    edit_json(src / CONFIG, tomorrow=None, later=False, corda_config={}, peft_version="9.9", megatron_core="m")
    assert pair[1].load_adapter(src) == "mrpc"


REFUSED = [kind for kind in CONFIGS if kind not in WRITTEN and "prefix" not in kind and "prompt" not in kind]


@pytest.mark.parametrize("kind", REFUSED)
def test_a_method_that_peft_has_not_is_not_written(pair: Any, kind: str, tmp_path: Path) -> None:
    _, ours = pair
    add_random(ours, "a", CONFIGS[kind])
    with refuses(ValueError, "PEFT", model=ours, folder=tmp_path):
        ours.save_adapter(tmp_path, "a", to="peft")


# ---------------------------------------------------------------------------------------------- broken files


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_is_not_whole_is_told(pair: Any, src: Path, kind: str) -> None:
    (src / WEIGHTS).write_bytes(BROKEN[kind]((src / WEIGHTS).read_bytes()))
    refused(pair[1], src, str(src / WEIGHTS), "is no whole safetensors file: ", error=FileError)


def test_a_folder_without_tensors_is_told(pair: Any, src: Path) -> None:
    (src / WEIGHTS).unlink()
    said = "has no adapter's tensors: neither adapter_model.safetensors nor adapter_model.bin"
    refused(pair[1], src, said, error=FileNotFoundError)


@pytest.mark.parametrize("case", [case for case in CASES if case != "vera-drawn"])
def test_every_tensor_that_is_missing_or_misshaped_or_too_many_is_named(case: str, tmp_path: Path) -> None:
    model, ours = small_peer(Case(ARCHITECTURES["distilbert"], None))
    wrapped(model, CASES[case](ours.architecture)).save_pretrained(tmp_path)
    keys = keys_of(tmp_path / WEIGHTS)
    lost, wrong, whole = keys[::3], keys[1::3], keys[2::3]

    def spoil(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        changed = {key: tensors[key][..., :-1] for key in wrong} | {key: tensors[key].long() for key in whole}
        return {**changed, "base_model.model.stray.weight": torch.ones(2)}

    edit_tensors(tmp_path / WEIGHTS, spoil)
    bare = {key: key.removeprefix("base_model.model.") for key in keys}
    said = [f"{bare[key]} is not there" for key in lost] + [f"{bare[key]} has shape" for key in wrong]
    said += [f"{bare[key]} holds torch.int64" for key in whole]
    refused(ours, tmp_path, *said)


def test_a_tensor_that_nobody_knows_is_named(pair: Any, src: Path) -> None:
    edit_tensors(src / WEIGHTS, lambda tensors: {**tensors, "base_model.model.stray.weight": torch.ones(2)})
    refused(pair[1], src, "stray.weight has no place here")


def test_a_module_that_is_no_site_is_named(pair: Any, tmp_path: Path) -> None:
    model, ours = pair
    wrapped(model, peft.LoraConfig(target_modules="all-linear")).save_pretrained(tmp_path)
    refused(ours, tmp_path, "pooler.dense.lora_A.weight has no place here")


def test_the_models_own_embedding_beside_an_adapter_must_be_this_models(pair: Any, src: Path) -> None:
    name, ours = "base_model.model.embeddings.word_embeddings.weight", pair[1]
    own = ours.base.token.weight.detach().clone()
    edit_tensors(src / WEIGHTS, lambda tensors: {**tensors, name: own})
    assert ours.load_adapter(src) == "mrpc"
    edit_tensors(src / WEIGHTS, lambda tensors: {**tensors, name: own + 1})
    refused(ours, src, "is a weight of the model itself, and another one than this model's")


# ---------------------------------------------------------------------------------------------- without a model


@cache
def kept_model(name: str) -> Any:
    return tiny_model(name)


@pytest.mark.parametrize("name", DISTINCT)
@pytest.mark.parametrize("kind", [*WRITTEN, "prefix_tuning_flat"])
def test_a_config_goes_to_pefts_and_back_for_every_architecture(name: str, kind: str) -> None:
    """With what it covers; where HF has no module of its own, or PEFT no such prefix, the reason is told."""
    model = kept_model(name)
    architecture, network = model.architecture, model.base.config
    config = {**CONFIGS, **WRITTEN}[kind]
    try:
        content = format_of.write_config(config, architecture, network)
    except ValueError as error:
        assert any(said in str(error) for said in ("has no module of its own", "PEFT has no prefixes"))
        return
    for prefixed in (False, True):
        back = format_of.read_config(json.loads(json.dumps(content)), architecture, network, prefixed)
        names = format_of.tensor_names(back, architecture, network)
        every = sites_of(network)
        assert [back.covers(site, network) for site in every] == [config.covers(site, network) for site in every]
        assert len(names) == len(set(names.values()))
        model.add_adapter("a", back, overwrite_ok=True)
        assert set(names.values()) <= set(model.adapters["a"].state_dict())


@pytest.mark.parametrize("alpha", [8.0, 2.5, 2.0**53 - 1, 1e308, -1e308])
def test_a_number_of_any_size_comes_back(alpha: float, pair: Any, src: Path, tmp_path: Path) -> None:
    edit_json(src / CONFIG, lora_alpha=alpha)
    name = pair[1].load_adapter(src)
    pair[1].save_adapter(tmp_path / "again", name, to="peft")
    said = json.loads((tmp_path / "again" / CONFIG).read_text())["lora_alpha"]
    assert said == alpha and isinstance(said, int) == (alpha in (8.0, 2.0**53 - 1))
    assert pair[1].load_adapter(tmp_path / "again", load_as="again") == "again"


def test_patterns_of_peft_become_ranks_by_site() -> None:
    kind = ARCHITECTURES["bert"]
    network = tiny_model("bert").base.config
    content = {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["query", "value", "output.dense"],
        "layers_to_transform": [1],
        "rank_pattern": {"query": 2, r"attention\.output\.dense": 7},
    }
    config = format_of.read_config(content, kind, network)
    assert config == LoRAConfig(
        r=4,
        alpha=8,
        sites=["encoder.1.attn.q", "encoder.1.attn.v", "encoder.1.attn.out", "encoder.1.mlp.down"],
        rank_pattern={"encoder.1.attn.q": 2, "encoder.1.attn.out": 7},
    )
    plain = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["query", "key"]}
    assert format_of.read_config(plain, kind, network) == LoRAConfig(r=4, alpha=8, attn_matrices=("q", "k"))


@pytest.mark.parametrize("name", NAMES)
def test_embeddings_of_both_stacks_have_files_of_their_own(name: str, tmp_path: Path) -> None:
    _, ours = small_peer(Case(ARCHITECTURES[name], None))
    add_random(ours, "a", LoRAConfig(r=2, sites="token"))
    ours.save_adapter(tmp_path / "hub", "a")
    ours.load_adapter(tmp_path / "hub", load_as="b")
    assert same_bits(tensors_of(ours.adapters["a"]), tensors_of(ours.adapters["b"]))
    ours.save_adapter(tmp_path / "peft", "a", to="peft")
    opened(small_peer(Case(ARCHITECTURES[name], None))[0], tmp_path / "peft")
