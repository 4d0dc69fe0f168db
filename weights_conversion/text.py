"""What `adapterzoo.conversion.inspection` found, as text for people."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from adapterzoo.conversion.facts import BESIDE, within

Facts = Mapping[str, Any]
_LAYER = re.compile(r"(?<=[.-])\d+(?=[.-])|(?<=/layer_)\d+(?=/)")
_OTHERS = {
    "unused": "known and not needed",
    "made": "not in the file, and made as such models have them",
    "without_place": "known, but this class has no place for them",
    "unexpected": "no table knows them",
    "missing": "not there",
    "problems": "why it does not fit",
    "not_loaded": "config.json does not name them, so they are not loaded with it",
}
_FORMATS = {
    "hf": "Hugging Face",
    "adapterhub": "AdapterHub",
    "peft": "PEFT",
    "tensorflow": "TensorFlow",
    "pickle": "PyTorch's pickle",
}
_ODD = {
    "NaN": "no numbers",
    "Inf": "infinite",
    "all zero": "as biases and LoRA's B are before any training",
    "untrained": "as they are before any training",
}


def report(facts: Facts, every: bool = False) -> str:
    """All that was found.

    Args:
        facts: what `inspect_source` returned.
        every: a line for every tensor; else layers whose lines are equal share one.
    """
    lines = [summary(facts)]
    if facts["tensors"]:
        lines += ["", *table(facts["tensors"], every)]
    for one in within(facts):
        lines += ["", f"{one['kind']} inside: {', '.join(_inside(one))}"]
        lines += table(one["tensors"], every)
    for what, note in _ODD.items():
        found = [one for one in facts.get("odd", ()) if one["what"] == what]
        if found:
            lines += ["", f"{what} ({note}):", *(f"  {line}" for line in _odd(found, every))]
    for key, note in _OTHERS.items():
        if facts.get(key):
            lines += ["", f"{key.replace('_', ' ')} ({note}):", *(f"  {name}" for name in facts[key])]
    if facts.get("files"):
        lines += ["", "files:", *columns([_file(one) for one in facts["files"]], "  ")]
    for kind in BESIDE:
        for other in facts.get(kind, ()):
            lines += ["", report(other, every)]
    if facts.get("head") and "kind" in facts["head"]:
        lines += ["", report(facts["head"], every)]
    return "\n".join(lines)


def summary(facts: Facts) -> str:
    """What it is and how large."""
    rows = {
        "model": _model,
        "adapter": _adapter,
        "head": _head,
        "fusion": _fusion,
        "setup": _setup,
        "embedding": _embedding,
    }[facts["kind"]](facts)
    if "files" in facts:
        rows["format"] = _format(facts)
    dtypes = ", ".join(facts["dtypes"]) or "no dtype"
    rows["tensors"] = f"{sum(facts['dtypes'].values())}, {facts['parameters']:,} parameters, {dtypes}"
    if facts.get("odd"):
        counts = Counter(one["what"] for one in facts["odd"])
        rows["odd"] = ", ".join(f"{counts[what]} {what}" for what in _ODD if what in counts)
    for key in _OTHERS:
        if facts.get(key):
            rows[key.replace("_", " ")] = f"{len(facts[key])}: {shortened(facts[key])}"
    width = max(map(len, rows))
    return "\n".join([facts["source"], *(f"  {key.ljust(width)}  {value}" for key, value in rows.items())])


def _format(facts: Facts) -> str:
    """Whose format it is, who wrote it, and in what files."""
    read = [one for one in facts["files"] if one["read"]]
    held = [one for one in read if one["format"] not in ("json", "text")]
    kinds = dict.fromkeys(_FORMATS.get(one["format"], one["format"]) for one in held)
    whose = [_FORMATS.get(facts["format"], facts["format"]), facts.get("library")]
    shards = [] if facts.get("shards") is None else [f"{facts['shards']} shards"]
    size = f"{sum(one['bytes'] for one in held):,} bytes" if held else None
    return ", ".join(filter(None, dict.fromkeys([*whose, *kinds, *shards, size])))


def _file(one: Facts) -> tuple[str, ...]:
    return one["name"], f"{one['bytes']:,} bytes", *([] if one["read"] else ["not read"])


def _inside(one: Facts) -> list[str]:
    what = one.get("method") or one.get("type") or "cannot be read"
    fuses = [f"of {' and '.join(one['fuses'])}"] if "fuses" in one else []
    count = sum(one["dtypes"].values())
    return [str(one["name"]), str(what), *fuses, f"{count} tensors, {one['parameters']:,} parameters"]


def _odd(found: Sequence[Facts], every: bool) -> list[str]:
    """Odd tensors, those of several layers in one line; of what is NaN or infinite, how many values are."""
    joined: dict[tuple[str, int | None], list[int]] = {}
    for one in found:
        name, _, layer = _in_layer(one["tensor"], one["tensor"], every)
        count = one["count"] if one["what"] in ("NaN", "Inf") else None
        joined.setdefault((name, count), []).extend(layer)
    lines = [(name.replace("\0", _span(layers)), count) for (name, count), layers in joined.items()]
    counted = {count: f"{count:,} value{'s' if count > 1 else ''}" for _, count in lines if count is not None}
    return columns([(name, *([] if count is None else [counted[count]])) for name, count in lines], "")


def columns(rows: Sequence[Sequence[str]], indent: str) -> list[str]:
    """Rows of cells, one below the other."""
    widths = [max((len(row[number]) for row in rows if len(row) > number), default=0) for number in range(4)]
    return [indent + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


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
    for kind, several in facts["inside"].items():
        rows[f"{kind} inside"] = ", ".join(str(one["name"]) for one in several)
    return rows | _beside(facts)


def _beside(facts: Facts) -> dict[str, str]:
    """The names of what lies beside."""
    return {kind: ", ".join(str(one["name"]) for one in facts[kind]) for kind in BESIDE if facts.get(kind)}


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


def _fusion(facts: Facts) -> dict[str, str]:
    return {"fusion": f"{facts['name']}, {facts['method']}", "fuses": ", ".join(facts["fuses"])} | {
        key: value for key, value in _adapter(facts).items() if key != "adapter"
    }


def _setup(facts: Facts) -> dict[str, str]:
    head = facts["head_setup"]
    said = {"head setup": head if isinstance(head, str) else json.dumps(head)} if head is not None else {}
    return {"setup": facts["composition"], "for": facts["architecture"]} | said | _beside(facts)


def _embedding(facts: Facts) -> dict[str, str]:
    sizes, own = facts["sizes"], "with a tokenizer" if facts["tokenizer"] else "without a tokenizer"
    return {
        "embedding": f"{facts['name']}, {own}",
        "vocabulary": str(sizes["vocabulary"]),
        "width": str(sizes["width"]),
    }


def table(rows: Iterable[Facts], every: bool = False) -> list[str]:
    """Which tensor is which of ours, a line each."""
    joined: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        theirs, ours, layer = _in_layer(row["theirs"], row["ours"], every)
        part = f"  [{row['part'] + 1} of {row['parts']}]" if row["parts"] > 1 else ""
        part += "  [in turns, head by head]" if "turns" in row else ""
        part += "  [transposed]" if "transposed" in row else ""
        key = (theirs, "×".join(map(str, row["shape"])) or "scalar", ours, part)
        joined.setdefault(key, []).extend(layer)
    lines = [("their tensor", "shape", "our tensor")]
    for (theirs, shape, ours, part), layers in joined.items():
        span = _span(layers)
        lines.append((theirs.replace("\0", span), shape, ours.replace("\0", span) + part))
    widths = [max(len(line[column]) for line in lines) for column in range(2)]
    return [f"{line[0].ljust(widths[0])}  {line[1].ljust(widths[1])}  {line[2]}" for line in lines]


def _in_layer(theirs: str, ours: str, every: bool) -> tuple[str, str, list[int]]:
    """Both names with the layer's number, if they share one, made a hole; and that number."""
    numbers = [match and match[0] for match in (_LAYER.search(theirs), _LAYER.search(ours))]
    if every or numbers[0] is None or numbers[0] != numbers[1]:
        return theirs, ours, []
    return _LAYER.sub("\0", theirs, count=1), _LAYER.sub("\0", ours, count=1), [int(numbers[0])]


def _span(layers: Sequence[int]) -> str:
    """What stands in a name in place of a layer's number."""
    return f"{{{ranges(layers)}}}" if len(layers) > 1 else ranges(layers)


def finite(told: Any) -> Any:
    """The same as JSON may have it, which knows no infinity and no NaN: they are null."""
    if isinstance(told, Mapping):
        return {key: finite(value) for key, value in told.items()}
    if isinstance(told, list | tuple):
        return [finite(value) for value in told]
    return None if isinstance(told, float) and not math.isfinite(told) else told


def ranges(numbers: Iterable[int]) -> str:
    """Numbers, runs of them joined: 0-3,5."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
