"""Modules run as programs, each in a process and an environment of its own, which need not import PyTorch first.

`python -m tests.helpers.outside` has imported it and waits. For each line of JSON that it is given it makes a copy of
itself, which runs a module as `python -m` would. Neither this package nor the Hub's library is there before, for what
they read of the environment they read once.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
LATER = {"adapterzoo", "huggingface_hub"}


def run(module: str, argument: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """As `python -m module argument` in an environment; returns what it printed, and its exit code."""
    if not hasattr(os, "fork"):
        command = [sys.executable, "-m", module, argument]
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    told: dict[str, Any] = {"module": module, "argument": argument, "env": env}
    starter = _starter()
    assert starter.stdin is not None and starter.stdout is not None
    print(json.dumps(told), file=starter.stdin, flush=True)
    done = json.loads(starter.stdout.readline())
    return subprocess.CompletedProcess([module, argument], done["code"], done["out"], done["err"])


@functools.cache
def _starter() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.helpers.outside"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def stop() -> None:
        process.communicate()  # which closes its input

    atexit.register(stop)
    return process


def _start(told: dict[str, Any]) -> dict[str, Any]:
    """Run what is told in a copy of this process."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os._exit(_become(told))
        status = os.waitpid(child, 0)[1]
        out.seek(0)
        err.seek(0)
        printed = {"out": out.read().decode(), "err": err.read().decode()}
    return {"code": os.waitstatus_to_exitcode(status), **printed}


def _become(told: dict[str, Any]) -> int:
    """Run what is told; return the exit code."""
    os.environ.clear()
    os.environ.update(told["env"])
    sys.argv = [told["module"], told["argument"]]
    try:
        runpy.run_module(told["module"], run_name="__main__", alter_sys=True)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    assert not LATER & set(sys.modules)
    for line in sys.stdin:
        print(json.dumps(_start(json.loads(line))), flush=True)
