"""What Globus answers and what fails on the way to it, told as errors of a connector."""

from __future__ import annotations

import globus_sdk
from globus_sdk.login_flows import CommandLineLoginFlowEOFError
from globus_sdk.token_storage import TokenValidationError

from proxystore.errors import ConnectorUnavailableError, ProxyStoreError

__all__ = ["LoginRequiredError", "TransferFailedError", "explained"]

_LOGIN = "proxystore-globus-auth login"


class LoginRequiredError(ConnectorUnavailableError):
    """Nobody is logged in to Globus here, or a login does not go far enough."""


class TransferFailedError(ConnectorUnavailableError):
    """The Globus task that carried an object has failed: it will not arrive."""


def explained(
    error: globus_sdk.GlobusError, what: str, missing: str | None = None
) -> ProxyStoreError:
    """What ``error`` means for who asked for something.

    Args:
        error: Caught from the SDK.
        what: Was asked for, such as ``"a transfer to Globus collection X"``.
        missing: What to do if Globus knows no such thing.
    """
    if isinstance(error, TokenValidationError):
        found = "nobody is logged in here, or the login has expired"
        return LoginRequiredError(what, found, f"Run: {_LOGIN}")
    if isinstance(error, globus_sdk.GlobusAPIError):
        return _refused(error, what, missing)
    if isinstance(error, CommandLineLoginFlowEOFError):
        found = "there is nobody to enter the code that Globus shows after a login"
        advice = (
            f"Run in a terminal: {_LOGIN}. A program that runs without you takes a service "
            f"account: a client id and, by reference, its client secret."
        )
        return LoginRequiredError(what, found, advice)
    if isinstance(error, globus_sdk.NetworkError):
        # The SDK's own sentence says nothing; what requests said has host and port.
        cause = error.underlying_exception
        found = f"{str(error).partition(' on request')[0]} ({cause})"
        advice = "Check the network, its proxy settings and the state of Globus, and try again."
        return ConnectorUnavailableError(what, found, advice)
    return ConnectorUnavailableError(what, f"{type(error).__name__}: {error}", "Check the options.")


def _refused(error: globus_sdk.GlobusAPIError, what: str, missing: str | None) -> ProxyStoreError:
    code, status = error.code or "", error.http_status
    request = f", request {error.request_id}" if error.request_id else ""
    service = "Globus Auth" if isinstance(error, globus_sdk.AuthAPIError) else "Globus Transfer"
    found = f"{service} answered {status} {code}: {_one_line(error)}{request}"
    login = _login_advice(error)
    if login:
        return LoginRequiredError(what, found, login)
    if status == 404 and missing:
        return ConnectorUnavailableError(what, found, missing)
    return ConnectorUnavailableError(what, found, _advice(status))


def _login_advice(error: globus_sdk.GlobusAPIError) -> str | None:
    """How to log in, if that is what Globus wants."""
    if error.info.consent_required:
        scopes = " ".join(error.info.consent_required.required_scopes or ())
        return (
            f"It needs your consent to {scopes}. Run: {_LOGIN} --collection UUID, with each "
            f"collection that asks for it, as the identity that this process uses."
        )
    if error.info.authorization_parameters:
        domains = error.info.authorization_parameters.session_required_single_domain or ["DOMAIN"]
        return f"Run: {_LOGIN} --domain {domains[0]} --force"
    if error.code == "invalid_client":
        return "Check the id and the secret of the client."
    refused = isinstance(error, globus_sdk.AuthAPIError) and error.http_status in {400, 403}
    return f"Run: {_LOGIN} --force" if refused or error.http_status == 401 else None


def _one_line(error: globus_sdk.GlobusAPIError) -> str:
    # GridFTP's replies come whole, over many lines; the first ones say what it is.
    words = " ".join((error.message or error.http_reason or "").split())
    return words if len(words) <= 300 else f"{words[:300]}..."


def _advice(status: int) -> str:
    if status == 429 or status >= 500:
        return "Globus is busy or the collection is not reachable: try again, or raise timeout."
    if status == 404:
        return "Check uuid and endpoint_path of the collection."
    if status == 403:
        return "See that this identity may read and write endpoint_path of the collection."
    if status == 409:
        return "Wait until some of your tasks are done, and put objects in batches."
    return "Check the collections of the connector."
