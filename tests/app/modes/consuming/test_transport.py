"""What aiokafka is told to drain."""

from aiokafka.structs import TopicPartition
from faust.types import TP

from app.codec import Record
from app.modes.consuming.progress import Progress, RecordBatch
from app.modes.consuming.transport import _Fetchable


def test_a_partition_without_room_is_not_drained_even_if_none_has_any() -> None:
    progress = Progress(1, lambda: None)
    fetchable = _Fetchable({TP("t", 0)}, progress)
    here, elsewhere = TopicPartition("t", 0), TopicPartition("t", 1)
    assert here in fetchable
    assert elsewhere not in fetchable
    progress.enter(RecordBatch("t", 0, [Record("t", 0, 7, 0, None, b"x")], 8, size=1))
    assert here not in fetchable
    assert fetchable, "aiokafka takes what is false for all there are"
