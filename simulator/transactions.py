"""Made-up card transactions as events: what `bank` draws, and of each fraud the report that follows.

The slow way, through the gateway or `mass`; past some hundreds a second `surge` sends the same as record batches.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np

from app.events import AnyTransaction, TransactionMade
from simulator.bank import DAY_S, REPORTED_AFTER_DAYS, SOURCES, Bank, Drawn, Ints
from simulator.plan import Birth
from simulator.wire import card_id, holder_id, report_of, terminal_id, transaction_id

_CHUNK = 256


def midnight(at: datetime) -> datetime:
    """Where the bank's days begin."""
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def transactions(
    bank: Bank,
    *,
    run: str,
    start: datetime,
    rate: float,
    speed: float,
    seed: int,
    seconds: float | None = None,
    first: int = 0,
) -> Iterator[Birth]:
    """Transactions without end, a Poisson process of `rate` per second, each with the report that it was a fraud.

    Event time begins at the midnight before `start` and runs `speed` times as fast as the clock. A report that would be
    due after `seconds` is left out, for the run is over by then. Cards and terminals are numbered from `first`.
    """
    rng, due_s, number = np.random.default_rng([seed, 3]), 0.0, 0
    report_s = REPORTED_AFTER_DAYS * DAY_S / speed
    while True:
        due = due_s + np.cumsum(rng.exponential(1 / rate, _CHUNK))
        drawn = bank.draw(due * speed / DAY_S, rng)
        for row, event in enumerate(_events(bank, drawn, run, midnight(start), number, first)):
            at_s = float(due[row])
            fraud = drawn.scenario[row] > 0 and (seconds is None or at_s + report_s < seconds)
            yield Birth(at_s, life(event, fraud=bool(fraud)))
        due_s, number = float(due[-1]), number + _CHUNK


def life(made: TransactionMade, *, fraud: bool) -> tuple[AnyTransaction, ...]:
    """A transaction, and `REPORTED_AFTER_DAYS` later that it was a fraud."""
    return (made, report_of(made, made.at + timedelta(days=REPORTED_AFTER_DAYS))) if fraud else (made,)


def _events(bank: Bank, drawn: Drawn, run: str, start: datetime, begin: int, first: int) -> Iterator[TransactionMade]:
    """Transactions, numbered from `begin` on."""
    seconds: Ints = (bank.seconds(drawn.day) * 1e6).astype(np.int64)
    columns = (seconds, drawn.card + first, drawn.terminal + first, drawn.cents, bank.source[drawn.terminal])
    rows = zip(*(column.tolist() for column in columns), strict=True)
    for number, (us, card, terminal, cents, source) in enumerate(rows, begin):
        yield TransactionMade(
            event_id=transaction_id(run, number),
            user_id=holder_id(card),
            at=start + timedelta(microseconds=us),
            transaction_id=transaction_id(run, number),
            card_id=card_id(card),
            terminal_id=terminal_id(terminal),
            source=SOURCES[source],
            amount_usd=cents / 100,
        )
