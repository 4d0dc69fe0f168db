"""The list of adapters on the Hub, and what is told of one."""

from __future__ import annotations

import json

import pytest

from tests.helpers.hub import NOWHERE
from tests.helpers.hub_repos import READER, WRITER, Repository


def card(**entries):
    """A card whose head has these entries; JSON is YAML."""
    return f"---\n{json.dumps(entries)}\n---\n".encode()


def config(**entries):
    return json.dumps({"config": {"architecture": "lora", "r": 8}, **entries}).encode()


@pytest.fixture(scope="module")
def told(hub, ask, folder):
    """What is told of adapters of several kinds."""
    tagged = {"tags": ["adapter-transformers", "adapterhub:nli/multinli"]}
    for name, files in {
        "org/named": {"README.md": card(**tagged), "adapter_config.json": config(model_name="org/bert")},
        "org/based": {"README.md": card(library_name="adapters", base_model="org/roberta")},
        "org/several": {"README.md": card(library_name="adapters", base_model=["org/roberta", "org/bert"])},
        "org/unknown": {"README.md": card(library_name="adapters", tags=["adapter-transformers"])},
        "org/model": {"README.md": card(library_name="transformers"), "config.json": b"{}"},
        "org/peft": {"README.md": card(library_name="peft"), "adapter_config.json": b'{"peft_type": "LORA"}'},
        "org/private": {"README.md": card(library_name="adapters")},
    }.items():
        hub.repositories[name] = Repository(private=name == "org/private")
        hub.repositories[name].add("main", files)
    push = {"do": "push", "model": str(folder), "repo": "org/pushed", "name": "mrpc", "token": WRITER}
    calls = {
        "push": push,
        "all": {"do": "list_adapters"},
        "bert": {"do": "list_adapters", "model_name": "org/bert"},
        "private": {"do": "list_adapters", "token": READER},
        "named": {"do": "get_adapter_info", "adapter_id": "org/named"},
        "pushed": {"do": "get_adapter_info", "adapter_id": "org/pushed"},
        "peft": {"do": "get_adapter_info", "adapter_id": "org/peft"},
        "model": {"do": "get_adapter_info", "adapter_id": "org/model"},
        "gone": {"do": "get_adapter_info", "adapter_id": "org/gone"},
        "no name": {"do": "get_adapter_info", "adapter_id": "a b"},
        "closed": {"do": "get_adapter_info", "adapter_id": "org/private"},
        "open": {"do": "get_adapter_info", "adapter_id": "org/private", "token": READER},
    }
    away = {"all": calls["all"], "named": calls["named"], "push": push}
    return {
        **ask(calls),
        "offline": ask({"all": calls["all"]}, HF_HUB_OFFLINE="1")["all"],
        **{f"unreached {call}": found for call, found in ask(away, HF_ENDPOINT=NOWHERE).items()},
    }


def result(told, call):
    return told[call]["result"]


def test_each_adapter_is_listed_once(told):
    names = [info["adapter_id"] for info in result(told, "all")]
    assert sorted(names) == ["org/based", "org/named", "org/pushed", "org/several", "org/unknown"]
    assert "org/private" in [info["adapter_id"] for info in result(told, "private")]


def test_those_for_a_model_are_listed(told):
    assert [info["adapter_id"] for info in result(told, "bert")] == ["org/named"]


def test_what_the_list_tells(told, hub):
    infos = {info["adapter_id"]: info for info in result(told, "all")}
    assert infos["org/named"] == {
        "source": "hf",
        "adapter_id": "org/named",
        "model_name": "org/bert",
        "task": "nli",
        "subtask": "multinli",
        "username": "org",
        "adapter_config": None,
        "sha1_checksum": hub.repositories["org/named"].refs["main"],
    }
    models = {name: info["model_name"] for name, info in infos.items()}
    assert models["org/based"] == models["org/several"] == "org/roberta"
    assert models["org/unknown"] is None and infos["org/unknown"]["task"] is None


def test_one_adapter_is_told_with_its_config(told):
    assert result(told, "named")["adapter_config"] == {"architecture": "lora", "r": 8}
    assert result(told, "named")["model_name"] == "org/bert"
    assert result(told, "pushed")["adapter_config"]["reduction_factor"] == 16
    assert result(told, "peft")["adapter_config"] == {"peft_type": "LORA"}
    assert result(told, "model")["adapter_config"] is None
    assert result(told, "open")["adapter_id"] == "org/private"


@pytest.mark.parametrize("call", ["gone", "no name", "closed"])
def test_what_is_not_there_is_none(told, call):
    assert result(told, call) is None


def test_offline_there_is_no_list(told):
    assert "OSError" in told["offline"]["error"] and "offline" in told["offline"]["message"]


@pytest.mark.parametrize("call", ["all", "named", "push"])
def test_a_hub_that_is_not_reached_is_an_os_error(told, call):
    assert "OSError" in told[f"unreached {call}"]["error"]
