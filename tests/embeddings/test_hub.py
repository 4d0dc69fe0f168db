"""Embeddings on the Hub: a model's come with it, and one by itself is loaded by its id, its tokenizer included."""

from __future__ import annotations

import shutil

import pytest

from tests.helpers.hub import call_from_outside, serving
from tests.helpers.tiny import NAMES, tiny_model
from tests.helpers.vocabularies import NEW, add_new, tokenizer_of


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What calls from a fresh process give, and the sum of the embedding's rows."""
    root, home = tmp_path_factory.mktemp("hub"), tmp_path_factory.mktemp("home")
    model = add_new(tiny_model(NAMES[0]))
    model.save_pretrained(root / "org" / "model" / "main")
    model.save_embeddings(root / "org" / "embedding" / "main", "new", tokenizer_of(NEW))
    model.save_embeddings(root / "org" / "alone" / "main", "new")
    shutil.copytree(root / "org" / "embedding" / "main", root / "org" / "embedding" / "v2")
    into = {"into": str(root / "org" / "model" / "main")}
    with serving(root) as server:
        calls = [
            {"load": "model", "source": "org/model"},
            {"load": "embedding", "source": "org/embedding", **into},
            {"load": "embedding", "source": "org/embedding", "options": {"version": "v2"}, **into},
            {"load": "embedding", "source": "org/alone", **into},
            {"load": "embedding", "source": "org/model", **into},
        ]
        results = call_from_outside(calls, home, HF_ENDPOINT=server.url)
    return results, float(model.base.token.weight.detach().double().sum())


def test_a_models_embeddings_come_with_it(told):
    results, total = told
    assert results[0]["result"]["sum"] == total


def test_an_embedding_is_loaded_by_its_id_with_its_tokenizer(told):
    results, total = told
    assert [each["result"] for each in results[1:3]] == [{"sum": total, "tokens": len(NEW)}] * 2
    assert results[3]["result"] == {"sum": total, "tokens": None}


def test_a_repository_without_one_is_told(told):
    results, _ = told
    assert "FileNotFoundError" in results[4]["error"]
    assert "neither embedding.safetensors nor embedding.pt" in results[4]["message"]
