"""How long to wait before another try; used by the HTTP sender and the websocket client."""

from random import Random


def wait_s(attempt: int, rng: Random, *, base_s: float = 0.1, cap_s: float = 5.0) -> float:
    """Exponential backoff with jitter: anywhere between half and all of `base_s * 2 ** attempt`, at most `cap_s`.

    Clients that lost the same server at the same moment so do not come back at the same moment. Never zero, unlike
    "full jitter" (Brooker, Exponential Backoff and Jitter, AWS 2015).
    """
    return min(cap_s, base_s * 2.0 ** min(attempt, 30)) * rng.uniform(0.5, 1.0)
