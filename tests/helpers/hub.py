"""A stand-in for the Hub on this machine, and calls to it from a fresh process with a cache of its own."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.helpers import outside
from tests.helpers.hub_repos import LARGE, WRITER, Repository, etag

BROKEN = "org/broken"
"""A repository for which the server has nothing but errors."""

NOWHERE = "http://127.0.0.1:9"
"""An endpoint where nobody listens."""

_ID = r"([\w.-]+/[\w.-]+)"


class Refusal(Exception):
    """An answer that is an error: its number, and the headers that say which."""

    def __init__(self, code: int, **headers: str) -> None:
        self.code, self.headers = code, {key.replace("_", "-"): value for key, value in headers.items()}


class Hub:
    """The server.

    Args:
        root: holds org/name/revision/ with repositories' files.

    Attributes:
        url: where it is.
        elsewhere: the same under another host's name, where large files are said to be, as the Hub does.
        asked: the requests that it got: "GET /…".
        repositories: the repositories by id.
        large: large files by their SHA-256.
        spoil: what is sent in place of a file's bytes, by the file's ETag.
        after: what is done when a request with such an ending was answered.
        broken: whether every answer is an error.
        files_alone: whether there are files, and nothing else.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.asked: list[str] = []
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.spoil: dict[str, Callable[[bytes], bytes]] = {}
        self.after: dict[str, Callable[[], object]] = {}
        self.broken = self.files_alone = False
        for folder in sorted(root.glob("*/*/*")) if root is not None else []:
            name = f"{folder.parent.parent.name}/{folder.parent.name}"
            self.repositories.setdefault(name, Repository()).add_folder(folder.name, folder)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.elsewhere = f"http://localhost:{self.server.server_port}"

    # ------------------------------------------------------------------------------------------ answers

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer as the Hub does, with an error's name in a header."""
        self.asked.append(f"{request.command} {request.path}")
        size = int(request.headers.get("Content-Length") or 0)
        body, split = request.rfile.read(size), urlsplit(request.path)
        query = {key: values for key, values in parse_qs(split.query).items()}
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ") or None
        try:
            if self.broken:
                raise Refusal(503)
            if self.files_alone and split.path.startswith("/api"):
                raise Refusal(404)
            for method, pattern, reply in ROUTES:
                found = re.fullmatch(pattern, split.path)
                if found and request.command in method:
                    parts = [unquote(part) for part in found.groups()]
                    _send(request, *reply(self, bearer, query, body, *parts))
                    break
            else:
                raise Refusal(404)
        except Refusal as refusal:
            _send(request, refusal.code, refusal.headers)
        for ending, action in list(self.after.items()):
            if split.path.endswith(ending):
                action()

    def _repository(self, name: str, token: str | None, write: bool = False) -> Repository:
        if name == BROKEN:
            raise Refusal(500)
        if token == "nonsense":
            raise Refusal(401, X_Error_Message="Invalid credentials in Authorization header")
        found = self.repositories.get(name)
        if found is None or not found.readable(token):
            raise Refusal(404 if token else 401, X_Error_Code="RepoNotFound")
        if write and token != WRITER:
            raise Refusal(403 if token else 401)
        return found

    def _commit(self, repository: Repository, revision: str) -> str:
        commit = repository.commit_of(revision)
        if commit is None:
            raise Refusal(404, X_Error_Code="RevisionNotFound")
        return commit

    def resolve(self, token: str | None, query: Any, body: bytes, name: str, revision: str, path: str) -> Any:
        """A file, or where it is if it is large."""
        repository = self._repository(name, token)
        commit = self._commit(repository, revision)
        if repository.gated:
            raise Refusal(403, X_Error_Code="GatedRepo")
        if path not in repository.commits[commit]:
            raise Refusal(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        content = repository.commits[commit][path]
        hashed = etag(path, content)
        if path.endswith(LARGE):
            self.large[hashed] = content
            place = {"Location": f"{self.elsewhere}/large/{hashed}/{path}", "X-Repo-Commit": commit}
            return 302, {**place, "X-Linked-ETag": f'"{hashed}"', "X-Linked-Size": str(len(content))}
        return 200, {"X-Repo-Commit": commit, "ETag": f'"{hashed}"'}, self._sent(hashed, content), len(content)

    def large_file(self, token: str | None, query: Any, body: bytes, hashed: str, path: str) -> Any:
        """A large file's bytes."""
        return 200, {}, self._sent(hashed, self.large[hashed]), len(self.large[hashed])

    def _sent(self, hashed: str, content: bytes) -> bytes:
        return self.spoil[hashed](content) if hashed in self.spoil else content

    def listed(self, token: str | None, query: Any, body: bytes) -> Any:
        """The repositories that have all tags asked for."""
        told = [repo.info(name) for name, repo in self.repositories.items() if repo.readable(token)]
        return _json([info for info in told if set(query.get("filter", [])) <= set(info["tags"])])

    def info(self, token: str | None, query: Any, body: bytes, name: str, revision: str = "main") -> Any:
        """What there is to tell of a repository."""
        repository = self._repository(name, token)
        self._commit(repository, revision)
        return _json(repository.info(name, revision))

    # ------------------------------------------------------------------------------------------ pushing

    def create(self, token: str | None, query: Any, body: bytes) -> Any:
        """Make a repository."""
        given = json.loads(body)
        if token != WRITER:
            raise Refusal(403 if token else 401)
        name = f"{given['organization'] or 'me'}/{given['name']}"
        if name in self.repositories:
            return 409, {}, json.dumps({"url": f"{self.url}/{name}"}).encode()
        hidden = given.get("private") or given.get("visibility") == "private"  # the latter by version 1 of the library
        self.repositories[name] = Repository(bool(hidden))
        return _json({"url": f"{self.url}/{name}"})

    def branch(self, token: str | None, query: Any, body: bytes, name: str, branch: str) -> Any:
        """Make a branch."""
        repository = self._repository(name, token, write=True)
        if branch in repository.refs:
            raise Refusal(409)
        repository.refs[branch] = repository.refs["main"]
        return _json({})

    def yaml(self, token: str | None, query: Any, body: bytes) -> Any:
        """Say that a card's head is right."""
        return _json({"errors": [], "warnings": []})

    def preupload(self, token: str | None, query: Any, body: bytes, name: str, revision: str) -> Any:
        """Say which files are large."""
        self._commit(self._repository(name, token, write=True), revision)
        files = [
            {"path": path, "uploadMode": "lfs" if path.endswith(LARGE) else "regular", "shouldIgnore": False}
            for path in (file["path"] for file in json.loads(body)["files"])
        ]
        return _json({"files": files})

    def batch(self, token: str | None, query: Any, body: bytes, name: str) -> Any:
        """Say where large files go to."""
        self._repository(name, token, write=True)
        asked = json.loads(body)["objects"]
        objects = [{**one, "actions": {"upload": {"href": f"{self.url}/put/{one['oid']}"}}} for one in asked]
        return _json({"transfer": "basic", "objects": objects})

    def put(self, token: str | None, query: Any, body: bytes, hashed: str) -> Any:
        """Take a large file."""
        if hashlib.sha256(body).hexdigest() != hashed:
            raise Refusal(400)
        self.large[hashed] = body
        return _json({})

    def commit(self, token: str | None, query: Any, body: bytes, name: str, revision: str) -> Any:
        """Commit what was uploaded."""
        repository = self._repository(name, token, write=True)
        self._commit(repository, revision)
        lines = [json.loads(line) for line in body.splitlines()]
        changes: dict[str, bytes | None] = {}
        for key, value in ((line["key"], line["value"]) for line in lines[1:]):
            if key == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            else:
                changes[value["path"]] = self.large[value["oid"]] if key == "lfsFile" else None
        request = "create_pr" in query
        if request:
            revision = f"refs/pr/{1 + sum(ref.startswith('refs/pr/') for ref in repository.refs)}"
            repository.refs[revision] = repository.refs["main"]
        head = lines[0]["value"]
        commit = repository.add(revision, changes, head["summary"], head["description"])
        page = {"pullRequestUrl": f"{self.url}/{name}/discussions/1"} if request else {}
        return _json({"commitUrl": f"{self.url}/{name}/commit/{commit}", "commitOid": commit, **page})


ROUTES: list[tuple[str, str, Callable[..., Any]]] = [
    ("GET", r"/api/models", Hub.listed),
    ("GET", rf"/api/models/{_ID}", Hub.info),
    ("GET", rf"/api/models/{_ID}/revision/([^/]+)", Hub.info),
    ("POST", r"/api/repos/create", Hub.create),
    ("POST", r"/api/validate-yaml", Hub.yaml),
    ("POST", rf"/api/models/{_ID}/branch/([^/]+)", Hub.branch),
    ("POST", rf"/api/models/{_ID}/preupload/([^/]+)", Hub.preupload),
    ("POST", rf"/api/models/{_ID}/commit/([^/]+)", Hub.commit),
    ("POST", rf"/{_ID}\.git/info/lfs/objects/batch", Hub.batch),
    ("PUT", r"/put/(\w+)", Hub.put),
    ("HEAD GET", r"/large/(\w+)/(.+)", Hub.large_file),
    ("HEAD GET", rf"/{_ID}/resolve/([^/]+)/(.+)", Hub.resolve),
]


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.answer(self)

        do_HEAD = do_POST = do_PUT = do_GET

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


def _json(content: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()


def _send(
    request: BaseHTTPRequestHandler,
    code: int,
    headers: dict[str, str],
    body: bytes = b"",
    size: int | None = None,
) -> None:
    """Send an answer; `size` is what it says its size is."""
    size = len(body) if size is None else size
    request.send_response(code)
    for key, value in {**headers, "Content-Length": str(size)}.items():
        request.send_header(key, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)
    request.close_connection = size != len(body)


@contextlib.contextmanager
def serving(root: Path | None = None) -> Iterator[Hub]:
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


def call_from_outside(
    calls: list[dict[str, Any]], home: Path, module: str = "tests.helpers.hub_calls", **environment: str
) -> list[dict[str, Any]]:
    """Make calls in a fresh process; returns each one's result, or its error.

    Args:
        calls: see `module`.
        home: where the process has its cache.
        module: what makes the calls.
        environment: more of its environment.
    """
    plain = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "*"}
    quiet["HF_HUB_DISABLE_XET"] = "1"  # large files come and go over plain HTTP, which is what this server speaks
    env = {**plain, **quiet, "HF_HOME": str(home), **environment}
    done = outside.run(module, json.dumps(calls), env)
    assert done.returncode == 0, done.stderr
    results: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return results
