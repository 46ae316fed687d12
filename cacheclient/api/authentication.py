"""Who is an administrator: who holds one of the tokens, or a JWT of an issuer that is trusted. Nobody by default."""

from __future__ import annotations

from dataclasses import dataclass

from cacheclient.api.problems import unauthorized
from cacheclient.api.tokens import MAX_TOKEN, Tokens
from cacheclient.api.web_tokens import JwtRules

__all__ = ["Administrators"]


@dataclass(frozen=True, slots=True)
class Administrators:
    """Everybody who may change things, and look at single keys."""

    tokens: Tokens | None = None
    jwt: JwtRules | None = None

    def admit(self, authorization: str | None) -> str:
        """Return the name of the administrator who sent this ``Authorization`` header.

        Raises:
            Problem: 401 or 403 if it is none.
        """
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not 0 < len(token) <= MAX_TOKEN:
            raise unauthorized()
        holder = self.tokens.holder(token) if self.tokens else None
        if holder is not None:
            return f"token:{holder}"
        if self.jwt is None:
            raise unauthorized()
        return f"jwt:{self.jwt.subject(token)}"
