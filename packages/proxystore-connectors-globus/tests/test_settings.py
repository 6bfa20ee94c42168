"""Configs and URLs: the same settings come back, and nothing else is taken."""

from __future__ import annotations

import json
import re
import string
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxystore.errors import ConfigError, InvalidKeyError
from proxystore_connectors_globus import GlobusEndpoint, GlobusEndpoints, GlobusKey
from proxystore_connectors_globus._keys import checked_key, tasks_text
from proxystore_connectors_globus._login import Login
from proxystore_connectors_globus._settings import Settings

_ids = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=64)
_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n\r/."), max_size=9)
_paths = st.lists(_text.filter(bool), max_size=3).map(lambda parts: "/" + "/".join(parts))
_endpoints = st.builds(GlobusEndpoint, st.uuids(), _paths, _paths, _text.map(re.escape))
_settings = st.builds(
    Settings,
    st.lists(_endpoints, min_size=2, max_size=4, unique_by=lambda each: each.uuid).map(
        GlobusEndpoints
    ),
    _ids,
    st.builds(Login, st.uuids().map(str), st.sampled_from([None, "env:NAME", "file:/a b?&c"])),
    st.floats(0.001, 1e6),
    st.sampled_from(["exists", "size", "mtime", "checksum"]),
    st.floats(0.001, 1e6),
)
fuzzed = settings(max_examples=50, deadline=None, database=None)

CONFIG = {
    "endpoints": [
        {"uuid": str(uuid.UUID(int=n)), "endpoint_path": "/x", "local_path": "/x", "host_regex": ""}
        for n in (1, 2)
    ],
    "namespace": "results",
    "client_id": str(uuid.UUID(int=3)),
}


@pytest.mark.slow
@given(made=_settings)
@fuzzed
def test_settings_come_back_from_their_config_and_url(made: Settings) -> None:
    config = json.loads(json.dumps(made.to_config()))
    assert made == Settings.from_config(config)
    assert made == Settings.from_url(made.to_url())
    assert made.to_url() == Settings.from_url(made.to_url()).to_url()


@pytest.mark.parametrize(
    "change",
    [
        {"endpoints": None},
        {"namespace": None},
        {"namespace": "../x"},
        {"namespace": 7},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"timeout": "60"},
        {"polling_interval": -1},
        {"polling_interval": float("nan")},
        {"sync_level": "mtimes"},
        {"client_id": "me"},
        {"client_secret": "hunter2"},
        {"time_out": 60},
    ],
)
def test_a_config_with_a_wrong_option_is_refused(change: dict[str, object]) -> None:
    config = {name: value for name, value in {**CONFIG, **change}.items() if value is not None}
    Settings.from_config(CONFIG)
    with pytest.raises(ConfigError):
        Settings.from_config(config)


@pytest.mark.parametrize(
    "url",
    [
        "globus://",
        "globus:results",
        "file://results?uuid=x",
        "globus://results/path",
        "globus://results#x",
        "globus://results?uuid=00000000-0000-0000-0000-000000000001",
        "globus://results?timeout=soon",
        "globus://results?timeout=1&timeout=2",
        "globus://results?tiemout=1",
        "globus://results",
    ],
)
def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        Settings.from_url(url)


_tasks = st.lists(st.uuids().map(str), min_size=1, max_size=4)


@given(object_id=_ids, tasks=_tasks, data=st.data())
@fuzzed
def test_tasks_come_back_from_a_key(object_id: str, tasks: list[str], data: st.DataObject) -> None:
    carried: list[str | None] = [*tasks]
    carried.insert(data.draw(st.integers(0, len(tasks))), None)
    key = GlobusKey(object_id, tasks_text(carried))
    assert (object_id, carried) == checked_key(key, len(carried))
    with pytest.raises(InvalidKeyError):
        checked_key(key, len(carried) + 1)


@given(fields=st.tuples(st.text(max_size=80) | st.integers(), st.text(max_size=80) | st.none()))
@fuzzed
def test_a_key_of_anything_is_refused(fields: tuple[object, object]) -> None:
    for key in (GlobusKey(*fields), fields, None):  # type: ignore[arg-type]
        with pytest.raises(InvalidKeyError):
            checked_key(key, 2)
