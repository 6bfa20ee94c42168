"""The command ``proxystore-globus-auth``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import globus_sdk
from globus_sdk import AuthClient, GlobusApp
from globus_sdk.gare import GlobusAuthorizationParameters
from globus_sdk.scopes import AuthScopes, GCSCollectionScopes, TransferScopes

from proxystore.errors import ProxyStoreError
from proxystore_connectors_globus._errors import explained
from proxystore_connectors_globus._login import (
    CLIENT_ID_VARIABLE,
    CLIENT_SECRET_VARIABLE,
    Login,
)
from proxystore_connectors_globus._retries import Retries

__all__ = ["main"]

_TIMEOUT_S = 60.0
_ABOUT = f"""\
Log in to Globus, so that GlobusConnector can move objects between collections.

  1. Register an application at https://app.globus.org/settings/developers: a "thick client" to
     act as yourself, or a "service account" for programs that run without you.
  2. Tell its id:      export {CLIENT_ID_VARIABLE}=UUID
     A service account, its secret too:  export {CLIENT_SECRET_VARIABLE}=...
  3. Log in once on each site:  proxystore-globus-auth login

The tokens are kept in $PROXYSTORE_HOME/globus (or ~/.local/share/proxystore/globus), readable by
you alone. Do this on every site, as the same identity: Globus shows tasks to nobody else.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Those of the command line by default.

    Returns:
        The exit status: 0, or 1 with a sentence on stderr.
    """
    options = _parser().parse_args(arguments)
    retries = Retries(_TIMEOUT_S)
    try:
        login = Login.resolved(options.client_id, options.client_secret)
        with retries.operation():
            app = login.app(retries, interactive=True)
            print(_COMMANDS[options.command](app, options))
    except globus_sdk.GlobusError as error:
        print(explained(error, "Globus Auth"), file=sys.stderr)
        return 1
    except (ProxyStoreError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "proxystore-globus-auth",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--client-id", metavar="UUID", help=f"instead of ${CLIENT_ID_VARIABLE}")
    parser.add_argument(
        "--client-secret",
        metavar="REFERENCE",
        help="env:NAME or file:PATH of a service account's secret, never the secret itself",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    login = commands.add_parser("login", help="log in, and keep the tokens")
    login.add_argument(
        "-c",
        "--collection",
        action="append",
        default=[],
        metavar="UUID",
        help="consent to the use of this mapped collection too; may be repeated",
    )
    login.add_argument(
        "-d",
        "--domain",
        action="append",
        default=[],
        metavar="DOMAIN",
        help="log in with an identity of this domain, as a collection demands; may be repeated",
    )
    login.add_argument("--force", action="store_true", help="even if a login is there already")
    commands.add_parser("logout", help="revoke the tokens and remove them")
    commands.add_parser("whoami", help="say who is logged in")
    return parser


def _login(app: GlobusApp, options: argparse.Namespace) -> str:
    wanted = None
    if options.collection or options.domain:
        wanted = GlobusAuthorizationParameters(
            required_scopes=[_transfer_scope(options.collection)],
            session_required_single_domain=options.domain or None,
        )
    app.add_scope_requirements({AuthScopes.resource_server: [AuthScopes.openid, AuthScopes.email]})
    app.login(auth_params=wanted, force=options.force)
    return _whoami(app, options)


def _transfer_scope(collections: Sequence[str]) -> str:
    access = [
        GCSCollectionScopes(uuid).data_access.with_optional(optional=True) for uuid in collections
    ]
    return str(TransferScopes.all.with_dependencies(access))


def _logout(app: GlobusApp, _options: argparse.Namespace) -> str:
    app.logout()
    return "Logged out: the tokens are revoked and removed."


def _whoami(app: GlobusApp, _options: argparse.Namespace) -> str:
    found = AuthClient(app=app, app_scopes=[AuthScopes.openid]).userinfo()
    name = found.get("preferred_username") or found["sub"]
    return f"Logged in to Globus as {name} ({found['sub']}), by client {app.client_id}."


_COMMANDS = {"login": _login, "logout": _logout, "whoami": _whoami}
