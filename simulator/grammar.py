"""A grammar of texts: symbols, each with alternatives that hold further symbols; `uploads` writes with it.

The rules are data, in `uploads.grammar` and `topics.grammar`; the head of the first explains the notation (that of Kate Compton's Tracery, in short).
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from random import Random

from app.errors import ConfigurationError

_SLOT = re.compile(r"\{([^{}]+)\}")
_NUMBER = re.compile(r"(\d+)\.\.(\d+)")

Piece = str | Callable[["Writer"], str]
"""Letters as they are, or what a writer puts in their place."""
Rules = Mapping[str, tuple[tuple[Piece, ...], ...]]
"""Symbol -> its alternatives, each cut into pieces."""


class Writer:
    """Writes one text on one topic: what it once called by name it calls so again."""

    def __init__(self, rules: Rules, topic: str, rng: Random) -> None:
        self._rules, self._topic, self.rng = rules, topic, rng
        self._named: dict[str, str] = {}

    def write(self, symbol: str) -> str:
        """One alternative of a symbol, the topic's own before the general one, with every slot filled."""
        alternatives = self._alternatives(symbol)
        chosen = alternatives[int(self.rng.random() * len(alternatives))]
        return "".join([piece if isinstance(piece, str) else piece(self) for piece in chosen])

    def several(self, symbol: str, count: int) -> list[str]:
        """`count` different alternatives of a symbol, or all of them, in any order."""
        alternatives = self._alternatives(symbol)
        chosen = self.rng.sample(alternatives, min(count, len(alternatives)))
        return ["".join([piece if isinstance(piece, str) else piece(self) for piece in one]) for one in chosen]

    def named(self, symbol: str) -> str:
        """What this text calls the symbol, the same each time."""
        if symbol not in self._named:
            self._named[symbol] = self.write(symbol)
        return self._named[symbol]

    def _alternatives(self, symbol: str) -> tuple[tuple[Piece, ...], ...]:
        return self._rules.get(f"{self._topic}/{symbol}") or self._rules[symbol]


@cache
def upload_rules() -> Rules:
    """The rules of made-up uploads."""
    here = Path(__file__).parent
    return parse("".join((here / file).read_text(encoding="utf-8") for file in ("uploads.grammar", "topics.grammar")))


def parse(source: str) -> Rules:
    r"""The rules of a grammar. Raises `ConfigurationError` naming a slot that no rule fills.

    Example:
        >>> rules = parse("[greeting]\nGood {time}, {2..2} of you!\n[time]\nmorning")
        >>> Writer(rules, "any", Random(0)).write("greeting")
        'Good morning, 2 of you!'
    """
    texts: dict[str, list[str]] = {}
    for line in filter(None, map(str.strip, source.splitlines())):
        if line.startswith("[") and line.endswith("]"):
            alternatives = texts.setdefault(line[1:-1], [])
        elif not line.startswith("#"):
            alternatives += [part.strip() for part in line.split(" | ")]
    known = {symbol.rpartition("/")[2] for symbol in texts}
    return {symbol: tuple(_cut(text, known) for text in texts[symbol]) for symbol in texts}


def _cut(text: str, known: set[str]) -> tuple[Piece, ...]:
    parts = _SLOT.split(text)
    pieces = [_slot(part, known) if place % 2 else part for place, part in enumerate(parts)]
    return tuple(piece for piece in pieces if piece)


def _slot(name: str, known: set[str]) -> Piece:
    if number := _NUMBER.fullmatch(name):
        low, high = int(number[1]), int(number[2])
        return lambda writer: str(low + int(writer.rng.random() * (high - low + 1)))
    symbol = name.lower()
    if symbol not in known:
        raise ConfigurationError(f"the grammar has no rule for {{{name}}}")
    return (lambda writer: writer.named(symbol)) if name.isupper() else (lambda writer: writer.write(symbol))
