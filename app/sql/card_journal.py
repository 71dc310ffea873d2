"""The store's write side for card transactions: what is kept, what is reported as fraud, and the tallies of both.

Written by `decision.card_books`. A transaction that is not kept is no row but a count, which goes together with the offset up to
which has been counted (docs/decisions/0006); one that is kept is one row (docs/decisions/0010).
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, and_, bindparam, false, select, tuple_, update

from app import codec
from app.decisions import Decision
from app.errors import MillraceError
from app.events import FraudReported
from app.sql.card_ledger import Kept, Pending, Tallies
from app.sql.journal import Aged, Journal, Unpushed, chunks, execute, standing
from app.sql.ledger import DecisionKey, iso_week
from app.sql.prepared import Prepared, Row
from app.sql.schema import Instant, card_decisions, charge_counts, charge_tallies, charges, weekly_charges
from app.sql.upserts import added, inserting

REPORTED_WITHIN = timedelta(days=180)
"""Besides the store's retention. Card schemes let a fraud be disputed for 120 days (Visa, Mastercard)."""

_decisions: codec.Decoder[Decision] = codec.Decoder(Decision)


class CardJournal(Journal):
    """The journal of the card decisions."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        insert = inserting(engine.dialect)
        put_charge = insert(charges).on_conflict_do_nothing()
        self._put_reported = put_charge.returning(*_WHOSE, charges.c.amount_usd)
        self._add_tallies, self._add_weekly_charges = (
            added(insert, table, "decided", "reported", "reported_usd") for table in (charge_tallies, weekly_charges)
        )
        put = insert(charge_counts)
        self._put_count = put.on_conflict_do_update(
            index_elements=[charge_counts.c.partition],
            set_={"offset": put.excluded.offset},
            where=charge_counts.c.offset == bindparam("since"),
        )
        self._put_charge = Prepared(put_charge, charges.columns.keys(), engine.dialect)
        put_decision = insert(card_decisions).on_conflict_do_nothing()
        self._put_kept = Prepared(put_decision, card_decisions.columns.keys(), engine.dialect)
        self._mark = Prepared(_MARK, ("at_offset", "is_published", "of_user", "marked"), engine.dialect)
        self._instant = Instant().dialect_impl(engine.dialect).bind_processor(engine.dialect) or _as_it_is

    def counted(self, partitions: Collection[int]) -> dict[int, int]:
        """The offset up to which each partition's allowed transactions are counted; absent where none ever was."""
        query = select(charge_counts).where(charge_counts.c.partition.in_(partitions))
        with self.connected() as connection:
            return {row.partition: row.offset for row in connection.execute(query)}

    def keep(
        self, kept: Sequence[Kept], now: datetime, pending: Pending | None = None, *, counted: bool = False
    ) -> dict[DecisionKey, Decision]:
        """Write decisions down; returns those that stood there already.

        One to hold a transaction that was reported before counts under that decision from now on. Allowed ones count if they
        are new, unless they have been `counted` as such; what is `pending` is settled in the same transaction, see `settle`.
        """
        tallies = Tallies()
        with self.transaction() as connection:
            fresh = self._keep(connection, kept, now)
            all_fresh = sum(fresh.values()) == len(kept)
            stood = {} if all_fresh else standing(connection, card_decisions, (each.decision for each in kept))
            for (action, week), n in fresh.items():
                tallies.decided(action, week, n)
            if counted:
                tallies.of("allow").decided = 0
            self._charge(connection, kept, stood, tallies)
            self._settle(connection, pending or Pending(), now, tallies)
        return stood

    def settle(self, pending: Pending, now: datetime) -> None:
        """Write down what is pending.

        Raises `MillraceError`, and nothing of it is written, where somebody else has counted meanwhile: a worker that was held
        up for so long that another has its partition now, or its successor. Both may have counted the same; whoever begins
        anew does so from what is written.
        """
        with self.transaction() as connection:
            self._settle(connection, pending, now, Tallies())

    def _keep(self, connection: Connection, kept: Sequence[Kept], now: datetime) -> dict[tuple[str, str | None], int]:
        """Write decisions down; how many of each action, and of the week where they hold, did not stand there already."""
        seen_ms, rows = round(now.timestamp() * 1000), defaultdict[tuple[str, str | None], list[Row]](list)
        for each in kept:
            action, event_at = each.decision.action, each.decision.event_at
            rows[action, None if action == "allow" else _week(event_at)].append(_decision_row(each, seen_ms))
        return {of: self._put_kept(connection, some) for of, some in rows.items()}

    def _charge(
        self,
        connection: Connection,
        kept: Sequence[Kept],
        stood: Mapping[DecisionKey, Decision],
        tallies: Tallies,
    ) -> None:
        """All that hold, at once; one by one only where some were there before, reported already or of a second delivery."""
        held = [
            (made, each.amount_usd)
            for each in kept
            if (made := stood.get(DecisionKey.of(each.decision), each.decision) if stood else each.decision)
            and made.action != "allow"
        ]
        rows = [(m.user_id, m.subject_id, m.action, usd, False, self._instant(m.at)) for m, usd in held]
        if self._put_charge(connection, rows) == len(rows):
            return
        for made, _ in held:
            these = and_(charges.c.user_id == made.user_id, charges.c.subject_id == made.subject_id)
            was_allowed = update(charges).where(these, charges.c.action == "allow").values(action=made.action)
            for amount_usd in connection.scalars(was_allowed.returning(charges.c.amount_usd)):
                tallies.reported("allow", _week(made.event_at), amount_usd, sign=-1)
                tallies.reported(made.action, _week(made.event_at), amount_usd)

    def _settle(self, connection: Connection, pending: Pending, now: datetime, tallies: Tallies) -> None:
        counts = sorted(pending.counts.items())
        tallies.of("allow").decided += sum(count.allowed for _, count in counts)
        self._mark(connection, [(mark.offset, mark.published, *mark.decision) for mark in pending.marks])
        moved = [{"partition": at, "offset": count.offset, "since": count.since} for at, count in counts]
        if execute(connection, self._put_count, moved) < len(moved):
            raise MillraceError("somebody else has counted transactions of the same partitions: begin anew")
        self._report(connection, pending.reports, now, tallies)
        # At last, and in one order everywhere, so that two workers cannot lock each other's rows crosswise.
        self.count(connection, {action: tally.decided for action, tally in tallies.by.items()})
        rows = ({"action": action, **vars(tally)} for action, tally in sorted(tallies.by.items()))
        execute(connection, self._add_tallies, [row for row in rows if row["decided"] or row["reported"]])
        weekly = sorted(tallies.weekly.items())
        execute(
            connection,
            self._add_weekly_charges,
            [{"week": week, "action": action, **vars(tally)} for (week, action), tally in weekly],
        )

    def _report(
        self, connection: Connection, reports: Sequence[FraudReported], now: datetime, tallies: Tallies
    ) -> None:
        first = {(report.user_id, report.transaction_id): report for report in reversed(reports)}
        for keys in chunks(sorted(first)):
            for *key, action, amount_usd in connection.execute(_now_reported(keys)):
                tallies.reported(action, _week(first[*key].made_at), amount_usd)
            for *key, amount_usd in connection.execute(self._put_reported, [_allowed(first[key], now) for key in keys]):
                tallies.reported("allow", _week(first[*key].made_at), amount_usd)

    def unpublished(self, partitions: Collection[int], limit: int) -> list[Unpushed]:
        """Decisions of these partitions that the live channel has not had, the oldest first, at most `limit`.

        Not those whose worker was killed before it had marked them: their predictions are delivered again, and they are told then.
        """
        c = card_decisions.c
        query = select(c.message, c.traceparent, c.partition, c.decided_offset).where(
            c.partition.in_(partitions), c.published == false()
        )
        with self.connected() as connection:
            rows = connection.execute(query.order_by(c.seen_ms).limit(limit)).all()
        return [Unpushed(_decisions.decode(message), *rest) for message, *rest in rows]

    def aged(self, before: datetime) -> Aged:
        seen_ms, published = card_decisions.c.seen_ms, card_decisions.c.published
        old = and_(seen_ms < round(before.timestamp() * 1000), published.is_not(False))
        return (*super().aged(before), (card_decisions, old), (charges, charges.c.at < before - REPORTED_WITHIN))


_MARK = (
    update(card_decisions)
    .where(card_decisions.c.user_id == bindparam("of_user"), card_decisions.c.decision_id == bindparam("marked"))
    .values(decided_offset=bindparam("at_offset"), published=bindparam("is_published"))
)


_WHOSE = charges.c.user_id, charges.c.subject_id


def _week(event_at: datetime) -> str:
    return iso_week(event_at.astimezone(UTC))


def _as_it_is(value: datetime | None) -> datetime | None:
    return value


def _decision_row(kept: Kept, seen_ms: int) -> Row:
    made = kept.decision
    said = codec.encode(kept.prediction)
    where = (kept.partition, kept.offset)
    not_pushed = (None, None)
    return (
        made.user_id, made.decision_id, made.subject_id, seen_ms, *where, kept.traceparent, said, kept.message, *not_pushed,
    )  # fmt: skip


def _now_reported(keys: Sequence[tuple[str, str]]) -> Any:
    """Of these transactions, those that were decided and not reported until now: which, what was decided, and on how much."""
    these = tuple_(charges.c.user_id, charges.c.subject_id).in_(keys)
    marked = update(charges).where(these, ~charges.c.reported).values(reported=True)
    return marked.returning(*_WHOSE, charges.c.action, charges.c.amount_usd)


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
