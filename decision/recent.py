"""What was decided a moment ago, so that what an agent says again after a kill is known for a repeat. Pure, bounded."""

from collections.abc import Sequence

WINDOW = 65_536
"""Remembered per partition at least; twice as many at most, some 10 MB. What an agent repeats after a kill is what it said since
its last commit, a second and a batch before: some 25,000 at 16,000 a second and partition."""


class Recent:
    """Keys seen of late, in two generations: when the younger is full the older is forgotten.

    Example:
        >>> recent = Recent(window=2)
        >>> recent.unseen(["a", "b", "a"]), recent.unseen(["c", "a"]), recent.unseen(["d", "b"])
        ([0, 1], [0], [0])
    """

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._young: set[str] = set()
        self._old: set[str] = set()

    def unseen(self, keys: Sequence[str]) -> Sequence[int]:
        """The places of those met for the first time, in order. They are remembered from now on."""
        if len(self._young) >= self._window:
            self._young, self._old = set(), self._young
        before, young = len(self._young), self._young
        if self._old.isdisjoint(keys) and young.isdisjoint(keys):
            young.update(keys)
            if len(young) - before == len(keys):
                return range(len(keys))
            young.difference_update(keys)
        places = []
        for place, key in enumerate(keys):
            if key not in young and key not in self._old:
                young.add(key)
                places.append(place)
        return places
