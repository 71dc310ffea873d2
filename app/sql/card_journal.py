"""The store's write side for card transactions: what is held, what is reported as fraud, and the tallies of both.

Written by `decision.card_books`. An allowed transaction is no row but a count, which goes together with the offset up to which
has been counted (docs/decisions/0006).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, and_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from app.decisions import Decision
from app.events import FraudReported
from app.sql.journal import Aged, Journal, added, chunks, execute
from app.sql.ledger import DecisionKey, Entry, Mark
from app.sql.schema import charge_counts, charge_tallies, charges

REPORTED_WITHIN = timedelta(days=180)
"""Besides the store's retention. Card schemes let a fraud be disputed for 120 days (Visa, Mastercard)."""


class Held(NamedTuple):
    """A decision to hold a transaction, and what is at stake."""

    decision: Decision
    amount_usd: float


@dataclass
class Count:
    """Allowed transactions of one partition that are not in the tallies yet.

    Attributes:
        offset: all before it is counted, with these.
    """

    offset: int
    allowed: int = 0


@dataclass
class _Tally:
    decided: int = 0
    reported: int = 0
    reported_usd: float = 0.0


@dataclass
class _Tallies:
    """Changes by action."""

    by: dict[str, _Tally] = field(default_factory=dict)

    def of(self, action: str) -> _Tally:
        return self.by.setdefault(action, _Tally())

    def reported(self, action: str, amount_usd: float, sign: int = 1) -> None:
        tally = self.of(action)
        tally.reported += sign
        tally.reported_usd += sign * amount_usd


class CardJournal(Journal):
    """The journal of the card decisions."""

    worker = "cards"

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        self._put_charge = insert(charges).on_conflict_do_nothing()
        self._put_reported = self._put_charge.returning(charges.c.amount_usd)
        self._add_tallies = added(insert, charge_tallies, "decided", "reported", "reported_usd")
        put = insert(charge_counts)
        self._put_count = put.on_conflict_do_update(
            index_elements=[charge_counts.c.partition], set_={"offset": put.excluded.offset}
        )

    def counted(self, partitions: Collection[int]) -> dict[int, int]:
        """The offset up to which each partition's allowed transactions are counted; absent where none ever was."""
        query = select(charge_counts).where(charge_counts.c.partition.in_(partitions))
        with self.connected() as connection:
            return {row.partition: row.offset for row in connection.execute(query)}

    def hold(
        self,
        entry: Entry,
        held: Iterable[Held],
        counts: Mapping[int, Count] | None = None,
        marks: Sequence[Mark] = (),
        *,
        counted: bool = False,
    ) -> dict[DecisionKey, Decision]:
        """Write decisions down, those to hold a transaction among them; returns those that stood there already.

        One that was reported before it was decided counts under its decision from now on. Allowed ones count if they are
        new, unless they have been `counted` as such; `counts` and `marks` are settled in the same transaction.
        """
        tallies = _Tallies()
        with self.transaction() as connection:
            fresh, standing = self.write(connection, entry)
            for action, n in fresh.items():
                tallies.of(action).decided += n
            if counted:
                tallies.of("allow").decided = 0
                self.count(connection, {"allow": -fresh.get("allow", 0)})
            self._hold(connection, list(held), standing, tallies)
            self._settle(connection, counts or {}, marks, tallies)
        return standing

    def _hold(
        self,
        connection: Connection,
        held: Sequence[Held],
        standing: Mapping[DecisionKey, Decision],
        tallies: _Tallies,
    ) -> None:
        """All at once; one by one only where some were there before, reported already or of a second delivery."""
        rows = [
            {
                "user_id": each.decision.user_id,
                "subject_id": each.decision.subject_id,
                "action": standing.get(DecisionKey.of(each.decision), each.decision).action,
                "amount_usd": each.amount_usd,
                "reported": False,
                "at": each.decision.at,
            }
            for each in held
        ]
        if execute(connection, self._put_charge, rows) == len(rows):
            return
        for row in rows:
            key, action = {name: row[name] for name in ("user_id", "subject_id")}, str(row["action"])
            was_allowed = update(charges).where(_is(key), charges.c.action == "allow").values(action=action)
            for amount_usd in connection.scalars(was_allowed.returning(charges.c.amount_usd)):
                tallies.reported("allow", amount_usd, sign=-1)
                tallies.reported(action, amount_usd)

    def report(self, reports: Sequence[FraudReported], now: datetime) -> None:
        """Count these frauds, each once per transaction: under what was decided, or as allowed."""
        tallies = _Tallies()
        first = {(report.user_id, report.transaction_id): report for report in reversed(reports)}
        with self.transaction() as connection:
            for keys in chunks(sorted(first)):
                for action, amount_usd in connection.execute(_now_reported(keys)):
                    tallies.reported(action, amount_usd)
                for amount_usd in connection.scalars(self._put_reported, [_allowed(first[key], now) for key in keys]):
                    tallies.reported("allow", amount_usd)
            self._tally(connection, tallies)

    def settle(self, counts: Mapping[int, Count], marks: Sequence[Mark] = ()) -> None:
        """Write down what has been allowed, up to which offset, and how far decisions have been pushed."""
        with self.transaction() as connection:
            self._settle(connection, counts, marks, _Tallies())

    def _settle(
        self, connection: Connection, counts: Mapping[int, Count], marks: Sequence[Mark], tallies: _Tallies
    ) -> None:
        allowed = sum(count.allowed for count in counts.values())
        tallies.of("allow").decided += allowed
        rows = [{"partition": partition, "offset": count.offset} for partition, count in sorted(counts.items())]
        self.mark(connection, marks)
        execute(connection, self._put_count, rows)
        self.count(connection, {"allow": allowed})
        self._tally(connection, tallies)

    def _tally(self, connection: Connection, tallies: _Tallies) -> None:
        """In one order everywhere, so that two workers cannot lock each other's rows crosswise."""
        rows = [{"action": action, **vars(tally)} for action, tally in sorted(tallies.by.items())]
        execute(connection, self._add_tallies, [row for row in rows if row["decided"] or row["reported"]])

    def aged(self, before: datetime) -> Aged:
        return (*super().aged(before), (charges, charges.c.at < before - REPORTED_WITHIN))


def _now_reported(keys: Sequence[tuple[str, str]]) -> Any:
    """Of these transactions, those that were decided and not reported until now; returns what was decided, and on how much."""
    these = tuple_(charges.c.user_id, charges.c.subject_id).in_(keys)
    marked = update(charges).where(these, ~charges.c.reported).values(reported=True)
    return marked.returning(charges.c.action, charges.c.amount_usd)


def _allowed(report: FraudReported, now: datetime) -> dict[str, Any]:
    """The row of a fraud that nobody has held."""
    return {
        "user_id": report.user_id,
        "subject_id": report.transaction_id,
        "action": "allow",
        "amount_usd": report.amount_usd,
        "reported": True,
        "at": now,
    }


def _is(key: Mapping[str, Any]) -> Any:
    return and_(*(charges.c[name] == value for name, value in key.items()))
