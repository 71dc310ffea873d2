"""The head of the terminal view: where to look, whether it runs, how fast, and what was decided of each use. Pure."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from app.sql.card_figures import CardFigures
from cli.picture import LIVE, Picture, Status

_WORDS = {
    "rides": (("quote", "quoted"), ("confirm", "to confirm")),
    "uploads": (("keep", "kept"), ("review", "to review"), ("remove", "removed")),
}


def headline(picture: Picture) -> RenderableType:
    """Where to look, whether it runs, how fast."""
    away = picture.status.away
    connection = f"{picture.connection}, but no answer from: {', '.join(away)}" if away else picture.connection
    live = connection == LIVE
    top = Text.assemble(
        ("Millrace  ", "bold cyan"),
        ("open ", "dim"),
        (picture.url, f"bold underline link {picture.url}"),
        ("   ● " if live else "   ○ ", "green" if live else "yellow"),
        (connection, "" if live else "yellow"),
        (f"   up {_clock(picture.up_s)}   Ctrl-C stops", "dim"),
    )
    rates = [(rate(value), f"{name}/s") for name, value in picture.status.rates.items()]
    return Panel(Group(top, _figures(rates), *uses(picture.status)), border_style="dim", padding=(0, 1))


def uses(status: Status) -> list[Text]:
    """A line per use: how often each action was decided, and what the decisions on cards were worth."""
    counts, cards = dict(status.decisions), status.cards
    if cards:  # both are counted under the same word
        counts["review"] = max(0, counts.get("review", 0) - cards.reviewed)
    uses = {
        name: [(f"{counts[action]:,}", said) for action, said in words if counts.get(action)]
        for name, words in _WORDS.items()
    }
    if cards:
        uses["cards"] = worth(cards)
    return [Text.assemble((f"{name:9}", "cyan"), _figures(figures)) for name, figures in uses.items() if figures]


def worth(cards: CardFigures) -> list[tuple[str, str]]:
    """What the decisions on cards were worth: figures, and what each is."""
    figures = [
        (f"{cards.allowed:,}", "allowed"),
        (f"{cards.reviewed:,}", "to review"),
        (f"{cards.blocked:,}", "blocked"),
    ]
    if cards.recall is None:
        return figures
    share = [(f"{cards.recall:.0%}", "of frauds held")]
    if cards.precision is not None:
        share.append((f"{cards.precision:.0%}", "of held were frauds"))
    return [(_dollars(cards.saved_usd), "saved"), *figures, *share]


def _figures(figures: Sequence[tuple[str, str]]) -> Text:
    line = Text("   ").join(Text.assemble((value, "bold"), (f" {name}", "dim")) for value, name in figures)
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def rate(value: float) -> str:
    return f"{value:.1f}" if 0 < value < 9.95 else f"{value:,.0f}"


def _dollars(value: float) -> str:
    return f"{'−' if value < 0 else ''}${abs(value):,.0f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"
