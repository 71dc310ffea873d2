"""`millrace token`: what it prints opens the door it is meant for."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.errors import MillraceError
from app.settings import Settings
from app.tokens import BANK_SCOPES, OPERATOR_SCOPES, USER_SCOPES, Tokens, read_secret
from cli.main import app


@pytest.mark.parametrize(
    ("option", "scopes"), [([], USER_SCOPES), (["--operator"], OPERATOR_SCOPES), (["--bank"], BANK_SCOPES)]
)
def test_a_token_of_each_kind(tmp_path: Path, option: list[str], scopes: tuple[str, ...]) -> None:
    made = CliRunner().invoke(app, ["token", "core", *option], env={"MILLRACE_DATA_DIR": str(tmp_path)})
    assert made.exit_code == 0
    identity = Tokens(read_secret(Settings(data_dir=tmp_path))).verify(made.output.strip())
    assert identity.user_id == "core"
    assert identity.scopes == frozenset(scopes)


@pytest.mark.parametrize("arguments", [["a b"], ["core", "--bank", "--operator"], ["core", "--hours", "1e12"]])
def test_what_cannot_be_a_token_is_an_error(tmp_path: Path, arguments: list[str]) -> None:
    made = CliRunner().invoke(app, ["token", *arguments], env={"MILLRACE_DATA_DIR": str(tmp_path)})
    assert made.exit_code == 2 or isinstance(made.exception, MillraceError)
    assert "eyJ" not in made.output
