"""Changes to files of tensors: to the tensors, and to what a safetensors file's header says of them."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from tests.helpers.fuzz import on_json
from tests.helpers.fuzz.odd import NAMES, NUMBERS, odd_value

Tensors = dict[str, Tensor]

DTYPES = ("float16", "bfloat16", "float64", "float32", "int64", "int8", "uint8", "bool", "float8_e4m3fn", "complex64")


def read(path: Path) -> Tensors:
    """All tensors of a file."""
    if path.suffix == ".safetensors":
        found = safetensors.torch.load(path.read_bytes())  # in any order
        return {name: found[name] for name in sorted(found)}
    found = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
    return dict(found) if isinstance(found, dict) else {"": found}


def write(path: Path, tensors: Tensors) -> None:
    """Write a file of tensors in its own format."""
    if path.suffix == ".safetensors":
        alone = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
        path.write_bytes(safetensors.torch.save(alone, {"format": "pt"}))
    else:
        torch.save(tensors, path)


def _near(name: str, chance: Random) -> str:
    """A name that is almost another."""
    parts = name.split(".")
    number = re.sub(r"\d+", str(chance.choice((0, 1, 2, 11, 999, 10**30))), name, count=1)
    return chance.choice((number, ".".join(parts[1:]), ".".join(parts[:-1]), f"x.{name}", f"{name}.x", name.upper()))


def rename(tensors: Tensors, name: str, chance: Random) -> None:
    """Another name."""
    tensors[chance.choice((chance.choice(NAMES).replace("\ud800", "?"), _near(name, chance)))] = tensors.pop(name)


def drop(tensors: Tensors, name: str, chance: Random) -> None:
    """It is not there."""
    del tensors[name]


def double(tensors: Tensors, name: str, chance: Random) -> None:
    """There is one more of the kind."""
    tensors[_near(name, chance)] = tensors[name].clone()


def exchange(tensors: Tensors, name: str, chance: Random) -> None:
    """It and another have changed names."""
    other = chance.choice(list(tensors))
    tensors[name], tensors[other] = tensors[other], tensors[name]


def reshape(tensors: Tensors, name: str, chance: Random) -> None:
    """Another shape."""
    old = tensors[name]
    ways: list[Callable[[], Tensor]] = [
        lambda: old[:-1],
        lambda: old[..., :-1],
        lambda: torch.cat([old, old]),
        lambda: old.flatten(),
        lambda: old.unsqueeze(chance.randrange(old.dim() + 1)),
        lambda: old.t() if old.dim() == 2 else old.flip(0),
        lambda: old[:0],
        lambda: old.flatten()[0],
        lambda: torch.zeros(*old.shape, 0),
    ]
    tensors[name] = chance.choice(ways if old.dim() else ways[3:5])()


def recast(tensors: Tensors, name: str, chance: Random) -> None:
    """Another dtype, of one or of all."""
    dtype = getattr(torch, chance.choice(DTYPES))
    for each in chance.choice(([name], list(tensors))):
        tensors[each] = tensors[each].to(dtype)


def revalue(tensors: Tensors, name: str, chance: Random) -> None:
    """Other values; any are legal."""
    value = chance.choice((float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 3e38, 1e-45))
    tensors[name] = tensors[name].clone().fill_(value) if tensors[name].is_floating_point() else tensors[name] + 1


ON_TENSORS = (rename, rename, drop, double, exchange, reshape, reshape, recast, recast, revalue)


def mutate(path: Path, chance: Random) -> str:
    """Change a tensor of a file."""
    tensors = read(path)
    change, name = chance.choice(ON_TENSORS), chance.choice(list(tensors))
    change(tensors, name, chance)
    write(path, tensors)
    return f"{change.__name__} {name[:60]}"


# ---------------------------------------------------------------------------------------------- PyTorch's files

STRANGE: tuple[Callable[[Tensors, str, Random], Any], ...] = (
    lambda tensors, name, chance: list(tensors.values()),
    lambda tensors, name, chance: {"state_dict": tensors},
    lambda tensors, name, chance: {**tensors, name: chance.choice((None, 5, "a", [tensors[name]], {}))},
    lambda tensors, name, chance: {**tensors, chance.choice((5, None, ("a",))): tensors[name]},
    lambda tensors, name, chance: {**tensors, name: torch.zeros(1).expand(tensors[name].shape)},
    lambda tensors, name, chance: {**tensors, name: tensors[name].t() if tensors[name].dim() == 2 else tensors[name]},
    lambda tensors, name, chance: {**tensors, name: tensors[name].to_sparse()},
    lambda tensors, name, chance: {**tensors, name: tensors[name].to("meta")},
    lambda tensors, name, chance: {**tensors, name: torch.nn.Parameter(tensors[name].float())},
    lambda tensors, name, chance: {**tensors, name: torch.quantize_per_tensor(tensors[name], 0.1, 0, torch.qint8)},
    lambda tensors, name, chance: {**tensors, name: tensors[next(iter(tensors))]},
)
"""What a PyTorch file may hold beside plain tensors by name."""


def strange(path: Path, chance: Random) -> str:
    """Put something into a PyTorch file that safetensors cannot hold."""
    tensors, number = read(path), chance.randrange(len(STRANGE))
    name = chance.choice(list(tensors))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(STRANGE[number](tensors, name, chance), path)
    return f"strange {number} {name[:60]}"


# ---------------------------------------------------------------------------------------------- headers


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """A safetensors file's header and the rest."""
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def join(text: str, rest: bytes) -> bytes:
    """The file of a header and the rest."""
    header = text.encode("utf-8", "surrogatepass")
    return len(header).to_bytes(8, "little") + header + rest


def header(path: Path, chance: Random) -> str:
    """Change what a header says, and nothing else."""
    said, rest = split(path.read_bytes())
    names = [name for name in said if name != "__metadata__"]
    name, field = chance.choice(names), chance.choice(("shape", "dtype", "data_offsets", "any", "double", "size"))
    if field == "size":
        size = chance.choice([number for number in NUMBERS if type(number) is int and 0 <= number < 2**64])
        path.write_bytes(size.to_bytes(8, "little") + path.read_bytes()[8:])
    elif field == "any":
        path.write_bytes(join(on_json.mutate(json.dumps(said), chance), rest))
    elif field == "double":
        other = json.dumps(said[chance.choice(names)])
        path.write_bytes(join(json.dumps(said)[:-1] + f", {json.dumps(name)}: {other}}}", rest))
    else:
        old = said[name][field]
        known = {"shape": NUMBERS, "data_offsets": NUMBERS, "dtype": ("F16", "F64", "I32", "BOOL", "F8_E8M0", "C64")}
        odd = chance.choice(known[field])
        if isinstance(old, list) and old and chance.random() < 0.8:
            old[chance.randrange(len(old))] = odd
        else:
            said[name][field] = odd if field == "dtype" else odd_value(chance)
        path.write_bytes(join(json.dumps(said), rest))
    return f"header {field} {name[:60]}"


def same_tensors(path: Path, chance: Random) -> None:
    """The same tensors in another order, or beside other metadata, or after a header with spaces."""
    way = chance.randrange(3)
    if way == 0 and path.suffix != ".safetensors":
        tensors = read(path)
        write(path, {name: tensors[name] for name in chance.sample(list(tensors), len(tensors))})
        return
    if path.suffix != ".safetensors":
        return
    said, rest = split(path.read_bytes())
    if way == 1:
        said["__metadata__"] = {**said.get("__metadata__", {}), "made by": "hand"}
    order = chance.sample(list(said), len(said))
    text = json.dumps({name: said[name] for name in order}, indent=1 if way == 2 else None)
    path.write_bytes(join(text + " " * (-len(text) % 8), rest))
