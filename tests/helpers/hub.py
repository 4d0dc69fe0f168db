"""A stand-in for the Hub on this machine, and calls to it from a fresh process with a cache of its own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.helpers.real import ROOT

BROKEN = "org/broken"
"""A repository for which the server has nothing but errors."""


class Hub:
    """The server.

    Args:
        root: holds org/name/revision/ with a repository's files.

    Attributes:
        url: where it is.
        asked: the paths that it was asked for.
    """

    def __init__(self, root: Path) -> None:
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                hub.answer(self, root)

            do_GET = do_HEAD

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler, root: Path) -> None:
        """Answer as the Hub does: /org/name/resolve/revision/file, with the error's name in a header."""
        self.asked.append(request.path)
        org, name, _, revision, *parts = unquote(request.path).strip("/").split("/")
        repository = root / org / name
        path = repository.joinpath(revision, *parts)
        if f"{org}/{name}" == BROKEN:
            return _send(request, 500, {})
        if not repository.is_dir():
            return _send(request, 404, {"X-Error-Code": "RepoNotFound"})
        if not (repository / revision).is_dir():
            return _send(request, 404, {"X-Error-Code": "RevisionNotFound"})
        commit = hashlib.sha1(revision.encode()).hexdigest()
        if not path.is_file():
            return _send(request, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        body = path.read_bytes()
        _send(request, 200, {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(body).hexdigest()}"'}, body)


def _send(request: BaseHTTPRequestHandler, code: int, headers: dict[str, str], body: bytes = b"") -> None:
    request.send_response(code)
    for key, value in {**headers, "Content-Length": str(len(body))}.items():
        request.send_header(key, value)
    request.end_headers()
    if request.command == "GET":
        request.wfile.write(body)


@contextlib.contextmanager
def serving(root: Path) -> Iterator[Hub]:
    """A server, while it runs."""
    hub = Hub(root)
    thread = threading.Thread(target=hub.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.server.shutdown()
        hub.server.server_close()
        thread.join()


def call_from_outside(calls: list[dict[str, Any]], home: Path, **environment: str) -> list[dict[str, Any]]:
    """Make calls in a fresh process; returns each one's result, or its error.

    Args:
        calls: see `tests.helpers.hub_calls`.
        home: where the process has its cache.
        environment: more of its environment.
    """
    plain = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    command = [sys.executable, "-m", "tests.helpers.hub_calls", json.dumps(calls)]
    env = {**plain, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "*", **environment}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return results
