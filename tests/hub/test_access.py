"""Private and gated repositories: with a token that may read them all loads, without one it is told how to give it."""

from __future__ import annotations

import pytest

from adapterzoo import AutoAdapterModel
from tests.helpers.hub_repos import READER, STRANGER, WRITER, Repository

NEEDS = ["config", "model", "static", "adapter", "hotswap", "setup", "fusion", "head", "tokenizer", "embeddings"]


@pytest.fixture(scope="module")
def calls(hub, folder, tmp_path_factory):
    """Calls that need a private repository, which has all that they ask for."""
    place = tmp_path_factory.mktemp("files")
    model = AutoAdapterModel.from_pretrained(folder)
    model.save_adapter(place, "mrpc")
    model.save_adapter_setup(place, "mrpc")
    model.save_adapter_fusion(place, "en,mrpc")
    (place / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    (place / "tokenizer").mkdir()
    (place / "tokenizer" / "vocab.txt").write_text((place / "vocab.txt").read_text())
    model.save_embeddings(place, "default")
    for name in ("org/private", "org/once", "org/gated", "org/gated-model"):
        hub.repositories[name] = Repository(private="gated" not in name)
        hub.repositories[name].add_folder("main", folder)
        hub.repositories[name].add_folder("main", place)
    hub.repositories["org/gated"].gated = True
    it = {"model": str(folder), "source": "org/private"}
    alone = {"source": "org/private"}
    return {
        "config": {"do": "load_config", **alone},
        "model": {"do": "load_model", **alone},
        "static": {"do": "load_model", "kind": "AutoModelForSequenceClassification", **alone},
        "adapter": {"do": "load_adapter", **it},
        "hotswap": {"do": "hotswap", "name": "mrpc", **it},
        "setup": {"do": "load_setup", **it},
        "fusion": {"do": "load_fusion", **it},
        "head": {"do": "load_head", **it},
        "tokenizer": {"do": "load_tokenizer", **alone},
        "embeddings": {"do": "load_embeddings", **it},
    }


@pytest.fixture(scope="module")
def told(calls, ask, tmp_path_factory):
    """What comes of them with a token as an argument, with one of the environment, and with none."""
    homes = tmp_path_factory.mktemp("homes")
    given = {call: {**arguments, "token": READER} for call, arguments in calls.items()}
    return {
        "argument": ask(given, homes / "argument"),
        "environment": ask(calls, homes / "environment", HF_TOKEN=READER),
        "none": ask(calls, homes / "none"),
    }


@pytest.mark.parametrize("call", NEEDS)
@pytest.mark.parametrize("way", ["argument", "environment"])
def test_a_token_opens_it(told, way, call):
    assert "result" in told[way][call], told[way][call]


@pytest.mark.parametrize("call", NEEDS)
def test_without_a_token_it_is_told_how_to_give_one(told, call):
    failed = told["none"][call]
    assert "FileNotFoundError" in failed["error"]
    assert "there is no directory 'org/private', and no such Hub repository; or there is one" in failed["message"]
    assert "it is private: then give a token, by token=…, by HF_TOKEN or by logging in" in failed["message"]


def test_a_token_that_may_not_read_it_is_told(ask, calls, tmp_path):
    wrong = {token: {**calls["adapter"], "token": token} for token in (STRANGER, "nonsense")}
    for failed in ask(wrong, tmp_path).values():
        assert "FileNotFoundError" in failed["error"]
        assert "or there is one, and the token may not read it" in failed["message"]


def test_a_token_of_the_call_comes_before_the_environments(ask, calls, tmp_path):
    call = {"call": {**calls["model"], "token": READER}}
    assert "result" in ask(call, tmp_path, HF_TOKEN=STRANGER)["call"]


def test_a_gated_repository_is_told(ask, calls, tmp_path):
    failed = ask({"call": {**calls["adapter"], "source": "org/gated"}}, tmp_path, HF_TOKEN=WRITER)["call"]
    assert "FileNotFoundError" in failed["error"]
    assert "'org/gated' is gated: ask for access on its page, then give a token" in failed["message"]


def test_what_was_loaded_once_stays_in_the_cache(ask, calls, tmp_path):
    once = {"call": {**calls["model"], "source": "org/once"}}
    first = ask(once, tmp_path, HF_TOKEN=READER)["call"]["result"]
    assert ask(once, tmp_path)["call"]["result"] == first
