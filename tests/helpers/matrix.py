"""What becomes of an adapter's files that are converted and come back: of each method and head, on each architecture.

A route is the formats that it goes through, by `convert_adapter`, which is what the command line calls. The first file
is written from a model, all values random; an adapter's in PEFT's format has PEFT's words alone, and values drawn anew,
so that it is none that only we would write. What comes back is exact if names, shapes, dtypes and bits of all tensors
are the same, and the JSON files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import safetensors.torch
import torch

from adapterzoo import IA3Config, LoRAConfig
from adapterzoo.conversion.adapter_files import convert_adapter
from adapterzoo.conversion.drawing import drawn_inputs
from adapterzoo.conversion.stand_ins import HINT
from adapterzoo.formats import Content, peft, read
from adapterzoo.methods import AdapterConfig
from tests.helpers.adapting import CONFIGS, add_random, same_bits
from tests.helpers.heads import LABELS, add_head, head_types
from tests.helpers.tiny import tiny_model

EXACT, REFUSED, CLOSE, BROKEN = "exact", "refused: ", "close: ", "broken: "
TITLES = {"adapterhub": "AdapterHub", "peft": "PEFT"}
_FORMATS = (("adapterhub", "adapterhub"), ("adapterhub", "peft", "adapterhub"), ("peft", "adapterhub", "peft"))
ROUTES = {" → ".join(TITLES[one] for one in formats): formats for formats in (*_FORMATS, ("peft", "peft"))}
"""The formats by what the page calls a route."""

METHODS: dict[str, AdapterConfig] = {
    **CONFIGS,
    "lora_rs_pissa": LoRAConfig(r=4, alpha=6, use_rslora=True, init_weights="pissa", leave_out=(1,)),
    "ia3_inputs": IA3Config(sites=("*.k", "*.v", "mlp.down"), input_sites="mlp.down"),
    "vera_alpha_is_r": LoRAConfig.from_dict({**CONFIGS["vera_all"], "alpha": CONFIGS["vera_all"]["r"]}),
}
"""The tests' configs of all methods, and of what PEFT has, too, some more."""

NAMED = ("classification", "multilabel_classification", "tagging", "dependency_parsing")
"""The types of heads whose labels have names."""

WHY = {
    "ln_tuning": "PEFT's file holds the LayerNorm, AdapterHub's what is added to it; sum and difference are rounded",
    "prefix_tuning": "PEFT's file holds what the MLP makes, and not the MLP",
    "vera": "PEFT's VeRA has no α: α/r is in its vectors, and these are rounded",
}
"""Why tensors are others after a way through PEFT's files, though what they compute is the same."""


def heads(model: Any) -> dict[str, dict[str, Any]]:
    """The heads of a model by what the page calls them: as HF's class has it, and as it is unless told otherwise."""
    fixed = {
        f"{static.head_type}, as in HF's class": static.flexible(model.config)
        for static in model.architecture.statics
        if static.head_type in head_types(model) and not static.decoder_only
    }
    labels = {"num_labels": LABELS, "id2label": dict.fromkeys(range(LABELS))}
    usual = {kind: {"head_type": kind, **(labels if kind in NAMED else {})} for kind in head_types(model)}
    return {**fixed, **usual}


class Bench:
    """One architecture's model, and what becomes of adapters for it.

    Args:
        architecture: its name.
        folder: an empty folder.
    """

    def __init__(self, architecture: str, folder: Path) -> None:
        self.architecture, self.folder = architecture, folder
        torch.manual_seed(crc32(architecture.encode()))
        self.model = tiny_model(architecture)
        self.model.save_pretrained(folder / "base")

    def method(self, method: str, with_model: bool = True) -> dict[str, str]:
        """What becomes of an adapter, by route."""
        config = METHODS[method]
        torch.manual_seed(crc32(f"{self.architecture} {method}".encode()))
        add_random(self.model, "a", config)
        found = {route: self._outcome(route, with_model, anew=True) for route in ROUTES}
        self.model.delete_adapter("a")
        return found

    def head(self, head: str) -> dict[str, str]:
        """What becomes of a head beside a LoRA, by route."""
        add_random(self.model, "a", LoRAConfig(output_lora=True, selfattn_lora=False, r=2))
        settings = dict(heads(self.model)[head])
        if "id2label" in settings:  # names that nobody would guess
            settings["id2label"] = {number: f"{number} or so" for number in settings["id2label"]}
        add_head(self.model, settings.pop("head_type"), "a", **settings)
        found = {route: self._outcome(route, with_model=True, anew=False) for route in ROUTES}
        self.model.delete_adapter("a")
        self.model.delete_head("a")
        return found

    def _outcome(self, route: str, with_model: bool, anew: bool) -> str:
        formats, place = ROUTES[route], self.folder / f"{len(list(self.folder.iterdir()))}"
        base = self.folder / "base" if with_model else None
        try:
            self.model.save_adapter(place / "0", "a", to=formats[0])
            if anew and formats[0] == "peft":
                draw_anew(place / "0")
            for step, to in enumerate(formats[1:]):
                (place / f"{step + 1}").mkdir()
                kind = self.architecture if formats[step] == "peft" and not with_model else None
                convert_adapter(place / f"{step}", place / f"{step + 1}", to, name="a", base=base, model_type=kind)
        except ValueError as error:
            return f"{REFUSED}{reason(str(error))}"
        first, last = (place / f"{step}" for step in (0, len(formats) - 1))
        apart = list(differences(read(first), read(last)))
        return EXACT if not apart else self._close(first, last, apart)

    def _close(self, first: Path, last: Path, apart: list[str]) -> str:
        """Of files that are not the same, whether it is known why, and whether they compute the same."""
        config = self.model.adapters["a"].config
        why = WHY.get("vera" if config.get("vera_d") is not None else config.architecture or "")
        if why is None or self.model.heads_of():
            return f"{BROKEN}{', '.join(apart)}"
        found = []
        for name, folder in (("b", first), ("c", last)):
            self.model.load_adapter(folder, load_as=name, set_active=True)
            with torch.no_grad():
                found.append(self.model(**drawn_inputs(self.model)).last_hidden_state)
            self.model.delete_adapter(name)
        alike = float((found[0] - found[1]).abs().max()) <= 1e-5 * float(found[0].abs().max())
        return f"{CLOSE}{why}" if alike else f"{BROKEN}{', '.join(apart)}"


def draw_anew(folder: Path) -> None:
    """Give the tensors of PEFT's file other values, and no note."""
    path = folder / peft.WEIGHTS[0]
    drawn = {name: torch.randn_like(tensor) for name, tensor in safetensors.torch.load_file(path).items()}
    safetensors.torch.save_file(drawn, path)


def differences(first: Content, second: Content) -> Iterator[str]:
    """What is not the same in two directories, their parts included."""
    parts = {"": first, **first.parts}, {"": second, **second.parts}
    if parts[0].keys() != parts[1].keys():
        yield f"parts: {list(parts[0])}, {list(parts[1])}"
        return
    for name, part in parts[0].items():
        other = parts[1][name]
        if not same_bits(*(dict(sorted(one.tensors.items())) for one in (part, other))):
            yield f"{name} tensors".strip()
        yield from (f"{name} {key}".strip() for key in _unlike(part.config, other.config))


def _unlike(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    """The entries of JSON files that differ, those of the config one by one."""
    for key in sorted(first.keys() | second.keys()):
        one, other = first.get(key), second.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from (f"{key}.{inner}" for inner in _unlike(one, other))
        elif one != other:
            yield key


_SHORTER = {
    r"^PEFT has nothing that computes what .*": "PEFT has no such method",
    r"has no module of its own at .*": "has no module of its own where it acts",
    r"^'[^']*' (leaves|holds)": r"the file \1",
    rf"; {re.escape(HINT)}.*": "",
    r"'\w+' is no class's fixed head: .*": "is no class's fixed head",
    r"; save (the adapter )?without.*": "",
}
"""What in a message is of this case alone, and what the page says instead."""


def reason(text: str) -> str:
    """Why something is refused, as a page needs it."""
    text = " ".join(text.split())
    for pattern, instead in _SHORTER.items():
        text = re.sub(pattern, instead, text)
    return text
