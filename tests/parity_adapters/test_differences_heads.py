"""Where our heads differ from the peer's on purpose: the law holds here, and there it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import adapterzoo
from adapterzoo.archs import ARCHITECTURES, Architecture
from adapterzoo.heads.loss import IGNORED
from adapterzoo.inputs import decoder_start
from tests.helpers.answers import answer, same_answers
from tests.helpers.head_cases import HEAD_CASES, HeadCase, each_with
from tests.helpers.hf_models import Case, each
from tests.helpers.peer_adapters import adapters, inputs_of, off, our_model, peer_model, real_positions, same, save_hf
from tests.helpers.static_cases import KINDS, fixed, labelled
from tests.helpers.tiny import randomise
from tests.parity_adapters.conftest import Pair

Pairs = Callable[[Architecture], Pair]


def give(pair: Pair, name: str, case: HeadCase, folder: Path) -> None:
    """Give both models the same head."""
    case.add(pair.theirs, name)
    randomise(torch.nn.ParameterList(p for p in pair.theirs.heads[name].parameters()))
    pair.theirs.save_head(str(folder / name), name)
    pair.ours.load_head(folder / name)


@each(fixed({"masked_lm", "causal_lm", "seq2seq_lm"}))
def test_a_checkpoints_vocabulary_bias_survives_its_head_becoming_flexible(case: Case, tmp_path: Path) -> None:
    folder = save_hf(case, tmp_path)
    inputs = inputs_of(case.architecture)
    law = answer(case.theirs.from_pretrained(folder).eval(), inputs)
    ours = our_model(case.architecture, folder, convert_head=True)
    assert ours.active_head == "default"
    where = real_positions(inputs)
    same(answer(ours, inputs).logits, law.logits, where)
    assert case.static is not None
    kept = str(case.static.rows[-1].theirs).endswith("{p}")  # it lies beside the weight, so that the peer sees it
    (same if kept else off)(answer(peer_model(case.architecture, folder), inputs).logits, law.logits, where)


@each(fixed({"classification"}))
def test_a_classifiers_kind_of_answer_survives_its_head_becoming_flexible(case: Case, tmp_path: Path) -> None:
    folder = save_hf(case, tmp_path, **KINDS["any of several"])
    reference = case.theirs.from_pretrained(folder).eval()
    inputs = labelled(case, reference.config)
    law = answer(reference, inputs)
    same_answers(answer(our_model(case.architecture, folder), inputs), law, inputs)
    theirs = peer_model(case.architecture, folder)
    assert theirs.heads["default"].config["head_type"] == "classification"
    with pytest.raises((RuntimeError, ValueError)):
        answer(theirs, inputs)


@each_with("causal_lm")
def test_a_token_in_sight_is_not_learnt(pairs: Pairs, architecture: Architecture, tmp_path: Path) -> None:
    pair, case = pairs(architecture), HEAD_CASES["causal-lm-1-encoder"]
    if not case.fits(architecture):
        pytest.skip("there, one layer is of another width than the words")
    case.add(pair.theirs, "h")
    pair.theirs.save_head(str(tmp_path), "h")
    pair.ours.load_head(tmp_path)
    inputs = inputs_of(architecture)
    same(answer(pair.ours, inputs).logits, answer(pair.theirs, inputs).logits, real_positions(inputs))
    inputs["labels"] = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, IGNORED)
    assert answer(pair.theirs, inputs).loss > 0
    with pytest.raises(ValueError, match="head 'h' has no loss: it predicts the next token"):
        answer(pair.ours, inputs)


@each_with("seq2seq_lm")
def test_what_a_decoder_should_say_is_what_it_reads_shifted(
    pairs: Pairs, architecture: Architecture, tmp_path: Path
) -> None:
    pair = pairs(architecture)
    HEAD_CASES["seq2seq-lm"].add(pair.theirs, "h")
    pair.theirs.save_head(str(tmp_path), "h")
    pair.ours.load_head(tmp_path)
    whole = HEAD_CASES["seq2seq-lm"].inputs(architecture)
    inputs = {name: value for name, value in whole.items() if not name.startswith("decoder_")}
    inputs["labels"] = torch.randint(4, 90, inputs["input_ids"].shape)
    config = pair.theirs.config
    shifted = decoder_start(config, architecture.starts_with_last, inputs["labels"])
    law = answer(pair.theirs, {**inputs, "decoder_input_ids": shifted})
    same(answer(pair.ours, inputs).loss, law.loss)
    off(answer(pair.theirs, inputs).logits, law.logits)


@each(fixed({"multiple_choice"}))
def test_a_question_may_have_any_number_of_choices(case: Case, tmp_path: Path) -> None:
    folder = save_hf(case, tmp_path, num_labels=2)
    questions = {
        name: value[[0, 1, 2, 3, 0, 1]].unflatten(0, (2, 3)) for name, value in inputs_of(case.architecture).items()
    }
    law = answer(case.theirs.from_pretrained(folder).eval(), questions).logits
    assert law.shape == (2, 3)
    same(answer(our_model(case.architecture, folder), questions).logits, law)
    assert answer(peer_model(case.architecture, folder), questions).logits.shape == (3, 2)


@each_with("question_answering")
def test_a_question_is_answered_the_same_however_far_it_is_padded(
    pairs: Pairs, architecture: Architecture, tmp_path: Path
) -> None:
    pair = pairs(architecture)
    give(pair, "h", HEAD_CASES["qa"], tmp_path)
    row = {name: value[1:2] for name, value in inputs_of(architecture).items() if not name.startswith("decoder_")}
    length = int(row["attention_mask"].sum())
    places = {"start_positions": torch.tensor([1]), "end_positions": torch.tensor([length - 1])}
    alone = {**{name: value[:, :length] for name, value in row.items()}, **places}
    law = answer(pair.theirs, alone).loss
    same(answer(pair.ours, {**row, **places}).loss, law)
    off(answer(pair.theirs, {**row, **places}).loss, law)


@each_with("seq2seq_lm", "masked_lm")
def test_a_language_models_padding_has_no_loss(pairs: Pairs, architecture: Architecture, tmp_path: Path) -> None:
    pair = pairs(architecture)
    case = HEAD_CASES["seq2seq-lm" if "seq2seq_lm" in architecture.heads else "masked-lm"]
    case.add(pair.theirs, "h")
    pair.theirs.save_head(str(tmp_path), "h")
    pair.ours.load_head(tmp_path)
    inputs = inputs_of(architecture)
    where = real_positions(inputs)
    assert where is not None
    labels = torch.randint(4, 90, where.shape)
    law = answer(pair.theirs, {**inputs, "labels": labels.masked_fill(~where, -100)}).loss
    same(answer(pair.ours, {**inputs, "labels": labels}).loss, law)
    off(answer(pair.theirs, {**inputs, "labels": labels}).loss, law)


@pytest.mark.parametrize("how", ["active heads that read the pooler", "a context", "an argument"])
def test_each_head_answers_for_its_own_rows_and_the_call_decides_first(pairs: Pairs, how: str, tmp_path: Path) -> None:
    pair = pairs(ARCHITECTURES["bert"])
    pooled = {"use_pooler": True, "layers": 1} if "pooler" in how else {}
    for name in "pq":
        give(pair, name, HeadCase("classification", "classification", pooled), tmp_path)
    inputs = inputs_of(ARCHITECTURES["bert"])
    p, q = (answer(pair.theirs, inputs, head=head).logits for head in activated(pair.theirs, "pq"))
    law = [q] if "argument" in how else [p[:3], q[3:]]
    same_logits(logits_of(pair.ours, adapterzoo, how, inputs), law)
    theirs = logits_of(pair.theirs, adapters(), how, inputs)
    assert [len(logits) for logits in theirs] == ([3, 1] if "argument" in how else [4, 4])


def activated(model: Any, names: str) -> Iterator[str]:
    """Yield each name while the head of that name is active: in the peer an argument alone does not do."""
    for name in names:
        model.active_head = name
        yield name


def logits_of(model: Any, library: Any, how: str, inputs: dict[str, Tensor]) -> list[Tensor]:
    """Return the answers when "p" and "q" are to share the rows; or only "q", as an argument of the call."""
    split = library.BatchSplit("p", "q", batch_sizes=[3, 1])
    if "context" in how:
        with library.AdapterSetup(None, head_setup=split):
            return [head.logits for head in answer(model, inputs).head_outputs]
    model.active_head = split
    output = answer(model, inputs, head="q") if "argument" in how else answer(model, inputs)
    heads = getattr(output, "head_outputs", None)
    return [output.logits] if heads is None else [head.logits for head in heads]


def same_logits(found: list[Tensor], law: list[Tensor]) -> None:
    """Assert that as many answers are there, and that they agree."""
    for mine, should in zip(found, law, strict=True):
        same(mine, should)
