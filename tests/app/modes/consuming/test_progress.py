"""What may be committed is the longest finished prefix, whatever the order of finishing, and nothing of the past."""

from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from app.codec import Record
from app.modes.consuming.progress import Progress, RecordBatch

WHERE = TopicPartition("t", 0)


def batch(last: int, size: int = 1) -> RecordBatch:
    return RecordBatch("t", 0, [Record("t", 0, last, 0, None, b"")], last + 1, size)


def nothing() -> None:
    """Nobody waits for room."""


@given(gaps=st.lists(st.integers(1, 5), min_size=1, max_size=12), data=st.data())
def test_the_committable_offset_is_the_longest_finished_prefix(gaps: list[int], data: st.DataObject) -> None:
    progress = Progress(1000, nothing)
    offsets = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    batches = [batch(offset) for offset in offsets]
    for one in batches:
        progress.enter(one)
    finished: set[int] = set()
    for place in data.draw(st.permutations(range(len(batches)))):
        progress.finish(batches[place])
        finished.add(place)
        prefix = next((n for n in range(len(batches)) if n not in finished), len(batches))
        expected = {WHERE: offsets[prefix - 1] + 1} if prefix else {}
        assert progress.committable() == expected


def test_what_is_committed_is_not_committed_again() -> None:
    progress, one = Progress(1000, nothing), batch(4)
    progress.enter(one)
    progress.finish(one)
    progress.committed({WHERE: 5})
    assert progress.committable() == {}
    assert progress.known() == {WHERE: 5}


def test_work_of_an_earlier_assignment_moves_nothing() -> None:
    progress, old, new = Progress(1000, nothing), batch(4), batch(4)
    progress.enter(old)
    progress.clear()
    progress.enter(new)
    progress.finish(old)
    assert progress.committable() == {}
    progress.committed({TopicPartition("t", 9): 1})
    assert progress.known() == {}


def test_a_partition_with_enough_in_hand_is_not_fetched_until_there_is_room() -> None:
    told: list[bool] = []
    progress = Progress(10, lambda: told.append(True))
    small, large = batch(0, 4), batch(1, 8)
    progress.enter(small)
    assert progress.has_room(WHERE)
    progress.enter(large)
    assert not progress.has_room(WHERE)
    progress.finish(small)
    assert (progress.has_room(WHERE), told) == (True, [True])
