"""What services and the library say, as errors of `proxystore.errors`.

The library tells failures apart by few classes and much text, and the text holds what a service
answered. So each is recognised by a pattern, and told in words of ours: an answer may hold the
names of keys, and an address the signature that lets others in.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from proxystore.errors import (
    ConnectorUnavailableError,
    MediumFullError,
    MediumGoneError,
    ProxyStoreError,
)
from proxystore_connectors_obstore._address import Address

__all__ = ["busy", "cut_short", "is_unsatisfiable", "told", "translated", "was_cut"]

_GONE = r"NoSuchBucket|ContainerNotFound|specified bucket does not exist"
_FULL = r"No space left|File too large|status code: (413|507)|Quota|InsufficientStorage|TooLarge"
_UNCREDITED = (
    r"169\.254\.169\.254|/latest/api/token|/latest/meta-data|computeMetadata"
    r"|[Cc]redential error|External \w+ credential provider|Invalid Access Key:|TokenRequest"
    r"|DecodeCredentials"
)
_UNSATISFIABLE = re.compile(r"status code: 416|InvalidRange|Invalid range").search
_STATUS = re.compile(r"status code: (\d{3})").search
_CODE = re.compile(r"<Code>(\w{1,64})</Code>").search


class _Failure(NamedTuple):
    address: Address
    nbytes: int
    text: str

    @property
    def answer(self) -> str:
        """Status and code of the service's answer."""
        status, code = _STATUS(self.text), _CODE(self.text)
        return " ".join(match[1] for match in (status, code) if match) or "an error"

    def unavailable(self, found: str, advice: str) -> ProxyStoreError:
        return ConnectorUnavailableError(self.address.where, found, advice)


def _gone(failure: _Failure) -> ProxyStoreError:
    found = f"there is no bucket or container {failure.address.bucket!r}"
    return MediumGoneError(
        failure.address.where, found, "Make it, or correct the URL, its endpoint and account."
    )


def _full(failure: _Failure) -> ProxyStoreError:
    advice = f"It answered {failure.answer}: make room there, or raise its quota."
    if "TooLarge" in failure.text:
        advice = "It is more than the service takes in one request. Use put, which sends parts."
    elif not failure.address.service.is_remote:
        advice = "Make room on its file system."
    return MediumFullError(failure.address.where, failure.nbytes, advice)


def _uncredited(failure: _Failure) -> ProxyStoreError:
    names = failure.address.service.secrets
    given = ", ".join(name for name, _ in failure.address.credentials)
    found = f"those in {given} cannot be read" if given else "none were given or are found here"
    return failure.unavailable(
        f"it needs credentials, and {found}",
        f"Give references ({', '.join(f'{name}=env:NAME' for name in names)}), or set up the "
        f"usual ones of {failure.address.service.title} on this host.",
    )


def _denied(failure: _Failure) -> ProxyStoreError:
    if not failure.address.service.is_remote:
        return failure.unavailable("permission was denied", "See that you may read and write it.")
    return failure.unavailable(
        f"it refused the credentials, or what they may do ({failure.answer})",
        "See that the references lead to valid keys, and that these may list, read, write and "
        "delete under the prefix.",
    )


def _elsewhere(failure: _Failure) -> ProxyStoreError:
    return failure.unavailable(
        f"the bucket is in another region ({failure.answer})",
        "Give its region, as in region=eu-central-1.",
    )


def _late(failure: _Failure) -> ProxyStoreError:
    return failure.unavailable(
        f"it did not answer in time (timeout={failure.address.timeout:g} s)",
        "See how it is and how fast the way to it; a larger timeout= gives it longer.",
    )


def _unreachable(failure: _Failure) -> ProxyStoreError:
    found = next(
        (said for mark, said in _NO_CONNECTION.items() if mark in failure.text),
        "no connection could be made",
    )
    return failure.unavailable(found, "See that it runs, and that host and port are right.")


def _cut(failure: _Failure) -> ProxyStoreError:
    return failure.unavailable(
        "the connection was cut, and again when it was tried anew",
        "See how it is; what was being written is not stored.",
    )


def _lacking(failure: _Failure) -> ProxyStoreError:
    return failure.unavailable(
        f"it does not have what was asked of it ({failure.answer})",
        "If it does not take If-None-Match, pass conditional=False.",
    )


def _failing(failure: _Failure) -> ProxyStoreError:
    return failure.unavailable(
        f"it answered {failure.answer}, and again when it was asked anew",
        "Wait until it has recovered; if it is too busy, ask less of it at once.",
    )


def _other(failure: _Failure) -> ProxyStoreError:
    return failure.unavailable(
        f"it answered {failure.answer}, which this connector does not expect",
        "See that it is an object store of the kind that the URL's scheme says.",
    )


_NO_CONNECTION = {
    "dns error": "its name is unknown",
    "Connection refused": "nothing listens there (connection refused)",
    "ertificate": "its certificate is not trusted",
    "InvalidContentType": "it does not speak TLS",
}

# In this order: what is special comes before what it is a case of.
_PATTERNS: tuple[tuple[str, Callable[[_Failure], ProxyStoreError]], ...] = (
    (_GONE, _gone),
    (_UNCREDITED, _uncredited),
    (r"AuthorizationHeaderMalformed|PermanentRedirect|status code: 301|Redirect", _elsewhere),
    (_FULL, _full),
    (r"status code: 40[13]|Permission denied|Access Denied", _denied),
    (r"kind: Timeout|TimedOut|timed out", _late),
    (r"kind: Connect\b", _unreachable),
    (r"status code: 501|NotImplemented", _lacking),
    (r"status code: (5\d\d|429)", _failing),
    (r"error sending request|kind: (Request|Interrupted|Decode)|connection closed|body", _cut),
    (r"", _other),
)
_RULES = tuple((re.compile(pattern).search, tell) for pattern, tell in _PATTERNS)


def translated(error: Exception, address: Address, nbytes: int = 0) -> ProxyStoreError:
    """What to raise for ``error`` of the library.

    Args:
        error: What it raised.
        address: Where.
        nbytes: Size of the object that was being written.
    """
    failure = _Failure(address, nbytes, f"{type(error).__name__}: {error}")
    return next(tell(failure) for is_such, tell in _RULES if is_such(failure.text))


@contextlib.contextmanager
def told(library: Any, address: Address, nbytes: int = 0) -> Iterator[None]:
    """Raise what ``library`` raises as `translated`, but for the absence of an object.

    Args:
        library: As `proxystore_connectors_obstore._engine.library` gives it.
        address: As of `translated`, and so is ``nbytes``.
    """
    try:
        yield
    except FileNotFoundError as exc:
        if _is_gone(exc):
            raise translated(exc, address, nbytes) from exc
        raise
    except ProxyStoreError:
        raise
    except (library.exceptions.BaseError, OSError, NotImplementedError) as exc:
        raise translated(exc, address, nbytes) from exc


def _is_gone(error: Exception) -> bool:
    """Whether ``error`` says that the bucket or container is not there."""
    return re.search(_GONE, str(error)) is not None


def cut_short(address: Address) -> ProxyStoreError:
    """For an answer that ended before its end."""
    return _cut(_Failure(address, 0, ""))


def busy(address: Address, name: str) -> ProxyStoreError:
    """For object ``name``, at which every try failed that was worth another."""
    return ConnectorUnavailableError(
        address.where,
        f"each try at object {name!r} was cut, or others exchanged it meanwhile",
        "See how the service is, and let one process at a time touch or set one object.",
    )


def was_cut(error: ProxyStoreError) -> bool:
    """Whether `translated` made ``error`` of a connection that was cut, not one never made."""
    return "kind: Interrupted" in str(error.__cause__)


def is_unsatisfiable(error: Exception) -> bool:
    """Whether ``error`` says that a range begins past the end of its object."""
    return _UNSATISFIABLE(str(error)) is not None
