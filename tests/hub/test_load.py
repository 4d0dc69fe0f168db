"""Loading from the Hub: revisions, one commit for all files, the cache, no network, damaged downloads."""

from __future__ import annotations

import shutil
from urllib.parse import unquote

import pytest

from adapterzoo import AutoAdapterModel
from tests.helpers.hub import NOWHERE
from tests.helpers.hub_repos import Repository, etag
from tests.helpers.tokenizing import SMALL_VOCAB

NAMES = ["en", "mrpc", "alone"]


def saved(folder, place, save):
    """The files that a method of the model writes."""
    save(AutoAdapterModel.from_pretrained(folder), place)
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def filled(hub, folder, tmp_path_factory):
    """The server with repositories; the first commit of org/adapter, and files by what they are of."""
    place = tmp_path_factory.mktemp("files")
    files = {
        name: saved(folder, place / name, lambda model, where, name=name: model.save_adapter(where, name))
        for name in NAMES
    }
    files["fusion"] = saved(folder, place / "fusion", lambda model, where: model.save_adapter_fusion(where, "en,mrpc"))
    files["head"] = saved(folder, place / "head", lambda model, where: model.save_head(where, "other"))
    files["setup"] = saved(
        folder, place / "setup", lambda model, where: model.save_adapter_setup(where, "mrpc", head_setup="other")
    )
    tokenizer = {"vocab.txt": "\n".join(SMALL_VOCAB).encode(), "tokenizer_config.json": b'{"do_lower_case": true}'}
    for name in ("model", "adapter", "fusion", "head", "setup", "tokenizer", "moving", "damaged", "cut", "cached"):
        hub.repositories[f"org/{name}"] = Repository()
    hub.repositories["org/model"].add_folder("main", folder)
    for name, content in (("fusion", "fusion"), ("head", "head"), ("setup", "setup"), ("moving", "en")):
        hub.repositories[f"org/{name}"].add("main", files[content])
    hub.repositories["org/tokenizer"].add("v1", tokenizer)
    for name in ("damaged", "cut", "cached"):
        hub.repositories[f"org/{name}"].add("main", files["en"])
    adapter = hub.repositories["org/adapter"]
    first = adapter.add("main", files["en"])
    adapter.add("main", {**dict.fromkeys(files["en"]), **files["mrpc"]})
    adapter.add("dev/x", files["alone"])
    return first, files


def calls_of(folder, first):
    it = {"do": "load_adapter", "model": str(folder), "source": "org/adapter"}
    return {
        "main": it,
        "branch": {**it, "version": "dev/x"},
        "commit": {**it, "version": first},
        "model": {"do": "load_model", "source": "org/model"},
        "static": {"do": "load_model", "source": "org/model", "kind": "AutoModelForSequenceClassification"},
        "config": {"do": "load_config", "source": "org/model"},
        "fusion": {"do": "load_fusion", "model": str(folder), "source": "org/fusion", "version": "main"},
        "head": {"do": "load_head", "model": str(folder), "source": "org/head", "version": "main"},
        "setup": {"do": "load_setup", "model": str(folder), "source": "org/setup", "version": "main"},
        "tokenizer": {"do": "load_tokenizer", "source": "org/tokenizer", "revision": "v1"},
        "hotswap": {"do": "hotswap", "model": str(folder), "source": "org/adapter", "name": "mrpc", "version": "main"},
    }


@pytest.fixture(scope="module")
def told(hub, filled, ask, folder):
    """What loads give: from an empty cache, again, offline, and with a Hub that is not there; and what was asked."""
    calls = calls_of(folder, filled[0])
    runs, asked = {}, {}
    for run, environment in {
        "new": {},
        "again": {},
        "offline": {"HF_HUB_OFFLINE": "1"},
        "unreached": {"HF_ENDPOINT": NOWHERE},
    }.items():
        hub.asked.clear()
        runs[run] = ask(calls, **environment)
        asked[run] = list(hub.asked)
    return runs, asked


RUNS = ["new", "again", "offline", "unreached"]


@pytest.mark.parametrize("run", RUNS)
def test_revisions(told, bits, run):
    for call, name in (("main", "mrpc"), ("branch", "alone"), ("commit", "en")):
        assert told[0][run][call]["result"]["adapters"] == {name: bits["adapters"][name]}
    assert told[0][run]["main"]["result"]["heads"] == {"mrpc": bits["heads"]["mrpc"]}


@pytest.mark.parametrize("run", RUNS)
def test_models_heads_fusions_setups_and_tokenizers(told, bits, run):
    results = {call: outcome["result"] for call, outcome in told[0][run].items()}
    model = {kind: results["model"][kind] for kind in bits}
    assert model == bits
    assert results["static"]["network"] == results["model"]["network"]
    assert results["config"]["adapterzoo"]["active_head"] == "mrpc"
    assert results["fusion"]["fusions"] == bits["fusions"]
    assert results["head"]["heads"] == {"other": bits["heads"]["other"]}
    assert results["setup"]["heads"] == bits["heads"]
    assert results["setup"]["adapters"] == {"mrpc": bits["adapters"]["mrpc"]}
    assert results["hotswap"]["adapters"] == bits["adapters"]
    assert results["tokenizer"]["tokens"] == len(SMALL_VOCAB)


def test_what_is_in_the_cache_costs_one_request_and_a_commit_none(told):
    _, asked = told
    expected = [call for call in calls_of("", "") if call != "commit"]
    assert len(asked["again"]) == len(expected) and all("/api/models/" in request for request in asked["again"])
    assert asked["offline"] == asked["unreached"] == []


def test_nothing_that_is_not_there_is_asked_for(told, hub):
    _, asked = told
    resolved = [unquote(request).split("/resolve/") for request in asked["new"] if "/resolve/" in request]
    for repository, path in resolved:
        name = "/".join(repository.rsplit("/", 2)[1:])
        commit, _, file = path.partition("/")
        assert file in hub.repositories[name].commits[commit]


@pytest.mark.parametrize("run", ["offline", "unreached"])
def test_who_is_offline_does_not_wait(told, run):
    assert {outcome["slept"] for outcome in told[0][run].values()} == {0}


def test_a_load_is_of_one_commit_even_if_the_branch_moves(hub, filled, ask, folder, bits):
    repository = hub.repositories["org/moving"]
    paths = ["org/moving/revision/main", "resolve/main/adapter_config.json"]
    hub.after = dict.fromkeys(paths, lambda: repository.add("main", filled[1]["alone"]))
    calls = {"moving": {"do": "load_adapter", "model": str(folder), "source": "org/moving"}}
    try:
        result = ask(calls)["moving"]["result"]
    finally:
        hub.after = {}
    assert len(repository.commits) == 3
    assert result["adapters"] == {"en": bits["adapters"]["en"]}
    assert ask(calls)["moving"]["result"]["adapters"] == {"alone": bits["adapters"]["alone"]}


def test_a_repository_without_the_file_says_what_it_has(ask, filled, folder):
    call = {"do": "load_adapter", "model": str(folder), "source": "org/tokenizer", "version": "v1"}
    online = ask({"call": call})["call"]
    assert "'org/tokenizer' has no adapter_config.json; it was looked for on the Hub" in online["message"]
    assert online["message"].endswith("where there is tokenizer_config.json, vocab.txt")


def test_offline_it_is_told_what_the_cache_has(ask, told, folder, tmp_path):
    it = {"do": "load_adapter", "model": str(folder), "source": "org/adapter"}
    calls = {
        "file": {**it, "source": "org/tokenizer", "version": "v1"},
        "revision": {**it, "version": "v9"},
        "repository": {**it, "source": "org/other"},
    }
    failed = {call: outcome["message"] for call, outcome in ask(calls, HF_HUB_OFFLINE="1").items()}
    assert "has no adapter_config.json; it was looked for in the Hub's cache alone, which has" in failed["file"]
    assert "vocab.txt; the Hub could not be asked" in failed["file"]
    assert "HF_HUB_OFFLINE is set" in failed["repository"] and "neither in the cache" in failed["repository"]
    assert "of its revisions the cache has dev/x, main, but not 'v9'" in failed["revision"]


def test_with_nothing_in_the_cache_and_no_network_it_is_told(ask, folder, tmp_path):
    call = {"do": "load_adapter", "model": str(folder), "source": "org/adapter"}
    failed = ask({"call": call}, tmp_path, HF_ENDPOINT=NOWHERE)["call"]
    assert "FileNotFoundError" in failed["error"]
    assert "neither in the cache nor to be had now (offline?)" in failed["message"]


def test_a_broken_hub_leaves_the_cache(hub, ask, filled, folder, bits):
    call = {"call": {"do": "load_adapter", "model": str(folder), "source": "org/cached"}}
    expected = {"en": bits["adapters"]["en"]}
    assert ask(call)["call"]["result"]["adapters"] == expected
    try:
        hub.broken = True
        again = ask(call)["call"]
    finally:
        hub.broken = False
    assert again["result"]["adapters"] == expected and again["slept"] == 0


def test_a_mirror_of_files_alone_will_do(hub, ask, filled, folder, bits, tmp_path):
    calls = {call: calls_of(folder, filled[0])[call] for call in ("main", "branch", "commit", "model", "tokenizer")}
    try:
        hub.files_alone = True
        online = ask(calls, tmp_path)
    finally:
        hub.files_alone = False
    for run in (online, ask(calls, tmp_path, HF_HUB_OFFLINE="1")):
        for call, name in (("main", "mrpc"), ("branch", "alone"), ("commit", "en")):
            assert run[call]["result"]["adapters"] == {name: bits["adapters"][name]}
        assert run["model"]["result"]["heads"] == bits["heads"]
        assert run["tokenizer"]["result"]["tokens"] == len(SMALL_VOCAB)


@pytest.mark.parametrize("around", [{}, {"NO_LINKS": "1"}], ids=["links", "no links"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda body: body[:-1] + bytes([body[-1] ^ 1]), "was damaged on its way: its SHA-256 is"),
        (lambda body: body[: len(body) // 2], "was not downloaded"),
    ],
    ids=["damaged", "cut"],
)
def test_a_spoilt_download_is_an_error_and_the_next_one_is_whole(
    hub, ask, filled, folder, bits, spoil, said, around, tmp_path
):
    weights = filled[1]["en"]["adapter.safetensors"]
    call = {"call": {"do": "load_adapter", "model": str(folder), "source": "org/damaged"}}
    try:
        hub.spoil[etag("adapter.safetensors", weights)] = spoil
        failed = ask(call, tmp_path, **around)["call"]
    finally:
        hub.spoil.clear()
    assert "OSError" in failed["error"]
    assert said in failed["message"] and "adapter.safetensors of the Hub repository 'org/damaged'" in failed["message"]
    assert ask(call, tmp_path, **around)["call"]["result"]["adapters"] == {"en": bits["adapters"]["en"]}


def test_a_cache_that_was_copied_whole_will_do(ask, told, folder, bits, tmp_path):
    # As snapshots are fetched by other tools: nothing marks what is not in the repository.
    call = {"call": {"do": "load_model", "source": "org/model"}}
    assert "result" in ask(call, tmp_path)["call"]
    for mark in (tmp_path / "hub").glob("*/.no_exist"):
        shutil.rmtree(mark)
    for around in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": NOWHERE}):
        again = ask(call, tmp_path, **around)["call"]
        assert again["result"]["adapters"] == bits["adapters"] and again["slept"] == 0
