"""A rate limit: a batch is taken whole or not at all, so that what is too much costs nothing. Pure."""


class Quota:
    """A token bucket that holds two seconds' worth, full at first.

    Args:
        rate: per second; 0 takes nothing.

    Example:
        >>> quota = Quota(rate=10, now_s=0.0)
        >>> [quota.take(n, now_s) for n, now_s in ((15, 0.0), (15, 0.5), (15, 1.0), (500, 60.0))]
        [True, False, True, False]
    """

    def __init__(self, rate: float, now_s: float) -> None:
        self._rate, self._left, self._at_s = rate, 2.0 * rate, now_s

    def take(self, n: int, now_s: float) -> bool:
        """Whether n may be had now."""
        self._left = min(2.0 * self._rate, self._left + self._rate * (now_s - self._at_s))
        self._at_s = now_s
        if n > self._left:
            return False
        self._left -= n
        return True
