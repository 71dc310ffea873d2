"""The card transactions of the Fraud Detection Handbook as events, in the order in which they would have come.

https://fraud-detection-handbook.github.io/fraud-detection-handbook/, chapter 3: 5,000 customers, 10,000 terminals, 183 days
from 1 April 2018, simulated.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.events import AnyTransaction, FraudReported, TransactionMade

FIRST = date(2018, 4, 1)
DAY_S = 86_400
REPORTED_AFTER = timedelta(days=7)
"""The handbook's delay, after which a fraud is known."""


@dataclass(frozen=True)
class Transactions:
    """n transactions in order of time.

    Attributes:
        second: since the first midnight.
        day: since 1 April 2018.
    """

    card: NDArray[np.int64]
    terminal: NDArray[np.int64]
    usd: NDArray[np.float64]
    second: NDArray[np.int64]
    fraud: NDArray[np.bool_]

    @property
    def day(self) -> NDArray[np.int64]:
        return self.second // DAY_S

    def __len__(self) -> int:
        return len(self.second)

    def between(self, first: date, last: date) -> NDArray[np.bool_]:
        """Which were made on these days, the last one included."""
        return np.asarray((self.day >= (first - FIRST).days) & (self.day <= (last - FIRST).days), np.bool_)

    def where(self, chosen: NDArray[np.bool_]) -> "Transactions":
        return Transactions(**{name: column[chosen] for name, column in vars(self).items()})

    def stream(self) -> Iterator[tuple[int, AnyTransaction]]:
        """Each transaction when it was made, and each fraud's report when it became known, with the transaction's row."""
        frauds = np.flatnonzero(self.fraud)
        due = np.concatenate([self.second, self.second[frauds] + int(REPORTED_AFTER.total_seconds())])
        rows = np.concatenate([np.arange(len(self)), frauds])
        reported = np.arange(len(due)) >= len(self)
        order = np.argsort(due, kind="stable")
        for row, report in zip(rows[order].tolist(), reported[order].tolist(), strict=True):
            yield row, self._report(row) if report else self._made(row)

    def _made(self, row: int) -> TransactionMade:
        at = _midnight() + timedelta(seconds=int(self.second[row]))
        return TransactionMade(event_id=f"h{row}", at=at, source="pos", **self._common(row))

    def _report(self, row: int) -> FraudReported:
        made_at = _midnight() + timedelta(seconds=int(self.second[row]))
        common = self._common(row)
        return FraudReported(
            event_id=f"h{row}.fraud", at=made_at + REPORTED_AFTER, made_at=made_at, source="pos", **common
        )

    def _common(self, row: int) -> dict[str, Any]:
        card = int(self.card[row])
        return {
            "user_id": f"u{card}",
            "transaction_id": f"h{row}",
            "card_id": f"c{card}",
            "terminal_id": f"t{int(self.terminal[row])}",
            "amount_usd": float(self.usd[row]),
        }


def read(path: Path) -> Transactions:
    """All of them."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(path)
    kinds = {
        "card": ("CUSTOMER_ID", np.int64),
        "terminal": ("TERMINAL_ID", np.int64),
        "usd": ("TX_AMOUNT", np.float64),
        "second": ("TX_TIME_SECONDS", np.int64),
        "fraud": ("TX_FRAUD", np.bool_),
    }
    columns = {name: table[column].to_numpy().astype(kind) for name, (column, kind) in kinds.items()}
    order = np.argsort(columns["second"], kind="stable")
    return Transactions(**{name: column[order] for name, column in columns.items()})


def _midnight() -> datetime:
    return datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC)
