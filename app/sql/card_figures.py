"""What the card decisions were worth, as far as frauds have been reported by now. Pure; the gateway shows it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from app.costs import FOUND, Costs
from app.sql.ledger import ChargeTally

_NONE = ChargeTally("", 0, 0, 0.0)


class Worth(Struct, frozen=True, kw_only=True):
    """What some decisions were worth. Frauds are reported days later, so each figure lags behind, precision most.

    Attributes:
        reviewed, blocked: decisions.
        caught, missed: reported frauds that were held (reviewed or blocked), and that were not; with their amounts.
        precision: of those held, the share reported, 0 to 1; `None` where none was held.
        recall: of those reported, the share held, 0 to 1; `None` where none was reported.
        saved_usd: what the frauds that were held would have cost, less all that was spent on reviews and on blocks nobody
            reported; by the stated costs (`app.costs`). May be negative.
    """

    reviewed: int
    blocked: int
    caught: int
    caught_usd: float
    missed: int
    missed_usd: float
    precision: float | None
    recall: float | None
    saved_usd: float


class CardFigures(Worth, frozen=True, kw_only=True):
    """Of all card transactions so far; `allowed`: decisions."""

    allowed: int


class WeeklyWorth(Worth, frozen=True, kw_only=True):
    """Of one week's card transactions.

    Attributes:
        week: by ISO 8601, of the transactions' event time in UTC: "2026-W47".
    """

    week: str


def figures(tallies: Sequence[ChargeTally], costs: Costs) -> CardFigures:
    """The figures behind the tallies.

    Example:
        >>> tallies = [ChargeTally("allow", 90, 1, 40.0), ChargeTally("block", 4, 3, 300.0)]
        >>> made = figures(tallies, Costs(chargeback=25, review=5, block=50))
        >>> made.precision, made.recall, made.saved_usd
        (0.75, 0.75, 325.0)
    """
    allowed = sum(tally.decided for tally in tallies if tally.action == "allow")
    return CardFigures(allowed=allowed, **_worth(tallies, costs))


def weekly(weeks: Mapping[str, Sequence[ChargeTally]], costs: Costs) -> list[WeeklyWorth]:
    """The same week by week, in the order of the weeks."""
    return [WeeklyWorth(week=week, **_worth(tallies, costs)) for week, tallies in sorted(weeks.items())]


def _worth(tallies: Iterable[ChargeTally], costs: Costs) -> dict[str, Any]:
    """The fields of `Worth`."""
    by = {tally.action: tally for tally in tallies}
    allowed, reviewed, blocked = (by.get(action, _NONE) for action in ("allow", "review", "block"))
    held, caught = reviewed.decided + blocked.decided, reviewed.reported + blocked.reported
    averted = FOUND * _cost(reviewed, costs) + _cost(blocked, costs)
    spent = costs.review * reviewed.decided + costs.block * max(0, blocked.decided - blocked.reported)
    worth = Worth(
        reviewed=reviewed.decided,
        blocked=blocked.decided,
        caught=caught,
        caught_usd=round(reviewed.reported_usd + blocked.reported_usd, 2),
        missed=allowed.reported,
        missed_usd=round(allowed.reported_usd, 2),
        precision=round(caught / held, 4) if held else None,
        recall=round(caught / (caught + allowed.reported), 4) if caught + allowed.reported else None,
        saved_usd=round(averted - spent, 2),
    )
    return asdict(worth)


def _cost(tally: ChargeTally, costs: Costs) -> float:
    """What its frauds would have cost, had they passed."""
    return tally.reported_usd + tally.reported * costs.chargeback
