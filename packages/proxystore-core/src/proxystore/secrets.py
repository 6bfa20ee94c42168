"""Secrets by reference: what configs and proxies carry in place of passwords and keys.

A reference says where a secret is, and each process reads it there:

- ``env:NAME``: an environment variable.
- ``file:/absolute/path``: a file of the user's own that nobody else can read.
- ``keyring:SERVICE/USER``: the keyring of the desktop, with package ``keyring``.
"""

from __future__ import annotations

import base64
import contextlib
import os
import stat
import tempfile
from pathlib import Path

from proxystore.errors import (
    ConfigError,
    ConnectorUnavailableError,
    SecretNotFoundError,
    UnsafeSecretError,
)
from proxystore.host.home import home
from proxystore.host.node import this_node

__all__ = ["check_reference", "generate_secret", "read_secret", "read_text_secret"]

_FORMS = "env:NAME, file:/absolute/path or keyring:SERVICE/USER"


def check_reference(reference: str, option: str) -> str:
    """``reference`` as it is. Reads nothing.

    Args:
        reference: What was given for ``option``.
        option: Its name, for the message.

    Raises:
        ConfigError: It is no reference. The message does not repeat it, for it
            may be the secret itself.
    """
    if isinstance(reference, str):
        kind, _, rest = reference.partition(":")
        if kind == "env" and rest.isidentifier():
            return reference
        if kind == "file" and os.path.isabs(rest) and "\0" not in rest:
            return reference
        if kind == "keyring" and all(rest.partition("/")):
            return reference
    raise ConfigError(
        f"option {option!r}",
        f"it takes a reference to a secret ({_FORMS}), not the secret, for configs travel",
    )


def read_secret(reference: str, needed_by: str) -> bytes:
    """The secret that ``reference`` refers to, without a line end at its end.

    Reads it anew each time: keep it as short as you can. Thread safe.

    Args:
        reference: As `check_reference` takes it.
        needed_by: What it opens, as a user would recognise it, for messages.

    Raises:
        ConfigError: It is no reference.
        SecretNotFoundError: There is no such secret on this host, or it is empty.
        UnsafeSecretError: Others can read or replace its file.
    """
    check_reference(reference, needed_by)
    kind, _, rest = reference.partition(":")
    try:
        secret = _READERS[kind](rest)
    except UnsafeSecretError:
        raise
    except (LookupError, OSError, ImportError) as exc:
        raise _missing(reference, needed_by, _why(exc)) from exc
    if not secret:
        raise _missing(reference, needed_by, "it is empty")
    return secret


def read_text_secret(reference: str, needed_by: str) -> str:
    """As `read_secret`, for what takes a secret of printable text.

    Raises:
        SecretNotFoundError: As `read_secret`; or it is not UTF-8, or has characters,
            such as line ends, that cannot be printed.
    """
    try:
        text = read_secret(reference, needed_by).decode()
    except UnicodeDecodeError:
        text = ""
    if not text.isprintable() or not text:
        # With no cause: that of the codec has the secret in it.
        found = "what is there is no printable text"
        raise _missing(reference, needed_by, found) from None
    return text


def generate_secret(name: str, nbytes: int = 32) -> str:
    """The reference of a secret of this user, made of random bits if it is not there yet.

    It is a file ``secrets/NAME`` in `proxystore.host.home.home`, readable by its
    user only. Where the home is shared by the nodes of a cluster, so is the secret.
    Processes that ask at once get the same one.

    Args:
        name: A file name.
        nbytes: How many random bytes to make it of; the file has them in base64.

    Raises:
        ConnectorUnavailableError: The file cannot be made there.
        SecretNotFoundError: It is empty.
        UnsafeSecretError: Others can read or replace it.
    """
    if not name or Path(name).name != name:
        raise ValueError(f"A secret's name is one file name, not {name!r}.")
    path = home() / "secrets" / name
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _write_once(path, base64.urlsafe_b64encode(os.urandom(nbytes)) + b"\n")
    except OSError as error:
        raise ConnectorUnavailableError(
            f"directory {path.parent}, which is to have secret {name!r}",
            error.strerror or str(error),
            "Name a directory of your own in PROXYSTORE_HOME.",
        ) from error
    reference = f"file:{path}"
    read_secret(reference, f"secret {name!r}")
    return reference


def _write_once(path: Path, data: bytes) -> None:
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".draft-")
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # A link, not a rename: of two processes that make it at once, the first one's stays.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.unlink(draft)


def _read_environment(name: str) -> bytes:
    return os.environb[os.fsencode(name)]


def _read_file(path: str) -> bytes:
    # Kubernetes mounts secrets as symlinks, so they are followed; what counts is the file.
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_uid not in (os.geteuid(), 0):
            raise UnsafeSecretError(path, f"it belongs to user {status.st_uid}")
        if stat.S_IMODE(status.st_mode) & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise UnsafeSecretError(path, f"its mode is {mode:o}, which lets others at it")
        return file.read().rstrip(b"\r\n")


def _read_keyring(name: str) -> bytes:
    import keyring
    from keyring.errors import KeyringError

    service, _, user = name.rpartition("/")
    try:
        return (keyring.get_password(service, user) or "").encode()
    except KeyringError as exc:
        raise LookupError(str(exc)) from exc


_READERS = {"env": _read_environment, "file": _read_file, "keyring": _read_keyring}


def _why(exc: BaseException) -> str:
    if isinstance(exc, ImportError):
        return "package keyring is not installed (pip install keyring)"
    if isinstance(exc, KeyError):
        return "there is no such environment variable"
    return exc.strerror or str(exc) if isinstance(exc, OSError) else str(exc)


def _missing(reference: str, needed_by: str, found: str) -> SecretNotFoundError:
    return SecretNotFoundError(reference, found, needed_by, this_node().host)
