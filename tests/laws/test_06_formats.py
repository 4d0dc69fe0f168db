"""Law 6: import after export is the identity, bit for bit, in every format; and the key tables are bijections."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from adapterzoo import zoo
from adapterzoo.adapter import Adapter
from adapterzoo.archs import ARCHITECTURES
from adapterzoo.core.keymap import KeyMap, Row
from adapterzoo.formats import adapterhub, hf
from tests.helpers.adapting import KINDS, add_random, same_bits, tensors_of
from tests.helpers.every_class import IDS, VARIANTS, tiny_of
from tests.helpers.tiny import NAMES, decoders, tiny_decoder, tiny_model

MODELS = {**dict.fromkeys(NAMES, tiny_model), **{kind: tiny_decoder for kind in decoders() if kind not in NAMES}}


def head_of(model):
    return next(iter(model.heads_of().values())) if model.static else None


@pytest.mark.parametrize(("name", "changes"), VARIANTS, ids=IDS)
def test_hugging_face_checkpoints(name, changes):
    model = tiny_of(name, changes)
    head, architecture, static = head_of(model), model.architecture, model.static
    tied = head.tied if head is not None else set()
    theirs = hf.export(model.base, head, tied, architecture, static)
    placed = hf.place(theirs, architecture, static)
    assert (placed.unexpected, placed.unused) == ([], [])
    order = partial(hf.block_order, architecture, model.base.config)
    back = {ours: hf.gather(parts, theirs, order(ours)) for ours, parts in placed.sources.items()}
    wanted = {f"base.{key}": tensor for key, tensor in tensors_of(model.base).items()}
    if head is not None:
        wanted |= {f"head.{key}": tensor for key, tensor in tensors_of(head).items() if key not in tied}
    assert same_bits(dict(sorted(back.items())), dict(sorted(wanted.items())))


@pytest.mark.parametrize(("name", "changes"), VARIANTS, ids=IDS)
def test_the_key_tables_are_bijections_on_the_tensors_of_every_class(name, changes):
    model = tiny_of(name, changes)
    head, static = head_of(model), model.static
    states = [(model.architecture.keymap, model.base)] + ([(static.keymap, head)] if static else [])
    for table, module in states:
        seen: set[str] = set()
        for ours in module.state_dict():
            theirs = table.to_theirs(ours)
            assert theirs is not None, f"no row names {ours}"
            for part, key in enumerate(theirs):
                assert table.to_ours(key) == (ours, part, len(theirs), False)
            assert seen.isdisjoint(theirs), f"two tensors of ours are one of theirs: {seen & set(theirs)}"
            seen |= set(theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model_kind", MODELS)
def test_adapterhub_adapters(model_kind, kind):
    model = MODELS[model_kind](model_kind)
    architecture, numbers = model.architecture, model.base.config
    add_random(model, kind)
    adapter = model.adapters[kind]
    for prefixed in (True, False):
        theirs = adapterhub.export_adapter(adapter, "en.wiki", architecture, numbers, prefixed)
        assert all(key.startswith(architecture.stem) for key in theirs) == (prefixed or not architecture.stem)
        fresh = Adapter(adapter.config, model.base)
        assert not same_bits(tensors_of(fresh), tensors_of(adapter))
        adapterhub.import_adapter(fresh, theirs, "en.wiki", architecture, numbers)
        assert same_bits(tensors_of(fresh), tensors_of(adapter))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model_kind", MODELS)
def test_every_tensor_of_an_adapter_has_one_adapterhub_name(model_kind, kind):
    model = MODELS[model_kind](model_kind)
    add_random(model, kind)
    adapter = model.adapters[kind]
    names, second = adapterhub.tensor_names(adapter, kind, model.architecture, model.base.config)
    assert sorted(names.values()) == sorted(adapter.state_dict())
    assert not set(names) & set(second)
    assert adapterhub.config_from_dict(adapter.config.to_dict()) == adapter.config


@pytest.mark.parametrize("architecture", NAMES)
def test_a_checkpoint_with_a_tensor_too_many_or_too_few_is_told(architecture):
    model = tiny_model(architecture)
    theirs = hf.export(model.base, None, set(), model.architecture, None)
    key = next(key for key in theirs if model.architecture.keymap.to_ours(key).parts > 1)
    placed = hf.place([*theirs, "what.is.this"], model.architecture, None)
    assert placed.unexpected == ["what.is.this"]
    placed = hf.place([name for name in theirs if name != key], model.architecture, None)
    assert [ours for ours, parts in placed.sources.items() if None in parts] == [
        f"base.{model.architecture.keymap.to_ours(key).ours}"
    ]


def used(rows, module):
    """The rows that name a tensor of a module."""
    return {row for row in rows if any(KeyMap([row]).to_theirs(key) for key in module.state_dict())}


@pytest.mark.parametrize("architecture", NAMES)
def test_every_row_of_every_table_is_used(architecture):
    kind = ARCHITECTURES[architecture]
    own = set() if kind.alone is None else set(kind.alone.rows)
    of_base: set = set()
    for name, changes in VARIANTS:
        if zoo.CLASSES[name].architecture is not kind or kind.specialise is not None:
            continue
        model = tiny_of(name, changes)
        of_base |= used(model.architecture.rows, model.base)
        if model.static is not None:
            assert used(model.static.rows, head_of(model)) == set(model.static.rows), name
    assert of_base == set(kind.rows) | own


def test_an_unused_row_would_be_found():
    model = tiny_model(NAMES[0])
    rows = [*model.architecture.rows, Row("their.key.{i}.{p}", "our.key.{i}.{p}")]
    assert rows[-1] not in used(rows, model.base)
    assert used(rows, model.base.token) == used(rows, torch.nn.ModuleDict()) == set()
