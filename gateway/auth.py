"""Who calls, and what for: the token of a request, and nothing else, says whose data it is about."""

from http import HTTPStatus

import msgspec
from starlette.datastructures import Headers

from app.errors import InvalidMessage
from app.events import Event, TransactionEvent
from app.tokens import TRANSACTIONS_ANY, Identity, Tokens, Unauthenticated
from gateway.problems import Refused


class Door:
    """Reads the token of a request."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def identify(self, headers: Headers, query_token: str | None = None) -> Identity:
        """Who it is. Raises `Unauthenticated`. A browser cannot set headers on a websocket: hence `query_token`."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme and scheme.lower() != "bearer":
            raise Unauthenticated("send `Authorization: Bearer <token>`")
        token = token.strip() or query_token or ""
        if not token:
            raise Unauthenticated("no token: send `Authorization: Bearer <token>`")
        return self._tokens.verify(token)

    def admit(self, headers: Headers, scope: str) -> Identity:
        """Who it is, when allowed to do this. Raises `Unauthenticated`, or `Refused` with 403."""
        identity = self.identify(headers)
        require(identity, scope)
        return identity


def holder(identity: Identity, event: type[Event], said: msgspec.Struct) -> str:
    """Whose event it is: the token's subject, always, but for a bank's own token, which names the card holder.

    Raises `InvalidMessage` when it does not: the bank itself holds no card.
    """
    if not issubclass(event, TransactionEvent) or TRANSACTIONS_ANY not in identity.scopes:
        return identity.user_id
    named: str | None = getattr(said, "user_id", None)
    if named is None:
        raise InvalidMessage("name the card holder, for the token is a bank's", "user_id")
    return named


def require(identity: Identity, scope: str) -> None:
    """Raise `Refused` with 403 when the token does not carry the scope."""
    if scope not in identity.scopes:
        raise Refused(HTTPStatus.FORBIDDEN, f"the token lacks the scope {scope}", "scope")
