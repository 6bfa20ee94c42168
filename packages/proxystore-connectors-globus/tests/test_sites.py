"""What happens between sites: objects arrive, wait, fail, go away."""

from __future__ import annotations

import os
import pickle
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from proxystore.errors import (
    ClosedError,
    ConnectorUnavailableError,
    InvalidKeyError,
    MediumFullError,
    NotOwnerError,
)
from proxystore.store import Store
from proxystore.testing import Peer
from proxystore_connectors_globus import GlobusConnector, GlobusKey, TransferFailedError

# --- Arriving -----------------------------------------------------------------


def test_an_object_arrives_at_every_other_site(sites, here) -> None:
    key = here.put(b"from site 0")
    for site in (1, 2):
        with sites.at(site, here) as other:
            assert b"from site 0" == bytes(other.get(key))
            assert b"from site 0" == sites.file(site, here, key.object_id).read_bytes()


def test_an_object_of_another_site_arrives_here(here, there) -> None:
    key = there.put(b"from site 1")
    assert b"from site 1" == bytes(here.get(key))
    assert b"site 1" == bytes(here.get_range(key, 5, 100))


def test_a_batch_is_one_task_for_each_destination(globus, sites, here) -> None:
    keys = here.put_batch([b"one", b"two", b""])
    assert 2 == len(globus.tasks("TRANSFER"))
    assert 1 == len({key.tasks for key in keys})
    with sites.at(2, here) as other:
        assert [b"one", b"two", b""] == [bytes(found) for found in other.get_batch(keys)]


def test_an_empty_batch_asks_nobody(globus, here) -> None:
    assert [] == here.put_batch([])
    assert [] == globus.records("request")


def test_get_waits_for_an_object_on_its_way(globus, here, there) -> None:
    globus.fault(hold_transfer={"nice_status": "QUEUED"})
    key = here.put(b"slow")
    with ThreadPoolExecutor(1) as pool:
        getting = pool.submit(there.get, key)
        globus.until_asked("/task/", 2)
        globus.fault(hold_transfer=None)
        assert b"slow" == bytes(getting.result(30))


def test_an_object_on_its_way_does_not_exist_yet(globus, here, there) -> None:
    globus.fault(hold_transfer={"nice_status": "QUEUED"})
    key = here.put(b"slow")
    assert here.exists(key) is True
    assert there.exists(key) is False
    globus.fault(hold_transfer=None)
    assert there.get(key) is not None
    assert there.exists(key) is True


@pytest.mark.slow
def test_half_an_object_is_not_there(globus, sites, here) -> None:
    globus.fault(hold_transfer={"nice_status": "OK", "midway": True})
    key = here.put(b"0123456789")
    with sites.at(1, here, timeout=0.2) as other:
        with pytest.raises(ConnectorUnavailableError, match="not arrived"):
            other.get(key)
        assert b"01234" == sites.file(1, here, key.object_id).read_bytes()
        assert other.exists(key) is False
        with pytest.raises(ConnectorUnavailableError, match="not arrived"):
            other.get_range(key, 0, 2)
    globus.fault(hold_transfer=None)
    with sites.at(1, here) as other:
        assert b"0123456789" == bytes(other.get(key))


@pytest.mark.slow
def test_a_wait_that_ends_says_how_the_task_fares(globus, sites, here) -> None:
    globus.fault(hold_transfer={"nice_status": "GC_NOT_CONNECTED"})
    key = here.put(b"x")
    with (
        sites.at(1, here, timeout=0.2) as other,
        pytest.raises(ConnectorUnavailableError, match=r"0\.2 s.*ACTIVE.*GC_NOT_CONNECTED"),
    ):
        other.get(key)


@pytest.mark.slow
def test_pauses_between_looks_at_a_task_grow(globus, sites, here) -> None:
    globus.fault(hold_transfer={"nice_status": "QUEUED"})
    key = here.put(b"x")
    with (
        sites.at(1, here, timeout=1.0, polling_interval=0.01) as other,
        pytest.raises(ConnectorUnavailableError),
    ):
        other.get(key)
    # 100 of even length would fit.
    assert 4 <= globus.requests("/task/") <= 20


@pytest.mark.slow
def test_threads_that_wait_for_one_task_share_its_polls(globus, sites, here) -> None:
    globus.fault(hold_transfer={"nice_status": "QUEUED"})
    keys = here.put_batch([b"x"] * 8)
    with (
        sites.at(1, here, timeout=1.0, polling_interval=0.01) as other,
        ThreadPoolExecutor(8) as pool,
    ):
        for getting in [pool.submit(other.get, key) for key in keys]:
            with pytest.raises(ConnectorUnavailableError, match="not arrived"):
                getting.result(30)
    # At most 14 of one thread, and a last one of each of the others; 112 if each had its own.
    assert globus.requests("/task/") <= 30


def test_a_task_that_has_succeeded_is_not_asked_about_again(globus, here, there) -> None:
    keys = here.put_batch([b"x", b"y"])
    there.get(keys[0])
    before = globus.requests("/")
    assert there.exists(keys[1]) is True
    assert [b"x", b"y"] == [bytes(found) for found in there.get_batch(keys)]
    assert before == globus.requests("/")


def test_close_ends_the_waits_of_other_threads(globus, sites, here) -> None:
    globus.fault(hold_transfer={"nice_status": "QUEUED"})
    key = here.put(b"x")
    other = sites.at(1, here, polling_interval=30.0, timeout=60.0)
    with ThreadPoolExecutor(1) as pool:
        getting = pool.submit(other.get, key)
        globus.until_asked("/task/", 1)
        other.close()
        with pytest.raises(ClosedError):
            getting.result(10)


# --- Failing ------------------------------------------------------------------


def test_a_failed_task_is_told_apart_from_an_object_that_is_not_there(globus, here, there) -> None:
    globus.fault(fail={"times": 1, "code": "PERMISSION_DENIED", "description": "Path not allowed"})
    failed = here.put(b"x")
    globus.settle()
    for call in (there.get, there.exists):
        with pytest.raises(TransferFailedError, match=r"PERMISSION_DENIED.*Path not allowed"):
            call(failed)
    assert b"y" == bytes(there.get(here.put(b"y")))


def test_a_full_destination_fails_the_task_with_its_reason(globus, here, there) -> None:
    globus.fault(fail={"times": 1, "code": "QUOTA_EXCEEDED", "description": "Quota exceeded"})
    key = here.put(b"x")
    globus.settle()
    with pytest.raises(TransferFailedError, match="QUOTA_EXCEEDED") as caught:
        there.get(key)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(caught.value), str(caught.value)) == (type(again), str(again))


def test_a_cancelled_task_is_a_failed_one(globus, here, there) -> None:
    globus.fault(hold_transfer={"nice_status": "QUEUED"})
    key = here.put(b"x")
    here._service.cancel(key.tasks.split(",")[1])
    with pytest.raises(TransferFailedError, match="CANCELED"):
        there.get(key)


def test_a_task_of_somebody_else_says_as_whom_to_log_in(here, there) -> None:
    key = here.put(b"x")
    unknown = key._replace(tasks="-," + ",".join(["0" * 8 + "-0000-4000-8000-" + "0" * 12] * 2))
    with pytest.raises(ConnectorUnavailableError, match="as the identity that put the object"):
        there.get(unknown)


def test_a_put_that_globus_refuses_leaves_nothing(globus, sites, here) -> None:
    here.put(b"so that the first check is past")
    globus.settle()
    names = set(sites.file(0, here).iterdir())
    globus.fault(hold_transfer={"nice_status": "QUEUED"})
    # The second of two destinations is refused.
    submissions = globus.requests("/transfer")
    globus.fault(
        refuse={
            "times": 1,
            "after": 1,
            "path": "/transfer",
            "status": 409,
            "code": "TooManyPendingJobs",
            "message": "100 pending",
        }
    )
    with pytest.raises(ConnectorUnavailableError, match=r"TooManyPendingJobs.*in batches"):
        here.put_batch([b"x", b"y"])
    assert submissions + 2 == globus.requests("/transfer")
    assert names == set(sites.file(0, here).iterdir())
    assert "CANCELED" == globus.tasks("TRANSFER")[-1]["fatal_error"]["code"]


def test_a_full_disk_here_asks_nobody(globus, here, monkeypatch) -> None:
    import resource

    before = globus.requests("/")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(MediumFullError):
            here.put(bytes(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert before == globus.requests("/")


# --- Going away ---------------------------------------------------------------


def test_evict_removes_the_object_at_every_site(globus, sites, here, there) -> None:
    kept, gone = here.put_batch([b"kept", b"gone"])
    assert there.get(gone) is not None
    here.evict(gone)
    globus.settle()
    for site in range(3):
        assert not sites.file(site, here, gone.object_id).exists()
        assert b"kept" == sites.file(site, here, kept.object_id).read_bytes()
    assert there.get(gone) is None
    assert there.exists(gone) is False


def test_evict_at_another_site_removes_the_object_here(globus, here, there) -> None:
    key = here.put(b"x")
    there.get(key)
    there.evict(key)
    globus.settle()
    assert here.exists(key) is False
    assert here.get(key) is None


def test_an_object_evicted_before_its_turn_never_arrives_and_holds_up_nobody(
    globus, sites, here, there
) -> None:
    globus.fault(hold_transfer={"nice_status": "QUEUED"})
    gone, kept = here.put_batch([b"gone", b"kept"])
    here.evict(gone)
    globus.fault(hold_transfer=None)
    assert b"kept" == bytes(there.get(kept))
    assert there.get(gone) is None
    assert not sites.file(1, here, gone.object_id).exists()


def test_the_owners_close_clears_every_site_and_nothing_else(globus, sites, here) -> None:
    key = here.put(b"x")
    globus.settle()
    strange = sites.file(1, here).parent / "of somebody else"
    strange.write_text("stays")
    here.close()
    globus.settle()
    for site in range(3):
        assert not sites.file(site, here).exists()
    assert strange.exists()
    assert isinstance(key, GlobusKey)


def test_close_of_another_site_clears_nothing(globus, sites, here) -> None:
    key = here.put(b"x")
    with sites.at(1, here) as other:
        other.put(b"y")
        assert not other.is_owner
        with pytest.raises(NotOwnerError):
            other.close(clear=True)
    globus.settle()
    assert [] == globus.tasks("DELETE")
    assert b"x" == bytes(here.get(key))


def test_an_owner_that_is_not_to_clear_keeps_the_objects(globus, sites) -> None:
    owner = sites.make(clear=False)
    key = owner.put(b"x")
    owner.close()
    with sites.at(1, owner) as other:
        assert b"x" == bytes(other.get(key))
    assert [] == globus.tasks("DELETE")


def test_a_namespace_that_is_named_is_shared_and_owned_by_nobody(globus, sites) -> None:
    with sites.make(0, namespace="shared") as one, sites.make(1, namespace="shared") as two:
        key = one.put(b"x")
        assert b"x" == bytes(two.get(key))
        assert not one.is_owner
        assert not two.is_owner
    assert [] == globus.tasks("DELETE")


def test_a_namespace_of_a_dead_owner_can_be_adopted(globus, sites) -> None:
    with sites.make(0, namespace="left") as dead:
        key = dead.put(b"x")
    with sites.make(0, namespace="left", adopt=True) as heir:
        assert heir.is_owner
        assert b"x" == bytes(heir.get(key))
        with pytest.raises(NotOwnerError):
            sites.make(0, namespace="left", adopt=True)
    globus.settle()
    assert not sites.file(1, heir).exists()


# --- Directories --------------------------------------------------------------


def test_a_directory_that_globus_made_is_closed_to_the_group(globus, sites, here, there) -> None:
    key = here.put(b"x")
    globus.settle()
    assert 0o775 == stat.S_IMODE(sites.file(1, here).stat().st_mode)
    assert b"x" == bytes(there.get(key))
    assert 0o700 == stat.S_IMODE(sites.file(1, here).stat().st_mode)


def test_an_endpoint_path_that_is_another_directory_is_noticed_at_the_first_put(
    globus, sites
) -> None:
    sites.go(0)
    wrong = [{**each.fields(), "endpoint_path": "/~/elsewhere"} for each in globus.endpoints()]
    with GlobusConnector(wrong, timeout=5.0) as connector:
        with pytest.raises(ConnectorUnavailableError, match=r"elsewhere.*one directory"):
            connector.put(b"x")
        assert [".owner"] == os.listdir(sites.file(0, connector))
        assert [] == globus.tasks("TRANSFER")


def test_a_local_path_that_is_another_directory_is_noticed_by_the_reader(
    globus, sites, here
) -> None:
    key = here.put(b"x")
    config = here.config()
    config["endpoints"][1]["local_path"] += "/elsewhere"
    sites.go(1)
    with (
        GlobusConnector.from_config(config) as other,
        pytest.raises(ConnectorUnavailableError, match="elsewhere"),
    ):
        other.get(key)


@pytest.mark.parametrize(
    "tasks", ["", "-", "-,-,-", "x,-,y", "-,,", "-," + "0" * 36 + "," + "0" * 36, 7, None]
)
def test_a_key_with_other_tasks_is_refused(here, tasks) -> None:
    key = here.put(b"x")
    with pytest.raises(InvalidKeyError):
        here.get(key._replace(tasks=tasks))


# --- Processes ----------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_are_two_sites(sites, here) -> None:
    sites.go(1)
    with Peer(here) as one:
        sites.go(2)
        with Peer(here) as two:
            key = GlobusKey(*one.call("put", None, b"from site 1"))
            assert b"from site 1" == bytes(two.call("get", key))
            assert b"from site 1" == bytes(here.get(key))
            two.call("evict", key)
    assert here.get_batch([key]) in ([None], [b"from site 1"])


@pytest.mark.slow
def test_what_put_returned_for_arrives_after_kill_9_of_its_writer(globus, sites, here) -> None:
    globus.fault(hold_transfer={"nice_status": "QUEUED"})
    sites.go(1)
    with Peer(here) as writer:
        keys = [GlobusKey(*key) for key in writer.call("put_batch", None, [b"x", b"y"])]
        writer.kill()
    globus.fault(hold_transfer=None)
    assert [b"x", b"y"] == [bytes(found) for found in here.get_batch(keys)]


@pytest.mark.slow
def test_a_proxy_resolves_at_another_site(sites, here) -> None:
    import subprocess
    import sys

    with Store("sites", here) as store:
        proxy = pickle.dumps(store.proxy({"loss": 0.25}))
        sites.go(1)
        program = "import pickle, sys; print(pickle.load(sys.stdin.buffer)['loss'])"
        done = subprocess.run(
            [sys.executable, "-c", program], input=proxy, capture_output=True, timeout=60
        )
    assert (0, b"0.25\n", b"") == (done.returncode, done.stdout, done.stderr)


def test_a_store_opens_by_url(sites, here) -> None:
    key = here.put(b"bytes")
    sites.go(1)
    with Store.from_url(here.url) as store:
        assert b"bytes" == bytes(store.connector.get(key))
