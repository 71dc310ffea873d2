"""What a package declares is found by name, and a mistake says which."""

import sys
from pathlib import Path

import pytest

from app import declared
from app.errors import ConfigurationError


class Gadget:
    """What the package declares."""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of gadgets."""
    directory = tmp_path / "gadgets"
    directory.mkdir()
    (directory / "__init__.py").write_text("")
    (directory / "good.py").write_text(f"from {__name__} import Gadget\ngood = Gadget()\n")
    (directory / "empty.py").write_text("")
    (directory / "broken.py").write_text("import nothing_of_that_name\n")
    (directory / "_hidden.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    return "gadgets"


def test_what_is_there_is_listed_and_found(package: str) -> None:
    assert declared.names(package) == ["broken", "empty", "good"]
    assert isinstance(declared.find(package, "good", Gadget, "good"), Gadget)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("bad", "no gadget 'bad'; there are: broken, empty, good"),
        ("_hidden", "no gadget '_hidden'"),
        ("empty", "gadgets/empty.py declares no gadget `empty`"),
    ],
)
def test_what_is_not_is_said(package: str, name: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        declared.find(package, name, Gadget, name)


def test_a_module_that_cannot_be_loaded_is_not_said_to_be_absent(package: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="nothing_of_that_name"):
        declared.find(package, "broken", Gadget, "broken")
