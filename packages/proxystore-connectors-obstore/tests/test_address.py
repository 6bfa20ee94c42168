"""URLs and options: one canonical form, and no secret in any of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.errors import ConfigError, ProxyStoreError
from proxystore_connectors_obstore import ObstoreConnector

SEGMENT = st.from_regex(r"[A-Za-z0-9._~=+@-]{1,12}", fullmatch=True).filter(
    lambda text: text not in {".", ".."}
)
PREFIX = st.lists(SEGMENT, min_size=1, max_size=3).map("/".join)
REFERENCE = st.sampled_from(["env:NAME", "file:/run/secrets/a b&c", "keyring:service/user@host"])
S3 = st.fixed_dictionaries(
    {"url": PREFIX.map("s3://bucket/{}".format)},
    optional={
        "endpoint": st.sampled_from(["http://127.0.0.1:9000", "https://s3.example.org/path"]),
        "region": st.just("eu-central-1"),
        "timeout": st.floats(0.1, 1e6) | st.integers(1, 100),
        "part_nbytes": st.integers(5 << 20, 1 << 32),
        "parallel": st.integers(1, 64),
        "conditional": st.booleans(),
    },
)


@given(options=S3, secrets=st.none() | st.tuples(REFERENCE, REFERENCE))
def test_config_and_url_give_equal_connectors(
    options: dict[str, Any], secrets: tuple[str, str] | None
) -> None:
    if secrets:
        options |= {"access_key_id": secrets[0], "secret_access_key": secrets[1]}
    connector = ObstoreConnector.from_config(options)
    by_url = ObstoreConnector.from_url(connector.url)
    assert connector.config() == by_url.config()
    assert connector.url == by_url.url
    assert connector.config() == ObstoreConnector.from_config(connector.config()).config()


@given(text=st.text(max_size=60))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    for scheme in ("s3://", "gs://", "az://", "obstore+file://", "obstore+memory://", ""):
        try:
            connector = ObstoreConnector.from_url(scheme + text)
        except ConfigError:
            continue
        assert ObstoreConnector.from_url(connector.url).config() == connector.config()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://bucket", "BUCKET/PREFIX"),
        ("s3://bucket/", "BUCKET/PREFIX"),
        ("s3://bucket/a/../b", "BUCKET/PREFIX"),
        ("s3://bucket/a//b", "BUCKET/PREFIX"),
        ("s3:///prefix", "BUCKET/PREFIX"),
        ("s4://bucket/prefix", "Did you mean 's3://'"),
        ("obstore://bucket/prefix", "scheme is unknown"),
        ("az://container/prefix", "storage account"),
        ("gs://bucket/prefix?endpoint=http://x", "no such option"),
        ("obstore+file://host/path", "absolute/directory"),
        ("obstore+file:///", "absolute/directory"),
        ("obstore+memory://name/more", "NAME"),
        ("s3://bucket/prefix?region=a&region=b", "given twice"),
        ("s3://bucket/prefix?timeout=soon", "timeout"),
        ("s3://bucket/prefix?timeout=nan", "greater than 0"),
        ("s3://bucket/prefix?part_nbytes=1", "5242880"),
        ("s3://bucket/prefix?parallel=0", "at least 1"),
        ("s3://bucket/prefix?conditional=yes", "expected 0 or 1"),
        ("s3://bucket/prefix?regoin=a", "Did you mean 'region'"),
        ("s3://bucket/prefix?endpoint=ftp://x", "HOST"),
        ("s3://bucket/prefix?access_key_id=env:A", "come together"),
        ("az://c-1/p?account=a&account_key=env:A&sas_token=env:B", "exclude"),
        ("s3://[bad/prefix", "no URL"),
    ],
)
def test_a_wrong_url_is_refused_with_what_is_right(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ObstoreConnector.from_url(url)
    assert said in str(caught.value)


SECRET = "Sup3rSecretValue"


@pytest.mark.parametrize(
    "url",
    [
        f"s3://key:{SECRET}@bucket/prefix",
        f"s3://bucket/prefix#{SECRET}",
        f"s3://bucket/prefix?access_key_id=env:A&secret_access_key={SECRET}",
        f"s3://bucket/prefix?endpoint=http://user:{SECRET}@host",
        f"az://c-1/p?account=a&sas_token=sv%3D1%26sig%3D{SECRET}",
        f"gs://bucket/p?service_account=%7B{SECRET}",
        f"{SECRET}",
    ],
)
def test_a_secret_in_clear_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ObstoreConnector.from_url(url)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.__cause__)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"url": 5},
        {"url": "s3://bucket/prefix", "timeout": "long"},
        {"url": "s3://bucket/prefix", "endpoint": 5},
        {"url": "s3://bucket/prefix", "conditional": "no"},
        {"url": "s3://bucket/prefix", "part_nbytes": True},
        {"url": "s3://bucket/prefix", "clear": True},
        {"url": "s3://bucket/prefix?region=a", "region": "b"},
        {"url": "s3://bucket/prefix", "access_key_id": 7, "secret_access_key": 8},
    ],
)
def test_a_wrong_config_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ProxyStoreError):
        ObstoreConnector.from_config(config)


def test_a_credential_of_another_service_is_refused() -> None:
    with pytest.raises(ConfigError, match="no such option"):
        ObstoreConnector.from_config({"url": "gs://bucket/prefix", "account_key": "env:A"})


def test_google_and_azure_are_opened_with_what_is_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AZURE_KEY", "bm8ga2V5")
    monkeypatch.setenv("GOOGLE_KEY", '{"private_key": "no key"}')
    azure = {
        "url": "az://container/prefix",
        "account": "name",
        "account_key": "env:AZURE_KEY",
        "endpoint": "http://127.0.0.1:9",
        "timeout": 1.0,
    }
    google = {"url": "gs://bucket/prefix", "service_account": "env:GOOGLE_KEY", "timeout": 1.0}
    for config, said in ((azure, "nothing listens"), (google, "service_account")):
        with ObstoreConnector.from_config(config) as connector:
            with pytest.raises(ConnectionError, match=said) as caught:
                connector.put(b"x")
        assert "no key" not in str(caught.value)
