"""What was decided a moment ago, so that what an agent says again after a kill is known for a repeat. Pure, bounded."""

from collections.abc import Iterable

WINDOW = 65_536
"""Remembered per partition at least, twice as many at most: what an agent repeats after a kill is what it said since its last
commit: a quarter of a second and a batch, at 16,000 a second per partition some 20,000. About 10 MB when full."""


class Recent:
    """Keys seen of late, in two generations: when the younger is full the older is forgotten.

    Example:
        >>> recent = Recent(window=2)
        >>> recent.add(["a", "b"])
        >>> recent.add(["c"])
        >>> recent.any_of({"a", "x"}), "x" in recent
        (True, False)
    """

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._young: set[str] = set()
        self._old: set[str] = set()

    def any_of(self, keys: Iterable[str]) -> bool:
        """Whether any of these was seen."""
        return not (self._young.isdisjoint(keys) and self._old.isdisjoint(keys))

    def __contains__(self, key: str) -> bool:
        return key in self._young or key in self._old

    def add(self, keys: Iterable[str]) -> None:
        if len(self._young) >= self._window:
            self._young, self._old = set(), self._young
        self._young.update(keys)
