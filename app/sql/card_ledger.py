"""What the card decision worker writes down, as plain values: `decision.card_books` makes it, `app.sql.card_journal` keeps it. Pure.

The like for rides and uploads: `app.sql.ledger`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from app.decisions import Decision
from app.events import FraudReported
from app.predictions import Prediction
from app.sql.ledger import Mark


class Kept(NamedTuple):
    """A decision to be kept, and what it rests on.

    Attributes:
        message: the decision's JSON, as the topic gets it.
        amount_usd: what is at stake.
        partition, offset: of the record that the prediction came in.
    """

    decision: Decision
    message: bytes
    prediction: Prediction
    amount_usd: float
    partition: int
    offset: int
    traceparent: str | None = None


@dataclass
class Count:
    """Allowed transactions of one partition that are not in the tallies yet.

    Attributes:
        offset: all before it is counted, with these.
        since: the offset that the tallies have come to without these, as far as the worker knows; 0 at their beginning.
    """

    offset: int
    allowed: int = 0
    since: int = 0


@dataclass
class Pending:
    """What is written down along with the next transaction.

    Attributes:
        counts: by partition.
        marks: how far decisions have been pushed.
        reports: frauds; each counts once per transaction, under what was decided, or as allowed.
    """

    counts: Mapping[int, Count] = field(default_factory=dict)
    marks: Sequence[Mark] = ()
    reports: Sequence[FraudReported] = ()

    def __bool__(self) -> bool:
        return bool(self.counts or self.marks or self.reports)


@dataclass
class Tally:
    """What one transaction of the store adds to a row of its tallies; less than nothing, where it takes something back."""

    decided: int = 0
    reported: int = 0
    reported_usd: float = 0.0


@dataclass
class Tallies:
    """Changes by action, and by week and action."""

    by: dict[str, Tally] = field(default_factory=dict)
    weekly: dict[tuple[str, str], Tally] = field(default_factory=dict)

    def of(self, action: str) -> Tally:
        return self.by.setdefault(action, Tally())

    def in_week(self, week: str, action: str) -> Tally:
        return self.weekly.setdefault((week, action), Tally())

    def decided(self, action: str, week: str | None, n: int) -> None:
        self.of(action).decided += n
        if week is not None:
            self.in_week(week, action).decided += n

    def reported(self, action: str, week: str, amount_usd: float, sign: int = 1) -> None:
        for tally in (self.of(action), self.in_week(week, action)):
            tally.reported += sign
            tally.reported_usd += sign * amount_usd
