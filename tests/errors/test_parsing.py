"""A parser that is not told its words, or is told words that cannot be."""

from __future__ import annotations

import pytest
import torch

from adapterzoo.archs import ARCHITECTURES
from tests.helpers.batches import padding_mask, random_ids
from tests.helpers.heads import add_head
from tests.helpers.refusing import refuses
from tests.helpers.tiny import NAMES, tiny_model

PARSING = [name for name in NAMES if "dependency_parsing" in ARCHITECTURES[name].heads]
LENGTHS = [8, 5]
GOOD = [[1, 2, 4, 7, -1], [1, 3, 4, -1, -1]]
ARCS = [[0, 1, 2], [2, 0, -100]]
RELATIONS = [[0, 1, 2], [2, 1, -100]]


@pytest.fixture(params=PARSING)
def parser(request):
    model = tiny_model(request.param).eval()
    add_head(model, "dependency_parsing", "tree")
    return model


def inputs(model, **changes):
    torch.manual_seed(0)
    ids, mask = random_ids(model, 2, LENGTHS[0]), padding_mask(LENGTHS, LENGTHS[0])
    given = {"word_starts": GOOD, "labels_arcs": ARCS, "labels_rels": RELATIONS, **changes}
    tensors = {name: torch.as_tensor(value) for name, value in given.items() if value is not None}
    return {"input_ids": ids.masked_fill(mask == 0, model.config.pad_token_id), "attention_mask": mask, **tensors}


def test_a_call_without_word_starts_is_refused(parser):
    with refuses(ValueError, "the dependency_parsing head 'tree' needs word_starts", model=parser):
        parser(**inputs(parser, word_starts=None))
    parser.add_classification_head("other")
    with refuses(ValueError, "the dependency_parsing head 'tree' needs word_starts", model=parser):
        parser(input_ids=random_ids(parser, 2, 5), head=["other", "tree"])


@pytest.mark.parametrize(
    ("starts", "said"),
    [
        ([[1, 2, 4, 9, -1], GOOD[1]], ["row 0", "[1, 2, 4, 9, -1]", "9 neither follows", "from 0 to 8"]),
        ([GOOD[0], [1, 3, 6, -1, -1]], ["row 1", "6 neither follows", "from 0 to 5"]),
        ([GOOD[0], [1, 4, 3, -1, -1]], ["row 1", "3 neither follows"]),
        ([[2, 2, 3, 4, -1], GOOD[1]], ["row 0", "2 neither follows"]),
        ([[1, 3, -1, 5, 6], GOOD[1]], ["row 0", "5 neither follows"]),
        ([[-1, 3, 5, 6, 7], GOOD[1]], ["row 0", "3 neither follows"]),
        ([[9, -1, -1, -1, -1], GOOD[1]], ["row 0", "9 neither follows"]),
    ],
)
def test_word_starts_that_are_not_sorted_or_lie_outside_are_told(parser, starts, said):
    with refuses(ValueError, *said, f"(negative, or {parser.config.pad_token_id})", model=parser):
        parser(**inputs(parser, word_starts=starts))


@pytest.mark.parametrize("starts", [GOOD[:1], [GOOD] * 2, [1, 2], [[1], [1]], [[1.0, 2.0], [1.0, 2.0]]])
def test_word_starts_of_another_shape_are_told(parser, starts):
    said = "word_starts must be whole numbers of shape (2, words + 1), one row for each of the batch's, not"
    with refuses(ValueError, said, model=parser):
        parser(**inputs(parser, word_starts=starts, labels_arcs=None, labels_rels=None))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels_arcs": [[0, 1, 4], ARCS[1]]}, "labels_arcs of row 0, word 3, is 4, but the row's root and words go"),
        ({"labels_arcs": [ARCS[0], [3, 0, 0]]}, "labels_arcs of row 1, word 1, is 3, but the row's root and words go"),
        ({"labels_rels": [[0, 3, 2], RELATIONS[1]]}, "labels_rels of row 0, word 2, is 3, but the relations go from 0"),
        ({"labels_rels": [RELATIONS[0], [-1, 1, 0]]}, "labels_rels of row 1, word 1, is -1, but the relations go"),
        ({"labels_arcs": [[0, 1], [2, 0]]}, "labels_arcs has 2 labels a row, but word_starts has up to 3 words"),
        ({"labels_rels": [RELATIONS[0]]}, "labels_rels must be whole numbers of shape (2, words), not torch.int64"),
        ({"labels_arcs": [[0.0] * 3] * 2}, "labels_arcs must be whole numbers of shape (2, words), not torch.float32"),
    ],
)
def test_wrong_trees_are_told(parser, changes, said):
    with refuses(ValueError, said, model=parser):
        parser(**inputs(parser, **changes))


def test_what_is_right_is_not_refused(parser):
    expected = parser(**inputs(parser)).loss
    assert bool(expected.isfinite())
    pad = parser.config.pad_token_id
    wider = [[*row, -1, -1, -1, -1, -1, -1] for row in GOOD]
    padded = [[pad if start == -1 else start for start in row] for row in GOOD]
    longer = {"labels_arcs": [[*row, 9, 9] for row in ARCS], "labels_rels": [[*row, 9, 9] for row in RELATIONS]}
    for changes in ({"word_starts": wider}, {"word_starts": padded}, longer):
        assert torch.equal(parser(**inputs(parser, **changes)).loss, expected)
    ignored = parser(**inputs(parser, labels_arcs=[[0, -1, 2], ARCS[1]], labels_rels=[[0, 7, 2], RELATIONS[1]])).loss
    assert bool(ignored.isfinite()) and not torch.equal(ignored, expected)
    assert parser(**inputs(parser, labels_rels=None)).loss is None


def test_a_row_may_have_no_words_and_padding_is_told_by_the_least_number(parser):
    output = parser(**inputs(parser, word_starts=[GOOD[0], [-1] * 5], labels_arcs=None, labels_rels=None))
    least = torch.finfo(output.arc_preds.dtype).min
    assert output.arc_preds.shape == (2, 8, 9) and output.rel_preds.shape == (2, 8, 9, 3)
    assert bool((output.arc_preds[1] == least).all()) and bool((output.rel_preds[1] == 0).all())
    assert bool((output.arc_preds[0, :3, :4] > least).all())
    assert bool((output.arc_preds[0, :3, 4:] == least).all())
