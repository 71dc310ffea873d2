"""A statement for many rows, past SQLAlchemy's work on every parameter of each: compiled once, rows as the driver takes them.

For tables that take thousands of rows a second (`app.sql.card_journal`): SQLAlchemy spends some 5 microseconds a row of ten
columns before SQLite sees it, as long as SQLite then takes.
"""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Dialect, Insert, Update

Row = tuple[Any, ...]


class Prepared:
    """A statement whose parameters are given as tuples.

    Args:
        statement: every parameter named; of an insert, the columns.
        names: the parameters, in the order of a row; two at least.
        dialect: of the database.
    """

    def __init__(self, statement: Insert | Update, names: Sequence[str], dialect: Dialect) -> None:
        columns = [name for name in names if name in statement.table.columns] if isinstance(statement, Insert) else None
        compiled = statement.compile(dialect=dialect, column_keys=columns)
        self._sql, self._names = str(compiled), tuple(names)
        taken = compiled.params.keys()
        if set(taken) != set(names):
            raise ValueError(f"the statement takes {sorted(taken)}, not {sorted(names)}")
        types = (compiled.binds[name].type.dialect_impl(dialect) for name in names)
        self._processors = [kind.bind_processor(dialect) for kind in types]
        self._order: itemgetter[Any] | None = None
        if compiled.positiontup is not None:
            places = [self._names.index(name) for name in compiled.positiontup]
            self._order = None if places == list(range(len(names))) else itemgetter(*places)
        self._named = compiled.positiontup is None

    def row(self, values: Iterable[Any]) -> Row:
        """The values, in the order of the names, as SQLAlchemy's types hand them to the driver."""
        given = zip(self._processors, values, strict=True)
        return tuple([value if process is None else process(value) for process, value in given])

    def __call__(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Execute for all rows, whose values are taken as they are; how many the database has taken."""
        if not rows:
            return 0
        given: list[Any] = list(rows)
        if self._named:
            given = [dict(zip(self._names, row, strict=True)) for row in rows]
        elif self._order is not None:
            given = list(map(self._order, rows))
        executed = connection.exec_driver_sql(self._sql, given, execution_options={"preserve_rowcount": True})
        return executed.rowcount
