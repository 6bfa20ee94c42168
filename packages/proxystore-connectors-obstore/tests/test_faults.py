"""What goes wrong on the way is told or made good: never a hang, never wrong data."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxystore.errors import (
    ConnectorUnavailableError,
    CorruptObjectError,
    MediumFullError,
    MediumGoneError,
    ProxyStoreError,
    SecretNotFoundError,
)
from proxystore.payload import Buffers
from proxystore_connectors_obstore import ObstoreConnector, ObstoreKey

PART = 5 << 20


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


def through(forwarder: Any, connector: ObstoreConnector, **options: Any) -> ObstoreConnector:
    """Another connector to the same objects, on the other side of ``forwarder``."""
    return ObstoreConnector.from_config(
        connector.config() | {"endpoint": forwarder.endpoint, "timeout": 4.0} | options
    )


# --- Connections ------------------------------------------------------------


@pytest.mark.slow
def test_a_server_that_is_killed_is_named_and_one_that_is_started_again_is_used(
    start_moto: Callable[..., Any], forward: Any, moto: Any, s3_options: dict[str, Any]
) -> None:
    server = start_moto()
    with ObstoreConnector(**s3_options, clear=False) as durable:
        key = durable.put(b"before")
    connector = ObstoreConnector(**s3_options | {"endpoint": server.endpoint, "timeout": 2.0})
    connector.put(b"on the server that will be killed")
    server.kill()
    with within(6), pytest.raises(ConnectorUnavailableError, match="nothing listens") as caught:
        connector.put(b"meanwhile")
    assert str(server.port) in str(caught.value)
    # moto forgets when it is killed; the one that takes its place has what was put there before.
    forward(moto.port, server.port)
    assert connector.get(key) == b"before"
    assert connector.get(connector.put(b"after")) == b"after"
    connector.close()


@pytest.mark.parametrize("parallel", [1, 3])
def test_a_connection_cut_while_an_object_is_received_is_made_good(
    connector: ObstoreConnector, moto: Any, forward: Any, parallel: int
) -> None:
    data = os.urandom(12 << 20)
    key = connector.put(data)
    forwarder = forward(moto.port)
    with through(forwarder, connector, parallel=parallel, part_nbytes=PART) as reader:
        assert reader.exists(key)
        forwarder.cut_down_after = 3 << 20
        with within(15):
            found = reader.get(key)
        assert forwarder.cuts_left == 0
        assert found == data


def test_connections_that_are_cut_each_time_are_an_error(
    connector: ObstoreConnector, moto: Any, forward: Any
) -> None:
    key = connector.put(bytes(12 << 20))
    forwarder = forward(moto.port)
    with through(forwarder, connector) as reader:
        assert reader.exists(key)
        forwarder.cut_down_after, forwarder.cuts_left = 1 << 20, 10_000
        with within(15), pytest.raises(ConnectorUnavailableError, match=str(forwarder.port)):
            reader.get(key)
        with within(15), pytest.raises(ConnectorUnavailableError, match=str(forwarder.port)):
            asyncio.run(reader.aget(key))


def test_a_connection_cut_while_an_object_is_sent_is_made_good(
    connector: ObstoreConnector, moto: Any, forward: Any
) -> None:
    data = os.urandom(6 << 20)
    forwarder = forward(moto.port)
    with through(forwarder, connector) as writer:
        forwarder.cut_up_after = 2 << 20
        key = writer.put(data)
        assert forwarder.cuts_left == 0
        assert connector.get(key) == data
        for _ in range(5):
            forwarder.cuts_left = 1
            key = writer.new_key()
            writer.set(key, data)
            assert forwarder.cuts_left == 0
            assert connector.get(key) == data
        forwarder.cuts_left = 1
        assert writer.touch(key, 3600)
        assert connector.get(key) == data
        forwarder.cuts_left = 10_000
        with within(15), pytest.raises(ConnectorUnavailableError, match="cut"):
            writer.set(writer.new_key(), data)


@pytest.mark.slow
def test_an_upload_that_fails_leaves_no_object_and_no_parts(
    connector: ObstoreConnector, moto: Any, forward: Any
) -> None:
    forwarder = forward(moto.port)
    bucket, _, prefix = connector.config()["url"].removeprefix("s3://").partition("/")
    before = moto.client.list_objects_v2(Bucket=bucket, Prefix=prefix)["KeyCount"]
    with through(forwarder, connector, part_nbytes=PART) as writer:
        assert not writer.exists(ObstoreKey("nothing"))
        # Small requests pass, and so does the one that takes the parts back.
        forwarder.cut_up_after, forwarder.cuts_left = 1 << 20, 10_000
        with pytest.raises(ConnectorUnavailableError, match="cut"):
            writer.put(Buffers([bytes(PART)] * 5))
        uploads = moto.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        assert not [upload for upload in uploads if upload["Key"].startswith(prefix)]
        assert moto.client.list_objects_v2(Bucket=bucket, Prefix=prefix)["KeyCount"] == before


def test_a_server_that_does_not_answer_is_an_error_in_time(
    connector: ObstoreConnector, moto: Any, forward: Any
) -> None:
    key, evicted = connector.put_batch([b"x", b"y"])
    forwarder = forward(moto.port)
    with through(forwarder, connector, timeout=0.6) as other:
        assert other.exists(key)
        forwarder.goes_on.clear()
        for call in (
            lambda: other.get(key),
            lambda: other.put(b"y"),
            lambda: other.set(other.new_key(), b"z"),
            lambda: other.exists(key),
            lambda: other.evict(evicted),
            lambda: other.get_batch([key, key]),
            lambda: asyncio.run(other.aget(key)),
            lambda: asyncio.run(other.aput(b"z")),
        ):
            with within(2.5), pytest.raises(ConnectorUnavailableError, match=r"timeout=0\.6 s"):
                call()
        forwarder.goes_on.set()
        assert connector.get(key) == b"x"


@pytest.mark.slow
def test_a_slow_answer_takes_longer_than_the_timeout_if_it_goes_on(
    connector: ObstoreConnector, moto: Any, forward: Any
) -> None:
    data = os.urandom(3 << 20)
    key = connector.put(data)
    forwarder = forward(moto.port)
    with through(forwarder, connector, timeout=1.0) as reader:
        assert reader.exists(key)
        forwarder.down_per_second = 2 << 20
        assert reader.get(key) == data


def test_a_write_whose_answer_was_lost_is_not_taken_for_that_of_another(
    connector: ObstoreConnector, moto: Any, forward: Any
) -> None:
    forwarder = forward(moto.port)
    with through(forwarder, connector) as writer:
        key = writer.new_key()
        assert not writer.exists(key)
        # The request passes, its answer does not.
        forwarder.cut_down_after = 0
        writer.set(key, b"mine")
        assert forwarder.cuts_left == 0
        assert connector.get(key) == b"mine"


def test_other_clients_are_not_disturbed_by_one_that_is_cut(
    connector: ObstoreConnector, moto: Any, forward: Any
) -> None:
    keys = connector.put_batch([os.urandom(1 << 20) for _ in range(4)])
    forwarder = forward(moto.port)
    with through(forwarder, connector, timeout=1.0) as cut:
        assert cut.exists(keys[0])
        forwarder.cut_down_after, forwarder.cuts_left = 0, 10_000
        with pytest.raises(ConnectorUnavailableError):
            cut.get_batch(keys)
        assert all(found is not None for found in connector.get_batch(keys))


# --- Refusals ---------------------------------------------------------------


def test_wrong_credentials_are_told_without_telling_them(
    start_moto: Callable[..., Any], s3_options: dict[str, Any]
) -> None:
    # After the one that makes the bucket, requests are checked.
    server = start_moto(INITIAL_NO_AUTH_ACTION_COUNT="1")
    with pytest.raises(ConnectorUnavailableError, match="refused the credentials") as caught:
        ObstoreConnector(**s3_options | {"endpoint": server.endpoint})
    message = str(caught.value)
    assert server.endpoint in message
    assert "InvalidAccessKeyId" in message
    assert "identifier" not in message
    assert "not-for-anybody" not in message


def test_a_reference_that_leads_nowhere_is_told(
    s3_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OBSTORE_TEST_KEY")
    with pytest.raises(SecretNotFoundError, match="env:OBSTORE_TEST_KEY"):
        ObstoreConnector(**s3_options)


def test_no_credentials_at_all_are_told(
    s3_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing listens on the port where an instance would offer them.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    options = {"url": s3_options["url"], "endpoint": s3_options["endpoint"], "timeout": 2.0}
    with within(5), pytest.raises(ConnectorUnavailableError, match="access_key_id=env:NAME"):
        ObstoreConnector(**options)


@pytest.mark.parametrize("option", ["sas_token", "account_key"])
def test_credentials_of_azure_that_are_none_are_told_by_their_option(
    monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setenv("UNUSABLE", "not of any form")
    references: dict[str, Any] = {option: "env:UNUSABLE"}
    with pytest.raises(ConnectorUnavailableError, match=f"those in {option} cannot be") as caught:
        ObstoreConnector("az://container/prefix", account="a", timeout=2.0, **references)
    assert "not of any form" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_told(s3_options: dict[str, Any]) -> None:
    url = "s3://not-there/prefix"
    with pytest.raises(MediumGoneError, match="no bucket or container 'not-there'"):
        ObstoreConnector(**s3_options | {"url": url})
    with pytest.raises(MediumGoneError, match="no bucket or container 'not-there'"):
        ObstoreConnector.from_config(s3_options | {"url": url}).get(ObstoreKey("x"))


def test_a_server_that_speaks_no_tls_is_told(s3_options: dict[str, Any]) -> None:
    options = s3_options | {"endpoint": s3_options["endpoint"].replace("http", "https")}
    with pytest.raises(ConnectorUnavailableError, match=r"speak TLS|no connection"):
        ObstoreConnector(**options, timeout=2.0)


def test_a_name_that_nobody_knows_is_told(s3_options: dict[str, Any]) -> None:
    options = s3_options | {"endpoint": "http://nowhere.invalid:9"}
    with pytest.raises(ConnectorUnavailableError, match=r"nowhere\.invalid:9"):
        ObstoreConnector(**options, timeout=2.0)


def answering(head: str, body: str = "") -> bytes:
    length = f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return f"HTTP/1.1 {head}\r\n{length}{body}".encode()


MARKER = answering("200 OK", '{"format": 1, "conditional": true}').replace(
    b"Connection", b'ETag: "1"\r\nLast-Modified: Sun, 22 Nov 2026 10:00:00 GMT\r\nConnection'
)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (answering("503 Slow Down", "<Code>SlowDown</Code>"), ConnectorUnavailableError, "503 Sl"),
        (answering("507 Insufficient Storage"), MediumFullError, "No room for an object of 5 byt"),
        (answering("403 No", "<Code>QuotaExceeded</Code>"), MediumFullError, "QuotaExceeded"),
        (answering("400 Bad", "<Code>EntityTooLarge</Code>"), MediumFullError, "one request"),
        (answering("301 Moved", "<Code>PermanentRedirect</Code>"), ConnectorUnavailableError, "re"),
        (answering("501 No", "<Code>NotImplemented</Code>"), ConnectorUnavailableError, "conditi"),
        (b"220 mail.example ESMTP\r\n", ConnectorUnavailableError, "cut|not expect"),
        (b"", ConnectorUnavailableError, "cut"),
    ],
)
def test_what_a_service_answers_becomes_an_error_of_ours(
    s3_options: dict[str, Any], serve: Callable[[bytes], int], answer: bytes, error: type, said: str
) -> None:
    port = serve(lambda request: MARKER if b".proxystore" in request[:300] else answer)
    options = s3_options | {"endpoint": f"http://127.0.0.1:{port}", "timeout": 2.0}
    with ObstoreConnector.from_config(options) as connector:
        with pytest.raises(error, match=said) as caught:
            connector.put(b"bytes")
    assert str(port) in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    answer=st.binary(max_size=300)
    | st.builds(
        lambda status, headers, body: b"HTTP/1.1 %d X\r\n%s\r\n%s" % (status, headers, body),
        st.integers(0, 1000),
        st.binary(max_size=80),
        st.binary(max_size=80),
    )
)
def test_a_server_that_answers_anything_causes_an_error_of_ours_or_is_believed(
    s3_options: dict[str, Any], serve: Callable[..., int], answer: bytes
) -> None:
    port = serve(lambda request: MARKER if b".proxystore" in request[:300] else answer)
    options = s3_options | {"endpoint": f"http://127.0.0.1:{port}", "timeout": 0.4}
    with ObstoreConnector.from_config(options) as connector:
        for call in (
            lambda: connector.get(ObstoreKey("x")),
            lambda: connector.exists(ObstoreKey("x")),
            lambda: connector.get_range(ObstoreKey("x"), 1, 2),
            lambda: connector.put(b"bytes"),
        ):
            with within(5), contextlib.suppress(ProxyStoreError):
                call()


def test_a_time_that_is_none_is_told(connector: ObstoreConnector, moto: Any) -> None:
    key = connector.put(b"x")
    name = connector.config()["url"].removeprefix("s3://bucket/") + f"/{key.object_id}"
    metadata = {"proxystoreexpires": "soon"}
    moto.client.put_object(Bucket="bucket", Key=name, Body=b"x", Metadata=metadata)
    with pytest.raises(CorruptObjectError, match="is no time"):
        connector.get(key)


def test_a_full_file_system_is_told(tmp_path: Path) -> None:
    with ObstoreConnector(f"obstore+file://{tmp_path}/objects") as connector:
        key = connector.put(b"small")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
        try:
            with pytest.raises(MediumFullError, match="1048576 bytes"):
                connector.put(bytes(1 << 20))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert connector.get(key) == b"small"
        assert os.listdir(tmp_path / "objects").count(".proxystore") == 1
