"""An adapter's files that are not there, are none or do not fit: all that is wrong is told, and nothing is loaded."""

from __future__ import annotations

import json

import pytest
import torch

from adapterzoo import FileError
from adapterzoo.core.registry import listing
from adapterzoo.formats import adapterhub
from adapterzoo.methods import METHODS
from tests.errors.conftest import furnished
from tests.helpers.adapting import CONFIGS, add_random
from tests.helpers.refusing import refuses
from tests.helpers.spoiling import BROKEN, edit_json, edit_tensors, keys_of
from tests.helpers.tiny import NAMES, tiny_model

CONFIG, WEIGHTS = adapterhub.CONFIG, adapterhub.WEIGHTS[0]


@pytest.fixture(params=NAMES)
def architecture(request):
    return request.param


@pytest.fixture
def src(architecture, tmp_path):
    """A saved adapter "mrpc", another than the furnished model's of that name."""
    other = tiny_model(architecture)
    add_random(other, "mrpc", "lora[r=3]")
    other.save_adapter(tmp_path / "mrpc", "mrpc")
    return tmp_path / "mrpc"


@pytest.fixture
def model(architecture):
    return furnished(architecture)


def refused(model, src, error, *words, **options):
    """The adapter is refused under its own name, which is taken, and under a new one."""
    for name in (None, "new"):
        with refuses(error, *words, model=model, folder=src if src.is_dir() else None):
            model.load_adapter(src, load_as=name, set_active=True, **options)


def test_what_is_spoilt_here_was_good(model, src):
    assert model.load_adapter(src) == "mrpc"
    assert model.adapters_config.get("mrpc").r == 3


def test_a_directory_that_is_not_there_is_told(model, tmp_path):
    refused(model, tmp_path / "gone", FileNotFoundError, "there is no directory", "gone")


def test_a_file_is_no_directory(model, src):
    refused(model, src / CONFIG, FileNotFoundError, "is a file; give the directory that it is in")


def test_a_directory_without_config_or_weights_is_told(model, src):
    (src / WEIGHTS).unlink()
    refused(
        model, src, FileNotFoundError, "has no adapter's tensors: neither adapter.safetensors nor pytorch_adapter.bin"
    )
    (src / CONFIG).unlink()
    refused(model, src, FileNotFoundError, "has no adapter_config.json; it has no files")


@pytest.mark.parametrize(("content", "said"), [("{", "is not JSON"), ("[]", "should hold a JSON object, not list")])
def test_a_config_that_is_no_json_object_is_told(model, src, content, said):
    (src / CONFIG).write_text(content)
    refused(model, src, FileError, CONFIG, said)


WRONG = [
    ({"config": None}, "it has no 'config'"),
    ({"config": {}}, "it has no 'config'"),
    ({"config": "lora"}, "its config is 'lora', not fields and values"),
    ({"config": ["lora"]}, "its config is ['lora'], not fields and values"),
    ({"config": {"architecture": "lroa"}}, f"no adapter method 'lroa'; there are {listing(METHODS)}"),
    ({"config": {"architecture": "union", "configs": []}}, "ConfigUnion: there is no config to join"),
    ({"config": {"architecture": ["lora"]}}, "no adapter method ['lora']"),
    ({"config": {"architecture": "lora", "rank": 3}}, "LoRAConfig: no field 'rank'; there are alpha"),
    ({"config": {"architecture": "lora", "r": "3"}}, "LoRAConfig: r must be a whole number, not '3'"),
    ({"config": {"architecture": "lora", "r": 0, "dropout": 5}}, "r must be above 0, not 0; dropout must be"),
    ({"config": {"architecture": "lora", "use_dora": "yes"}}, "use_dora must be True or False, not 'yes'"),
    ({"config": {"architecture": None, "r": 3}}, "BnConfig: no field 'r'"),
    ({"config": {"architecture": None, "reduction_factor": 2}}, "BnConfig cannot be made from ['reduction_factor']"),
    ({"config": {"architecture": None, "non_linearity": ["relu"]}}, "BnConfig cannot be made"),
    ({"name": None}, "it has no 'name'"),
    ({"name": 5}, "its name is 5, not a string"),
    ({"name": ["mrpc"]}, "its name is ['mrpc'], not a string"),
    ({"model_type": "gpt2"}, "its model_type is 'gpt2', but the model's is"),
    ({"hidden_size": 768}, "its hidden_size is 768, but the model's is 32"),
    ({"hidden_size": "32"}, "its hidden_size is '32', but the model's is 32"),
]


@pytest.mark.parametrize(("changes", "said"), WRONG, ids=[str(changes) for changes, _ in WRONG])
def test_a_wrong_entry_of_the_config_is_told(model, src, changes, said):
    edit_json(src / CONFIG, **changes)
    refused(model, src, ValueError, said)


def test_all_wrong_entries_are_told_at_once(model, src):
    edit_json(src / CONFIG, name=None, model_type="gpt2", hidden_size=768, config={"architecture": "lora", "r": 0})
    said = ["it has no 'name'", "its model_type is 'gpt2'", "its hidden_size is 768", "r must be above 0"]
    refused(model, src, ValueError, "the adapter's config does not fit: ", *said)


@pytest.mark.parametrize("version", ["adapters.1.x", "adapters.", "3.2.1", 5, None, ["adapters.1.0"]])
def test_an_odd_version_is_no_reason_to_refuse(model, src, version):
    edit_json(src / CONFIG, version=version)
    assert model.load_adapter(src, load_as="new") == "new"


def test_an_adapter_of_another_architecture_is_refused(architecture, src):
    for other in NAMES:
        if other != architecture:
            model = furnished(other)
            said = f"its model_type is {architecture!r}, but the model's is {other!r}"
            refused(model, src, ValueError, said)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_is_not_whole_is_told(model, src, kind):
    (src / WEIGHTS).write_bytes(BROKEN[kind]((src / WEIGHTS).read_bytes()))
    refused(model, src, FileError, str(src / WEIGHTS), "is no whole safetensors file: ")


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_tensor_that_is_missing_or_misshaped_or_too_many_is_named(architecture, model, tmp_path, kind):
    other = tiny_model(architecture)
    add_random(other, kind)
    other.save_adapter(tmp_path, kind)
    keys = [
        key
        for key in keys_of(tmp_path / WEIGHTS)
        if ".adapter_down.0." not in key or not CONFIGS[kind].get("ln_before")
    ]
    lost, wrong = keys[: len(keys) // 2], keys[len(keys) // 2 :]

    def spoil(tensors):
        cut = {key: tensor[:-1] if key in wrong else tensor for key, tensor in tensors.items() if key not in lost}
        return {**cut, "stray.weight": torch.ones(2)}

    edit_tensors(tmp_path / WEIGHTS, spoil)
    prefix = f"{model.architecture.prefix}."
    said = [f"{key.removeprefix(prefix)} is not there" for key in lost]
    said += [f"{key.removeprefix(prefix)} has shape" for key in wrong]
    refused(model, tmp_path, ValueError, f"the adapter {kind!r} does not fit:", "stray.weight has no place here", *said)


def test_a_config_of_another_rank_is_told_by_every_tensor(model, src):
    config = json.loads((src / CONFIG).read_text())["config"]
    edit_json(src / CONFIG, config={**config, "r": 4})
    keys = [key.removeprefix(f"{model.architecture.prefix}.") for key in keys_of(src / WEIGHTS)]
    refused(model, src, ValueError, *(f"{key} has shape" for key in keys), "(3, 32), not (4, 32)")


@pytest.mark.parametrize(("name", "error"), [("", ValueError), (5, TypeError)])
def test_a_name_to_give_that_is_none_is_refused(model, src, name, error):
    with refuses(error, "an adapter's name", model=model, folder=src):
        model.load_adapter(src, load_as=name)


def test_a_taken_name_is_refused_if_it_may_not_be_replaced(model, src):
    with refuses(ValueError, "there is already an adapter named 'mrpc'; overwrite_ok=True", model=model, folder=src):
        model.load_adapter(src, overwrite_ok=False)
    assert model.load_adapter(src, load_as="new", overwrite_ok=False) == "new"


def test_layers_to_leave_out_that_do_not_exist_are_told(model, src):
    layers = model.base.config.layers
    said = f"leave_out names {layers}, 'x', but the network's layers are 0 to {layers - 1}"
    refused(model, src, ValueError, said, leave_out=[0, layers, "x"])
    refused(model, src, ValueError, "covers no site of this network", leave_out=range(layers))
