"""Globus Transfer: collections that are directories, and tasks that copy and delete files."""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from pathlib import Path
from typing import Any

from records import Document, Faults, Records, Refused


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
        if not target.parent.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            # As the servers of sites with a group for each user do.
            target.parent.chmod(0o775)
        try:
            # In place, as GridFTP does: a reader can meet half a file.
            shutil.copyfile(source, target)
        except FileNotFoundError:
            return False
        os.truncate(target, int(target.stat().st_size * part))
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
