"""Access tokens: HS256 JWTs that say who calls and what for. The gateway verifies them; it and the tools mint them."""

import ipaddress
import os
import re
import secrets
import time
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import jwt

from app.clock import utc_now
from app.errors import ConfigurationError, MillraceError
from app.settings import Settings

EVENTS_WRITE = "events:write"
LIVE_READ = "live:read"
DECISIONS_READ = "decisions:read"
LIVE_ALL = "live:all"  # everybody's live updates, `/v1/live?all=1`
STATUS_READ = "status:read"
TRANSACTIONS_ANY = "transactions:any"  # transactions and chargebacks of any card holder, whom each then has to name
USER_SCOPES = (EVENTS_WRITE, LIVE_READ, DECISIONS_READ)
OPERATOR_SCOPES = (*USER_SCOPES, LIVE_ALL, STATUS_READ)
BANK_SCOPES = (EVENTS_WRITE, TRANSACTIONS_ANY, STATUS_READ)
"""Of a bank's own systems, not of any person: no card holder's decisions can be read with it."""

ALGORITHM = "HS256"
MIN_SECRET = 32  # bytes; RFC 7518 section 3.2: a key as long as the hash
MAX_TOKEN = 4096  # characters; ours have about 200
KNOWN = 4096
"""Tokens remembered as verified (their end is looked at each time): to verify one takes 80 microseconds, a third of a call."""

LEEWAY = timedelta(seconds=5)  # clocks of two machines that keep time
_USER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}\Z")


class Unauthenticated(MillraceError):
    """No token, or one that is not valid: the message says which, never what was sent."""


class Identity(NamedTuple):
    """Who calls.

    Attributes:
        expires_at: when the token ends, POSIX seconds.
    """

    user_id: str
    scopes: frozenset[str]
    expires_at: float


class Tokens:
    """Mints and verifies the tokens of one secret."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < MIN_SECRET:
            raise ConfigurationError(f"MILLRACE_AUTH_SECRET: give at least {MIN_SECRET} bytes, not {len(secret)}")
        self._secret = secret
        self._known = lru_cache(KNOWN)(self._decoded)

    def mint(self, user_id: str, scopes: tuple[str, ...] = USER_SCOPES, ttl: timedelta = timedelta(hours=1)) -> str:
        """A token for `user_id`. Raises `ValueError` when that is no valid id."""
        if not _USER_ID.match(user_id):
            raise ValueError("a user id has 1 to 64 letters, digits and _ . : -, beginning with a letter or digit")
        now = utc_now()
        claims = {"sub": user_id, "scope": " ".join(scopes), "iat": now, "exp": now + ttl}
        return jwt.encode(claims, self._secret, ALGORITHM)

    def verify(self, token: str) -> Identity:
        """Who the token speaks for. Raises `Unauthenticated`."""
        if len(token) > MAX_TOKEN:
            raise Unauthenticated("the token is too long")
        identity = self._known(token)
        if identity.expires_at + LEEWAY.total_seconds() <= time.time():
            raise Unauthenticated("the token has expired")
        return identity

    def _decoded(self, token: str) -> Identity:
        try:
            claims = jwt.decode(
                token,
                self._secret,
                [ALGORITHM],
                options={"require": ["sub", "exp"], "verify_aud": False},
                leeway=LEEWAY,
            )
        except jwt.ExpiredSignatureError as error:
            raise Unauthenticated("the token has expired") from error
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError) as error:
            raise Unauthenticated("the token is not valid") from error
        user_id, scope = claims["sub"], claims.get("scope", "")
        if not (isinstance(user_id, str) and _USER_ID.match(user_id) and isinstance(scope, str)):
            raise Unauthenticated("the token's subject or scope is not valid")
        return Identity(user_id, frozenset(scope.split()), float(claims["exp"]))


def read_secret(settings: Settings) -> bytes:
    """The configured secret, or this machine's own, drawn once and kept in the data directory for its tools.

    Raises `ConfigurationError` when none is configured and the gateway could be reached from elsewhere.
    """
    if settings.auth_secret is not None:
        return settings.auth_secret.get_secret_value().encode()
    if not settings.demo and not is_loopback(settings.host):
        raise ConfigurationError(
            f"MILLRACE_AUTH_SECRET is not set: the gateway will not listen on {settings.host} without one; "
            "set it, or listen on 127.0.0.1"
        )
    return _own_secret(settings)


def mint(
    settings: Settings, user_id: str, scopes: tuple[str, ...] = USER_SCOPES, ttl: timedelta = timedelta(hours=1)
) -> str:
    """A token the gateway of these settings accepts."""
    return Tokens(read_secret(settings)).mint(user_id, scopes, ttl)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _own_secret(settings: Settings) -> bytes:
    path = settings.data_dir / "auth.secret"
    if not path.exists():
        _draw(path)
    return path.read_bytes()


def _draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"auth.secret.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(48))
    try:
        os.link(draft, path)  # whoever comes first wins, and nobody reads a half-written one
    except FileExistsError:
        pass
    finally:
        draft.unlink()
