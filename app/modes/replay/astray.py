"""Records of predictions that say of the state behind them what cannot be true. Below `app.modes.replay.course`."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from app.codec import Record
from app.modes.replay.plan import Place


class Astray(Struct):
    """Those that say a place there is not, behind the end of its topic. They are passed over, and told.

    The ends were asked for after all predictions were made, so no worker can have stood there: somebody else wrote it, or the
    topic was made anew since. No answer rests on another's record, so those that can be true come out the same without it;
    followed, it would lead to the end of everything, and nothing behind it would be read in order any more.

    Attributes:
        first: what the first of them says, and where it lies.
    """

    count: int = 0
    first: str = ""

    def takes(self, record: Record, stood: Iterable[tuple[Place, int]], ends: Mapping[Place, int]) -> bool:
        """Whether a record that says its state stood there is one of these; it is counted then."""
        for place, offset in stood:
            if not 0 <= offset <= ends[place]:
                self.count += 1
                self.first = self.first or (
                    f"{record.topic}/{record.partition}@{record.offset} says that its state had come to {offset} on "
                    f"{place.topic}/{place.partition}, which ends at {ends[place]}: somebody else wrote it, or that topic "
                    "was made anew"
                )
                return True
        return False

    def __str__(self) -> str:
        records = "1 record" if self.count == 1 else f"{self.count:,} records"
        return f"passed over {records} of predictions that cannot be true, the first: {self.first}"
