"""`Store`: objects in and out, one process."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from proxystore.abc import Acknowledgement, Capability, Connector, Medium
from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector, LocalKey
from proxystore.connectors.multi import MultiConnector, Policy
from proxystore.connectors.shm import ShmKey
from proxystore.errors import (
    ConfigError,
    CorruptObjectError,
    InvalidKeyError,
    NotOwnerError,
    SerializationError,
    StoreClosedError,
    StoreExistsError,
)
from proxystore.payload import BytesLike, Payload, as_bytes
from proxystore.serialize import serialize
from proxystore.store import Store, Verify, get_store


@pytest.fixture
def store() -> Iterator[Store[Any]]:
    with Store("demo") as made:
        yield made


class SlowKey(NamedTuple):
    name: str


class SlowConnector(Connector[SlowKey]):
    """Takes its time for each get, and counts them."""

    key_type = SlowKey

    def __init__(self, delay_s: float = 0) -> None:
        self.objects: dict[SlowKey, bytes] = {}
        self.gets = 0
        self._delay_s = delay_s

    def put(self, payload: Payload) -> SlowKey:
        key = SlowKey(str(len(self.objects)))
        self.objects[key] = as_bytes(payload)
        return key

    def get(self, key: SlowKey) -> BytesLike | None:
        self.gets += 1
        threading.Event().wait(self._delay_s)
        return self.objects.get(key)

    def exists(self, key: SlowKey) -> bool:
        return key in self.objects

    def evict(self, key: SlowKey) -> None:
        self.objects.pop(key, None)

    def config(self) -> dict[str, Any]:
        return {"id": id(self)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SlowConnector:
        return cls()

    def close(self, *, clear: bool | None = None) -> None:
        self.closed_with = clear

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset()

    @property
    def medium(self) -> Medium:
        return Medium.NETWORK

    @property
    def acknowledges(self) -> Acknowledgement:
        return Acknowledgement.MEMORY


# --- Making one ---------------------------------------------------------------


def test_name_and_connector_come_in_either_order() -> None:
    connectors = [LocalConnector() for _ in range(4)]
    stores = [
        Store("demo", connectors[0]),
        Store(connectors[1], name="demo"),
        Store(name="demo", connector=connectors[2]),
        Store("demo", connector=connectors[3]),
    ]
    assert [store.connector for store in stores] == connectors
    assert {store.name for store in stores} == {"demo"}


def test_a_store_without_a_name_is_called_by_its_identity() -> None:
    with Store(LocalConnector()) as store:
        assert store.name == store.identity


def test_a_store_without_a_connector_keeps_objects_in_a_directory_that_ends_with_it() -> None:
    store = Store("demo")
    directory = Path(store.connector.config()["store_dir"])
    key = store.put(1)
    assert directory.is_dir()
    assert store.get(key) == 1
    store.close()
    assert not directory.exists()


def test_two_stores_of_one_name_do_not_share_objects() -> None:
    with Store("demo") as first, Store("demo") as second:
        assert first.identity != second.identity
        assert second.get(first.put("mine")) is None


@pytest.mark.parametrize("option", [{"cache_size": -1}, {"cache_nbytes": -1}, {"verify": "never"}])
def test_an_option_out_of_range_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"-1|never"):
        Store("demo", LocalConnector(), **option)


@pytest.mark.parametrize("option", ["cache_size", "cache_nbytes"])
def test_a_cache_bound_that_is_no_number_is_refused(option: str) -> None:
    with pytest.raises(TypeError, match=r"A cache holds a number of .*, not '3'\."):
        Store("demo", LocalConnector(), **{option: "3"})


@pytest.mark.parametrize("make", [LocalConnector, FileConnector.temporary])
def test_a_ttl_that_is_no_number_is_refused(make: Callable[[], Connector[Any]]) -> None:
    with Store("demo", make()) as store:
        with pytest.raises(TypeError, match=r"ttl is a number of seconds .*not '1h'"):
            store.put(1, ttl="1h")


def test_a_url_that_is_none_leads_to_the_config() -> None:
    with pytest.raises(ConfigError, match=r"URL None: .*Store\.from_config\(\)"):
        Store.from_url(None)


def test_a_mistyped_option_beside_a_url_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'cach_size' of Store.*Did you mean 'cache_size'"):
        Store.from_url(f"file://{tmp_path}", cach_size=3)
    with pytest.raises(TypeError, match="A cache holds"):
        Store.from_url(f"file://{tmp_path}", cache_size="3")


def test_a_choice_that_does_not_exist_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'always'"):
        Store("demo", LocalConnector(), verify="allways")


def test_what_is_no_connector_is_refused() -> None:
    with pytest.raises(TypeError, match="5 is no connector: it has no put, get"):
        Store("demo", 5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Store("demo", "file:///objects"),
        lambda: Store("demo", name="other"),
        lambda: Store(LocalConnector(), LocalConnector()),
        lambda: Store(LocalConnector(), connector=LocalConnector()),
    ],
)
def test_two_names_or_two_connectors_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match=r"one name and one connector.*Store\.from_url"):
        make()


def test_a_class_in_place_of_a_connector_is_refused() -> None:
    with pytest.raises(TypeError, match=r"is a class.*make a connector"):
        Store("demo", FileConnector)


def test_a_name_that_is_taken_leaves_the_connector_as_it_is(tmp_path: Path) -> None:
    with (
        Store("taken", LocalConnector(), register=True),
        FileConnector(tmp_path / "objects") as connector,
    ):
        key = connector.put(b"kept")
        with pytest.raises(StoreExistsError, match="taken"):
            Store("taken", connector, register=True)
        assert connector.exists(key)


# --- Putting and getting ------------------------------------------------------


def test_what_was_put_is_got(store: Store[Any]) -> None:
    assert store.get(store.put({"a": [1, 2]})) == {"a": [1, 2]}


def test_keys_are_the_connectors_own(store: Store[Any]) -> None:
    assert isinstance(store.put(1), ShmKey)


@pytest.mark.parametrize("plain", [tuple, list])
def test_the_plain_fields_of_a_key_are_refused_with_what_makes_a_key(
    plain: Callable[[Any], Any], tmp_path: Path
) -> None:
    multi = MultiConnector({"one": (LocalConnector(), Policy())})
    for connector in (FileConnector(tmp_path / "objects"), LocalConnector(), multi):
        with Store("demo", connector) as store:
            key = store.put("x")
            with pytest.raises(InvalidKeyError, match=r"store\.make_key\(fields\)"):
                store.get(plain(key))
            assert store.get(store.make_key(plain(key))) == "x"


def test_an_absent_object_gives_the_default(store: Store[Any]) -> None:
    assert store.get(ShmKey("absent")) is None
    assert store.get(ShmKey("absent"), default=3) == 3


def test_none_is_an_object_too(store: Store[Any]) -> None:
    key = store.put(None)
    assert store.get(key, default="absent") is None
    assert store.get(key, default="absent") is None


def test_batches_keep_their_order_and_their_holes(store: Store[Any]) -> None:
    keys = store.put_batch(["a", "b", "c"])
    store.evict(keys[1])
    store.get(keys[2])
    assert store.get_batch([keys[2], keys[1], keys[0], keys[2]], default="-") == list("c-ac")


def test_an_evicted_object_is_gone_from_the_cache_too(store: Store[Any]) -> None:
    key = store.put("x")
    store.get(key)
    assert (store.exists(key), store.is_cached(key)) == (True, True)
    store.evict(key)
    store.evict(key)
    assert (store.exists(key), store.is_cached(key), store.get(key)) == (False, False, None)


def test_extra_options_reach_the_connector() -> None:
    with Store("demo", LocalConnector()) as store:
        assert store.get(store.put("x", ttl=1e-9)) is None
        with pytest.raises(TypeError, match="tags"):
            store.put("x", tags=["a"])


def test_a_lifetime_is_told_the_keys_and_the_store(store: Store[Any]) -> None:
    class Lifetime:
        added: list[Any] = []

        def add_key(self, *keys: Any, store: Any = None) -> None:
            self.added.append((keys, store))

    lifetime: Any = Lifetime()
    key = store.put(1, lifetime=lifetime)
    keys = store.put_batch([1, 2], lifetime=lifetime)
    assert lifetime.added == [((key,), store), (tuple(keys), store)]


def test_an_array_is_written_without_reaching_the_store(store: Store[Any]) -> None:
    key = store.put(np.zeros(100_000))
    got = store.get(key)
    got += 1
    store.cache.clear()
    assert store.get(key).sum() == 0


def test_a_readonly_store_gives_arrays_that_cannot_be_written() -> None:
    with Store("demo", readonly=True) as store:
        assert not store.get(store.put(np.zeros(1000))).flags.writeable


# --- Serializers --------------------------------------------------------------


def test_own_serializers_are_used() -> None:
    with Store(
        "demo", LocalConnector(), serializer=str.encode, deserializer=bytes.decode
    ) as store:
        key = store.put("text")
        assert bytes(store.connector.get(key)) == b"text"
        assert store.get(key) == "text"
        assert store.get(key, deserializer=len) == 4
        assert store.get(store.put("text", serializer=lambda text: b"other")) == "other"


def test_a_serializer_that_gives_no_bytes_is_refused(store: Store[Any]) -> None:
    with pytest.raises(TypeError, match=r"Serializer must return a bytes-like object\."):
        store.put("x", serializer=lambda obj: obj)


def test_a_deserializer_that_raises_gives_a_serialization_error(store: Store[Any]) -> None:
    with pytest.raises(SerializationError, match="ZeroDivisionError"):
        store.get(store.put(1), deserializer=lambda data: 1 / 0)


def test_objects_got_by_different_deserializers_are_told_apart() -> None:
    with Store("demo", LocalConnector(), serializer=str.encode) as store:
        key = store.put("text")
        assert store.get(key, deserializer=bytes.decode) == "text"
        assert store.get(key, deserializer=bytes.upper) == b"TEXT"


@pytest.mark.parametrize("verify", list(Verify))
def test_large_objects_in_memory_carry_a_checksum_if_asked(verify: Verify) -> None:
    with Store("demo", LocalConnector(), verify=verify, cache_size=0) as store:
        data = bytearray(store.connector.get(store.put(b"x" * (1 << 20))))
        data[-1] ^= 1
        key = store.connector.put(data)
        if verify is Verify.AUTO:
            assert len(store.get(key)) == 1 << 20
        else:
            with pytest.raises(CorruptObjectError):
                store.get(key)


@pytest.mark.parametrize("verify", list(Verify))
def test_a_changed_bit_of_a_small_object_is_noticed(verify: Verify) -> None:
    with Store("demo", LocalConnector(), verify=verify) as store:
        data = bytearray(store.connector.get(store.put(b"x" * 1000)))
        data[-1] ^= 1
        with pytest.raises(CorruptObjectError):
            store.get(store.connector.put(data))


def test_a_changed_bit_of_a_large_object_on_a_network_is_noticed() -> None:
    with Store("demo", SlowConnector()) as store:
        key = store.put(b"x" * (1 << 20))
        store.connector.objects[key] = store.connector.objects[key][:-1] + b"y"
        with pytest.raises(CorruptObjectError):
            store.get(key)


# --- Cache --------------------------------------------------------------------


def test_all_who_get_an_object_get_the_same_one(store: Store[Any]) -> None:
    key = store.put([1])
    assert store.get(key) is store.get(key)
    assert store.get_batch([key])[0] is store.get(key)


def test_a_store_without_a_cache_loads_each_time() -> None:
    with Store("demo", LocalConnector(), cache_size=0) as store:
        key = store.put([1])
        assert store.get(key) is not store.get(key)


def test_a_replaced_object_is_got_anew(store: Store[Any]) -> None:
    key = store.put("old")
    assert store.get(key) == "old"
    store.connector.replace(key, as_bytes(store.connector.get(store.put("new"))))
    assert store.get(key) == "new"


def test_an_object_that_appears_during_a_get_is_gone_once_it_is_evicted() -> None:
    class Racing(LocalConnector):
        """Has an object only just after the store asked for its generation."""

        def generation(self, key: LocalKey) -> int | None:
            found = super().generation(key)
            if found is None and key == late:
                self.set(key, payload)
            return found

        def get_with_generation(self, key: LocalKey) -> tuple[Any, int | None]:
            generation = self.generation(key)
            return self.get(key), generation

    with Store("demo", Racing()) as store:
        payload = as_bytes(store.connector.get(store.put("late")))
        late = store.connector.new_key()
        assert store.get(late) == "late"
        store.connector.evict(late)
        late, evicted = store.connector.new_key(), late
        assert store.get(evicted) is None


def test_private_objects_count_and_views_of_shared_memory_do_not(store: Store[Any]) -> None:
    text = store.get(store.put("x" * 1000))
    assert len(text) <= store.cache.nbytes <= 1200
    before = store.cache.nbytes
    view = store.get(store.put(np.ones(1 << 20)))
    assert (view.sum(), store.cache.nbytes) == (1 << 20, before)


def test_a_readonly_view_is_shared_while_somebody_uses_it() -> None:
    with Store("demo", readonly=True) as store:
        key = store.put(np.ones(1 << 20))
        view = store.get(key)
        assert store.get(key) is view
        with pytest.raises(ValueError, match="read-only"):
            view += 1
        del view
        assert not store.is_cached(key)


class Plain:
    """Can be referenced weakly, and has no memory of its own."""

    def __init__(self, text: str) -> None:
        self.text = text


def test_an_object_without_views_is_cached_at_its_cost_wherever_it_was_read() -> None:
    with Store("demo") as store:
        key = store.put([Plain("x" * 200_000)])
        assert store.get(key) is store.get(key)
        assert store.cache.nbytes > 200_000


# --- Threads ------------------------------------------------------------------


@pytest.mark.slow
def test_threads_on_different_keys_do_not_wait_for_each_other() -> None:
    with Store("demo", SlowConnector(delay_s=0.1), cache_size=0) as store:
        keys = store.put_batch(range(8))
        ready = threading.Barrier(9)

        def get(key: SlowKey) -> Any:
            ready.wait()
            return store.get(key)

        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(get, key) for key in keys]
            ready.wait()
            start = time.perf_counter()
            values = [future.result() for future in futures]
            elapsed_s = time.perf_counter() - start
    assert values == list(range(8))
    # One after the other they take 0.8 s.
    assert elapsed_s < 0.4


def test_threads_that_get_one_object_share_the_request() -> None:
    with Store("demo", SlowConnector(delay_s=0.02)) as store:
        key = store.put([1])
        with ThreadPoolExecutor(8) as pool:
            objects = list(pool.map(lambda _: store.get(key), range(8)))
        assert store.connector.gets == 1
        assert all(obj is objects[0] for obj in objects)


@pytest.mark.parametrize("store_options", [{}, {"cache_size": 0}])
def test_threads_that_share_a_request_get_an_array_each(store_options: dict[str, int]) -> None:
    with Store("demo", SlowConnector(delay_s=0.02), **store_options) as store:
        key = store.put(np.zeros(1000))
        with ThreadPoolExecutor(8) as pool:
            arrays = list(pool.map(lambda _: store.get(key), range(8)))
        for number, array in enumerate(arrays):
            array += number
        assert store.connector.gets < 8
        assert [array[0] for array in arrays] == list(range(8))


# --- Closing ------------------------------------------------------------------


def test_a_closed_store_says_so(store: Store[Any]) -> None:
    key = store.put(1)
    store.close()
    store.close()
    uses = [
        lambda: store.put(1),
        lambda: store.get(key),
        lambda: store.exists(key),
        lambda: store.evict(key),
        lambda: store.put_batch([1]),
        lambda: store.get_batch([key]),
        lambda: store.proxy(1),
        lambda: store.proxy_from_key(key),
    ]
    for use in uses:
        with pytest.raises(StoreClosedError, match="'demo' is closed"):
            use()


def test_closing_forgets_the_store(store: Store[Any]) -> None:
    assert get_store("demo") is store
    store.close()
    assert get_store("demo") is None


def test_a_store_that_is_not_the_owner_clears_nothing(store: Store[Any]) -> None:
    key = store.put(1)
    other = Store.from_url(store.url)
    with pytest.raises(NotOwnerError):
        other.close(clear=True)
    assert not other.closed
    other.close()
    assert store.get(key) == 1


def test_options_of_close_reach_the_connector() -> None:
    store = Store("demo", SlowConnector())
    store.close(clear=True)
    assert store.connector.closed_with is True


def test_a_store_cannot_be_pickled_and_says_what_can(store: Store[Any]) -> None:
    with pytest.raises(TypeError, match="Send a proxy"):
        pickle.dumps(store)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_can_use_and_close_its_copy(store: Store[Any]) -> None:
    key = store.put("before")
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        status = 1
        try:
            same = store.get(key) == "before" and store.get(store.put("child")) == "child"
            store.close()
            status = 0 if same else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert store.get(key) == "before"


@pytest.mark.parametrize("shape", [(100,), (200_000,)], ids=["read", "mapped"])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"weights": x}], ids=["array", "dict"])
def test_a_task_that_writes_to_its_array_changes_nothing_for_the_next(
    shape: tuple[int, ...], wrap: Callable[[Any], Any]
) -> None:
    with Store("written", populate_target=False) as store:
        pickled = pickle.dumps(store.proxy(wrap(np.ones(shape))))
        seen, held = [], []
        for _ in range(3):
            proxy = pickle.loads(pickled)
            array = proxy["weights"] if isinstance(proxy, dict) else proxy
            array += 1
            seen.append(float(array.sum()))
            held.append(proxy)
        assert seen == [2.0 * shape[0]] * 3


def test_the_bytes_of_an_array_are_kept_once_it_is_got_again() -> None:
    connector = LocalConnector()
    with Store("kept", connector, populate_target=False) as store:
        key = store.put(np.ones(1000))
        arrays = [store.get(key) for _ in range(4)]
        assert (store.cache.hits, store.cache.misses) == (2, 2)
        for array in arrays:
            assert array.flags.writeable
            array += 1
            assert array.sum() == 2000


def test_an_array_that_is_got_once_costs_the_cache_nothing() -> None:
    with Store("kept", LocalConnector(), populate_target=False) as store:
        store.get(store.put(np.ones(1000)))
        assert store.cache.nbytes == 0


class _Counting(LocalConnector):
    """Counts requests; reads an object and its generation at once."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[str] = []

    def get(self, key: LocalKey) -> Any:
        self.requests.append("get")
        return super().get(key)

    def generation(self, key: LocalKey) -> int | None:
        self.requests.append("generation")
        return super().generation(key)

    def get_with_generation(self, key: LocalKey) -> tuple[Any, int | None]:
        self.requests.append("both")
        return super().get(key), super().generation(key)


def test_what_is_not_cached_comes_in_one_request_where_the_connector_can() -> None:
    connector = _Counting()
    with Store("first", connector, populate_target=False) as store:
        key = store.put("text")
        assert store.get(key) == "text"
        assert connector.requests == ["both"]
        assert store.get(key) == "text"
        assert connector.requests == ["both", "generation"]
        connector.replace(key, serialize("new"))
        assert store.get(key) == "new"


def test_who_joins_a_load_after_a_replace_gets_the_new_object() -> None:
    connector = _Counting()
    store = Store("first", connector, populate_target=False)
    key = store.put("old")
    loaded, replaced = threading.Event(), threading.Event()
    read = connector.get_with_generation

    def slow(key: LocalKey) -> tuple[Any, int | None]:
        found = read(key)
        loaded.set()
        replaced.wait(10)
        return found

    connector.get_with_generation = slow  # type: ignore[method-assign]
    with store, ThreadPoolExecutor(2) as pool:
        leader = pool.submit(store.get, key)
        loaded.wait(10)
        connector.replace(key, serialize("new"))
        follower = pool.submit(store.get, key)
        while store.cache.misses < 2:
            time.sleep(0)
        replaced.set()
        assert leader.result(10) == "old"
        assert follower.result(10) == "new"
