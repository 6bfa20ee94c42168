"""How a connector is described: options, configs and URLs."""

from __future__ import annotations

import contextlib
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxystore.connectors.load import connector_from_url, connector_type, kind_of
from proxystore.errors import ConfigError, ConnectorUnavailableError
from proxystore.store import Store
from proxystore_connectors_redis import RedisConnector

_SECRET = "hunter2"
_texts = st.text("aZ09 _-/:?#@%&=+[]\u00e9\U0001f600", min_size=1, max_size=12)
_paths = _texts.map(lambda text: f"/{text}")
_optional = {
    "db": st.integers(0, 99),
    "username": _texts,
    "password": st.sampled_from(["env:REDIS_PASSWORD", "file:/run/secret", "keyring:a/b"]),
    "timeout": st.floats(0.001, 1e6) | st.integers(1, 1000),
}
_tls = {"tls_ca": _paths, "tls_cert": _paths, "tls_key": _paths, "tls_verify": st.booleans()}
_nodes = st.lists(
    st.sampled_from(["10.0.0.1", "10.0.0.1:7000", "[::1]:7001", "[::1]", "Node-7", "node-7:6380"]),
    min_size=1,
)
_tcp = st.fixed_dictionaries(
    {
        "hostname": st.sampled_from(["127.0.0.1", "::1", "redis.example.org", "Node-7"]),
        "port": st.integers(1, 65535),
        "namespace": st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    },
    optional=_optional,
)
_configs = (
    _tcp
    | st.builds(
        lambda tcp, tls: {**tcp, **tls, "tls": True},
        _tcp,
        st.fixed_dictionaries({}, optional=_tls),
    )
    | st.fixed_dictionaries(
        {"socket_path": _paths, "namespace": st.just("here")}, optional=_optional
    )
    | st.fixed_dictionaries(
        {"sentinels": _nodes, "service": _texts, "namespace": st.just("here")}, optional=_optional
    )
    | st.fixed_dictionaries(
        {"cluster": _nodes, "namespace": st.just("here")},
        optional={name: _optional[name] for name in ("username", "password", "timeout")},
    )
)


@pytest.mark.slow
@given(config=_configs)
@settings(max_examples=60)
def test_a_url_and_a_config_say_the_same(config: dict[str, Any]) -> None:
    made = RedisConnector.from_config(config)
    again = connector_from_url(made.url)
    assert made.config() == again.config()
    assert made.url == again.url
    assert made.config() == RedisConnector.from_config(made.config()).config()


@pytest.mark.slow
@settings(max_examples=60)
@given(url=st.text() | st.from_regex(r"rediss?(\+unix)?://[^\s]*", fullmatch=True))
def test_any_text_is_a_url_or_a_config_error(url: str) -> None:
    url = url if "?" in url else f"{url}/0/there"
    with contextlib.suppress(ConfigError, ConnectorUnavailableError):
        RedisConnector.from_url(url)


@pytest.mark.parametrize("scheme", [
    *("redis", "rediss", "redis+unix", "redis+sentinel", "rediss+sentinel", "redis+cluster"),
    "rediss+cluster",
])
def test_every_scheme_leads_to_the_one_class(scheme: str) -> None:
    assert connector_type(scheme) is RedisConnector


def test_the_kind_is_redis_whatever_the_scheme(connector: RedisConnector) -> None:
    assert kind_of(connector) == "redis"


@pytest.mark.parametrize(
    ("url", "config"),
    [
        ("redis://h/0/n", {"hostname": "h", "port": 6379, "namespace": "n"}),
        ("redis://H:1/2/n", {"hostname": "h", "port": 1, "namespace": "n", "db": 2}),
        ("redis://u%40@h/0/n", {"hostname": "h", "port": 6379, "namespace": "n", "username": "u@"}),
        (
            "rediss://h:1/0/n?tls_ca=/ca.pem&tls_verify=0",
            {
                "hostname": "h",
                "port": 1,
                "namespace": "n",
                "tls": True,
                "tls_ca": "/ca.pem",
                "tls_verify": False,
            },
        ),
        (
            "redis+unix:///run/r%20s?namespace=n&password=env:P",
            {"socket_path": "/run/r s", "namespace": "n", "password": "env:P"},
        ),
        (
            "redis+sentinel://u@B,a:1/2/n?service=s",
            {
                "sentinels": ["a:1", "b:26379"],
                "service": "s",
                "username": "u",
                "db": 2,
                "namespace": "n",
            },
        ),
        (
            "rediss+cluster://[::1]:7000,h/0/n?tls_ca=/ca",
            {
                "cluster": ["[::1]:7000", "h:6379"],
                "tls": True,
                "tls_ca": "/ca",
                "namespace": "n",
            },
        ),
    ],
)
def test_each_form_of_a_url_is_understood(url: str, config: dict[str, Any]) -> None:
    assert config == RedisConnector.from_url(url).config()


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{_SECRET}@h:1/0/n",
        f"redis://user:{_SECRET}@h:1/0/n",
        f"redis://user:{_SECRET}/x@h:1/0/n",
        f"redis://user:{_SECRET}?x@h:1/0/n",
        f"redis://user:12{_SECRET}@[h:1/0/n",
        f"redis://h:{_SECRET}/0/n",
        f"redis://h:1/0/n?password={_SECRET}",
        f"redis://h:1/0/n#{_SECRET}",
        f"redis://h:1/{_SECRET}/n",
        f"redis://h:1/0/{_SECRET}/n",
        f"redis+unix://{_SECRET}@h/x?namespace=n",
        f"redis+sentinel://user:{_SECRET}@h:1,i:2/0/n?service=s",
        f"redis+cluster://h:1,i:{_SECRET}/0/n",
    ],
)
def test_a_password_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RedisConnector.from_url(url)
    assert _SECRET not in str(caught.value)
    assert _SECRET not in repr(caught.value.__reduce__())


@pytest.mark.parametrize("name", ["password", "hostname"])
def test_a_password_in_an_option_is_refused_and_not_repeated(name: str) -> None:
    options: dict[str, Any] = {name: f"redis://:{_SECRET}@h"}
    for make in (
        lambda: RedisConnector(**options),
        lambda: RedisConnector.from_config({"namespace": "n", **options}),
    ):
        with pytest.raises(ConfigError, match=name) as caught:
            make()
        assert _SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"hostname": "h"}, "namespace"),
        ({"namespace": "n", "hostnam": "h"}, "hostname"),
        ({"namespace": "a/b"}, "64 characters"),
        ({"namespace": ""}, "64 characters"),
        ({"namespace": "n", "port": 0}, "65535"),
        ({"namespace": "n", "port": True}, "65535"),
        ({"namespace": "n", "port": "6379"}, "65535"),
        ({"namespace": "n", "db": -1}, "at least 0"),
        ({"namespace": "n", "timeout": 0}, "seconds"),
        ({"namespace": "n", "timeout": float("nan")}, "seconds"),
        ({"namespace": "n", "tls": 1}, "True or False"),
        ({"namespace": "n", "tls_ca": "/ca"}, "tls=True"),
        ({"namespace": "n", "tls_verify": False}, "tls=True"),
        ({"namespace": "n", "tls": True, "tls_ca": "ca"}, "absolute path"),
        ({"namespace": "n", "tls": True, "socket_path": "/s"}, "no TLS"),
        ({"namespace": "n", "username": ""}, "name"),
        ({"namespace": "n", "socket_path": "/s", "hostname": "h"}, "different ways"),
        ({"namespace": "n", "socket_path": "/s", "port": 6379}, "'port' and 'socket_path'"),
        ({"namespace": "n", "cluster": ["h"], "hostname": "h"}, "different ways"),
        ({"namespace": "n", "cluster": ["h"], "sentinels": ["h"]}, "different ways"),
        ({"namespace": "n", "cluster": ["h"], "db": 1}, "database 0 only"),
        ({"namespace": "n", "cluster": []}, "HOST:PORT"),
        ({"namespace": "n", "cluster": "h:1"}, "HOST:PORT"),
        ({"namespace": "n", "cluster": ["h:0"]}, "HOST:PORT"),
        ({"namespace": "n", "sentinels": ["h"]}, "come together"),
        ({"namespace": "n", "service": "s"}, "come together"),
        ({"namespace": "n", "hostname": "a b"}, "host name"),
    ],
)
def test_a_wrong_option_is_named(config: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        RedisConnector.from_config(config)


def test_a_server_and_a_socket_are_not_taken_together() -> None:
    for place in (("h",), (None, 1), ("127.0.0.1", 6379)):
        with pytest.raises(ConfigError, match=r"'socket_path'.*different ways"):
            RedisConnector(*place, socket_path="/run/redis.sock")


def test_what_a_secret_is_read_with_is_no_part_of_the_identity(connector: RedisConnector) -> None:
    config = connector.config()
    with_password = RedisConnector.from_config({**config, "password": "env:PASSWORD"})
    assert Store("a", connector).identity == Store("b", with_password).identity


def test_a_url_with_a_namespace_takes_no_other() -> None:
    with pytest.raises(ConfigError, match="namespace"):
        RedisConnector.from_url("redis://h:1/0/one", namespace="two")


def test_a_proxy_at_default_options_pickles_to_less_than_200_bytes(
    connector: RedisConnector,
) -> None:
    with Store("results", connector) as store:
        assert len(pickle.dumps(store.proxy([1, 2, 3]))) < 200


def test_a_store_opens_by_its_url(connector: RedisConnector) -> None:
    key = connector.put(b"bytes")
    with Store.from_url(connector.url) as store:
        assert bytes(store.connector.get(key)) == b"bytes"


def test_the_older_systems_arguments_are_taken(server: Any) -> None:
    with RedisConnector("127.0.0.1", server.port, clear=True) as made:
        assert bytes(made.get(made.put(b"x")) or b"") == b"x"


@pytest.mark.slow
def test_importing_the_package_does_not_import_redis_py() -> None:
    import subprocess
    import sys

    code = "import sys, proxystore_connectors_redis; print('redis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
