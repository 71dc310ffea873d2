"""The Fraud Detection Handbook's own data set: each row becomes the life of a transaction in event time.

The other source of transactions beside `transactions`. The file tells which are frauds; the report follows after the
handbook's delay. It does not tell what kind of terminal it was: that is dealt out here, the same for a terminal always.
"""

from bisect import bisect
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import ConfigurationError
from app.events import Source, TransactionMade
from simulator.bank import SHARES, SOURCES
from simulator.errors import UnreadableRecording
from simulator.plan import Life
from simulator.transactions import life
from simulator.wire import card_id, holder_id, terminal_id, transaction_id

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("TRANSACTION_ID", "TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT", "TX_FRAUD")
MOST_USD = 1_000_000.0
_SPREAD = 2_654_435_761
"""Knuth's multiplicative hash: neighbouring terminals get unrelated numbers."""


class RecordedTransactions:
    """The transactions of one file, in order of time, a report of its fraud with each that is one.

    Args:
        path: the parquet file.
        run: sets the ids of one replay apart from those of every other.

    Attributes:
        holders: the users whose cards these are.
        skipped: why rows were left out, and how many; complete when `lives` has come to its end.

    Raises `UnreadableRecording` when it is no such file.
    """

    def __init__(self, path: Path, run: str) -> None:
        self._run, self._table = run, _read(path)
        self.holders = [holder_id(n) for n in sorted({n for n in self._table["CUSTOMER_ID"].to_pylist() if _counts(n)})]
        self.skipped: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many rows there are, good and bad."""
        return int(self._table.num_rows)

    def lives(self) -> Iterator[Life]:
        """One life per usable row."""
        self.skipped.clear()
        for batch in self._table.to_batches(max_chunksize=8192):
            for row in batch.to_pylist():
                if problem := _problem(row):
                    self.skipped[problem] += 1
                else:
                    yield life(self._event(row), fraud=row["TX_FRAUD"] == 1)

    def _event(self, row: dict[str, Any]) -> TransactionMade:
        number, customer, terminal = (row[name] for name in ("TRANSACTION_ID", "CUSTOMER_ID", "TERMINAL_ID"))
        at: datetime = row["TX_DATETIME"]
        return TransactionMade(
            event_id=transaction_id(self._run, number),
            user_id=holder_id(customer),
            at=at.replace(tzinfo=UTC),
            transaction_id=transaction_id(self._run, number),
            card_id=card_id(customer),
            terminal_id=terminal_id(terminal),
            source=source_of(terminal),
            amount_usd=round(row["TX_AMOUNT"], 2),
        )


def source_of(terminal: int) -> Source:
    """What kind of terminal this number is, in the shares of `bank`.

    Example:
        >>> [source_of(number) for number in (1, 2, 3)]
        ['pos', 'online', 'pos']
    """
    share = terminal * _SPREAD % 2**32 / 2**32
    return SOURCES[bisect(list(accumulate(SHARES)), share, hi=len(SOURCES) - 1)]


def _problem(row: dict[str, Any]) -> str | None:
    """Why a row is no usable transaction."""
    if row["TX_DATETIME"] is None:
        return "without a time"
    if not all(_counts(row[name]) for name in ("TRANSACTION_ID", "CUSTOMER_ID", "TERMINAL_ID")):
        return "without a transaction, customer or terminal number"
    if row["TX_AMOUNT"] is None or not 0 <= row["TX_AMOUNT"] <= MOST_USD:
        return "without an amount of 0 to 1,000,000"
    return None


def _counts(number: object) -> bool:
    return isinstance(number, int) and number >= 0


def _read(path: Path) -> "pa.Table":
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ConfigurationError("reading parquet needs pyarrow: pip install 'millrace[train]'") from None
    if not path.is_file():
        raise UnreadableRecording(path, "there is no such file")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UnreadableRecording(path, f"it is not a readable parquet file ({error})") from error
    if missing := set(COLUMNS) - set(table.column_names):
        raise UnreadableRecording(path, f"it has no column {', '.join(sorted(missing))}")
    table = table.select(COLUMNS).sort_by([("TX_DATETIME", "ascending"), ("TRANSACTION_ID", "ascending")])
    at = table.column_names.index("TX_DATETIME")
    return table.set_column(at, "TX_DATETIME", table["TX_DATETIME"].cast(pa.timestamp("us")))
