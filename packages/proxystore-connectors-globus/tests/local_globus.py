"""A local stand-in for Globus Transfer and Globus Auth, which really moves files.

Run as a program, so that tests can kill it. Speaks the wire formats of
https://docs.globus.org/api/transfer/ and /api/auth/ as the SDK uses them. What it
knows is in a SQLite file, so that it goes on after a restart. Faults are asked
for by ``POST /faults``.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import signal
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

TRANSFER = "transfer.api.globus.org"
AUTH = "auth.globus.org"
ALL = f"urn:globus:auth:scope:{TRANSFER}:all"
GOOD_CODE = "good-code"
WAIT_S = 30.0
TOKEN_LIFE_S = 172_800

Document = dict[str, Any]


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.document = {"code": code, "message": message, "request_id": "standin01", **more}


class Records:
    """Documents by kind and id, kept in a file."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._lock = threading.RLock()
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("CREATE TABLE IF NOT EXISTS r (kind, id, doc, PRIMARY KEY (kind, id))")

    def get(self, kind: str, key: str) -> Document | None:
        with self._lock:
            row = self._db.execute(
                "SELECT doc FROM r WHERE kind = ? AND id = ?", (kind, key)
            ).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, kind: str, key: str, document: Document) -> None:
        with self._lock:
            row = (kind, key, json.dumps(document))
            self._db.execute(
                "INSERT INTO r VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET doc = excluded.doc", row
            )

    def remove(self, kind: str, key: str) -> None:
        with self._lock:
            self._db.execute("DELETE FROM r WHERE kind = ? AND id = ?", (kind, key))

    def all(self, kind: str) -> list[Document]:
        with self._lock:
            rows = self._db.execute("SELECT doc FROM r WHERE kind = ? ORDER BY rowid", (kind,))
            return [json.loads(row[0]) for row in rows]

    def active(self) -> list[Document]:
        with self._lock:
            rows = self._db.execute(
                "SELECT doc FROM r WHERE kind = 'task' "
                "AND json_extract(doc, '$.status') = 'ACTIVE' ORDER BY rowid"
            )
            return [json.loads(row[0]) for row in rows]

    def clear(self) -> None:
        with self._lock:
            self._db.execute("DELETE FROM r")

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._lock:
            yield


class Faults:
    """What is to go wrong, and how often still."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._now: Document = {}

    def set(self, faults: Document) -> None:
        with self.changed:
            self._now.update(faults)
            self.changed.notify_all()

    def clear(self) -> None:
        with self.changed:
            self._now = {}

    def wait_for(self, holds: Callable[[], bool]) -> None:
        with self.changed:
            if not self.changed.wait_for(holds, WAIT_S):
                raise Refused(504, "Timeout", f"That did not become so within {WAIT_S} s")

    def now(self, name: str) -> Any:
        with self.changed:
            return self._now.get(name)

    def take(self, name: str) -> Any:
        """The fault, once less; it has a key ``times``."""
        with self.changed:
            fault = self._now.get(name)
            if not fault or fault["times"] <= 0:
                return None
            if fault.get("after"):
                fault["after"] -= 1
                return None
            fault["times"] -= 1
            return fault


class Collections:
    """Directories that the service reaches by collection and path."""

    def __init__(self, roots: dict[str, str]) -> None:
        self._roots = roots

    def replace(self, roots: dict[str, str]) -> None:
        self._roots = roots

    def file(self, collection: str, path: str) -> Path:
        root = self._roots.get(collection)
        if root is None:
            raise Refused(404, "EndpointNotFound", f"No such endpoint '{collection}'")
        if ".." in path.split("/") or not path.startswith("/"):
            raise Refused(400, "BadRequest", f"Bad path {path!r}")
        return Path(root) / path.removeprefix("/~").lstrip("/")


class Worker:
    """Works on tasks in their order, one at a time."""

    def __init__(self, records: Records, faults: Faults, collections: Collections) -> None:
        self._records, self._faults, self._collections = records, faults, collections
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while True:
            with self._faults.changed:
                active = self._records.active()
                ended = [self._worked(task) for task in active]
                if not any(ended):
                    self._faults.changed.wait(0.5 if active else None)

    def _worked(self, task: Document) -> bool:
        try:
            return self._work(task)
        except (OSError, Refused) as exc:
            fatal = {"code": "ENDPOINT_ERROR", "description": str(exc)}
            return self._end(task, "FAILED", fatal_error=fatal)

    def _work(self, task: Document) -> bool:
        """Whether the task ended."""
        kind = self._faults.now(f"hold_{task['type'].lower()}")
        failing = self._faults.take("fail")
        if failing:
            return self._end(
                task, "FAILED", fatal_error={k: failing[k] for k in ("code", "description")}
            )
        items = task["request"]["DATA"]
        if kind:
            if kind.get("midway") and not task.get("begun"):
                self._copy(task, items[0], part=0.5)
                task["begun"] = True
            self._update(task, nice_status=kind.get("nice_status", "QUEUED"), is_ok=False)
            return False
        skipped = sum(not self._item(task, item) for item in items)
        return self._end(task, "SUCCEEDED", subtasks_skipped_errors=skipped)

    def _item(self, task: Document, item: Document) -> bool:
        return self._copy(task, item) if task["type"] == "TRANSFER" else self._delete(task, item)

    def _copy(self, task: Document, item: Document, part: float = 1.0) -> bool:
        request = task["request"]
        source = self._collections.file(request["source_endpoint"], item["source_path"])
        target = self._collections.file(request["destination_endpoint"], item["destination_path"])
        try:
            data = source.read_bytes()
        except FileNotFoundError:
            return False
        if not target.parent.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            # As the servers of sites with a group for each user do.
            target.parent.chmod(0o775)
        # In place, as GridFTP does: a reader can meet half a file.
        target.write_bytes(data[: int(len(data) * part)])
        return True

    def _delete(self, task: Document, item: Document) -> bool:
        target = self._collections.file(task["request"]["endpoint"], item["path"])
        if target.is_dir():
            shutil.rmtree(target, ignore_errors=True)
        else:
            target.unlink(missing_ok=True)
        return True

    def _end(self, task: Document, status: str, **more: Any) -> bool:
        return self._update(task, status=status, nice_status=None, **more)

    def _update(self, task: Document, **changes: Any) -> bool:
        with self._records.alone():
            now = self._records.get("task", task["task_id"])
            if now is None or now["status"] != "ACTIVE":
                return False
            self._records.put("task", task["task_id"], {**now, **task, **changes})
        self._faults.set({})
        return True


class Transfer:
    """The operations of Globus Transfer."""

    def __init__(self, records: Records, faults: Faults, collections: Collections) -> None:
        self._records, self._faults, self._collections = records, faults, collections

    def submission_id(self) -> Document:
        value = str(uuid.uuid4())
        self._records.put("submission", value, {"task_id": None})
        return {"value": value}

    def submit(self, kind: str, request: Document) -> Document:
        _require(request["DATA_TYPE"] == kind, "DATA_TYPE")
        _require(bool(request["DATA"]), "NoTransferItems")
        _require(len(request.get("label") or "") <= 128, "label")
        for item in request["DATA"]:
            _require(item["DATA_TYPE"] == f"{kind}_item", "item")
        for name in {"transfer": ("source_endpoint", "destination_endpoint")}.get(
            kind, ("endpoint",)
        ):
            self._collections.file(request[name], "/")
        with self._records.alone():
            submission = self._records.get("submission", request["submission_id"])
            _require(submission is not None, "submission_id")
            code, task_id = "Duplicate", submission["task_id"]
            if task_id is None:
                code, task_id = "Accepted", str(uuid.uuid4())
                self._records.put("submission", request["submission_id"], {"task_id": task_id})
                self._records.put("task", task_id, _task(task_id, kind, request))
        self._faults.set({})
        return {
            "DATA_TYPE": f"{kind}_result",
            "code": code,
            "message": f"The {kind} has been accepted and a task has been created",
            "submission_id": request["submission_id"],
            "task_id": task_id,
        }

    def task(self, task_id: str) -> Document:
        task = self._records.get("task", task_id)
        if task is None:
            raise Refused(404, "ClientError.NotFound", f"No such task '{task_id}'")
        return {name: value for name, value in task.items() if name != "request"}

    def cancel(self, task_id: str) -> Document:
        with self._records.alone():
            task = self._records.get("task", task_id)
            if task is not None and task["status"] == "ACTIVE":
                fatal = {"code": "CANCELED", "description": "canceled by the task owner"}
                self._records.put(
                    "task", task_id, {**task, "status": "FAILED", "fatal_error": fatal}
                )
                return {"DATA_TYPE": "result", "code": "Canceled", "message": "canceled"}
        self.task(task_id)
        return {"DATA_TYPE": "result", "code": "TaskComplete", "message": "completed before"}

    def stat(self, collection: str, path: str) -> Document:
        file = self._collections.file(collection, path)
        if not file.exists():
            raise Refused(404, "NotFound", f"Path not found, Error (list)\nEndpoint: {collection}")
        kind = "dir" if file.is_dir() else "file"
        return {"DATA_TYPE": "file", "name": file.name, "type": kind, "size": file.stat().st_size}


def _task(task_id: str, kind: str, request: Document) -> Document:
    return {
        "DATA_TYPE": "task",
        "task_id": task_id,
        "type": kind.upper(),
        "status": "ACTIVE",
        "label": request.get("label"),
        "nice_status": "QUEUED",
        "nice_status_short_description": None,
        "nice_status_details": None,
        "is_ok": True,
        "fatal_error": None,
        "canceled_by_admin_message": None,
        "files": len(request["DATA"]),
        "subtasks_skipped_errors": 0,
        "request": request,
    }


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise Refused(400, f"ClientError.BadRequest.{what}", f"Bad request: {what}")


class Auth:
    """The operations of Globus Auth, for registered clients and one user."""

    def __init__(self, records: Records, base_url: str, clients: dict[str, str]) -> None:
        self._records, self._base, self._clients = records, base_url, clients

    def openid_configuration(self) -> Document:
        return {
            "issuer": f"https://{AUTH}",
            "jwks_uri": f"{self._base}/jwk.json",
            "token_endpoint": f"{self._base}/v2/oauth2/token",
            "userinfo_endpoint": f"{self._base}/v2/oauth2/userinfo",
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def jwks(self) -> Document:
        import jwt

        public = jwt.algorithms.RSAAlgorithm.to_jwk(_signing_key().public_key(), as_dict=True)
        return {"keys": [{**public, "alg": "RS256", "use": "sig"}]}

    def token(self, form: dict[str, str], client_id: str, *, is_proven: bool) -> Document:
        grant, scopes = form["grant_type"], form.get("scope", "").split(" ")
        if grant == "client_credentials":
            if not is_proven:
                raise Refused(401, "invalid_client", "wrong secret", error="invalid_client")
            return self._issued(client_id, client_id, scopes)
        if grant == "refresh_token":
            known = self._records.get("refresh", form["refresh_token"])
            if known is None:
                raise Refused(400, "invalid_grant", "revoked", error="invalid_grant")
            return self._issued(client_id, known["sub"], known["scopes"], refresh=known["id"])
        if form["code"] != GOOD_CODE or not form.get("code_verifier"):
            raise Refused(400, "invalid_grant", "no such code", error="invalid_grant")
        user = str(uuid.uuid5(uuid.NAMESPACE_DNS, "user.example.org"))
        wanted = [ALL, "openid", "email"]
        return self._issued(client_id, user, wanted, refresh="", identified=True)

    def revoke(self, form: dict[str, str]) -> Document:
        for kind in ("access", "refresh"):
            self._records.remove(kind, form["token"])
        return {"active": False}

    def userinfo(self, token: str) -> Document:
        return {"sub": self.subject(token, AUTH), "preferred_username": "user@example.org"}

    def subject(self, token: str, server: str) -> str:
        known = self._records.get("access", token)
        if known is None or known["server"] != server or known["expires"] < time.time():
            raise Refused(401, "AuthenticationFailed", "Token is not active")
        return str(known["sub"])

    def expire_all(self, *, revoke: bool) -> None:
        for kind in ("access", "refresh") if revoke else ("access",):
            for known in self._records.all(kind):
                self._records.remove(kind, known["id"])

    def is_registered(self, client_id: str, secret: str) -> bool:
        return bool(secret) and self._clients.get(client_id) == secret

    def _issued(
        self,
        client_id: str,
        subject: str,
        scopes: list[str],
        *,
        refresh: str | None = None,
        identified: bool = False,
    ) -> Document:
        tokens = []
        for server, own in (
            (TRANSFER, [s for s in scopes if ALL in s]),
            (AUTH, [s for s in scopes if ":" not in s and "/" not in s and s]),
        ):
            if own:
                tokens.append(self._one(subject, server, own, refresh))
        if not tokens:
            raise Refused(400, "invalid_scope", "unknown scope", error="invalid_scope")
        if identified:
            tokens[0]["id_token"] = self._id_token(client_id, subject)
        return {**tokens[0], "other_tokens": tokens[1:]}

    def _one(self, subject: str, server: str, scopes: list[str], refresh: str | None) -> Document:
        """A token of one server: with a refresh token that is known, a new one (""), or none."""
        token = f"access-{uuid.uuid4().hex}"
        expires = time.time() + TOKEN_LIFE_S
        self._records.put(
            "access", token, {"id": token, "sub": subject, "server": server, "expires": expires}
        )
        issued = {
            "access_token": token,
            "scope": " ".join(scopes),
            "expires_in": TOKEN_LIFE_S,
            "token_type": "Bearer",
            "resource_server": server,
        }
        if refresh is not None:
            issued["refresh_token"] = refresh or f"refresh-{uuid.uuid4().hex}"
            document = {"id": issued["refresh_token"], "sub": subject, "scopes": scopes}
            self._records.put("refresh", issued["refresh_token"], document)
        return issued

    def _id_token(self, client_id: str, subject: str) -> str:
        import jwt

        now = int(time.time())
        claims = {"sub": subject, "aud": client_id, "iss": f"https://{AUTH}"}
        return jwt.encode({**claims, "iat": now, "exp": now + 600}, _signing_key(), "RS256")


_key: Any = None


def _signing_key() -> Any:
    global _key
    if _key is None:
        from cryptography.hazmat.primitives.asymmetric import rsa

        _key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return _key


class Handler(BaseHTTPRequestHandler):
    """Routes requests. The class attributes are set before it is served."""

    protocol_version = "HTTP/1.1"
    # Head and body together, or each answer waits for a delayed acknowledgement.
    wbufsize = -1
    transfer: Transfer
    auth: Auth
    faults: Faults
    records: Records
    collections: Collections

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *arguments: Any) -> None:
        pass

    def _answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        path = url.path.removeprefix("/v0.10")
        try:
            if path not in {"/faults", "/records", "/reset", "/await"}:
                self._maybe_fail(path)
            document = self._routed(path, parse_qs(url.query))
        except Refused as refused:
            if refused.status:
                self._send(refused.status, refused.document, refused.document.get("headers", {}))
            return
        lost = (
            self.faults.take("lose_answer")
            if self.command == "POST" and (path in {"/transfer", "/delete"})
            else None
        )
        if lost:
            self.close_connection = True
            return
        garbled = self.faults.now("garble")
        if garbled and path.startswith(garbled["path"]):
            self._send_bytes(garbled["status"], base64.b64decode(garbled["body"]), {})
            return
        self._send(200, document)

    def _maybe_fail(self, path: str) -> None:
        self.records.put("request", str(uuid.uuid4()), {"path": path, "method": self.command})
        self.faults.set({})
        stall = self.faults.now("stall_s")
        if stall:
            time.sleep(stall)
        limited = self.faults.take("rate_limit")
        if limited:
            headers = {"Retry-After": str(limited["retry_after"])}
            raise Refused(429, "RateLimit", "Too many requests", headers=headers)
        refusal = self.faults.now("refuse")
        if refusal and path.startswith(refusal["path"]):
            refusal = self.faults.take("refuse")
            if refusal:
                more = refusal.get("more", {})
                raise Refused(refusal["status"], refusal["code"], refusal["message"], **more)

    def _routed(self, path: str, query: dict[str, list[str]]) -> Document:
        if path == "/faults":
            return self._set_faults()
        if path == "/reset":
            self.faults.clear()
            self.records.clear()
            self.collections.replace(json.loads(self.body))
            return {}
        if path == "/await":
            self._await(query)
            return {}
        if path == "/records":
            return {"records": self.records.all(query["kind"][0])}
        if path.startswith(("/v2/", "/jwk", "/.well-known")):
            return self._auth(path)
        self.auth.subject(self._bearer(), TRANSFER)
        return self._transfer(path.strip("/").split("/"), query)

    def _transfer(self, parts: list[str], query: dict[str, list[str]]) -> Document:
        match self.command, parts:
            case "GET", ["submission_id"]:
                return self.transfer.submission_id()
            case "POST", [("transfer" | "delete") as kind]:
                return self.transfer.submit(kind, json.loads(self.body))
            case "GET", ["task", task_id]:
                return self.transfer.task(task_id)
            case "POST", ["task", task_id, "cancel"]:
                return self.transfer.cancel(task_id)
            case "GET", ["operation", "endpoint", collection, "stat"]:
                return self.transfer.stat(collection, query["path"][0])
        raise Refused(404, "ClientError.NotFound", f"No such resource '{'/'.join(parts)}'")

    def _auth(self, path: str) -> Document:
        form = {name: values[0] for name, values in parse_qs(self.body.decode()).items()}
        client_id, secret = self._basic()
        proven = self.auth.is_registered(client_id, secret)
        routes: dict[str, Callable[[], Document]] = {
            "/.well-known/openid-configuration": self.auth.openid_configuration,
            "/jwk.json": self.auth.jwks,
            "/v2/oauth2/token": lambda: self.auth.token(
                form, client_id or form["client_id"], is_proven=proven
            ),
            "/v2/oauth2/token/revoke": lambda: self.auth.revoke(form),
            "/v2/oauth2/userinfo": lambda: self.auth.userinfo(self._bearer()),
        }
        if path not in routes:
            raise Refused(404, "NotFound", path)
        return routes[path]()

    def _set_faults(self) -> Document:
        faults = json.loads(self.body)
        if "expire_tokens" in faults:
            self.auth.expire_all(revoke=faults.pop("expire_tokens") == "revoke")
        self.faults.set(faults)
        return {}

    def _await(self, query: dict[str, list[str]]) -> None:
        if "path" not in query:
            self.faults.wait_for(lambda: not self.records.active())
            return
        path, times = query["path"][0], int(query["times"][0])
        self.faults.wait_for(
            lambda: sum(r["path"].startswith(path) for r in self.records.all("request")) >= times
        )

    def _bearer(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _basic(self) -> tuple[str, str]:
        given = self.headers.get("Authorization", "")
        if not given.startswith("Basic "):
            return "", ""
        client_id, _, secret = base64.b64decode(given[6:]).decode().partition(":")
        return client_id, secret

    def _send(self, status: int, document: Document, headers: dict[str, str] | None = None) -> None:
        data = json.dumps({k: v for k, v in document.items() if k != "headers"}).encode()
        self._send_bytes(status, data, headers or {})

    def _send_bytes(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), (ConnectionError, BrokenPipeError)):
            super().handle_error(request, client_address)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="has clients.json, and collections.json if any")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    records, faults = Records(options.folder / "records.db"), Faults()
    roots = options.folder / "collections.json"
    collections = Collections(json.loads(roots.read_text()) if roots.exists() else {})
    clients = json.loads((options.folder / "clients.json").read_text())
    server = Server(("127.0.0.1", options.port), Handler)
    url = f"http://127.0.0.1:{server.server_port}"
    Handler.records, Handler.faults, Handler.collections = records, faults, collections
    Handler.transfer = Transfer(records, faults, collections)
    Handler.auth = Auth(records, url, clients)
    Worker(records, faults, collections).start()
    # Ends with who started it, even if that was killed.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    print(f"The local stand-in for Globus is at {url}", flush=True)
    server.serve_forever()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
