"""Names and what they stand for: registries, containers of users' names, and errors that list what there is."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from torch import nn

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)


def listing(names: Iterable[object]) -> str:
    """The names, sorted and joined for a message; "none" where there are none."""
    return ", ".join(sorted(map(str, names))) or "none"


def unknown(kind: str, name: object, known: Iterable[object]) -> str:
    """The message for a name that is not there: what was asked for, the nearest, and what there is.

    >>> unknown("adapter named", "mprc", ["mrpc", "sst2"])
    "no adapter named 'mprc'; there are mrpc, sst2 (did you mean 'mrpc'?)"
    """
    there = list(known)
    near = difflib.get_close_matches(str(name), [str(n) for n in there], n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"no {kind} {name!r}; there are {listing(there)}{hint}"


class Registry(Mapping[str, T], Generic[T]):
    """Things by name, in the order in which they were registered.

    Args:
        kind: what the things are, for messages: "adapter method", "head type", …
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._things: dict[str, T] = {}

    def add(self, name: str, thing: T) -> T:
        """Register `thing`; a name may be taken once.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._things:
            raise ValueError(f"there is already a {self.kind} {name!r}")
        self._things[name] = thing
        return thing

    def register(self, *names: str) -> Callable[[T], T]:
        """A decorator that registers what it decorates under each of `names`."""

        def decorate(thing: T) -> T:
            for name in names:
                self.add(name, thing)
            return thing

        return decorate

    def __getitem__(self, name: str) -> T:
        """The thing of that name.

        Raises:
            KeyError: no thing of that name; the message lists what there is.
        """
        try:
            return self._things[name]
        except (KeyError, TypeError):  # of files may come lists, which cannot be keys
            raise UnknownName(unknown(self.kind, name, self._things)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)


class UnknownName(KeyError, ValueError):
    """A name that is not there. Reads as KeyError and ValueError both, for the peers raise either."""

    def __str__(self) -> str:  # KeyError would show the message in quotes
        return str(self.args[0])


_ENCODED = {"%": "%25", ".": "%2E", "/": "%2F", "\\": "%5C", "\0": "%00"}
_ENCODING = str.maketrans(_ENCODED)


class NamedModules(nn.Module, Generic[M]):
    """Modules by names that users choose; `nn.ModuleDict` refuses "train" and "en.wiki", this does not.

    A name is kept as it is where PyTorch allows it, so that parameters read `adapters.mrpc.…`; "." and what makes a
    path are percent-encoded, and a name that is an attribute of the container gets a "%" in front.
    """

    kind: str = "module"

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    @classmethod
    def slug(cls, name: str) -> str:
        """The module name under which PyTorch keeps `name`; it may serve as a folder's name, too."""
        safe = name.translate(_ENCODING)
        return f"%{safe}" if hasattr(cls, safe) or safe[:1] in ("", "_") or safe == "training" else safe

    @staticmethod
    def unslug(slug: str) -> str:
        """The name that `slug` was made from."""
        if "%" not in slug:
            return slug
        bare = slug[1:] if slug.startswith("%") and slug[:3] not in _ENCODED.values() else slug
        for letter, code in reversed(_ENCODED.items()):
            bare = bare.replace(code, letter)
        return bare

    def check_new(self, name: object, overwrite_ok: bool = False) -> None:
        """Check that a new module may have a name.

        Raises:
            TypeError: it is no string.
            ValueError: it is empty, or taken.
        """
        article = "an" if self.kind[0] in "aeiou" else "a"
        if not isinstance(name, str):
            raise TypeError(f"{article} {self.kind}'s name is a string, not {name!r}")
        if not name:
            raise ValueError(f"{article} {self.kind}'s name must not be empty")
        if name in self and not overwrite_ok:
            raise ValueError(f"there is already {article} {self.kind} named {name!r}; overwrite_ok=True replaces it")

    def __getitem__(self, name: str) -> M:
        if name not in self:
            raise UnknownName(unknown(f"{self.kind} named", name, self))
        return self._modules[self.slug(name)]  # type: ignore[return-value]

    def __setitem__(self, name: str, module: M) -> None:
        self.add_module(self.slug(name), module)

    def __delitem__(self, name: str) -> None:
        self[name]  # for the message
        del self._modules[self.slug(name)]

    def rename(self, old: str, new: str) -> None:
        """Give a module another name; it keeps its place in the order.

        Raises:
            UnknownName: there is none of the old name.
            ValueError: the new one is taken.
        """
        self[old]  # for the message
        self.check_new(new)
        modules = {new if name == old else name: module for name, module in self.items()}
        self._modules.clear()
        for name, module in modules.items():
            self[name] = module

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.slug(name) in self._modules

    def __iter__(self) -> Iterator[str]:
        return iter(map(self.unslug, self._modules))

    def __len__(self) -> int:
        return len(self._modules)

    def items(self) -> Iterator[tuple[str, M]]:
        """Names and modules, in the order in which they were added."""
        return ((self.unslug(slug), module) for slug, module in self._modules.items())  # type: ignore[misc]
