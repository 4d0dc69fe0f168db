"""Invertible adapters under heads that score words: the same logits and losses as the peer's flexible heads give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import adapterzoo
from adapterzoo.archs import ARCHITECTURES, Architecture, StaticHead
from tests.helpers.answers import answer, same_answers
from tests.helpers.head_cases import HEAD_CASES, HeadCase
from tests.helpers.hf_models import Case, small_config
from tests.helpers.method_cases import ALONE, CASES, each_distinct
from tests.helpers.method_cases import INV as INV_FIELDS
from tests.helpers.peer_adapters import (
    adapters,
    add_random,
    distance,
    hand_over,
    hidden,
    inputs_of,
    off,
    our_model,
    peer_heads,
    peer_parameters,
    peer_static,
    same,
    save_hf,
)
from tests.helpers.tiny import DISTINCT, class_ids, fixed_heads, randomise
from tests.parity_adapters.conftest import Pair
from tests.parity_adapters.test_heads import own, pair_for
from tests.parity_adapters.test_loading import compare, edit, saved

Pairs = Callable[[Architecture], Pair]

INV = "seq_bn_inv[reduction_factor=8]"
FIXED = [(name, static) for name, static in fixed_heads("masked_lm", "causal_lm", "seq2seq_lm") if name in DISTINCT]
WORDS = [
    pytest.param(kind, case, id=f"{kind.name}-{name}")
    for kind in map(ARCHITECTURES.__getitem__, DISTINCT)
    for name, case in HEAD_CASES.items()
    if case.kind.endswith("_lm") and case.fits(kind) and case.kind in peer_heads(kind)
]


@pytest.mark.parametrize(("architecture", "case"), WORDS)
def test_words_are_scored_behind_the_inverse(
    pairs: Pairs, architecture: Architecture, case: HeadCase, tmp_path: Path, base_dir: Any
) -> None:
    pair = pair_for(case, architecture, pairs, base_dir)
    case.add(pair.theirs, "h")
    randomise(own(pair.theirs, "h"))
    add_random(pair.theirs, "h", INV)
    hand_over(pair.theirs, pair.ours, "h", tmp_path)
    inputs = case.inputs(architecture)
    if getattr(small_config(architecture), "conv_kernel_size", 0):  # it reads what the peer makes of padding
        del inputs["attention_mask"]
    bare = answer(pair.ours, inputs, head="h").logits
    for model in pair:
        model.set_active_adapters("h")
    ours, theirs = (answer(model, inputs, head="h") for model in pair)
    same_answers(ours, theirs, inputs)
    assert distance(bare, theirs.logits) > 0.01


@each_distinct
@pytest.mark.parametrize("place", ["invertible_adapters", "invertible_lang_adapters"])
def test_their_tensors_had_another_name_in_the_first_version(
    pairs: Pairs, architecture: Architecture, place: str, tmp_path: Path
) -> None:
    if architecture.specialise is not None:
        pytest.skip("the peer's pair has a fixed head, which scores words without the inverse")
    pair = pairs(architecture)
    edit(saved(pair, tmp_path, INV), version=None, type="text_lang")
    rename(tmp_path, lambda name: name.replace("invertible_adapters", place))
    compare(pair, architecture, tmp_path, "none")
    assert pair.ours.adapters_config.get("a")["inv_adapter"] == "nice"


@each_distinct
def test_the_first_versions_task_adapters_name_one_that_they_do_not_have(
    pairs: Pairs, architecture: Architecture, tmp_path: Path
) -> None:
    pair = pairs(architecture)
    edit(saved(pair, tmp_path, INV), version=None, type="text_task")
    rename(tmp_path, lambda name: None if "invertible" in name else name)
    compare(pair, architecture, tmp_path)
    assert pair.ours.adapters_config.get("a")["inv_adapter"] is None
    edit(tmp_path, type="text_lang")
    with pytest.raises(ValueError, match=r"invertible_adapters\.made\.F\.0\.weight is not there"):
        pair.ours.load_adapter(tmp_path, load_as="b")


def rename(folder: Path, renamed: Callable[[str], str | None]) -> None:
    """Give tensors of a file other names, or none."""
    path = folder / "pytorch_adapter.bin"
    tensors = torch.load(path, weights_only=True)
    torch.save({new: tensor for old, tensor in tensors.items() if (new := renamed(old)) is not None}, path)


@each_distinct
def test_glow_of_the_peers_files_is_inverted_here_and_does_not_run_there(
    pairs: Pairs, architecture: Architecture, tmp_path: Path
) -> None:
    pair = pairs(architecture)
    config = {**CASES["bn-inv"].changes, "inv_adapter": "glow", "cross_adapter": True}
    pair.theirs.add_adapter("a", config=adapters().BnConfig(**config))
    hand_over(pair.theirs, pair.ours, "a", tmp_path)
    inputs = inputs_of(architecture)
    for model in pair:
        model.set_active_adapters("a")
    assert torch.isfinite(hidden(pair.ours, inputs)).all()
    with pytest.raises((RuntimeError, AttributeError, TypeError, IndexError)):
        hidden(pair.theirs, inputs)
    pair.ours.save_adapter(tmp_path / "back", "a")
    assert pair.theirs.load_adapter(str(tmp_path / "back"), load_as="b", use_safetensors=True) == "b"


def test_the_peers_maps_make_numbers_of_padding_that_convolutions_read(pairs: Pairs, tmp_path: Path) -> None:
    architecture = ARCHITECTURES["deberta-v2"]
    theirs, ours = pair = pairs(architecture)
    add_random(theirs, "a", INV)
    hand_over(theirs, ours, "a", tmp_path)
    inputs = inputs_of(architecture)
    row = int(inputs["attention_mask"].sum(1).argmin())
    length = int(inputs["attention_mask"][row].sum())
    alone = {name: value[row : row + 1, :length] for name, value in inputs.items()}
    for model in pair:
        model.set_active_adapters("a")
    law = hidden(theirs, alone)
    same(hidden(ours, inputs)[row : row + 1, :length], law)
    off(hidden(theirs, inputs)[row : row + 1, :length], law)


@pytest.mark.parametrize(("architecture", "static"), FIXED, ids=class_ids(FIXED))
def test_the_peers_fixed_heads_score_words_without_the_inverse(
    architecture: str, static: StaticHead, tmp_path: Path
) -> None:
    case = Case(ARCHITECTURES[architecture], static)
    folder = save_hf(case, tmp_path / "model")
    theirs = peer_static(case, folder)
    if "invertible_adapters" not in dir(theirs.base_model):
        pytest.skip("the peer has none here")
    ours = our_model(case.architecture, folder, static.suffix)
    theirs.add_adapter("a", config=INV)
    unit = theirs.base_model.invertible_adapters if "a" in theirs.base_model.invertible_adapters else None
    assert unit is not None
    add = peer_parameters(theirs, "a")
    for parameter in add.values():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    hand_over(theirs, ours, "a", tmp_path / "adapter")
    inputs = inputs_of(case.architecture, "none")
    for model in (theirs, ours):
        model.set_active_adapters("a")
    head = theirs.get_output_embeddings()
    given: list[torch.Tensor] = []
    head.register_forward_pre_hook(lambda module, args: given.append(args[0]))
    wanted = answer(theirs, inputs).logits
    if given[0].size(-1) != unit["a"].split_len1 + unit["a"].split_len2:
        pytest.skip("its words are scored by another matrix than the embeddings'")
    with torch.no_grad():
        law = wanted - head(given[0]) + head(unit["a"](given[0], rev=True))
    same(answer(ours, inputs).logits, law)
    off(wanted, law)


@each_distinct
def test_all_of_a_stack_act_and_in_the_peer_the_first_alone(
    pairs: Pairs, architecture: Architecture, tmp_path: Path
) -> None:
    if architecture.specialise is not None:
        pytest.skip("the peer's pair has a fixed head, which scores words without the inverse")
    theirs, ours = pair = pairs(architecture)
    fields = {**ALONE, "reduction_factor": 4, "non_linearity": "relu", "output_adapter": False}
    for name in "ab":
        theirs.add_adapter(name, config=adapters().BnConfig(**fields, **INV_FIELDS))
        randomise(torch.nn.ParameterList(peer_parameters(theirs, name).values()), 0.1)
        hand_over(theirs, ours, name, tmp_path / name)
    inputs = inputs_of(architecture, "none")
    theirs.set_active_adapters("a")
    first = hidden(theirs, inputs)
    for model, library in zip(pair, (adapters(), adapterzoo), strict=True):
        model.set_active_adapters(library.Stack("a", "b"))
    found, wanted = hidden(ours, inputs), hidden(theirs, inputs)
    same(wanted, first)
    off(wanted, found)


def test_the_peer_cannot_invert_vectors_of_another_width(pairs: Pairs) -> None:
    pair = pairs(ARCHITECTURES["electra"])
    inputs = inputs_of(ARCHITECTURES["electra"], "none")
    for model in pair:
        model.add_adapter("a", config=INV)
        model.add_masked_lm_head("h", layers=1)
        model.set_active_adapters("a")
    assert torch.isfinite(answer(pair.ours, inputs).logits).all()
    with pytest.raises(RuntimeError):
        answer(pair.theirs, inputs)
