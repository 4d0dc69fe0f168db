"""What a conversion tells: texts for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from weights_conversion import text


class Report(NamedTuple):
    """What was done, or would be.

    Attributes:
        source: what the source is; None where that cannot be told without its model.
        target: where to.
        to: the format.
        class_name: of a model, the class that it is now; None for what has none.
        dtype: the dtype that was asked for.
        written: whether it is written.
        files: names and sizes in bytes of what is written; no size where that is not known beforehand.
        notes: what does not go along.
        record: what `conversion.json` holds; None where nothing was verified.
    """

    source: Mapping[str, Any] | None
    target: str
    to: str
    class_name: str | None
    dtype: str | None
    written: bool
    files: Mapping[str, int | None]
    notes: Sequence[str] = ()
    record: Mapping[str, Any] | None = None

    def tell(self, as_json: bool, quiet: bool) -> None:
        """Print it."""
        if as_json:
            files = [{"name": name, "bytes": size} for name, size in self.files.items()]
            print(json.dumps({**self._asdict(), "files": files}, indent=2, ensure_ascii=False))
        elif not quiet:
            print("\n".join(self._lines()))

    def _lines(self) -> list[str]:
        lines = [] if self.source is None else [text.summary(self.source)]
        done = "wrote" if self.written else "would write"
        what = ", ".join(one for one in (self.to, self.class_name, self.dtype) if one)
        lines.append(f"{done} {self.target} as {what}:")
        width = max(map(len, self.files))
        for name, size in self.files.items():
            lines.append(f"  {name}" if size is None else f"  {name.ljust(width)}  {size:>13,} bytes")
        lines += self.notes
        if self.record is not None:
            outcome = self.record["verified"]
            gap = max(one["largest"] for one in outcome["outputs"])
            lines.append(f"verified: {len(outcome['outputs'])} outputs differ by {gap:.3g} at most ({outcome['rule']})")
        return lines


def sizes(folder: Path) -> dict[str, int | None]:
    """The files of a directory, and their sizes in bytes."""
    there = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in there}
