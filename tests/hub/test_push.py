"""Adapters and setups are pushed with a card, and what is pushed loads again with the same bits."""

from __future__ import annotations

import json

import huggingface_hub
import pytest

from adapterzoo import Fuse, Stack
from tests.helpers.hub_repos import READER, STRANGER, WRITER, Repository
from tests.helpers.tiny import NAMES

STACK = Stack("en", "mrpc").to_dict()
FUSED = Fuse("en", "mrpc").to_dict()


@pytest.fixture(scope="module")
def pushed(hub, ask, folder, tmp_path_factory):
    """What pushes give, and where the files were kept."""
    kept = tmp_path_factory.mktemp("kept")
    (kept / "local").mkdir()
    (kept / "local" / "README.md").write_text("---\nlicense: mit\n---\nMine.\n")
    hub.repositories["org/carded"] = Repository()
    hub.repositories["org/carded"].add(
        "main", {"README.md": b"Ours.", "pytorch_adapter.bin": b"old", "notes.txt": b"n"}
    )
    hub.repositories["org/recarded"] = Repository()
    hub.repositories["org/recarded"].add("main", {"README.md": b"Ours.", "model_head.safetensors": b"old"})
    hub.repositories["org/public"] = Repository()
    hub.repositories["org/public"].add("main", {"file": b""})
    entries = {
        "tags": ["mine"],
        "language": "en",
        "license": "apache-2.0",
        "metrics": ["f1"],
        "results": "F1: 0.9",
        "citation": "Nobody, 2024",
        "architecture_training": "One epoch.",
    }
    it = {"do": "push", "model": str(folder), "name": "mrpc"}
    setup = {"do": "push_setup", "model": str(folder)}
    calls = {
        "new": {**it, "repo": "org/new", "datasets_tag": "glue", "adapter_card_kwargs": entries},
        "again": {**it, "repo": "org/new", "commit_message": "Once more", "commit_description": "Better"},
        "own name": {**it, "repo": "short"},
        "alone": {**it, "repo": "org/alone", "name": "alone"},
        "private": {**it, "repo": "org/private", "private": True},
        "branch": {**it, "repo": "org/new", "revision": "dev/x", "name": "en"},
        "request": {**it, "repo": "org/new", "create_pr": True, "name": "en"},
        "carded": {**it, "repo": "org/carded"},
        "recarded": {**it, "repo": "org/recarded", "overwrite_adapter_card": True, "name": "alone"},
        "kept": {**it, "repo": "org/kept", "local_path": str(kept / "new" / "folder")},
        "local card": {**it, "repo": "org/local", "local_path": str(kept / "local")},
        "stack": {**setup, "repo": "org/stack", "setup": STACK, "head_setup": "other", "datasets_tag": "glue"},
        "fused": {**setup, "repo": "org/fused", "setup": FUSED},
        "static": {"do": "push_static", "model": str(folder), "repo": "org/static", "name": "mrpc"},
        "no adapter": {**it, "repo": "org/none", "name": "nobody"},
        "no setup": {**setup, "repo": "org/none", "setup": None},
        "no head": {**setup, "repo": "org/none", "setup": STACK, "head_setup": "nobody"},
        "no entry": {**it, "repo": "org/none", "adapter_card_kwargs": {"licence": "mit"}},
        "wrong entry": {**it, "repo": "org/none", "adapter_card_kwargs": {"license": 3}},
        "public": {**it, "repo": "org/public", "private": True},
        "read only": {**it, "repo": "org/none", "token": READER},
        "stranger": {**it, "repo": "org/private", "token": STRANGER},
        "no token": {**it, "repo": "org/none", "token": False},
    }
    return ask(calls, HF_TOKEN=WRITER), kept


@pytest.fixture(scope="module")
def loaded(hub, pushed, ask, folder):
    """What comes of what was pushed, in another process with an empty cache."""
    it = {"do": "load_adapter", "model": str(folder)}
    setup = {"do": "load_setup", "model": str(folder), "set_active": True}
    calls = {
        "new": {**it, "source": "org/new", "set_active": True},
        "branch": {**it, "source": "org/new", "version": "dev/x"},
        "request": {**it, "source": "org/new", "version": "refs/pr/1"},
        "carded": {**it, "source": "org/carded"},
        "recarded": {**it, "source": "org/recarded"},
        "alone": {**it, "source": "org/alone"},
        "private": {**it, "source": "org/private", "token": READER},
        "static": {**it, "source": "org/static"},
        "stack": {**setup, "source": "org/stack"},
        "fused": {**setup, "source": "org/fused"},
        "head": {"do": "load_head", "model": str(folder), "source": "org/new"},
        "hotswap": {"do": "hotswap", "model": str(folder), "source": "org/new", "name": "mrpc"},
    }
    return ask(calls)


def some(bits, adapters, heads=(), fusions=()):
    """The bits of some of what the model has."""
    given = {"adapters": adapters, "heads": heads, "fusions": fusions}
    return {kind: {name: bits[kind][name] for name in names} for kind, names in given.items()}


def found(outcome):
    return {kind: outcome["result"][kind] for kind in ("adapters", "heads", "fusions")}


def test_an_adapter_and_its_head_come_back_bit_for_bit(loaded, bits):
    assert found(loaded["new"]) == some(bits, ["mrpc"], ["mrpc"])
    assert loaded["new"]["result"]["name"] == "mrpc" and loaded["new"]["result"]["active"] == "Stack[mrpc]"
    assert found(loaded["alone"]) == some(bits, ["alone"])
    assert found(loaded["private"]) == some(bits, ["mrpc"], ["mrpc"])
    assert found(loaded["head"]) == some(bits, [], ["mrpc"])
    assert loaded["hotswap"]["result"]["adapters"] == bits["adapters"]


def test_branches_and_pull_requests_stay_apart(loaded, bits):
    for call in ("branch", "request"):
        assert found(loaded[call])["adapters"] == some(bits, ["en"])["adapters"]


def test_a_setup_comes_back_bit_for_bit(loaded, bits):
    assert found(loaded["stack"]) == some(bits, ["en", "mrpc"], ["mrpc", "other"])
    assert loaded["stack"]["result"]["active"] == "Stack[en, mrpc]"
    assert found(loaded["fused"]) == some(bits, ["en", "mrpc"], ["mrpc"], ["en,mrpc"])


def test_a_fixed_heads_model_pushes_its_head(pushed, loaded, bits):
    assert found(loaded["static"])["adapters"] == some(bits, ["mrpc"])["adapters"]
    assert list(loaded["static"]["result"]["heads"]) == ["mrpc"]


def test_the_url_is_the_commits(hub, pushed):
    told, _ = pushed
    repository = hub.repositories["org/new"]
    assert told["again"]["result"]["url"] == f"{hub.url}/org/new/commit/{repository.refs['main']}"
    assert told["request"]["result"]["request"] == f"{hub.url}/org/new/discussions/1"
    assert told["own name"]["result"]["url"].startswith(f"{hub.url}/me/short/commit/")


def test_a_push_is_one_commit_that_says_what_it_does(hub, pushed):
    messages = hub.repositories["org/new"].messages
    assert messages == [
        ("initial commit", ""),
        ("Upload adapter 'mrpc'", ""),
        ("Once more", "Better"),
        ("Upload adapter 'en'", ""),
        ("Upload adapter 'en'", ""),
    ]
    assert hub.repositories["org/stack"].messages[-1] == ("Upload adapter setup Stack[en, mrpc]", "")


def test_files_are_safetensors_and_a_card(hub, pushed):
    repositories = hub.repositories
    one = {"adapter_config.json", "adapter.safetensors", "head_config.json", "model_head.safetensors"}
    assert set(repositories["org/new"].files()) == {".gitattributes", "README.md", *one}
    assert set(repositories["org/alone"].files()) == {".gitattributes", "README.md", *sorted(one)[:2]}
    assert repositories["org/private"].private and not repositories["org/new"].private
    assert "adapter_setup.json" in repositories["org/stack"].files()


def test_what_would_be_loaded_with_the_new_files_goes(hub, pushed, loaded, bits):
    files = set(hub.repositories["org/carded"].files())
    assert "pytorch_adapter.bin" not in files and "notes.txt" in files
    assert found(loaded["carded"]) == some(bits, ["mrpc"], ["mrpc"])
    assert "model_head.safetensors" not in hub.repositories["org/recarded"].files()
    assert found(loaded["recarded"]) == some(bits, ["alone"])


def test_a_card_that_is_there_stays_unless_told(hub, pushed):
    repositories = hub.repositories
    assert repositories["org/carded"].files()["README.md"] == b"Ours."
    assert b"# Adapter `alone`" in repositories["org/recarded"].files()["README.md"]
    assert repositories["org/local"].files()["README.md"].endswith(b"Mine.\n")
    first, again = list(repositories["org/new"].commits.values())[1:3]
    assert first["README.md"] == again["README.md"]


def test_the_hub_reads_the_card(hub, pushed):
    card = huggingface_hub.ModelCard(hub.repositories["org/new"].files()["README.md"].decode())
    assert card.data.to_dict() == {
        "library_name": "adapters",
        "tags": ["adapter-transformers", "adapterzoo", NAMES[0], "mine"],
        "datasets": ["glue"],
        "language": "en",
        "license": "apache-2.0",
        "metrics": ["f1"],
    }
    assert "org/new" in card.text and f"[glue]({hub.url}/datasets/glue)" in card.text
    for text in ("F1: 0.9", "Nobody, 2024", "One epoch."):
        assert text in card.text


def test_files_are_kept_where_told(hub, pushed):
    _, kept = pushed
    names = {path.name for path in (kept / "new" / "folder").iterdir()}
    assert names == set(hub.repositories["org/kept"].files()) - {".gitattributes"}
    assert "Mine." in (kept / "local" / "README.md").read_text()
    config = json.loads((kept / "local" / "adapter_config.json").read_text())
    assert config["name"] == "mrpc"


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        ("no adapter", "UnknownName", "no adapter named 'nobody'; there are alone, en, mrpc"),
        ("no setup", "ValueError", "name the adapters to push"),
        ("no head", "ValueError", "no head named 'nobody'"),
        ("no entry", "TypeError", "no entry of adapter_card_kwargs named 'licence'"),
        ("wrong entry", "TypeError", "adapter_card_kwargs['license'] must be a string, not 3"),
        ("public", "ValueError", "'org/public' is there already and is public: nothing was pushed"),
        ("read only", "PermissionError", "does not let us write to 'org/none': give a token"),
        ("stranger", "PermissionError", "does not let us write to 'org/private': give a token"),
        ("no token", "PermissionError", "does not let us write to 'org/none': give a token"),
    ],
)
def test_what_cannot_be_pushed_is_told_and_leaves_nothing(hub, pushed, call, kind, said):
    failed = pushed[0][call]
    assert kind in failed["error"] and said in failed["message"]
    assert "org/none" not in hub.repositories
    assert set(hub.repositories["org/public"].files()) == {".gitattributes", "file"}


def test_offline_a_push_says_so(ask, folder):
    call = {"do": "push", "model": str(folder), "repo": "org/new", "name": "mrpc"}
    failed = ask({"push": call}, HF_HUB_OFFLINE="1", HF_TOKEN=WRITER)["push"]
    assert "ConnectionError" in failed["error"] and "offline" in failed["message"]
