"""The pages keep their rules: nothing from elsewhere, nothing inline, text never parsed as markup, all parts there."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import gateway
from gateway.batch import PLOTLY

STATIC = Path(gateway.__file__).parent / "static"
MOUNTED = {"/static/plotly/": PLOTLY, "/static/": STATIC}
SCRIPTS = sorted((STATIC / "js").glob("*.js"))
FORMS_OF_EVAL = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|\beval\b|new Function"
)


class Page(HTMLParser):
    """What of a page matters here: its elements in order, with their attributes."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self._within = ""
        self.feed((STATIC / name).read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._within = tag

    def handle_data(self, data: str) -> None:
        if self._within in ("script", "style") and data.strip():
            self.inline.append(data)

    def all(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get(attribute)) is not None]


PAGES = {"main.js": Page("index.html"), "batch.js": Page("batch.html")}
each_page = pytest.mark.parametrize(("script", "page"), PAGES.items())


@each_page
def test_nothing_is_inline(script: str, page: Page) -> None:
    assert page.inline == []
    assert page.all("style") == []
    assert [name for _, attributes in page.elements for name in attributes if name.startswith("on")] == []


@each_page
def test_everything_the_page_loads_is_here(script: str, page: Page) -> None:
    loaded = [*page.all("src"), *(value for tag, a in page.elements if tag == "link" and (value := a.get("href")))]
    assert f"/static/js/{script}" in loaded
    for path in loaded:
        mount = next(prefix for prefix in MOUNTED if path.startswith(prefix))
        assert (MOUNTED[mount] / path.removeprefix(mount)).is_file()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_parses_no_markup_and_imports_what_is_there(script: Path) -> None:
    source = script.read_text()
    assert FORMS_OF_EVAL.search(source) is None
    for module in re.findall(r'(?:from|import\()\s*"([^"]+)"', source):
        assert (script.parent / module).is_file()
    for identity in re.findall(r'byId\("([^"]+)"\)', source):
        assert any(identity in page.all("id") for page in PAGES.values())


def test_nothing_comes_from_elsewhere() -> None:
    for path in (*SCRIPTS, *STATIC.glob("*.html"), *STATIC.glob("*.css")):
        urls = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"')]*", path.read_text()))
        assert urls <= {"http://www.w3.org/2000/svg"}  # a name, not an address


@each_page
def test_every_field_has_a_label(script: str, page: Page) -> None:
    labelled = set(page.all("for"))
    fields = [attributes for tag, attributes in page.elements if tag in ("input", "select", "textarea")]
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
