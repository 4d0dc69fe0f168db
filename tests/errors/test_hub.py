"""The Hub: what is there loads, what is not there is told, and a directory is never looked up there."""

from __future__ import annotations

import shutil
import socket

import huggingface_hub
import huggingface_hub.constants
import pytest
import torch

from adapterzoo import AutoAdapterModel, AutoConfig
from tests.errors.conftest import furnished
from tests.helpers.hub import BROKEN, call_from_outside, serving
from tests.helpers.spoiling import edit_tensors
from tests.helpers.tiny import NAMES, tiny_model


def load(what, source, **more):
    return {"load": what, "source": source, **more}


def total(tensors):
    return sum(float(tensor.double().sum()) for tensor in tensors)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A server with a model, in two revisions, and an adapter; and the sums of their weights."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("hub")
    model = furnished(NAMES[0])
    model.save_pretrained(root / "org" / "model" / "main")
    shutil.copytree(root / "org" / "model" / "main", root / "org" / "model" / "v2")
    edit_tensors(root / "org/model/v2/model.safetensors", lambda t: {key: value * 2 for key, value in t.items()})
    model.save_adapter(root / "org" / "adapter" / "main", "mrpc")
    (root / "org" / "empty" / "main").mkdir(parents=True)
    pickled = root / "org" / "pickled" / "main"
    shutil.copytree(root / "org" / "adapter" / "main", pickled, ignore=shutil.ignore_patterns("*head*"))
    torch.save(_tensors(pickled / "adapter.safetensors"), pickled / "pytorch_adapter.bin")
    (pickled / "adapter.safetensors").unlink()
    with serving(root) as server:
        sums = {
            "model": total([model.base.token.weight]),
            "adapter": total(model.adapters["mrpc"].state_dict().values()),
        }
        yield server, root, sums


def _tensors(path):
    from safetensors.torch import load_file

    return load_file(path)


@pytest.fixture(scope="module")
def told(hub, tmp_path_factory):
    """What calls give by the name of each: online, and then offline, with what is in the cache."""
    server, root, _ = hub
    into = str(root / "org" / "model" / "main")
    adapter = {"into": into}
    calls = {
        "model": load("model", "org/model"),
        "revision": load("model", "org/model", options={"revision": "v2"}),
        "adapter": load("adapter", "org/adapter", **adapter),
        "pickled adapter": load("adapter", "org/pickled", **adapter),
        "adapter's revision": load("adapter", "org/adapter", **adapter, options={"version": "main"}),
        "no model": load("model", "org/gone"),
        "no adapter": load("adapter", "org/gone", **adapter),
        "no revision": load("model", "org/model", options={"revision": "v9"}),
        "no version": load("adapter", "org/adapter", **adapter, options={"version": "v9"}),
        "nothing in it": load("model", "org/empty"),
        "no adapter in it": load("adapter", "org/model", **adapter),
        "errors alone": load("config", BROKEN),
        "no name": load("model", "org/mo del?"),
    }
    home = tmp_path_factory.mktemp("home")

    def run(**environment):
        return dict(zip(calls, call_from_outside(list(calls.values()), home, **environment), strict=True))

    online = run(HF_ENDPOINT=server.url)
    return {"online": online, "offline": run(HF_HUB_OFFLINE="1")}


WHERE = ["online", "offline"]


@pytest.mark.parametrize("where", WHERE)
def test_what_is_there_loads_and_once_loaded_needs_no_network(hub, told, where):
    sums = hub[2]
    for call, expected in (("model", sums["model"]), ("revision", 2 * sums["model"])):
        assert told[where][call]["result"] == {"sum": pytest.approx(expected), "adapters": ["en", "mrpc"]}
    for call, heads in (("adapter", ["mrpc"]), ("pickled adapter", []), ("adapter's revision", ["mrpc"])):
        expected = {"sum": pytest.approx(sums["adapter"]), "name": "mrpc", "heads": heads}
        assert told[where][call]["result"] == expected


@pytest.mark.parametrize("call", ["no model", "no adapter", "errors alone", "no name"])
@pytest.mark.parametrize("where", WHERE)
def test_a_repository_that_is_not_to_be_had_is_told(told, where, call):
    failed = told[where][call]
    assert "FileNotFoundError" in failed["error"]
    assert "there is no directory 'org/" in failed["message"] and "Hub repository" in failed["message"]


@pytest.mark.parametrize("call", ["no revision", "no version"])
def test_a_revision_that_is_not_there_is_told(told, call):
    failed = told["online"][call]
    assert "FileNotFoundError" in failed["error"] and "v9" in failed["message"]


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("call", ["no revision", "no version"])
def test_nothing_else_is_taken_for_a_revision_that_is_not_there(told, where, call):
    assert "FileNotFoundError" in told[where][call]["error"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("nothing in it", "'org/empty' has no config.json"),
        ("no adapter in it", "'org/model' has no adapter_config.json"),
    ],
)
def test_a_repository_without_the_file_is_told(told, call, said):
    failed = told["online"][call]
    assert "FileNotFoundError" in failed["error"]
    assert said in failed["message"] and "looked for on the Hub" in failed["message"]


def test_a_directory_is_never_looked_up_on_the_network(model, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("the network was asked")

    model.save_pretrained(tmp_path / "org" / "model")
    model.save_adapter(tmp_path / "org" / "adapter", "mrpc")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(socket.socket, "connect", fail)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    monkeypatch.chdir(tmp_path)
    again = AutoAdapterModel.from_pretrained("org/model")
    assert again.active_adapters == model.active_adapters and list(again.heads) == list(model.heads)
    assert again.load_adapter("org/adapter", load_as="new") == "new"
    with pytest.raises(AssertionError, match="the network was asked"):
        AutoConfig.from_pretrained("org/gone")


@pytest.mark.parametrize("architecture", NAMES)
def test_only_what_may_be_a_repository_is_looked_for_on_the_hub(architecture, monkeypatch):
    asked = []
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda source, *args, **kwargs: asked.append(source))
    model = tiny_model(architecture)
    for source in ("./x", "../x", "/x/y", "a/b/c", "~/x", "", "a//b", "a/"):
        with pytest.raises(FileNotFoundError, match="there is no directory"):
            model.load_adapter(source)
    assert asked == []
