"""What `convert` was asked for, and whether a source can become it."""

from __future__ import annotations

from typing import NamedTuple

import click

FORMATS = {
    "model": ("hf", "adapterzoo", "adapterhub"),
    "adapter": ("adapterhub", "peft"),
    **dict.fromkeys(("head", "fusion", "setup"), ("adapterhub",)),
}
"""What each kind of source can become."""

OPTIONS = {
    "shard_size": ("model",),
    "class_name": ("model",),
    "drop": ("model",),
    "head": ("model",),
    "name": ("adapter", "head"),
    "base": ("adapter", "head", "fusion", "setup"),
    "without_head": ("adapter",),
    "verify": ("model", "adapter"),
}
"""The kinds of sources that options are for."""


class Call(NamedTuple):
    """What was asked for; see the options."""

    source: str
    target: str
    to: str | None
    dtype: str | None
    shard_size: int | None
    name: str | None
    head: str | None
    drop: tuple[str, ...]
    base: str | None
    verify: bool
    tolerance: float | None
    force: bool
    dry_run: bool
    as_json: bool
    allow_pickle: bool
    model_type: str | None
    class_name: str | None
    fairseq_head: str | None
    without_head: bool
    quiet: bool

    def check(self, kind: str) -> None:
        """Make sure that a source of that kind can become what is asked for, by these options.

        Raises:
            ValueError: there is no such format for it.
            UsageError: an option is not for it.
        """
        formats = FORMATS[kind]
        if self.to is not None and self.to not in formats:
            raise ValueError(f"{self.source} is a {kind}, and what a {kind} can become is {' or '.join(formats)}")
        for option, kinds in OPTIONS.items():
            if getattr(self, option) and kind not in kinds:
                raise click.UsageError(f"--{option.replace('_name', '').replace('_', '-')} is not for {kind}s")
        if self.head is not None and self.to not in ("hf", "adapterzoo"):
            raise click.UsageError("--head is for --to hf and --to adapterzoo")
        if self.verify and kind == "adapter" and self.base is None:
            raise click.UsageError("--verify runs an adapter in its model, so it needs that: --base MODEL")
