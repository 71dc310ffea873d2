"""The memory of a stateful agent that is asked: made for one batch of requests, and thrown away with it."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby

import numpy as np
import scipy.sparse

from app.agent import Agent, Features, State
from app.events import Event

_TOGETHER = -1


class Throwaway:
    """A state for each request, empty at its beginning; `app.modes.scoring.scorer.Memory` for one batch.

    No request sees another's events, nor those of the agent's partitions: the answer is the same whatever else is asked.
    Features are made request by request (those that rest on no state all at once: of `duration`, 64 requests take 0.15 ms
    together and 4.9 ms apart), and the model then gets all of them.

    Args:
        requests: the events of each, which will be extracted in this order.
    """

    def __init__(self, agent: Agent, kind: type[State], requests: Sequence[Sequence[Event]]) -> None:
        self._agent, self._kind = agent, kind
        self._owner = {
            id(event): _TOGETHER if all(isinstance(each, agent.stateless) for each in request) else number
            for number, request in enumerate(requests)
            for event in request
        }
        self._kept: dict[int, list[Event]] = defaultdict(list)

    def extract(self, events: Sequence[Event]) -> Features:
        parts = [self._extract(number, list(some)) for number, some in groupby(events, self._number)]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else scipy.sparse.vstack(parts, "csr")

    def keep(self, events: Sequence[Event]) -> None:
        for event in events:
            self._kept[self._number(event)].append(event)

    def undo(self) -> None:
        """Nothing to take back: every `extract` begins with what was kept."""

    def _extract(self, number: int, events: Sequence[Event]) -> Features:
        before = self._kept[number]
        return self._agent.extract([*before, *events], self._kind())[len(before) :]

    def _number(self, event: Event) -> int:
        return self._owner[id(event)]
