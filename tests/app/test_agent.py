"""An agent is found by its name, and what is wrong with its file is said as it is."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

import agents
from app.agent import Agent, Options, find, names
from app.errors import ConfigurationError


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """One more folder in which agents are looked for."""
    agents.__path__.append(str(tmp_path))
    yield tmp_path
    agents.__path__.remove(str(tmp_path))


def test_every_agent_is_found_by_its_name() -> None:
    found = [find(name) for name in names()]
    assert all(isinstance(each, Agent) for each in found)
    assert [each.name for each in found] == names()


@pytest.mark.parametrize("name", ["nobody", "_text", "jobs", "eta.COLUMNS", ""])
def test_a_name_nobody_bears_is_an_error_that_lists_those_there_are(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no agent .*; there are: cancellation, cost"):
        find(name)


def test_an_import_that_is_missing_in_an_agent_is_not_taken_for_a_missing_agent(folder: Path) -> None:
    (folder / "unfinished.py").write_text("import no_such_library\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        find("unfinished")


def test_a_file_that_declares_no_agent_of_its_name_says_so(folder: Path) -> None:
    (folder / "misnamed.py").write_text("other = 1\n")
    with pytest.raises(ConfigurationError, match=r"agents/misnamed\.py declares no agent `misnamed`"):
        find("misnamed")


def test_every_option_of_a_declaration_is_a_field_of_the_agent() -> None:
    assert set(Options.__annotations__) == {each.name for each in fields(Agent)} - {
        "name",
        "consumes",
        "unit",
        "features",
    }
