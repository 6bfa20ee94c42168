"""Globus Auth, for registered clients and one user."""

from __future__ import annotations

import time
import uuid
from typing import Any

from records import Document, Records, Refused

TRANSFER = "transfer.api.globus.org"
AUTH = "auth.globus.org"
ALL = f"urn:globus:auth:scope:{TRANSFER}:all"
GOOD_CODE = "good-code"
TOKEN_LIFE_S = 172_800


class Auth:
    """The operations of Globus Auth, for registered clients and one user."""

    def __init__(self, records: Records, base_url: str, clients: dict[str, str]) -> None:
        self._records, self._base, self._clients = records, base_url, clients

    def openid_configuration(self) -> Document:
        return {
            "issuer": f"https://{AUTH}",
            "jwks_uri": f"{self._base}/jwk.json",
            "token_endpoint": f"{self._base}/v2/oauth2/token",
            "userinfo_endpoint": f"{self._base}/v2/oauth2/userinfo",
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def jwks(self) -> Document:
        import jwt

        public = jwt.algorithms.RSAAlgorithm.to_jwk(_signing_key().public_key(), as_dict=True)
        return {"keys": [{**public, "alg": "RS256", "use": "sig"}]}

    def token(self, form: dict[str, str], client_id: str, *, is_proven: bool) -> Document:
        grant, scopes = form["grant_type"], form.get("scope", "").split(" ")
        if grant == "client_credentials":
            if not is_proven:
                raise Refused(401, "invalid_client", "wrong secret", error="invalid_client")
            return self._issued(client_id, client_id, scopes)
        if grant == "refresh_token":
            known = self._records.get("refresh", form["refresh_token"])
            if known is None:
                raise Refused(400, "invalid_grant", "revoked", error="invalid_grant")
            return self._issued(client_id, known["sub"], known["scopes"], refresh=known["id"])
        if form["code"] != GOOD_CODE or not form.get("code_verifier"):
            raise Refused(400, "invalid_grant", "no such code", error="invalid_grant")
        user = str(uuid.uuid5(uuid.NAMESPACE_DNS, "user.example.org"))
        wanted = [ALL, "openid", "email"]
        return self._issued(client_id, user, wanted, refresh="", identified=True)

    def revoke(self, form: dict[str, str]) -> Document:
        for kind in ("access", "refresh"):
            self._records.remove(kind, form["token"])
        return {"active": False}

    def userinfo(self, token: str) -> Document:
        return {"sub": self.subject(token, AUTH), "preferred_username": "user@example.org"}

    def subject(self, token: str, server: str) -> str:
        known = self._records.get("access", token)
        if known is None or known["server"] != server or known["expires"] < time.time():
            raise Refused(401, "AuthenticationFailed", "Token is not active")
        return str(known["sub"])

    def expire_all(self, *, revoke: bool) -> None:
        for kind in ("access", "refresh") if revoke else ("access",):
            for known in self._records.all(kind):
                self._records.remove(kind, known["id"])

    def is_registered(self, client_id: str, secret: str) -> bool:
        return bool(secret) and self._clients.get(client_id) == secret

    def _issued(
        self,
        client_id: str,
        subject: str,
        scopes: list[str],
        *,
        refresh: str | None = None,
        identified: bool = False,
    ) -> Document:
        tokens = []
        for server, own in (
            (TRANSFER, [s for s in scopes if ALL in s]),
            (AUTH, [s for s in scopes if ":" not in s and "/" not in s and s]),
        ):
            if own:
                tokens.append(self._one(subject, server, own, refresh))
        if not tokens:
            raise Refused(400, "invalid_scope", "unknown scope", error="invalid_scope")
        if identified:
            tokens[0]["id_token"] = self._id_token(client_id, subject)
        return {**tokens[0], "other_tokens": tokens[1:]}

    def _one(self, subject: str, server: str, scopes: list[str], refresh: str | None) -> Document:
        """A token of one server: with a refresh token that is known, a new one (""), or none."""
        token = f"access-{uuid.uuid4().hex}"
        expires = time.time() + TOKEN_LIFE_S
        self._records.put(
            "access", token, {"id": token, "sub": subject, "server": server, "expires": expires}
        )
        issued = {
            "access_token": token,
            "scope": " ".join(scopes),
            "expires_in": TOKEN_LIFE_S,
            "token_type": "Bearer",
            "resource_server": server,
        }
        if refresh is not None:
            issued["refresh_token"] = refresh or f"refresh-{uuid.uuid4().hex}"
            document = {"id": issued["refresh_token"], "sub": subject, "scopes": scopes}
            self._records.put("refresh", issued["refresh_token"], document)
        return issued

    def _id_token(self, client_id: str, subject: str) -> str:
        import jwt

        now = int(time.time())
        claims = {"sub": subject, "aud": client_id, "iss": f"https://{AUTH}"}
        return jwt.encode({**claims, "iat": now, "exp": now + 600}, _signing_key(), "RS256")


_key: Any = None


def _signing_key() -> Any:
    global _key
    if _key is None:
        from cryptography.hazmat.primitives.asymmetric import rsa

        _key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return _key
