"""The live page keeps its rules: nothing from elsewhere, nothing inline, text never parsed as markup, all parts there."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import gateway

STATIC = Path(gateway.__file__).parent / "static"
SCRIPTS = sorted((STATIC / "js").glob("*.js"))
FORMS_OF_EVAL = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|\beval\b|new Function"
)


class Page(HTMLParser):
    """What of a page matters here: its elements in order, with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self._within = ""
        self.feed((STATIC / "index.html").read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._within = tag

    def handle_data(self, data: str) -> None:
        if self._within in ("script", "style") and data.strip():
            self.inline.append(data)

    def all(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get(attribute)) is not None]


PAGE = Page()


def test_nothing_is_inline() -> None:
    assert PAGE.inline == []
    assert PAGE.all("style") == []
    assert [name for _, attributes in PAGE.elements for name in attributes if name.startswith("on")] == []


def test_everything_the_page_loads_is_here() -> None:
    loaded = [*PAGE.all("src"), *(value for tag, a in PAGE.elements if tag == "link" and (value := a.get("href")))]
    assert "/static/js/main.js" in loaded
    for path in loaded:
        assert path.startswith("/static/")
        assert (STATIC / path.removeprefix("/static/")).is_file()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_parses_no_markup_and_imports_what_is_there(script: Path) -> None:
    source = script.read_text()
    assert FORMS_OF_EVAL.search(source) is None
    for module in re.findall(r'(?:from|import\()\s*"([^"]+)"', source):
        assert (script.parent / module).is_file()
    for identity in re.findall(r'byId\("([^"]+)"\)', source):
        assert identity in PAGE.all("id")


def test_nothing_comes_from_elsewhere() -> None:
    for path in (*SCRIPTS, STATIC / "index.html", STATIC / "style.css"):
        urls = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"')]*", path.read_text()))
        assert urls <= {"http://www.w3.org/2000/svg"}  # a name, not an address


def test_every_field_has_a_label() -> None:
    labelled = set(PAGE.all("for"))
    fields = [attributes for tag, attributes in PAGE.elements if tag in ("input", "select", "textarea")]
    assert fields
    for attributes in fields:
        assert attributes["id"] in labelled


def test_the_zones_lie_in_new_york() -> None:
    zones = json.loads((STATIC / "zones.json").read_text())
    assert sorted(row[0] for row in zones) == list(range(1, 264))
    for _, name, borough, lon, lat in zones:
        assert name
        assert borough
        assert -74.3 < lon < -73.7
        assert 40.5 < lat < 40.95
