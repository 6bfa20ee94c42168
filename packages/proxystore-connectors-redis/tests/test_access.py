"""Users, passwords and TLS, against servers that ask for them."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proxystore.errors import ConnectorUnavailableError, SecretNotFoundError, UnsafeSecretError
from proxystore.store import Store
from proxystore.testing import Peer
from proxystore_connectors_redis import RedisConnector

_SECRET = "correct horse battery staple"
_LARGE = bytes(range(256)) * 20_000


# --- Passwords and users ------------------------------------------------------------


@pytest.fixture
def guarded(start_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("REDIS_PASSWORD", _SECRET)
    monkeypatch.setenv("WRONG_PASSWORD", "guess")
    return start_server(
        *("--requirepass", _SECRET),
        *("--user", "worker", "on", f">{_SECRET.replace(' ', '')}", "~ps:*", "&ps:*"),
        *("+@read", "+@write", "+@connection", "+@pubsub", "+@scripting", "+@transaction"),
        *("--user", "reader", "on", "nopass", "~ps:*", "+@read", "+@connection"),
    )


def test_a_password_is_read_where_the_reference_says(guarded: Any, tmp_path: Path) -> None:
    in_file = tmp_path / "password"
    in_file.touch(mode=0o600)
    in_file.write_text(_SECRET + "\n")
    for reference in ("env:REDIS_PASSWORD", f"file:{in_file}"):
        with RedisConnector("127.0.0.1", guarded.port, password=reference) as connector:
            assert bytes(connector.get(connector.put(b"x")) or b"") == b"x"


@pytest.mark.slow
def test_another_process_reads_the_password_for_itself(guarded: Any) -> None:
    with RedisConnector("127.0.0.1", guarded.port, password="env:REDIS_PASSWORD") as connector:
        assert _SECRET not in str(connector.config()) + connector.url + repr(connector)
        key = connector.put(b"x")
        with Peer(connector) as peer:
            assert bytes(peer.call("get", key)) == b"x"
        with Store("s", connector) as store:
            assert store.proxy([1, 2]) == [1, 2]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "wants a password"),
        ({"password": "env:WRONG_PASSWORD"}, "refused the user or the password"),
        ({"username": "nobody", "password": "env:REDIS_PASSWORD"}, "refused the user"),
        ({"username": "reader", "password": "env:REDIS_PASSWORD"}, "user may not do this"),
    ],
)
def test_what_is_wrong_with_a_login_is_told_without_the_secret(
    guarded: Any, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConnectorUnavailableError, match=says) as caught:
        RedisConnector("127.0.0.1", guarded.port, **options)
    assert f"127.0.0.1:{guarded.port}" in str(caught.value)
    told = [str(caught.value), str(caught.value.__cause__), str(caught.value.__context__)]
    assert not any(_SECRET in text or "guess" in text for text in told)


def test_a_secret_that_is_nowhere_or_unsafe_is_told(guarded: Any, tmp_path: Path) -> None:
    with pytest.raises(SecretNotFoundError, match=f"127.0.0.1:{guarded.port}"):
        RedisConnector("127.0.0.1", guarded.port, password="env:NOT_THERE")
    (tmp_path / "open").write_text(_SECRET)
    (tmp_path / "open").chmod(0o644)
    with pytest.raises(UnsafeSecretError):
        RedisConnector("127.0.0.1", guarded.port, password=f"file:{tmp_path / 'open'}")


def test_the_permissions_that_the_advice_names_are_enough(
    guarded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_PASSWORD", _SECRET.replace(" ", ""))
    monkeypatch.setattr(RedisConnector, "_part_nbytes", 1_000_000)
    with RedisConnector(
        "127.0.0.1", guarded.port, username="worker", password="env:WORKER_PASSWORD"
    ) as connector:
        key = connector.new_key()
        assert not connector.wait(key, 0.01)
        connector.set(key, _LARGE, ttl=100)
        assert connector.touch(key, None)
        connector.replace(key, _LARGE[::-1])
        assert bytes(connector.get(key) or b"") == _LARGE[::-1]
        connector.evict(key)
        assert connector.get_batch(connector.put_batch([b"x", b""])) == [b"x", b""]


def test_a_wait_that_the_user_may_not_do_is_an_error(guarded: Any) -> None:
    place: dict[str, Any] = {"port": guarded.port, "password": "env:REDIS_PASSWORD"}
    with (
        RedisConnector("127.0.0.1", **place) as owner,
        RedisConnector.from_config({**owner.config(), "username": "reader"}) as reader,
        pytest.raises(ConnectorUnavailableError, match="may not do this"),
    ):
        reader.wait(reader.new_key(), 20)


# --- TLS --------------------------------------------------------------------------------


_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class _Authority:
    """Makes certificates, and is what one must trust for them."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        certificate = certificate.add_extension(_SIGNS_CERTIFICATES, critical=True)
        self.path = self._write(name, certificate, self._key)[0]

    def issue(self, name: str, address: str = "127.0.0.1") -> tuple[str, str]:
        """Paths of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        return self._write(
            name, self._builder(subject, key).add_extension(names, critical=False), key
        )

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> Any:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            # Python 3.13 takes no chain without them.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False
            )
        )

    def _write(
        self, name: str, builder: Any, key: ec.EllipticCurvePrivateKey
    ) -> tuple[str, str]:
        certificate = self._folder / f"{name}.pem"
        made = builder.sign(self._key, hashes.SHA256())
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        private = self._folder / f"{name}.key"
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return str(certificate), str(private)


@pytest.fixture
def authority(tmp_path: Path) -> _Authority:
    return _Authority(tmp_path, "authority")


@pytest.fixture
def encrypted(authority: _Authority, start_server: Callable[..., Any]) -> Any:
    certificate, key = authority.issue("server")
    return start_server(
        *("--tls-cert-file", certificate, "--tls-key-file", key),
        *("--tls-ca-cert-file", authority.path, "--tls-auth-clients", "optional"),
        port_option="--tls-port",
    )


@pytest.mark.slow
@pytest.mark.parametrize("part_nbytes", [1 << 30, 1_500_000])
def test_objects_of_every_size_go_through_tls(
    encrypted: Any, authority: _Authority, part_nbytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RedisConnector, "_part_nbytes", part_nbytes)
    with RedisConnector("127.0.0.1", encrypted.port, tls=True, tls_ca=authority.path) as connector:
        for data in (b"", b"small", _LARGE[:40_000], _LARGE):
            assert bytes(connector.get(connector.put(data)) or b"") == data
        assert bytes(connector.get_range(connector.put(_LARGE), 70_001, 100_000) or b"") == (
            _LARGE[70_001:170_001]
        )
        with RedisConnector.from_url(connector.url) as other:
            assert bytes(other.get(connector.put(b"x")) or b"") == b"x"


@pytest.mark.slow
def test_a_wait_ends_through_tls(encrypted: Any, authority: _Authority) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with (
        RedisConnector("127.0.0.1", encrypted.port, tls=True, tls_ca=authority.path) as connector,
        ThreadPoolExecutor(8) as pool,
    ):
        keys = [connector.new_key() for _ in range(8)]
        waiting = [pool.submit(connector.wait, key, 30) for key in keys]
        for key in keys:
            connector.set(key, b"x")
        assert all(each.result(10) for each in waiting)


@pytest.mark.slow
def test_a_client_proves_who_it_is_where_it_must(
    authority: _Authority, start_server: Callable[..., Any]
) -> None:
    certificate, key = authority.issue("server")
    server = start_server(
        *("--tls-cert-file", certificate, "--tls-key-file", key),
        *("--tls-ca-cert-file", authority.path, "--tls-auth-clients", "yes"),
        port_option="--tls-port",
    )
    options: dict[str, Any] = {"tls": True, "tls_ca": authority.path}
    with pytest.raises(ConnectorUnavailableError):
        RedisConnector("127.0.0.1", server.port, **options)
    own, own_key = authority.issue("client")
    with RedisConnector(
        "127.0.0.1", server.port, **options, tls_cert=own, tls_key=own_key
    ) as connector:
        assert connector.exists(connector.put(b"x"))


@pytest.mark.parametrize("trusted", ["nobody", "another authority"])
def test_a_server_that_nobody_vouches_for_is_refused(
    encrypted: Any, tmp_path: Path, trusted: str
) -> None:
    options: dict[str, Any] = {"tls": True}
    if trusted == "another authority":
        (tmp_path / "other").mkdir()
        options["tls_ca"] = _Authority(tmp_path / "other", "other").path
    with pytest.raises(ConnectorUnavailableError, match="certificate"):
        RedisConnector("127.0.0.1", encrypted.port, **options)
    with RedisConnector(
        "127.0.0.1", encrypted.port, **{**options, "tls_verify": False}
    ) as connector:
        assert connector.exists(connector.put(b"x"))


def test_a_certificate_of_another_address_is_refused(
    authority: _Authority, start_server: Callable[..., Any]
) -> None:
    certificate, key = authority.issue("elsewhere", "127.0.0.9")
    server = start_server(
        *("--tls-cert-file", certificate, "--tls-key-file", key),
        *("--tls-ca-cert-file", authority.path, "--tls-auth-clients", "no"),
        port_option="--tls-port",
    )
    with pytest.raises(ConnectorUnavailableError, match="certificate"):
        RedisConnector("127.0.0.1", server.port, tls=True, tls_ca=authority.path)


def test_a_port_that_expects_tls_and_gets_none_is_an_error(encrypted: Any) -> None:
    with pytest.raises(ConnectorUnavailableError, match=f"{encrypted.port}"):
        RedisConnector("127.0.0.1", encrypted.port, timeout=0.5)


def test_a_port_without_tls_that_is_asked_for_it_is_an_error(server: Any) -> None:
    with pytest.raises(ConnectorUnavailableError, match=f"{server.port}"):
        RedisConnector("127.0.0.1", server.port, tls=True, timeout=0.5)


def test_a_wait_ends_when_the_secret_is_gone_and_the_next_one_works_again(
    guarded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RedisConnector("127.0.0.1", guarded.port, password="env:REDIS_PASSWORD") as connector:
        key = connector.new_key()
        with monkeypatch.context() as without:
            without.delenv("REDIS_PASSWORD")
            with pytest.raises(SecretNotFoundError):
                connector.wait(key, 30.0)
        connector.set(key, b"here")
        assert connector.wait(key, 30.0)
