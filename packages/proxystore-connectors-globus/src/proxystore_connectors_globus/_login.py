"""Who talks to Globus: a user who has logged in, or a client with a secret."""

from __future__ import annotations

import os
import uuid
from typing import NamedTuple, Self

from globus_sdk import (
    ClientApp,
    ConfidentialAppAuthClient,
    GlobusApp,
    GlobusAppConfig,
    NativeAppAuthClient,
    UserApp,
)
from globus_sdk.authorizers import GlobusAuthorizer
from globus_sdk.scopes import TransferScopes

from proxystore.errors import ConfigError
from proxystore.secrets import check_reference, read_text_secret
from proxystore_connectors_globus._errors import LoginRequiredError
from proxystore_connectors_globus._retries import Retries
from proxystore_connectors_globus._storage import PrivateTokenStorage

__all__ = ["CLIENT_ID_VARIABLE", "CLIENT_SECRET_VARIABLE", "Login"]

CLIENT_ID_VARIABLE = "PROXYSTORE_GLOBUS_CLIENT_ID"
CLIENT_SECRET_VARIABLE = "PROXYSTORE_GLOBUS_CLIENT_SECRET"  # noqa: S105 - a name

_APP_NAME = "proxystore"


class Login(NamedTuple):
    """An identity of Globus Auth, by its client; no secret."""

    client_id: str | None
    """Of the application that is registered with Globus."""
    client_secret: str | None
    """Reference to the secret of a client that acts for itself; `None` for users."""

    @classmethod
    def resolved(cls, client_id: str | uuid.UUID | None, client_secret: str | None) -> Self:
        """The identity that was given, else that of the environment. Reads no secret.

        Raises:
            ConfigError: ``client_id`` is no UUID, or ``client_secret`` no reference.
        """
        if client_id is None:
            client_id = os.environ.get(CLIENT_ID_VARIABLE) or None
            if client_secret is None and client_id and os.environ.get(CLIENT_SECRET_VARIABLE):
                client_secret = f"env:{CLIENT_SECRET_VARIABLE}"
        if client_secret is not None:
            check_reference(client_secret, "client_secret")
        try:
            return cls(None if client_id is None else str(uuid.UUID(str(client_id))), client_secret)
        except ValueError:
            # Without the value, and what quotes it: it may be the secret, in the wrong place.
            raise ConfigError("option 'client_id' of connector 'globus'", "it is no UUID") from None

    def app(self, retries: Retries, *, interactive: bool) -> GlobusApp:
        """The application, with the tokens of this user's home. Asks nobody yet.

        Args:
            retries: For requests to Globus Auth.
            interactive: Whether it may ask the user to log in, on the terminal.

        Raises:
            LoginRequiredError: There is no client id.
            SecretNotFoundError: The client's secret is not on this host.
            UnsafeSecretError: Others can read it.
        """
        if self.client_id is None:
            raise LoginRequiredError(
                "Globus",
                "there is no client id to log in with",
                f"Register an application at https://app.globus.org/settings/developers, and "
                f"set {CLIENT_ID_VARIABLE} or pass client_id=.",
            )
        config = GlobusAppConfig(
            token_storage=PrivateTokenStorage(self.client_id),
            request_refresh_tokens=True,
            login_flow_manager="command-line" if interactive and not self.client_secret else None,
            # A worker has nobody to ask: it says what to run instead.
            token_validation_error_handler=None,
        )
        scopes = {TransferScopes.resource_server: [TransferScopes.all]}
        client = self._auth_client(self.client_id, retries)
        if isinstance(client, ConfidentialAppAuthClient):
            return ClientApp(
                _APP_NAME, login_client=client, scope_requirements=scopes, config=config
            )
        return UserApp(_APP_NAME, login_client=client, scope_requirements=scopes, config=config)

    def authorizer(self, retries: Retries) -> GlobusAuthorizer:
        """What authorizes requests to Globus Transfer. Safe to use from several threads.

        Raises:
            TokenValidationError: The user has not logged in.
            GlobusError: Globus Auth refused, or cannot be reached.
        """
        app = self.app(retries, interactive=False)
        return app.get_authorizer(TransferScopes.resource_server)

    def _auth_client(
        self, client_id: str, retries: Retries
    ) -> NativeAppAuthClient | ConfidentialAppAuthClient:
        transport, config = retries.transport(), retries.config()
        if self.client_secret is None:
            return NativeAppAuthClient(client_id, transport=transport, retry_config=config)
        secret = read_text_secret(self.client_secret, f"Globus client {client_id}")
        return ConfidentialAppAuthClient(
            client_id, secret, transport=transport, retry_config=config
        )
