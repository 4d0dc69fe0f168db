"""Options: HF's names and defaults, where they are read from, and which of them come first."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterzoo import GenerationConfig
from adapterzoo.generation.config import NOT_HERE, OPTIONS
from tests.helpers.generating import GENERATES, generator_of, prompt_for
from tests.helpers.hf_models import Case, each, pair, transformers
from tests.helpers.tiny import decoders

DOCS = Path(__file__).resolve().parents[2] / "docs" / "generation.md"


def test_names_and_defaults_are_those_of_transformers() -> None:
    theirs = transformers.GenerationConfig()
    for name, value in GenerationConfig().options().items():
        assert getattr(theirs, name) == value or (name == "output_logits" and not value), name
    for name, neutral in NOT_HERE.items():
        assert getattr(theirs, name) in neutral, name


def test_every_option_of_transformers_is_known_or_changes_nothing() -> None:
    without_effect = {  # on what comes out: caches, compiling, a second model that guesses ahead, metadata
        *("cache_implementation", "cache_config", "return_legacy_cache", "prefill_chunk_size", "low_memory"),
        *("compile_config", "disable_compile", "is_assistant", "num_assistant_tokens", "transformers_version"),
        *("num_assistant_tokens_schedule", "assistant_confidence_threshold", "max_matching_ngram_size"),
        *("assistant_lookbehind", "target_lookbehind"),
    }
    there = {name for name in vars(transformers.GenerationConfig()) if not name.startswith("_")}
    assert there - set(OPTIONS) - set(NOT_HERE) == without_effect


def test_every_option_is_described() -> None:
    described = [line.strip().partition(":")[0] for line in (GenerationConfig.__doc__ or "").splitlines()]
    assert [name for name in described if name in OPTIONS] == list(OPTIONS)
    table = [line.split("|")[1].strip(" `") for line in DOCS.read_text(encoding="utf-8").splitlines() if "| `" in line]
    listed = [name for cell in table for name in cell.replace("`", "").split(", ")]
    assert sorted(name for name in listed if name in OPTIONS) == sorted(OPTIONS)


def test_options_cannot_be_set_but_changed() -> None:
    config = GenerationConfig(num_beams=4)
    with pytest.raises(FrozenInstanceError):
        config.num_beams = 2  # type: ignore[misc]
    assert config.changed(num_beams=2).num_beams == 2 and config.num_beams == 4
    assert config.changed(num_beam_groups=1) == config, "asking for nothing is no change"


def test_a_config_comes_back_from_its_file(tmp_path: Path) -> None:
    config = GenerationConfig(num_beams=4, eos_token_id=[2, 3], bad_words_ids=[[1, 2]], top_k=None, extra={"mine": 1})
    written = json.loads(json.dumps(config.to_dict()))
    assert GenerationConfig.from_dict(written) == config
    assert written == {"num_beams": 4, "eos_token_id": [2, 3], "bad_words_ids": [[1, 2]], "top_k": None, "mine": 1}
    theirs = transformers.GenerationConfig.from_dict(written)
    assert theirs.num_beams == 4 and theirs.eos_token_id == [2, 3]


@each(GENERATES)
def test_transformers_files_say_the_same_here(case: Case, tmp_path: Path) -> None:
    theirs, ours = pair(case, tmp_path, **({"is_decoder": True} if case.alone else {}))
    assert (tmp_path / "generation_config.json").is_file()
    for name, value in ours.generation_config.options().items():
        assert value == (getattr(theirs.generation_config, name) or value), name
    theirs.generation_config.num_beams, theirs.generation_config.no_repeat_ngram_size = 3, 2
    theirs.save_pretrained(tmp_path)
    ours = case.ours.from_pretrained(tmp_path)
    assert ours.generation_config.num_beams == 3
    inputs = prompt_for(case, theirs.config)
    assert torch.equal(ours.generate(**inputs), theirs.generate(**inputs, use_cache=False))


def test_without_a_file_the_config_says_it(tmp_path: Path) -> None:
    case = next(case for case in GENERATES if case.head_type == "seq2seq_lm")
    pair(case, tmp_path)
    (tmp_path / "generation_config.json").unlink()
    content = json.loads((tmp_path / "config.json").read_text()) | {"num_beams": 2, "forced_bos_token_id": 7}
    (tmp_path / "config.json").write_text(json.dumps(content))
    ours = case.ours.from_pretrained(tmp_path)
    assert ours.generation_config.num_beams == 2 and ours.generation_config.forced_bos_token_id == 7
    theirs = transformers.GenerationConfig.from_model_config(case.theirs.config_class(**content))
    assert ours.generation_config.eos_token_id == theirs.eos_token_id is not None


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    return generator_of(next(iter(decoders())))


def test_a_generation_config_is_saved_with_the_model(model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "generation_config.json").exists(), "the config says it all"
    model.generation_config = GenerationConfig(num_beams=2, eos_token_id=3, extra={"mine": [1]})
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert loaded.generation_config == model.generation_config
    loaded.save_pretrained(tmp_path / "again")
    again = (tmp_path / "again" / "generation_config.json").read_bytes()
    assert again == (tmp_path / "generation_config.json").read_bytes()


def test_another_models_generation_config_does_not_stay(model: Any, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text('{"num_beams": 7}')
    model.save_pretrained(tmp_path)
    assert type(model).from_pretrained(tmp_path).generation_config == model.generation_config


def test_a_call_s_options_come_before_its_config_and_that_before_the_model_s(model: Any) -> None:
    inputs = {"input_ids": torch.randint(5, 50, (2, 5)), "no_repeat_ngram_size": 1}
    model.generation_config = model.generation_config.changed(max_new_tokens=3, num_beams=2, eos_token_id=None)
    config = GenerationConfig(max_new_tokens=4)
    prompt = model.generate(**inputs, max_new_tokens=1, num_beams=1).size(1) - 1
    assert model.generate(**inputs).size(1) == prompt + 3
    assert model.generate(**inputs, generation_config=config).size(1) == prompt + 4
    assert model.generate(**inputs, generation_config=config, max_new_tokens=5).size(1) == prompt + 5
    model.generation_config = model.generation_config.changed(min_length=9, max_new_tokens=20)
    assert model.generate(**inputs, max_new_tokens=4).size(1) == prompt + 4, "a model's least length is not the call's"
    with_beams = model.generate(**inputs, generation_config=config, return_dict_in_generate=True)
    assert with_beams.beam_indices is not None, "what a config leaves at its default is the model's"
