"""A token for each simulated user, minted as the gateway's own tools do and renewed before it ends."""

import time
from collections.abc import Callable

from app.errors import ConfigurationError
from app.tokens import OPERATOR_SCOPES, USER_SCOPES, Tokens

RENEW_AFTER_S = 1800.0
"""Half of the hour a token lives: one is never sent in its last minutes."""

Token = Callable[[], str]
"""Gives a token that is valid now."""


class Badges:
    """The tokens of many users; minting takes 30 microseconds, so they are made as they are needed.

    Raises `ConfigurationError` for a user there cannot be.
    """

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens, self._clock = Tokens(secret), clock
        self._held: dict[str, tuple[float, str]] = {}

    def of(self, user_id: str) -> str:
        return self._badge(user_id, USER_SCOPES)

    def operator(self) -> str:
        """One that may see everybody's live updates and the status."""
        return self._badge("operator", OPERATOR_SCOPES)

    def _badge(self, user_id: str, scopes: tuple[str, ...]) -> str:
        made, token = self._held.get(user_id, (float("-inf"), ""))
        if self._clock() - made > RENEW_AFTER_S:
            try:
                token = self._tokens.mint(user_id, scopes)
            except ValueError as error:
                raise ConfigurationError(f"{user_id!r}: {error}") from error
            self._held[user_id] = self._clock(), token
        return token
