"""What the terminal view of `millrace demo` knows, as plain values: `cli.view` gathers them, `cli.panels` shows them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from app.live import LiveDecision
from app.sql.card_figures import CardFigures
from app.sql.ledger import LiveError

LIVE = "live"
"""The connection's state when all is well; anything else says what is not."""


class AgentStatus(Struct, frozen=True):
    """One consumer group, as `GET /v1/status` tells it."""

    name: str
    lag: int
    members: int


class Status(Struct, frozen=True):
    """What this view reads of `GET /v1/status`; it may say more."""

    agents: tuple[AgentStatus, ...] = ()
    errors: tuple[LiveError, ...] = ()
    rates: Mapping[str, float] = {}
    decisions: Mapping[str, int] = {}
    cards: CardFigures | None = None
    away: tuple[str, ...] = ()


class Process(NamedTuple):
    """One supervised process.

    Attributes:
        state: "running", "starting" or how it ended last.
        rss_mb: resident memory, megabytes; `None` when it is not there.
    """

    name: str
    state: str
    restarts: int
    rss_mb: float | None


class Picture(NamedTuple):
    """All that one frame shows.

    Attributes:
        connection: "live", or why it is not.
        decisions: about rides and uploads, newest first.
        held: card payments that were not allowed, newest first.
    """

    url: str
    connection: str
    up_s: float
    status: Status
    decisions: Sequence[LiveDecision]
    processes: Sequence[Process]
    held: Sequence[LiveDecision] = ()
