"""Servers that move: services behind sentinels, and slots of a cluster."""

from __future__ import annotations

import contextlib
import fnmatch
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from proxystore.abc import Capability
from proxystore.errors import ConnectorUnavailableError
from proxystore.testing import ConnectorContract
from proxystore_connectors_redis import RedisConnector

_LARGE = bytes(range(256)) * 8_000
_WITHIN = 60.0


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _WITHIN
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


# --- Sentinels ---------------------------------------------------------------------


class _Service:
    """A primary, its replica, and the sentinel that watches them."""

    def __init__(self, start_server: Callable[..., Any], folder: Any) -> None:
        self.servers = [start_server("--repl-diskless-sync-delay", "0")]
        self.servers.append(start_server("--replicaof", "127.0.0.1", str(self.servers[0].port)))
        _until(self._is_replicated, "the replica did not come up")
        config = folder / "sentinel.conf"
        config.write_text(
            f"sentinel monitor main 127.0.0.1 {self.servers[0].port} 1\n"
            "sentinel down-after-milliseconds main 300\n"
            "sentinel failover-timeout main 2000\n"
        )
        self.sentinel = start_server(sentinel=config)
        with self.sentinel.client() as asked:
            # How often it asks its servers, in ms, in place of every 10 s.
            asked.execute_command("SENTINEL DEBUG", "INFO-PERIOD", 200)
            _until(
                lambda: [each["master-link-status"] for each in asked.sentinel_slaves("main")]
                == ["ok"],
                "the sentinel does not know the replica",
            )

    def _is_replicated(self) -> bool:
        with self.servers[1].client() as replica:
            return replica.info("replication")["master_link_status"] == "up"

    @property
    def nodes(self) -> list[str]:
        return [f"127.0.0.1:{self.sentinel.port}"]

    def connector(self, **options: Any) -> RedisConnector:
        return RedisConnector(sentinels=self.nodes, service="main", **options)

    def primary(self) -> int:
        with self.sentinel.client() as asked:
            return int(asked.sentinel_get_master_addr_by_name("main")[1])

    def replicated(self) -> None:
        """Return when the replica has all that the primary has."""
        with self.servers[0].client() as primary:
            assert primary.wait(1, 10_000) == 1


@pytest.fixture
def service(start_server: Callable[..., Any], tmp_path: Any) -> _Service:
    return _Service(start_server, tmp_path)


@pytest.mark.slow
def test_a_service_is_used_where_its_primary_is(service: _Service) -> None:
    with service.connector() as connector:
        assert connector.is_owner
        key = connector.put(_LARGE)
        with RedisConnector.from_url(connector.url) as other:
            assert bytes(other.get(key) or b"") == _LARGE
        with service.servers[0].client() as primary:
            assert primary.exists(f"ps:{connector.config()['namespace']}:{key.redis_key}")


@pytest.mark.slow
def test_after_a_failover_calls_and_waits_go_on_at_the_new_primary(service: _Service) -> None:
    with service.connector() as connector, ThreadPoolExecutor(1) as pool:
        kept, awaited = connector.put(b"kept"), connector.new_key()
        waiting = pool.submit(connector.wait, awaited, _WITHIN)
        service.replicated()
        service.servers[0].kill()
        with pytest.raises(ConnectorUnavailableError, match=r"service 'main' of sentinels 127"):
            connector.get(kept)
        _until(lambda: service.primary() == service.servers[1].port, "no failover")
        _until(lambda: _is_writable(connector), "the new primary was not found")
        assert bytes(connector.get(kept) or b"") == b"kept"
        connector.set(awaited, b"x")
        assert waiting.result(_WITHIN)


def _is_writable(connector: RedisConnector) -> bool:
    try:
        connector.evict(connector.put(b"x"))
    except ConnectorUnavailableError:
        return False
    return True


@pytest.mark.slow
def test_a_primary_that_became_a_replica_is_left_for_the_new_one(service: _Service) -> None:
    with service.connector() as connector:
        key = connector.put(b"old")
        service.replicated()
        with service.sentinel.client() as sentinel, service.servers[0].client() as before:
            sentinel.execute_command("SENTINEL FAILOVER main")
            _until(lambda: service.primary() == service.servers[1].port, "no failover")
            # As the sentinel does some seconds later; connections to it stay.
            before.replicaof("127.0.0.1", service.servers[1].port)
        connector.replace(key, b"new")
        assert bytes(connector.get(key) or b"") == b"new"
        with service.servers[1].client() as after:
            assert len(after.keys(f"ps:{connector.config()['namespace']}:*")) == 1


@pytest.mark.slow
def test_a_service_that_no_sentinel_knows_is_told_so(service: _Service) -> None:
    with pytest.raises(ConnectorUnavailableError, match=r"'mian'.*SENTINEL MASTERS"):
        RedisConnector(sentinels=service.nodes, service="mian")


def test_sentinels_that_are_not_there_are_named() -> None:
    with pytest.raises(ConnectorUnavailableError, match=r"127\.0\.0\.1:1, 127\.0\.0\.1:2"):
        RedisConnector(sentinels=["127.0.0.1:2", "127.0.0.1:1"], service="main", timeout=1)


# --- A cluster ------------------------------------------------------------------------


class _Cluster:
    """Three primaries."""

    def __init__(self, start_server: Callable[..., Any]) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        self.servers = [start_server(*options, below=55_000) for _ in range(3)]
        self.clients = [server.client() for server in self.servers]
        for number, client in enumerate(self.clients):
            first, end = 16384 * number // 3, 16384 * (number + 1) // 3
            client.execute_command("CLUSTER ADDSLOTS", *range(first, end))
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for server in self.servers[1:]:
            self.clients[0].execute_command("CLUSTER MEET", "127.0.0.1", server.port)
        _until(lambda: all(map(self._is_whole, self.clients)), "no cluster came to be")

    def _is_whole(self, client: Any) -> bool:
        said = client.execute_command("CLUSTER INFO")
        return (said["cluster_state"], said["cluster_known_nodes"]) == ("ok", "3")

    @property
    def nodes(self) -> list[str]:
        return [f"127.0.0.1:{server.port}" for server in self.servers]

    def of(self, connector: RedisConnector) -> int:
        """Number of the node that has the objects of ``connector``."""
        name = f"ps:{{{connector.config()['namespace']}}}"
        (number,) = [n for n, client in enumerate(self.clients) if name.encode() in client.keys()]
        return number

    def move(self, connector: RedisConnector) -> None:
        """Move the slot of ``connector`` to the next node."""
        with self.moving(connector) as carry:
            carry("*")

    @contextlib.contextmanager
    def moving(self, connector: RedisConnector) -> Iterator[Callable[[str], None]]:
        """Begin to move the slot of ``connector`` to the next node, and end it with the block.

        Gives what moves the values whose names are like a pattern.
        """
        source = self.of(connector)
        target = (source + 1) % 3
        name = f"ps:{{{connector.config()['namespace']}}}"
        slot = self.clients[0].execute_command("CLUSTER KEYSLOT", name)
        ids = [client.execute_command("CLUSTER MYID") for client in self.clients]
        setslot = ("CLUSTER SETSLOT", slot)
        self.clients[target].execute_command(*setslot, "IMPORTING", ids[source])
        self.clients[source].execute_command(*setslot, "MIGRATING", ids[target])
        place = ("127.0.0.1", self.servers[target].port, "", 0, 10_000)

        def carry(pattern: str) -> None:
            found = self.clients[source].execute_command("CLUSTER GETKEYSINSLOT", slot, 1000)
            keys = fnmatch.filter(found, pattern)
            self.clients[source].execute_command("MIGRATE", *place, "KEYS", *keys)

        yield carry
        for number in (target, source, 3 - source - target):
            self.clients[number].execute_command(*setslot, "NODE", ids[target])


@pytest.fixture(scope="module")
def cluster(start_servers: Callable[..., Any]) -> _Cluster:
    return _Cluster(start_servers)


class TestClusterContract(ConnectorContract):
    capabilities = frozenset({
        Capability.CROSS_PROCESS,
        Capability.DEFERRABLE,
        Capability.LEASABLE,
        Capability.RANGED,
        Capability.REPLACEABLE,
        Capability.WAITABLE,
    })

    @pytest.fixture
    def connector(
        self, cluster: _Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[RedisConnector]:
        monkeypatch.setattr(RedisConnector, "_part_nbytes", 500_000)
        with RedisConnector(cluster=cluster.nodes[:1]) as connector:
            yield connector


def test_namespaces_spread_over_the_nodes(cluster: _Cluster) -> None:
    made = [RedisConnector(cluster=cluster.nodes, namespace=f"n{n}") for n in range(9)]
    try:
        assert {cluster.of(connector) for connector in made} == {0, 1, 2}
        keys = [connector.put(b"x") for connector in made]
        for connector, key in zip(made, keys, strict=True):
            assert connector.exists(key)
    finally:
        for connector in made:
            connector.close()
    assert not any(client.keys("ps:{n?}:*") for client in cluster.clients)


def test_a_slot_that_moved_is_followed(cluster: _Cluster) -> None:
    with RedisConnector(cluster=cluster.nodes) as connector:
        for call in (
            lambda key: connector.get(key) == _LARGE,
            connector.exists,
            lambda key: connector.replace(key, _LARGE) is None,
            lambda key: connector.get_batch([key, connector.put(b"x")])[0] == _LARGE,
            lambda key: connector.touch(key, None),
        ):
            key = connector.put(_LARGE)
            before = cluster.of(connector)
            cluster.move(connector)
            assert cluster.of(connector) != before
            assert call(key)


def test_a_node_that_names_no_host_means_the_one_that_was_asked(cluster: _Cluster) -> None:
    for client in cluster.clients:
        if int(client.info("server")["redis_version"].partition(".")[0]) < 7:
            pytest.skip("before Redis 7 every node names a host")
        client.config_set("cluster-preferred-endpoint-type", "unknown-endpoint")
    try:
        # In at least two of three, the node that is asked has no such slot.
        for number in (1, 2, 4):
            with RedisConnector(cluster=cluster.nodes[:1], namespace=f"n{number}") as connector:
                assert connector.exists(connector.put(b"x"))
                cluster.move(connector)
                assert connector.exists(connector.put(b"x"))
    finally:
        for client in cluster.clients:
            client.config_set("cluster-preferred-endpoint-type", "ip")


def test_of_a_slot_on_its_way_what_is_there_is_read_and_the_rest_is_to_be_tried_again(
    cluster: _Cluster,
) -> None:
    with RedisConnector(cluster=cluster.nodes) as owner:
        gone, kept = owner.put(b"gone"), owner.put(b"kept")
        number = cluster.of(owner)
        config = {**owner.config(), "cluster": [cluster.nodes[number]]}
        with RedisConnector.from_config(config) as connector:
            with cluster.moving(owner) as carry:
                assert bytes(connector.get(kept) or b"") == b"kept"
                carry("ps:{*}")
                carry("*:" + gone.redis_key)
                # Also over connections that are made meanwhile.
                cluster.clients[number].client_kill_filter(_type="normal", skipme=True)
                assert bytes(connector.get(kept) or b"") == b"kept"
                for call in (lambda: connector.get(gone), lambda: connector.put(b"x")):
                    with pytest.raises(ConnectorUnavailableError, match=r"is moving.*Try again"):
                        call()
                carry("*")
            assert bytes(connector.get(gone) or b"") == b"gone"
            assert connector.exists(connector.put(b"x"))


def test_a_close_while_the_slot_moves_can_be_repeated_once_it_has(cluster: _Cluster) -> None:
    connector = RedisConnector(cluster=cluster.nodes)
    connector.put_batch([b"x"] * 3)
    with cluster.moving(connector) as carry:
        with pytest.raises(ConnectorUnavailableError, match=r"is moving.*close it again"):
            connector.close()
        carry("*")
    connector.close()
    names = f"ps:{{{connector.config()['namespace']}}}:*"
    assert not any(client.keys(names) for client in cluster.clients)


@pytest.mark.slow
def test_a_wait_goes_on_when_the_slot_moves(cluster: _Cluster) -> None:
    with RedisConnector(cluster=cluster.nodes) as connector, ThreadPoolExecutor(1) as pool:
        key = connector.new_key()
        waiting = pool.submit(connector.wait, key, _WITHIN)
        channel = f"ps:{{{connector.config()['namespace']}}}:{key.redis_key}"
        listener = cluster.clients[cluster.of(connector)]
        _until(lambda: channel.encode() in listener.pubsub_channels(), "nobody listens")
        cluster.move(connector)
        connector.set(key, b"x")
        assert waiting.result(_WITHIN)


def test_a_node_that_is_not_there_is_passed_over(cluster: _Cluster) -> None:
    with RedisConnector(cluster=["127.0.0.1:1", *cluster.nodes]) as connector:
        assert connector.exists(connector.put(b"x"))


def test_nodes_that_are_not_there_are_named() -> None:
    with pytest.raises(ConnectorUnavailableError, match=r"cluster of 127\.0\.0\.1:1, 127\.0"):
        RedisConnector(cluster=["127.0.0.1:2", "127.0.0.1:1"], timeout=1)


def test_a_node_that_is_taken_for_a_server_is_told_how_to_name_its_cluster(
    cluster: _Cluster,
) -> None:
    with pytest.raises(ConnectorUnavailableError, match=r"node of a cluster.*redis\+cluster://"):
        for number in range(99):
            with RedisConnector("127.0.0.1", cluster.servers[0].port) as connector:
                connector.put_batch([b"x"] * 20)


def test_a_server_that_is_taken_for_a_cluster_is_one_of_a_single_node(server: Any) -> None:
    with RedisConnector(cluster=[f"127.0.0.1:{server.port}"]) as connector:
        assert connector.exists(connector.put(b"x"))
