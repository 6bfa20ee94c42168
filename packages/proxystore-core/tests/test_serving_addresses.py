"""Addresses of this node, and of others as text."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.errors import ConfigError
from proxystore.serving.addresses import (
    address_of,
    address_towards,
    join_address,
    listening_address,
    resolve,
    split_address,
)


def test_nothing_is_listened_on_unless_told() -> None:
    assert listening_address("a", None, None) is None


def test_an_interface_gives_its_address() -> None:
    assert "127.0.0.1" == address_of("lo") == listening_address("a", None, "lo")


def test_an_unknown_interface_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"nosuch0.*Known: .*lo"):
        listening_address("a", None, "nosuch0")


def test_address_and_interface_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="give one"):
        listening_address("a", "127.0.0.1", "lo")


@pytest.mark.parametrize(
    "address",
    ["", "*", "0.0.0.0", "0", "::", "[::]", "0::0", "::ffff:0.0.0.0", "[::ffff:0:0]"],
)
def test_an_address_of_all_interfaces_is_refused_for_others_cannot_use_it(address: str) -> None:
    with pytest.raises(ConfigError, match=r"the one address.* at which other nodes"):
        listening_address("a", address, None)


@pytest.mark.parametrize("address", ["no such host", "nosuch.invalid", "a" * 70 + ".invalid"])
def test_an_address_that_does_not_resolve_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="does not resolve"):
        listening_address("a", address, None)


@pytest.mark.parametrize("option", ["address", "interface"])
def test_what_is_no_text_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=f"option {option}=5 of connector 'a'"):
        listening_address("a", **{"address": None, "interface": None, option: 5})  # type: ignore[arg-type]


def test_a_name_becomes_the_number_that_others_can_use() -> None:
    assert "127.0.0.1" == listening_address("a", "localhost", None) == resolve("localhost")
    assert "::1" == listening_address("a", "[::1]", None) == resolve("::1")


def test_a_link_local_address_keeps_the_interface_that_leads_to_it() -> None:
    assert "fe80::1%lo" == resolve("fe80::1%lo") == listening_address("a", "[fe80::1%lo]", None)


def test_a_link_local_address_without_its_interface_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"name the interface.* as in fe80::1%eth0"):
        listening_address("a", "fe80::1", None)


def test_the_address_towards_a_host_is_the_one_that_it_sees() -> None:
    assert "127.0.0.1" == address_towards("127.0.0.1", 9)
    assert "::1" == address_towards("::1", 9)
    with pytest.raises(socket.gaierror):
        address_towards("nosuch.invalid", 9)


@given(
    host=st.sampled_from(["h", "10.0.0.1", "a.b-c", "::1", "fe80::1%eth0"]),
    port=st.integers(0, 65535),
)
def test_an_address_is_split_as_it_was_joined(host: str, port: int) -> None:
    assert (host, port) == split_address(join_address(host, port))


@pytest.mark.parametrize("text", ["::1:80", "h:65536", "h:-1", "h:", ":1", "h", "", "h:²"])
def test_what_is_no_address_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match="of the form host:port"):
        split_address(text)


@given(text=st.text(max_size=20))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        host, port = split_address(text)
        assert host
        assert 0 <= port <= 65535


def test_what_resolves_can_be_listened_on() -> None:
    with socket.socket() as listener:
        listener.bind((resolve("localhost"), 0))
