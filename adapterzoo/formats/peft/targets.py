"""Which modules a PEFT config means: `target_modules` and what narrows them down."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from adapterzoo.core.sites import Site
from adapterzoo.formats.peft.fields import Fields
from adapterzoo.formats.peft.places import Places

ALL_LINEAR = "all-linear"
_LAYER = re.compile(r".*?\.[^.]*\.(\d+)\.")
Names = str | list[str]


@dataclass(frozen=True)
class Targets:
    """What a config says about modules.

    Attributes:
        modules: a pattern for whole names (regular expression), or endings of names.
        exclude: the same for those that are left out.
        saved: patterns of modules that are trained as a whole, and thereby left out.
        layers: numbers of layers within their stack; all if None.
        before: patterns of what stands before a layer's number; anything may if there are none.
        stem: what stands before names in the class that the adapter is of.
    """

    modules: Names
    exclude: Names
    saved: tuple[str, ...]
    layers: tuple[int, ...] | None
    before: tuple[str, ...]
    stem: str

    def means(self, name: str) -> bool:
        """Whether it means the module of that name."""
        full = self.stem + name
        if self.exclude and fits_name(self.exclude, full):
            return False
        if any(re.match(rf"(^|.*\.){one}($|\..*)", full) for one in self.saved):
            return False
        if isinstance(self.modules, str) or full in self.modules:
            return fits_name(self.modules, full)
        return fits_name(self.modules, full) and (self.layers is None or self._layer(full) in self.layers)

    def _layer(self, full: str) -> int | None:
        found = _LAYER.match(full) if not self.before else None
        for pattern in self.before:
            found = found or re.match(rf"(?:^|.*?\.)(?:{pattern})\.(\d+)\.", full)
        return None if found is None else int(found.groups()[-1])


def fits_name(names: Names, full: str) -> bool:
    """Whether a pattern is a module's whole name, or one of several endings is the name's."""
    if isinstance(names, str):
        return re.fullmatch(names, full) is not None
    return any(full == one or full.endswith(f".{one}") for one in names)


def chosen(fields: Fields, places: Places, kinds: Iterable[str], stem: str) -> list[Site]:
    """The sites that a config's fields choose. What is wrong with these is kept for the end."""
    several = list[str] | str
    modules: Names = fields.get("target_modules", several, [])
    exclude: Names = fields.get("exclude_modules", several, [])
    before: Names = fields.get("layers_pattern", several, [])
    layers: int | list[int] | None = fields.get("layers_to_transform", int | list[int], None)
    saved: list[str] = fields.get("modules_to_save", list[str], [])
    unnamed = [text for text in saved if not re.fullmatch(r"[\w.]+", text)]
    fields.problems += [f"modules_to_save has {text!r}, which is no name of a module" for text in unnamed]
    before = [before] if isinstance(before, str) else before
    numbers = [layers] if isinstance(layers, int) else layers
    wrong = [text for text in _texts(modules, exclude, before, saved) if not is_pattern(text)]
    if wrong:
        fields.problems += [f"{text!r} is no regular expression" for text in wrong]
        return []
    there = places.at(kinds)
    if isinstance(modules, str) and modules.lower() == ALL_LINEAR:
        modules = [stem + name for site, name in there.items() if site.kind == "linear"]
    targets = Targets(modules, exclude, tuple(saved), tuple(numbers) if numbers else None, tuple(before), stem)
    found = [site for site, name in there.items() if targets.means(name)]
    if not found and not fields.problems:
        names = sorted({name.rpartition(".")[2] for name in there.values()})
        fields.problems.append(f"its target_modules {modules!r} mean no module that there is: {', '.join(names)}")
    return found


def _texts(modules: Names, exclude: Names, before: list[str], saved: list[str]) -> list[str]:
    """What is read as regular expressions."""
    return [*(one for one in (modules, exclude) if isinstance(one, str)), *before, *saved]


def is_pattern(text: str) -> bool:
    """Whether a text is a regular expression."""
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError):
        return False
    return True
