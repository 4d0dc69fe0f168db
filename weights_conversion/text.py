"""What `adapterzoo.conversion.inspection` found, as text for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Facts = Mapping[str, Any]
_LAYER = re.compile(r"(?<=[.-])\d+(?=[.-])")
_OTHERS = {
    "unused": "known and not needed",
    "without_place": "known, but this class has no place for them",
    "unexpected": "no table knows them",
    "missing": "not there",
    "problems": "why it does not fit",
}


def report(facts: Facts, every: bool = False) -> str:
    """All that was found.

    Args:
        facts: what `inspect_source` returned.
        every: a line for every tensor; else layers whose lines are equal share one.
    """
    lines = [summary(facts), "", *table(facts["tensors"], every)]
    for key, what in _OTHERS.items():
        if facts.get(key):
            lines += ["", f"{key.replace('_', ' ')} ({what}):", *(f"  {name}" for name in facts[key])]
    beside = [*facts.get("adapters", ()), *facts.get("heads", ())]
    if facts["kind"] == "adapter" and facts["head"]:
        beside.append(facts["head"])
    for other in beside:
        lines += ["", report(other, every)]
    return "\n".join(lines)


def summary(facts: Facts) -> str:
    """What it is and how large."""
    rows = {"model": _model, "adapter": _adapter, "head": _head}[facts["kind"]](facts)
    dtypes = ", ".join(facts["dtypes"]) or "no dtype"
    rows["tensors"] = f"{sum(facts['dtypes'].values())}, {facts['parameters']:,} parameters, {dtypes}"
    for key in _OTHERS:
        if facts.get(key):
            rows[key.replace("_", " ")] = f"{len(facts[key])}: {shortened(facts[key])}"
    width = max(map(len, rows))
    return "\n".join([facts["source"], *(f"  {key.ljust(width)}  {value}" for key, value in rows.items())])


def _model(facts: Facts) -> dict[str, str]:
    sizes, stated = facts["sizes"], facts["stated_class"]
    said = "" if stated in (None, facts["class"]) else f" (config.json says {stated})"
    rows = {
        "model": f"{facts['architecture']}, {facts['class']}{said}",
        "layers": ", ".join(f"{count} {stack}" for stack, count in sizes["layers"].items()),
        "width": f"{sizes['width']}, feed-forward {_alike(sizes['feed_forward'])}, "
        f"{_alike(sizes['attention_heads'])} attention heads",
        "vocabulary": f"{sizes['vocabulary']}, {sizes['positions']} positions",
        "head": "none" if facts["head"] is None else _labelled(facts["head"]),
    }
    for kind in ("adapters", "heads"):
        if facts[kind]:
            rows[kind] = ", ".join(str(one["name"]) for one in facts[kind])
    return rows


def _alike(numbers: Mapping[str, int]) -> str:
    """One number if all stacks have the same."""
    return " / ".join(map(str, dict.fromkeys(numbers.values())))


def _labelled(head: Facts) -> str:
    if head["labels"] is None:
        return str(head["type"])
    return f"{head['type']}, {head['labels']} labels: {shortened(head['names'])}"


def shortened(names: Sequence[object]) -> str:
    """The first few names."""
    return ", ".join(map(str, names[:4])) + (", …" if len(names) > 4 else "")


def _adapter(facts: Facts) -> dict[str, str]:
    sizes, made = facts["sizes"], facts["made_for"]
    layers = [f"{stack} {ranges(numbers)}" for stack, numbers in sizes["layers"].items()]
    return {
        "adapter": f"{facts['name']}, {facts['method']}",
        "for": ", ".join(str(text) for text in (facts["architecture"], *made.values()) if text),
        "layers": "; ".join(layers) or "all share one",
        "width": str(sizes["width"]),
        "head": "none" if facts["head"] is None else _labelled(facts["head"]),
    }


def _head(facts: Facts) -> dict[str, str]:
    name = "" if facts["name"] is None else f"{facts['name']}, "
    return {"head": f"{name}{_labelled(facts)}", "for": str(facts["architecture"])}


def table(rows: Iterable[Facts], every: bool = False) -> list[str]:
    """Which tensor is which of ours, a line each."""
    joined: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        theirs, ours, layer = _in_layer(row["theirs"], row["ours"], every)
        part = f"  [{row['part'] + 1} of {row['parts']}]" if row["parts"] > 1 else ""
        part += "  [in turns, head by head]" if "turns" in row else ""
        key = (theirs, "×".join(map(str, row["shape"])) or "scalar", ours, part)
        joined.setdefault(key, []).extend(layer)
    lines = [("their tensor", "shape", "our tensor")]
    for (theirs, shape, ours, part), layers in joined.items():
        span = f"{{{ranges(layers)}}}" if len(layers) > 1 else ranges(layers)
        lines.append((theirs.replace("\0", span), shape, ours.replace("\0", span) + part))
    widths = [max(len(line[column]) for line in lines) for column in range(2)]
    return [f"{line[0].ljust(widths[0])}  {line[1].ljust(widths[1])}  {line[2]}" for line in lines]


def _in_layer(theirs: str, ours: str, every: bool) -> tuple[str, str, list[int]]:
    """Both names with the layer's number, if they share one, made a hole; and that number."""
    numbers = [match and match[0] for match in (_LAYER.search(theirs), _LAYER.search(ours))]
    if every or numbers[0] is None or numbers[0] != numbers[1]:
        return theirs, ours, []
    return _LAYER.sub("\0", theirs, count=1), _LAYER.sub("\0", ours, count=1), [int(numbers[0])]


def ranges(numbers: Iterable[int]) -> str:
    """Numbers, runs of them joined: 0-3,5."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def files(folder: Path) -> str:
    """The files of a directory and their sizes, a line each."""
    there = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in there]
    width = max(map(len, names))
    return "\n".join(
        f"  {name.ljust(width)}  {path.stat().st_size:>13,} bytes" for name, path in zip(names, there, strict=True)
    )
