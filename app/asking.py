"""How to ask an agent and wait: the caller's side of request-reply over Kafka. No HTTP here, and no Faust.

A question goes to the topic `requests.<agent>`, and its answer comes back on this process's own partition of `replies`.
"""

from collections.abc import Sequence
from typing import Protocol
from uuid import uuid4

from app.events import Event
from app.requests import Answer

ID_PREFIX = "ask:"
"""Begins the id of an event that was only asked about. No client may choose such an id for an event it posts: a published
prediction of the one could otherwise pass for the answer to the other."""


def fresh_id() -> str:
    """An id for an event that is only asked about."""
    return f"{ID_PREFIX}{uuid4().hex}"


class Asks(Protocol):
    """Who can be asked; `Asker` is the one over Kafka."""

    async def ask(self, agent: str, events: Sequence[Event], within_s: float, *, publish: bool = False) -> Answer:
        """The agent's word on each of these events, in order, within `within_s` seconds.

        A row that cannot be scored fails alone, in `Answer.problems`. A state is never moved: a stateful agent answers
        from these events alone, each as if those before it were all that ever happened.

        Args:
            agent: the bare name, for instance "eta".
            events: what the agent consumes (or follows: such a row has a problem instead of a value), at most
                `app.requests.MAX_ROWS`.
            within_s: seconds until the deadline, at most `app.requests.MAX_WITHIN_S`.
            publish: put the predictions on the topic `predictions`, and so into the store, as well; the events then bear ids of
                `app.asking.fresh_id`.

        Raises (all `app.errors.AskingFailed`, a `MillraceError`):
            DeadlineExceeded: no answer in time (HTTP 504).
            NotServed: no worker serves the agent; known beforehand, not by waiting (503).
            Overloaded: too many questions wait already (503).
            TooLarge: too many rows or bytes (413).
            NotAnswered: the worker refused the question (422).
        """
        ...

    def serves(self, agent: str) -> bool:
        """Whether a worker of this agent is there now, as `ask` would find; answered at once, of what is known."""
        ...
