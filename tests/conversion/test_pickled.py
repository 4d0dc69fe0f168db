"""PyTorch files read by another process: all that is plain comes out, nothing in them runs, little memory is used."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterzoo import streaming
from adapterzoo.formats import unpickling
from adapterzoo.formats.pickled import Pickled, read_pickled
from adapterzoo.store import FileError, read_tensors

KINDS = {"zip": True, "legacy": False}
each_kind = pytest.mark.parametrize("kind", KINDS)


def save(data: Any, path: Path, kind: str = "zip") -> Path:
    torch.save(data, path, _use_new_zipfile_serialization=KINDS[kind])
    return path


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Pickled]:
    """A function that reads a file in another process."""

    def run(path: Path, **options: Any) -> Pickled:
        folder = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return read_pickled(path, folder, **options)

    return run


def told(path: Path, folder: Path) -> str:
    """What the other process would say of a file that it refuses, found in this one."""
    folder.mkdir(exist_ok=True)
    with pytest.raises(Exception) as caught:
        unpickling.extract(path, folder, unpickling.Wanted())
    return next(unpickling.reasons(caught.value))


def checkpoint(kind: str) -> dict[str, Any]:
    """All that a checkpoint may hold."""
    new = [dtype for dtype in streaming.DTYPES if re.search("float8|uint16|uint32|uint64", str(dtype))]
    dtypes = [dtype for dtype in streaming.DTYPES if kind == "zip" or dtype not in new]
    base = torch.randn(40, 600)
    numbers: dict[str, Any] = {str(dtype): torch.arange(6).to(dtype).view(2, 3) for dtype in dtypes}
    return {
        "model": OrderedDict(
            tied=base,
            again=base,
            turned=base.t(),
            slice=base[3:5, 2:9],
            flat=base.view(-1),
            wide=torch.ones(3, 1).expand(3, 5),
        ),
        "numbers": {**numbers, "one": torch.tensor(2.5), "none": torch.empty(0, 3), "p": torch.nn.Parameter(base[0])},
        "args": argparse.Namespace(
            layers=4, rate=0.1, name="bert", none=None, flag=True, inner=argparse.Namespace(x=[1])
        ),
        "list": [1, (2.5, "three"), {"a": torch.ones(2)}, torch.zeros(1), float("inf")],
        7: {"é.b": "text", "set": {3}},
        "bytes": bytearray(b"left out"),
    }


@each_kind
def test_all_that_is_plain_comes_out(kind: str, tmp_path: Path, read: Callable[..., Pickled]) -> None:
    data = checkpoint(kind)
    found = read(save(data, tmp_path / "file.pt", kind))
    wanted = {f"model.{name}": tensor for name, tensor in data["model"].items()}
    wanted |= {f"numbers.{name}": tensor for name, tensor in data["numbers"].items()}
    wanted |= {"list.2.a": torch.ones(2), "list.3": torch.zeros(1)}
    assert found.tensors.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found.tensors[name].dtype == tensor.dtype and torch.equal(found.tensors[name], tensor), name
    assert found.facts == {
        "model": {},
        "numbers": {},
        "args": {"layers": 4, "rate": 0.1, "name": "bert", "none": None, "flag": True, "inner": {"x": [1]}},
        "list": [1, [2.5, "three"], {}, None, float("inf")],
        "7": {"é.b": "text", "set": [3]},
    }
    assert found.tensors["model.tied"].data_ptr() == found.tensors["model.again"].data_ptr()
    assert sorted(path.name for path in tmp_path.glob("out-*/*")) == [unpickling.FACTS, unpickling.TENSORS]


@each_kind
def test_parts_are_all_that_is_written(kind: str, tmp_path: Path, read: Callable[..., Pickled]) -> None:
    path = save(
        {"model": {"a": torch.ones(3)}, "optimizer": {"a": torch.ones(9999)}, "args": 3}, tmp_path / "f.pt", kind
    )
    found = read(path, parts=("model", "args"))
    assert (list(found.tensors), found.facts) == (["model.a"], {"model": {}, "args": 3})
    assert next(tmp_path.glob("out-*/*.safetensors")).stat().st_size < 500


@each_kind
def test_a_view_that_turns_numbers_is_no_other_name_of_them(kind: str, tmp_path: Path, read: Any) -> None:
    numbers = torch.complex(torch.arange(3.0), torch.ones(3))
    real = torch.arange(3.0)
    model = {"a": numbers, "b": numbers.conj(), "c": real, "d": torch._neg_view(real)}
    found = read(save({"model": model}, tmp_path / "file.pt", kind)).tensors
    assert all(torch.equal(found[f"model.{name}"], tensor) for name, tensor in model.items())


def test_a_tensor_whose_numbers_the_file_does_not_list_is_refused(tmp_path: Path) -> None:
    """PyTorch would give whatever its memory held before."""
    for size in (3, unpickling.SMALL):
        path = save({"a": torch.ones(size), "b": torch.ones(size)}, tmp_path / f"{size}.pt", "legacy")
        whole = path.read_bytes()
        keys = re.findall(rb"X.\0{3}(\d{6,})", whole)
        assert len(keys) == 4 and len({*keys}) == 2  # where the tensors are named, and where their numbers are listed
        for key, other in (keys[:2], keys[1::-1]):
            listed = whole.rindex(key)
            path.write_bytes(whole[:listed] + other + whole[listed + len(key) :])
            assert torch.load(path, weights_only=True).keys() == {"a", "b"}
            said = "lacks the numbers of some of its tensors"
            assert said in told(path, tmp_path / "out")
            with pytest.raises(FileError, match=said):  # in this process, too, as adapters and models are read
                read_tensors(path, allow_pickle=True)


def test_a_file_of_the_old_kind_is_read_in_this_process_too(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4), "none": torch.empty(0), "large": torch.randn(unpickling.SMALL)}
    tensors["tied"] = tensors["a"]
    found = read_tensors(save(tensors, tmp_path / "file.pt", "legacy"), allow_pickle=True)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert found["tied"].data_ptr() == found["a"].data_ptr()


class Evil:
    """Runs a command when it is unpickled, if that is let."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@each_kind
def test_no_code_runs(kind: str, tmp_path: Path, read: Callable[..., Pickled]) -> None:
    mark = tmp_path / "mark"
    path = save({"a": torch.ones(2), "b": Evil(mark)}, tmp_path / "file.pt", kind)
    with pytest.raises(FileError, match=r"file\.pt holds more than tensors and plain data: posix\.system, whose code"):
        read(path)
    assert not mark.exists()


def test_a_module_is_refused_by_its_name(tmp_path: Path) -> None:
    path = save({"a": torch.nn.Linear(2, 2)}, tmp_path / "file.pt")
    assert "plain data: torch.nn.modules.linear.Linear" in told(path, tmp_path / "out")


def test_advice_to_read_it_without_care_is_not_passed_on(tmp_path: Path) -> None:
    for number, data in enumerate((torch.nn.Linear(2, 2), Evil(tmp_path))):
        assert "weights_only" not in told(save({"a": data}, tmp_path / f"{number}.pt"), tmp_path / f"out-{number}")


def rewritten(path: Path, change: Callable[[bytes], bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """The same file with another pickle in it."""
    target = path.with_suffix(".other")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", compression) as new:
        for entry in old.infolist():
            data = old.read(entry)
            new.writestr(entry.filename, change(data) if entry.filename.endswith("data.pkl") else data)
    return target


def test_memory_is_bounded_by_the_file(tmp_path: Path, read: Callable[..., Pickled]) -> None:
    if unpickling.resource is None or not Path("/proc/self/statm").exists():
        pytest.skip("this system does not bound a process's memory")
    bomb = (
        b"\x80\x02}X\x01\x00\x00\x00ac__builtin__\nbytearray\n\x8a\x08" + (1 << 40).to_bytes(8, "little") + b"\x85Rs."
    )
    path = rewritten(save({"a": torch.ones(2)}, tmp_path / "file.pt"), lambda _: bomb)
    with pytest.raises(FileError, match="needs far more memory than a file of its size should"):
        read(path)


def test_it_may_take_no_longer_than_it_is_told(tmp_path: Path, read: Callable[..., Pickled]) -> None:
    with pytest.raises(FileError, match=r"file\.pt could not be read within 0 seconds"):
        read(save({}, tmp_path / "file.pt"), seconds=0.01)


def test_a_killed_process_is_told(
    tmp_path: Path, read: Callable[..., Pickled], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: Any, **__: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess([], -9, b"", b"")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(FileError, match="was ended by SIGKILL; it may want too much memory"):
        read(save({}, tmp_path / "file.pt"))


def test_a_missing_file_is_told(tmp_path: Path, read: Callable[..., Pickled]) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        read(tmp_path / "nothing.pt")


@each_kind
def test_a_cut_file_is_refused_wherever_it_is_cut(kind: str, tmp_path: Path) -> None:
    whole = save({"a": torch.arange(1000.0), "b": "text"}, tmp_path / "file.pt", kind).read_bytes()
    for length in (0, 1, 4, 100, *range(500, len(whole), 700), len(whole) - 1):
        (tmp_path / "cut.pt").write_bytes(whole[:length])
        assert told(tmp_path / "cut.pt", tmp_path / "out").startswith(
            ("is no whole PyTorch file", "names more numbers")
        )


def nested(depth: int, width: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] * width
    return value


def cyclic() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "bare tensor": (lambda: torch.ones(2), "holds a Tensor, not a dict"),
    "sparse": (lambda: {"s": torch.eye(3).to_sparse()}, "holds 's', a sparse_coo float32 tensor on cpu"),
    "complex": (lambda: {"c": torch.ones(2, dtype=torch.complex128)}, "holds 'c', a strided complex128"),
    "one name twice": (lambda: {"a.b": torch.ones(2), "a": {"b": torch.ones(3)}}, "has two tensors of the name 'a.b'"),
    "expanded": (lambda: {"e": torch.zeros(1).expand(10**12)}, "names more numbers than it holds, up to 'e'"),
    "deep": (lambda: {"d": nested(300, 1)}, "holds more data beside tensors"),
    "repeated": (lambda: {"d": nested(60, 2)}, "holds more data beside tensors"),
    "cyclic": (lambda: {"d": cyclic()}, "holds more data beside tensors"),
    "long texts": (lambda: {"d": ["x" * 100_000] * 1000}, "holds more data beside tensors"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_checkpoint_is_refused(name: str, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    assert message in told(save(make(), tmp_path / "file.pt"), tmp_path / "out")


def test_other_files_are_refused(tmp_path: Path) -> None:
    file, out = tmp_path / "file.pt", tmp_path / "out"
    file.write_text("hello world")
    assert "is no whole PyTorch file" in told(file, out)
    assert "is no whole PyTorch file" in told(tmp_path, out)
    packed = rewritten(save({"a": torch.ones(2)}, file), lambda data: data, zipfile.ZIP_DEFLATED)
    assert "is a compressed zip file" in told(packed, out)


SIZE = b"M\xe8\x03"
"""How the number 1,000 is pickled."""


@pytest.mark.parametrize("places", [1, 2])
@pytest.mark.parametrize("size", [1001, 30_000])
def test_a_tensor_cannot_be_larger_than_its_place(places: int, size: int, tmp_path: Path) -> None:
    """Claimed by the storage (the first place) and the tensor, or by the tensor alone."""

    def enlarge(data: bytes) -> bytes:
        before, number, after = data.partition(SIZE) if places == 1 else (b"", b"", data)
        return before + number + after.replace(SIZE, b"M" + size.to_bytes(2, "little"))

    data = {"a": torch.arange(1000.0)}
    told(rewritten(save(data, tmp_path / "file.pt"), enlarge), tmp_path / "out")
    legacy = save(data, tmp_path / "legacy.pt", "legacy")
    legacy.write_bytes(enlarge(legacy.read_bytes()))
    told(legacy, tmp_path / "out")


MEASURE = """
import sys, threading, time
from pathlib import Path
from adapterzoo.formats import unpickling

def own():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

def watch():
    while not done:
        peak.append(own())
        time.sleep(0.001)

done, peak = False, [own()]
watcher = threading.Thread(target=watch)
watcher.start()
unpickling.extract(Path(sys.argv[1]), Path(sys.argv[2]), unpickling.Wanted())
done = True
watcher.join()
print(max(peak) - peak[0])
"""


@each_kind
def test_little_memory_is_used(kind: str, tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not tell how much memory a process uses")
    layer = torch.ones(1 << 20)
    data = {f"layer.{number}": layer + number for number in range(40)}
    path = save({**data, "turned": torch.ones(4096, 4096).t()}, tmp_path / "file.pt", kind)
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-c", MEASURE, str(path), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < path.stat().st_size / 2
