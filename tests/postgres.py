"""Databases for the tests. PostgreSQL: the one MILLRACE_TEST_POSTGRES names, else one of our own, on a unix socket."""

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.schema import CreateSchema, DropSchema

DEBIAN = "/usr/lib/postgresql/*/bin"
"""Debian keeps the server's programs off the PATH."""

UNSAFE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "listen_addresses=", "shared_buffers=16MB")
"""It need not survive the machine, and nobody else may reach it."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The url of an empty database; the test is skipped where there is no server to start."""
    if given := os.environ.get("MILLRACE_TEST_POSTGRES"):
        yield given
        return
    bindir = _bindir()
    if bindir is None:
        pytest.skip("no PostgreSQL server on the PATH, and MILLRACE_TEST_POSTGRES names none")
    # Not under pytest's own tmp_path: a unix socket's path may not exceed some 100 characters.
    with tempfile.TemporaryDirectory(prefix="millrace-pg-") as directory, _server(bindir, Path(directory)) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The url of an empty database of the test's own, on both kinds."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    server, schema = create_engine(str(request.getfixturevalue("postgres"))), f"t{uuid.uuid4().hex[:10]}"
    with server.begin() as connection:
        connection.execute(CreateSchema(schema))
    yield server.url.update_query_dict({"options": f"-csearch_path={schema}"}).render_as_string(hide_password=False)
    with server.begin() as connection:
        connection.execute(DropSchema(schema, cascade=True))
    server.dispose()


def _bindir() -> Path | None:
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return max(Path("/").glob(f"{DEBIAN.removeprefix('/')}/"), default=None)


@contextmanager
def _server(bindir: Path, home: Path) -> Iterator[str]:
    user = _user()
    if user is not None:
        os.chown(home, *pwd.getpwnam(user)[2:4])

    def run(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [bindir / program, "-D", home / "data", *arguments],
            user=user,
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout.decode()

    run("initdb", "--no-sync", "--auth=trust", "--username=millrace", "--encoding=UTF8", "--locale=C")
    options = " ".join(f"-c {option}" for option in (*UNSAFE, f"unix_socket_directories={home}"))
    run("pg_ctl", "start", "--wait", "--log", str(home / "log"), "--options", options)
    try:
        yield f"postgresql+psycopg://millrace@/postgres?host={home}"
    finally:
        run("pg_ctl", "stop", "--wait", "--mode=immediate")


def _user() -> str | None:
    """Who runs it: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
