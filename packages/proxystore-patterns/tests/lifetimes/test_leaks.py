"""What killed processes held is found, and removed by one command."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.store import Store
from proxystore_patterns.cli import main
from proxystore_patterns.lifetimes import ContextLifetime, find_leaks, remove_leaks
from proxystore_patterns.lifetimes._ledger import notes_in

Run = Callable[..., Any]

_FIELDS = {"lifetime": "l", "job": None, "address": "file:///x", "store": "s"}

_HOLD = """
from proxystore.store import get_store
from proxystore_patterns.lifetimes import ContextLifetime
store = get_store(given)
lifetime = ContextLifetime(store, name="held")
gone = store.put("gone", lifetime=lifetime)
say([tuple(store.put(n, lifetime=lifetime)) for n in range(3)])
store.evict(gone)
sys.stdin.readline()
"""


@pytest.fixture
def ledgers(user_directory: Path) -> Path:
    return user_directory / "state" / "lifetimes"


@pytest.mark.slow
def test_one_command_finds_and_removes_what_a_killed_process_held(
    store: Store[Any], run: Run, capsys: pytest.CaptureFixture[str], ledgers: Path
) -> None:
    holder = run(_HOLD, store.proxy("any"))
    keys = [store.make_key(fields) for fields in holder.hear()]
    assert 0 == main(["leaks"]), "it lives"
    holder.kill()
    assert 1 == main(["leaks"])
    listed = capsys.readouterr().out
    assert f"held of process {holder.pid} on host" in listed
    assert "leaks --remove" in listed
    assert all(store.exists(key) for key in keys)
    assert 0 == main(["leaks", "--remove"])
    assert "4 keys in store" in listed
    # The holder may not have come to evict the first.
    assert re.search("removed (3, 1|4, 0) were gone", capsys.readouterr().out)
    assert not any(store.exists(key) for key in keys)
    assert 0 == main(["leaks"])
    assert "Nothing was left behind." in capsys.readouterr().out
    assert [] == list(ledgers.iterdir())


def test_nobody_else_sees_a_ledger(store: Store[Any], ledgers: Path) -> None:
    with ContextLifetime(store) as lifetime:
        store.put(1, lifetime=lifetime)
        (path,) = ledgers.iterdir()
        assert 0o600 == path.stat().st_mode & 0o777
        assert 0o700 == ledgers.stat().st_mode & 0o777
    assert [] == find_leaks()


_TIDY = """
from proxystore.store import get_store
from proxystore_patterns.lifetimes import ContextLifetime
from proxystore_patterns.ownership import own
def hold(proxy):
    store = get_store(proxy)
    with ContextLifetime(store) as lifetime:
        store.put(1, lifetime=lifetime)
    held.append(own(store, 1))
held = []
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [
        "hold(given)",
        """
import multiprocessing
worker = multiprocessing.get_context("fork").Process(target=hold, args=(given,))
worker.start(); worker.join()
""",
    ],
    ids=["program", "worker"],
)
def test_a_process_that_tidies_up_leaves_no_ledger(
    store: Store[Any], ledgers: Path, run: Run, way: str
) -> None:
    assert 0 == run(_TIDY + way, store.proxy("any")).wait()
    assert [] == list(ledgers.iterdir())


def test_a_ledger_grows_with_what_is_held_alone(
    make_store: Callable[..., Store[Any]], ledgers: Path
) -> None:
    store = make_store("shm")
    with ContextLifetime(store) as outer:
        kept = store.put("kept", lifetime=outer)
        for _ in range(3000):
            with ContextLifetime(store) as inner:
                inner.add_key(kept)
                sizes = [path.stat().st_size for path in ledgers.iterdir()]
        assert max(sizes) < 300_000
        (path,) = ledgers.iterdir()
        (note,) = (note for _, note in notes_in(path.read_text()) if note.lifetime == outer.name)
        assert note.keys == (tuple(kept),)


def test_what_a_ledger_leaves_when_it_goes_on_elsewhere_is_of_nobody(
    make_store: Callable[..., Store[Any]], ledgers: Path
) -> None:
    store = make_store("shm")
    with ContextLifetime(store) as outer:
        store.put("kept", lifetime=outer)
        (path,) = ledgers.iterdir()
        # As one who looks for leaks does: open first, then see whether it is locked.
        with path.open("rb") as opened:
            while path.exists():
                with ContextLifetime(store) as inner:
                    store.put("gone", lifetime=inner)
            assert b"" == opened.read()


def test_objects_that_end_with_the_process_are_not_noted(
    make_store: Callable[..., Store[Any]], ledgers: Path
) -> None:
    store = make_store("local")
    with ContextLifetime(store) as lifetime:
        store.put(1, lifetime=lifetime)
        assert not ledgers.exists()


@pytest.mark.parametrize("fields", [("no", "key"), ("../x", 0, 1), ("x" * 99,), (1, 2, 3, 4)])
def test_what_is_no_key_keeps_nothing_else_from_being_removed(
    make_store: Callable[..., Store[Any]], ledgers: Path, fields: tuple[Any, ...]
) -> None:
    store = make_store("file")
    keys = [store.put(n) for n in range(2)]
    note = {
        **_FIELDS,
        "entry": "0",
        "address": store.url,
        "keys": [tuple(keys[0]), fields, tuple(keys[1])],
    }
    ledgers.mkdir(parents=True, mode=0o700)
    (ledgers / "dead.jsonl").write_text(json.dumps(note) + "\n")
    (leak,) = remove_leaks()
    assert "removed 2, 0 were gone, 1 were no keys of the store" == leak.found
    assert not any(store.exists(key) for key in keys)
    assert [] == find_leaks()


def test_what_nobody_can_remove_keeps_nothing_else_from_being_removed(
    make_store: Callable[..., Store[Any]], ledgers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = make_store("file")
    key = store.put(1)
    ledgers.mkdir(parents=True, mode=0o700)
    addresses = ["nothing://knows/this", ["a.b", 1], None, store.url]
    for number, address in enumerate(addresses):
        note = {**_FIELDS, "entry": "0", "address": address, "keys": [tuple(key)]}
        (ledgers / f"{number}.jsonl").write_text(json.dumps(note) + "\n")
    assert 1 == main(["leaks", "--remove"])
    listed = capsys.readouterr().out
    assert 3 == listed.count("not removed: ")
    assert "removed 1, 0 were gone" in listed
    assert not store.exists(key)
    assert 3 == len(find_leaks())


@pytest.mark.slow
def test_what_was_in_a_medium_that_is_gone_needs_no_removal(
    make_store: Callable[..., Store[Any]], run: Run
) -> None:
    store = make_store("shm")
    holder = run(_HOLD, store.proxy("any"))
    holder.hear()
    holder.kill()
    store.close()
    leaks = remove_leaks()
    assert all(leak.is_removed for leak in leaks)
    assert {"its medium is gone, and they with it"} == {leak.found for leak in leaks}
    assert [] == find_leaks()


@pytest.mark.slow
def test_what_cannot_be_removed_now_is_found_again(
    own_redis_server: Any, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    from proxystore_connectors_redis import RedisConnector

    connector = RedisConnector("127.0.0.1", own_redis_server.port, timeout=1, clear=False)
    with Store("redis", connector) as store:
        holder = run(_HOLD, store.proxy("any"))
        keys = [store.make_key(fields) for fields in holder.hear()]
        holder.kill()
        own_redis_server.kill()
        assert 1 == main(["leaks", "--remove"])
        assert "Cannot use" in capsys.readouterr().out
        own_redis_server.start()
        assert 0 == main(["leaks", "--remove"])
        assert not any(store.exists(key) for key in keys)


@pytest.mark.slow
def test_a_forked_child_keeps_nobody_alive(store: Store[Any], run: Run) -> None:
    holder = run(
        _HOLD.replace(
            "sys.stdin.readline()",
            "import os\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    import time; time.sleep(60); os._exit(0)\n"
            "say(child)\n"
            "sys.stdin.readline()",
        ),
        store.proxy("any"),
    )
    holder.hear()
    child = holder.hear()
    holder.signal(9)
    try:
        while not find_leaks():
            os.kill(child, 0)
    finally:
        os.kill(child, 9)


def _killed_at(step: int, after: bool, store: Store[Any]) -> None:
    """A child that is killed before or after a call of its connector, as it holds two objects."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        connector, calls = store.connector, itertools.count()

        def dying(call: Callable[..., Any]) -> Callable[..., Any]:
            def called(*args: Any, **options: Any) -> Any:
                number = next(calls)
                if number == step and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                answer = call(*args, **options)
                if number == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return answer

            return called

        for name in ("put", "evict"):
            setattr(connector, name, dying(getattr(connector, name)))
        with ContextLifetime(store) as lifetime:
            store.put("one", lifetime=lifetime)
            store.put("two", lifetime=lifetime)
    finally:
        os._exit(0)


@pytest.mark.parametrize("step", range(4), ids=["put one", "put two", "evict one", "evict two"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_process_may_be_killed_at_any_step(
    make_store: Callable[..., Store[Any]], ledgers: Path, step: int, after: bool
) -> None:
    store = make_store("file")
    _killed_at(step, after, store)
    assert all(leak.is_removed for leak in remove_leaks())
    # Of an object that was stored and not yet added, nobody knows.
    unknown = 1 if step < 2 and after else 0
    assert unknown == len(list(store.connector.entries()))
    assert [] == find_leaks()
    assert not ledgers.exists() or [] == list(ledgers.iterdir())


def test_a_directory_that_others_can_write_to_is_refused(
    store: Store[Any], ledgers: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledgers.mkdir(parents=True)
    ledgers.chmod(0o777)
    with ContextLifetime(store) as lifetime:
        store.put(1, lifetime=lifetime)
    assert "others can write to it" in caplog.text
    assert [] == list(ledgers.iterdir())


def test_wrong_usage_says_what_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["leeks"])
    assert 2 == ended.value.code
    assert "leaks" in capsys.readouterr().err


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 5), st.lists(st.text(max_size=3), max_size=3)),
        max_size=12,
    ),
    st.integers(0, 60),
)
def test_a_ledger_says_what_was_noted_and_not_erased(
    steps: list[tuple[bool, int, list[str]]], torn: int
) -> None:
    lines, expected = [json.dumps({"process": "p"})], {}
    for erases, entry, keys in steps:
        if erases:
            lines.append(json.dumps({"erased": [str(entry)]}))
            expected.pop(str(entry), None)
        else:
            note = {**_FIELDS, "entry": str(entry), "keys": [[key] for key in keys]}
            lines.append(json.dumps(note))
            expected[str(entry)] = tuple((key,) for key in keys)
    text = "\n".join(lines) + "\n"
    assert expected == {entry: note.keys for entry, note in notes_in(text)}
    # A process that was killed in the midst of a line: what came before it counts.
    whole = "\n".join(lines[:-1]) + "\n"
    cut = text[: max(len(whole), len(text) - 2 - torn)]
    assert dict(notes_in(whole)) == dict(notes_in(cut))


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    list(notes_in(text))
