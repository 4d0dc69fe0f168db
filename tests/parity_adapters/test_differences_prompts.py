"""Where prompts and ReFT differ from the peer's on purpose: the law holds here, and there it does not.

docs/differences.md lists these; `pytest -rP` shows by how much the peer is off.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import adapterzoo
from adapterzoo.archs import ARCHITECTURES, Architecture
from tests.helpers.adapting import add_random as add_ours
from tests.helpers.head_cases import HEAD_CASES
from tests.helpers.method_cases import CASES, MethodCase
from tests.helpers.peer_adapters import (
    adapters,
    add_random,
    flexible_class,
    hand_over,
    hidden,
    inputs_of,
    make_random,
    off,
    our_model,
    real_positions,
    same,
)
from tests.helpers.tiny import randomise
from tests.parity_adapters.conftest import Pair

Pairs = Callable[[Architecture], Pair]

BERT = ARCHITECTURES["bert"]
PROMPT = CASES["prompt"]
LENGTH = 3
ENDS = ("start", "end")


def both(pair: Pair, folder: Path, case: MethodCase, name: str = "a") -> Pair:
    """Give both models the same adapter, active."""
    pair.theirs.add_adapter(name, config=case.theirs)
    make_random(pair.theirs, name)
    hand_over(pair.theirs, pair.ours, name, folder)
    for model in pair:
        model.set_active_adapters(name)
    return pair


def test_outputs_have_the_callers_tokens(pairs: Pairs, tmp_path: Path) -> None:
    pair, inputs = both(pairs(BERT), tmp_path, PROMPT), inputs_of(BERT)
    rows, length = inputs["input_ids"].shape
    assert pair.ours(**inputs)[0].shape[:2] == (rows, length)
    assert pair.theirs(**inputs)[0].shape[:2] == (rows, length + LENGTH)


@pytest.mark.parametrize("kind", ["qa", "tagging"])
def test_a_head_answers_for_the_callers_tokens(pairs: Pairs, kind: str, tmp_path: Path) -> None:
    pair, case = pairs(BERT), HEAD_CASES[kind]
    add_random(pair.theirs, "a", PROMPT.theirs)
    case.add(pair.theirs, "a")
    randomise(pair.theirs.heads["a"])
    hand_over(pair.theirs, pair.ours, "a", tmp_path)
    for model in pair:
        model.set_active_adapters("a")
    inputs = case.inputs(BERT)
    with torch.no_grad():
        theirs, ours = (model(**inputs) for model in pair)
    name = "start_logits" if kind == "qa" else "logits"
    trimmed = theirs[name][:, LENGTH:]
    same(ours[name], trimmed, real_positions(inputs))
    if kind == "qa":
        law = sum(nn.functional.cross_entropy(ours[f"{end}_logits"], inputs[f"{end}_positions"]) for end in ENDS) / 2
        same(ours.loss, law)
        off(theirs.loss, law)


@pytest.mark.parametrize("name", ["deberta-v2", "distilbert"])
def test_prompts_run_everywhere(pairs: Pairs, name: str) -> None:
    pair, inputs = pairs(ARCHITECTURES[name]), inputs_of(ARCHITECTURES[name])
    add_ours(pair.ours, "a", PROMPT.ours)
    pair.theirs.add_adapter("a", config=PROMPT.theirs)
    for model in pair:
        model.set_active_adapters("a")
    assert hidden(pair.ours, inputs).isfinite().all()
    with pytest.raises((IndexError, RuntimeError)):
        hidden(pair.theirs, inputs)


def test_a_prompt_of_deberta_does_not_look_at_padding(pairs: Pairs, tmp_path: Path) -> None:
    kind = ARCHITECTURES["deberta"]
    pair, inputs, whole = both(pairs(kind), tmp_path, PROMPT), inputs_of(kind), inputs_of(kind, "none")
    same(hidden(pair.ours, whole), hidden(pair.theirs, whole))
    law, where = hidden(pair.ours, inputs), inputs["attention_mask"].bool()
    for row, count in enumerate(where.sum(1).tolist()):
        same(law[row, :count], hidden(pair.ours, {"input_ids": inputs["input_ids"][row : row + 1, :count]})[0])
    off(hidden(pair.theirs, inputs), law, where)


def test_prompts_run_in_encoder_decoders(pairs: Pairs) -> None:
    pair, inputs = pairs(ARCHITECTURES["bart"]), inputs_of(ARCHITECTURES["bart"])
    add_ours(pair.ours, "a", PROMPT.ours)
    bare = hidden(pair.ours, inputs)
    pair.ours.set_active_adapters("a")
    assert not torch.equal(hidden(pair.ours, inputs), bare)
    with pytest.raises(ValueError, match="not supported"):
        pair.theirs.add_adapter("a", config=PROMPT.theirs)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert"])
def test_prompts_do_not_depend_on_the_kernel(
    base_dir: Callable[[Architecture], Path], architecture: str, tmp_path: Path
) -> None:
    kind = ARCHITECTURES[architecture]
    folder = base_dir(kind)
    theirs = flexible_class(kind).from_pretrained(folder, attn_implementation="sdpa").eval()
    pair = both(Pair(theirs, our_model(kind, folder)), tmp_path, PROMPT)
    inputs = inputs_of(kind)
    pair.ours.padding_free = True
    found = hidden(pair.ours, inputs)
    with torch.no_grad():
        law = pair.ours(**inputs, output_attentions=True)[0]
    where = real_positions(inputs)
    same(found, law, where)
    off(hidden(pair.theirs, inputs), law, where)


@pytest.mark.parametrize("name", ["prompt", "reft"])
def test_a_mask_may_say_who_looks_at_whom(pairs: Pairs, name: str, tmp_path: Path) -> None:
    pair = both(pairs(BERT), tmp_path, CASES[name])
    inputs = inputs_of(BERT, "none")
    length = inputs["input_ids"].size(1)
    everyone = {**inputs, "attention_mask": torch.ones(len(inputs["input_ids"]), length, length, dtype=torch.long)}
    same(hidden(pair.ours, everyone), hidden(pair.theirs, inputs))
    with pytest.raises(RuntimeError):
        hidden(pair.theirs, everyone)


@pytest.mark.parametrize("name", ["prompt", "reft"])
def test_every_adapter_of_a_stack_acts(pairs: Pairs, name: str, tmp_path: Path) -> None:
    pair, inputs = pairs(BERT), inputs_of(BERT, "none")
    for adapter in "ab":
        both(pair, tmp_path / adapter, CASES[name], adapter)
    outputs = []
    for model, stack in ((pair.ours, adapterzoo.Stack("a", "b")), (pair.theirs, adapters().Stack("a", "b"))):
        model.set_active_adapters(stack)
        outputs.append(hidden(model, inputs))
    ours, theirs = outputs
    pair.theirs.set_active_adapters("a")
    same(theirs, hidden(pair.theirs, inputs))  # the first alone
    off(theirs, ours)


def test_direft_stays_direft_in_a_file(pairs: Pairs, tmp_path: Path) -> None:
    pair, case, inputs = pairs(BERT), CASES["direft"].still, inputs_of(BERT)
    add_random(pair.theirs, "a", case.theirs)
    pair.theirs.set_active_adapters("a")
    law, where = hidden(pair.theirs, inputs), real_positions(inputs)
    pair.theirs.save_adapter(str(tmp_path), "a")
    pair.theirs.load_adapter(str(tmp_path), load_as="again", set_active=True)
    off(hidden(pair.theirs, inputs), law, where)
    pair.ours.load_adapter(tmp_path, load_as="read")
    assert pair.ours.adapters.get("read") == CASES["noreft"].still.ours  # what the file says
    pair.ours.add_adapter("a", case.ours)
    pair.ours.adapters["a"].load_state_dict(pair.ours.adapters["read"].state_dict())
    pair.ours.save_adapter(tmp_path / "ours", "a")
    pair.ours.load_adapter(tmp_path / "ours", load_as="again", set_active=True)
    same(hidden(pair.ours, inputs), law, where)


def _two_lengths(architecture: Architecture) -> dict[str, Tensor]:
    """Rows of an encoder, and longer ones of a decoder, without padding."""
    inputs = inputs_of(architecture, "none")
    return {"input_ids": inputs["input_ids"][:, :6], "decoder_input_ids": inputs["input_ids"]}


@pytest.mark.parametrize("architecture", [pytest.param(ARCHITECTURES[name], id=name) for name in ("bart", "mbart")])
def test_a_decoder_has_its_own_first_and_last_tokens(pairs: Pairs, architecture: Architecture, tmp_path: Path) -> None:
    pair = both(pairs(architecture), tmp_path, CASES["reft"])
    inputs = _two_lengths(architecture)
    law = hidden(pair.ours, inputs)
    two = {name: torch.cat([t, t.roll(1, 1)]) for name, t in inputs.items()}
    same(hidden(pair.ours, two)[: len(law)], law)
    off(hidden(pair.theirs, inputs), law)


def test_rows_may_be_shorter_than_the_positions(pairs: Pairs, tmp_path: Path) -> None:
    pair, inputs = both(pairs(BERT), tmp_path, CASES["reft"]), inputs_of(BERT)
    mask = inputs["attention_mask"]
    assert int(mask.sum(1).min()) < 2
    whole = hidden(pair.ours, inputs)
    for row, count in enumerate(mask.sum(1).tolist()):
        same(whole[row, :count], hidden(pair.ours, {"input_ids": inputs["input_ids"][row : row + 1, :count]})[0])
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        hidden(pair.theirs, inputs)


def test_weight_decay_leaves_r_orthonormal(pairs: Pairs, tmp_path: Path) -> None:
    pair = both(pairs(BERT), tmp_path, CASES["loreft"].still)
    inputs = inputs_of(BERT)
    outputs = []
    for model in pair:
        model.train_adapter("a")
        trained: list[Any] = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-6, weight_decay=0.1)
        model(**inputs)[0].square().mean().backward()
        optimizer.step()
        outputs.append(hidden(model.eval(), inputs))
    theirs, ours = outputs
    where = real_positions(inputs)
    pair.ours.set_active_adapters(None)
    same(theirs, hidden(pair.ours, inputs), where)  # as if there were none
    off(theirs, ours, where)
