"""Access tokens and the secret they are signed with."""

import stat
from datetime import timedelta
from pathlib import Path

import jwt
import pytest
from pydantic import SecretStr

from app.errors import ConfigurationError
from app.settings import Settings
from app.tokens import Tokens, Unauthenticated, is_loopback, mint, read_secret

SECRET = b"a secret of at least 32 bytes, ok"


def settings(tmp_path: Path, **values: object) -> Settings:
    return Settings(_env_file=None, data_dir=tmp_path / "data", **values)


def test_a_minted_token_says_who_and_what() -> None:
    identity = Tokens(SECRET).verify(Tokens(SECRET).mint("alice", ("live:read",)))
    assert (identity.user_id, identity.scopes) == ("alice", {"live:read"})


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "alice"},
        {"exp": 4e9},
        {"sub": "", "exp": 4e9},
        {"sub": "a\nb", "exp": 4e9},
        {"sub": "alice", "exp": float("inf")},
        {"sub": "alice", "exp": "soon"},
        {"sub": "alice", "exp": 4e9, "scope": ["live:read"]},
    ],
)
def test_claims_that_do_not_do(claims: dict[str, object]) -> None:
    with pytest.raises(Unauthenticated):
        Tokens(SECRET).verify(jwt.encode(claims, SECRET, "HS256"))


def test_another_algorithm_is_not_taken() -> None:
    with pytest.raises(Unauthenticated):
        Tokens(SECRET * 2).verify(jwt.encode({"sub": "alice", "exp": 4e9}, SECRET * 2, "HS512"))


def test_expired_is_expired() -> None:
    with pytest.raises(Unauthenticated, match="expired"):
        Tokens(SECRET).verify(Tokens(SECRET).mint("alice", ttl=timedelta(seconds=-10)))


def test_this_machine_has_one_secret_and_keeps_it_to_itself(tmp_path: Path) -> None:
    mine = settings(tmp_path)
    assert read_secret(mine) == read_secret(mine)
    assert Tokens(read_secret(mine)).verify(mint(mine, "alice")).user_id == "alice"
    [file] = (tmp_path / "data").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_secret_that_is_there_is_only_read(tmp_path: Path) -> None:
    """Tools run as others than the gateway, who may read its directory and not write there."""
    mine = settings(tmp_path)
    secret, drawn = read_secret(mine), mine.data_dir.stat().st_mtime_ns
    assert read_secret(mine) == secret
    assert mine.data_dir.stat().st_mtime_ns == drawn


def test_no_secret_no_listening_to_the_world(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="MILLRACE_AUTH_SECRET"):
        read_secret(settings(tmp_path, host="0.0.0.0"))
    assert read_secret(settings(tmp_path, host="0.0.0.0", demo=True))
    given = settings(tmp_path, host="0.0.0.0", auth_secret=SecretStr(SECRET.decode()))
    assert read_secret(given) == SECRET


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="32"):
        Tokens(b"short")


def test_loopback() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "")] == [False] * 5
