"""A local stand-in for Globus Transfer and Globus Auth, which really moves files.

Run as a program (``python tests/local_globus FOLDER``), so that tests can kill it.
Speaks the wire formats of https://docs.globus.org/api/transfer/ and /api/auth/ as the
SDK uses them. What it knows is in a SQLite file, so that it goes on after a restart.
Faults are asked for by ``POST /faults``.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from auth import TRANSFER, Auth
from records import Document, Faults, Records, Refused
from transfer import Collections, Transfer, Worker


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
