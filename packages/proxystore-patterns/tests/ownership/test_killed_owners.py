"""What an owner that was killed leaves is found and removed by one command, and nothing else is."""

from __future__ import annotations

import itertools
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxystore.connectors.file import FileConnector
from proxystore.store import Store
from proxystore_patterns.cli import main
from proxystore_patterns.lifetimes import remove_leaks
from proxystore_patterns.ownership import borrow, drop, mut_borrow, own, update

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")


@pytest.fixture
def ledgers(user_directory: Path) -> Path:
    return user_directory / "state" / "lifetimes"


@pytest.mark.parametrize(
    "code",
    [
        "p = own(s, [1])",
        "p = into_owned(s.proxy([1]))",
        "p = clone(own(s, [1]))",
        "p = pickle.loads(pickle.dumps(own(s, [1])))",
        "p = own(s, [1]); pickle.dumps(p); len(p)",
        "p = own(s, [1]); r = borrow(p); pickle.dumps(r)",
        "p = own(s, [1]); r = mut_borrow(p); update(r)",
        "p = pickle.loads(pickle.dumps(own(s, [1], lease=1)))",
    ],
    ids=["own", "into_owned", "clone", "received", "taken back", "lent", "lent mutably", "leased"],
)
def test_one_command_finds_and_removes_it(
    store: Store[Any],
    run: Callable[..., Any],
    n_objects: Callable[[], int],
    capsys: pytest.CaptureFixture[str],
    code: str,
) -> None:
    owner = run(
        "from proxystore.store import Store\n"
        "from proxystore_patterns.ownership import *\n"
        f"s = Store.from_url(given); {code}; say(0); sys.stdin.readline()",
        store.url,
    )
    owner.hear()
    assert 0 == main(["leaks"]), "it lives"
    owner.kill()
    assert n_objects() > 0
    assert 1 == main(["leaks"])
    assert f"an owner of process {owner.pid} on host" in capsys.readouterr().out
    assert 0 == main(["leaks", "--remove"])
    assert 0 == n_objects()
    assert 0 == main(["leaks"])


def test_what_went_elsewhere_is_not_touched(
    store: Store[Any], run: Callable[..., Any], is_stored: Callable[[Any], bool]
) -> None:
    sender = run(
        "from proxystore.store import Store\n"
        "from proxystore_patterns.ownership import *\n"
        "s = Store.from_url(given); p, q = own(s, [1]), own(s, [2])\n"
        "say(pickle.dumps(p)); say(pickle.dumps(q)); sys.stdin.readline()",
        store.url,
    )
    received, on_its_way = pickle.loads(sender.hear()), sender.hear()
    sender.kill()
    assert [] == remove_leaks()
    assert received == [1]
    assert pickle.loads(on_its_way) == [2]
    assert is_stored(received)


def test_what_a_medium_ends_by_itself_is_not_noted(store: Store[Any], ledgers: Path) -> None:
    proxy = own(store, [1], lease=60)
    assert proxy == [1]
    assert not ledgers.exists()


def test_a_store_that_is_closed_leaves_no_note(store: Store[Any], ledgers: Path) -> None:
    with Store("closed before its owner", FileConnector(ledgers.parent / "objects")) as closed:
        proxy = own(closed, [1])
    del proxy
    kept = own(store, [2])
    (path,) = ledgers.iterdir()
    assert 1 == path.read_text().count('"erased"')
    assert kept == [2]


_LIFE: list[Callable[[Store[Any], dict[str, Any]], object]] = [
    lambda store, space: space.update(p=own(store, [1])),
    lambda _, space: space.update(r=borrow(space["p"])),
    lambda _, space: pickle.dumps(space.pop("r")),
    lambda _, space: space.update(m=mut_borrow(space["p"])),
    lambda _, space: (space["m"].append(2), update(space["m"])),
    lambda _, space: space.pop("m"),
    lambda _, space: space.update(p=pickle.loads(pickle.dumps(space["p"]))),
    lambda _, space: drop(space["p"]),
]


def _killed_at(step: int, store: Store[Any]) -> bool:
    """Whether a child that owns an object was killed before call ``step`` of its connector."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    try:
        connector, calls, space = store.connector, itertools.count(), dict[str, Any]()

        def dying(call: Callable[..., Any]) -> Callable[..., Any]:
            def called(*args: Any, **options: Any) -> Any:
                if next(calls) == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **options)

            return called

        for name in ("put", "get", "exists", "evict", "set", "replace", "touch"):
            setattr(connector, name, dying(getattr(connector, name)))
        for live in _LIFE:
            live(store, space)
    finally:
        os._exit(0)


def test_an_owner_may_be_killed_at_any_step(tmp_path: Path, ledgers: Path) -> None:
    left = []
    for step in itertools.count():
        with Store("owned", FileConnector(tmp_path / f"{step}")) as store:
            was_killed = _killed_at(step, store)
            assert all(leak.is_removed for leak in remove_leaks())
            if not was_killed:
                break
            left.append(len(list(store.connector.entries())))
    # While bytes of the owner are on their way, nobody can know who will open them.
    assert [0, 0, 0, 0, 0, 0, 2, 3, 0, 0, 0] == left
    assert [] == list(ledgers.iterdir())
