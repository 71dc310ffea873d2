"""What became of the events that were sent; kept by the senders, read by the progress bar and the report."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Counts of one run.

    Attributes:
        events: how many of each type the system accepted, by class name.
        retries: answers "not now", lost connections and timeouts that were followed by another try.
        refused: why events were turned down for good, and how many.
        abandoned: events given up because the system did not accept them within the sender's patience.
        poisoned: records sent that are bad on purpose.
    """

    events: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    abandoned: int = 0
    poisoned: int = 0

    @property
    def accepted(self) -> int:
        return self.events.total()

    @property
    def subjects(self) -> int:
        """Events that ask for a decision."""
        return sum(
            self.events[name] for name in ("RideRequested", "ContentUploaded", "ContentUpdated", "TransactionMade")
        )

    @property
    def settled(self) -> int:
        """Everything that was accepted, refused or given up."""
        return self.accepted + self.refused.total() + self.abandoned
