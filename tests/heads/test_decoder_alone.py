"""An encoder-decoder's decoder alone, where the config says so: flexible heads, adapters, files, and words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adapterzoo import AutoAdapterModel, AutoModel, Stack
from adapterzoo.archs import ARCHITECTURES
from tests.helpers.adapting import KINDS, add_all, same_bits, tensors_of
from tests.helpers.alone import Alone
from tests.helpers.batches import batch_for, row_of
from tests.helpers.comparing import assert_close, assert_same
from tests.helpers.generating import GENERATES, generating_pair, prompt_for, theirs
from tests.helpers.heads import add_head, labels_for
from tests.helpers.hf_compare import close
from tests.helpers.hf_models import Case, each
from tests.helpers.refusing import refuses
from tests.helpers.tiny import ALONE, architecture_of, tiny_decoder

CASES = [case for case in GENERATES if case.static is not None and case.static.decoder_only]
every_kind = pytest.mark.parametrize("kind", ALONE)


def test_every_class_of_a_decoder_alone_is_here() -> None:
    assert {case.architecture.model_type for case in CASES} == {architecture_of(kind) for kind in ALONE}


# ------------------------------------------------------------------------------------------ beside transformers


def opened(case: Case, folder: Path) -> tuple[Any, Any]:
    """Transformers' model, and the flexible one of its checkpoint."""
    there, _ = generating_pair(case)
    there.save_pretrained(folder)
    return there, AutoAdapterModel.from_pretrained(folder)


@each(CASES)
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"do_sample": True, "top_k": 20}], ids=str)
def test_it_says_what_the_fixed_class_and_transformers_say(case: Case, options: dict[str, Any], tmp_path: Path) -> None:
    there, flexible = opened(case, tmp_path)
    inputs, options = prompt_for(case, there.config), {"max_new_tokens": 8, "pad_token_id": 1, **options}
    expected = theirs(there, inputs, options)
    for model in (flexible, flexible.to_static()):
        torch.manual_seed(0)
        assert torch.equal(model.generate(**inputs, **options), expected)


@each(CASES)
def test_transformers_opens_what_it_saves(case: Case, tmp_path: Path) -> None:
    there, flexible = opened(case, tmp_path / "theirs")
    flexible.save_pretrained(tmp_path / "ours")
    again, report = case.theirs.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["unexpected_keys"] and not report["mismatched_keys"]
    state = there.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())


@each(CASES)
def test_the_bare_class_is_the_decoder_too(case: Case, tmp_path: Path) -> None:
    there, _ = opened(case, tmp_path)
    bare, ids = AutoModel.from_pretrained(tmp_path), torch.randint(4, 79, (2, 6))
    with torch.no_grad():
        close(bare(ids).last_hidden_state, there.eval().model.decoder(ids).last_hidden_state)


# ------------------------------------------------------------------------------------------ heads


def own_batch(model: Any) -> dict[str, Tensor]:
    return batch_for(model, lengths=[7, 4, 5, 7], length=7)


@every_kind
def test_it_has_the_heads_of_the_whole_but_the_one_for_another_text(kind: str) -> None:
    model, whole = tiny_decoder(kind), ARCHITECTURES[architecture_of(kind)]
    assert {*model.architecture.heads} - {*whole.heads} == {"causal_lm"}
    assert {*whole.heads} - {*model.architecture.heads} == {"seq2seq_lm"}
    with refuses(ValueError, "of type 'seq2seq_lm'; there are", "causal_lm", model=model):
        model.add_seq2seq_lm_head("new")
    for head in model.architecture.heads:
        add_head(model, head, head)
        batch = own_batch(model)
        batch = (
            {name: tensor.unflatten(0, (-1, 2)) for name, tensor in batch.items()} if head == "similarity" else batch
        )
        assert model(**batch, **labels_for(model, head, batch)).loss.isfinite()


@every_kind
def test_a_row_is_classified_by_its_last_end(kind: str) -> None:
    model = tiny_decoder(kind).double()
    add_head(model, "classification", "mood")
    model.double()
    batch = {name: t.double() if t.is_floating_point() else t for name, t in own_batch(model).items()}
    with torch.no_grad():
        logits = model(**batch).logits
        for row in range(len(logits)):
            assert_close(logits[row], model(**row_of(batch, row)).logits[0])
        late = batch["input_ids"].clone()
        late[:, 2] = 9
        assert (model(**{**batch, "input_ids": late}).logits != logits).any(1).all(), "it reads the first token"
        late[:] = 9
        with refuses(ValueError, "there are rows of input_ids without one", model=model):
            model(**{**batch, "input_ids": late})


# ------------------------------------------------------------------------------------------ adapters, files


def furnished(kind: str) -> Any:
    model = add_all(tiny_decoder(kind))
    add_head(model, "causal_lm", "words")
    return model


@every_kind
def test_each_row_under_its_adapter_is_as_alone(kind: str) -> None:
    model = furnished(kind)
    model.active_head = None
    alone = Alone(model, batch_for(model, rows=len(KINDS)))
    with torch.no_grad():
        together = alone.model(**alone.batch, adapter_names=KINDS)
    alone.check(together, [(name,) for name in KINDS])


@every_kind
def test_it_is_kept_with_its_adapters_and_heads_bit_for_bit(kind: str, tmp_path: Path) -> None:
    model = furnished(kind)
    model.set_active_adapters(Stack("lora", "prefix_tuning"))
    model.save_pretrained(tmp_path)
    again = AutoAdapterModel.from_pretrained(tmp_path)
    assert type(again) is type(model) and again.base.config == model.base.config and again.base.config.alone
    assert same_bits(tensors_of(again), tensors_of(model))
    batch = own_batch(model)
    with torch.no_grad():
        assert_same(again(**batch), model(**batch))
