"""How a worker of a replay may end in the middle."""

from typing import Any


class Died(Exception):
    """The worker is gone."""


class Once:
    """A source that is cut off: its worker dies after so many slices."""

    def __init__(self, source: Any, slices: int) -> None:
        self._source, self._left = source, slices

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    async def slices(self, span: Any, position: int) -> Any:
        async for piece in self._source.slices(span, position):
            if self._left == 0:
                raise Died
            self._left -= 1
            yield piece


class Seldom:
    """A source whose worker enters what came out after so many records, though its slices are smaller."""

    def __init__(self, source: Any, records: int) -> None:
        self._source, self._records = source, records

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def every(self, _span: Any) -> int:
        return self._records
