"""Many messages in one call: the same messages, of the same types, as one by one; and no id that is none."""

import msgspec
import pytest

from app.codec import Decoder, Record, encode
from app.errors import InvalidMessage
from app.events import AnyEvent, RideRequested
from app.examples import EXAMPLES
from app.lines import Lines
from app.topics import TOPICS

LINES = b"\n".join(map(encode, EXAMPLES))


def test_messages_have_the_types_they_have_everywhere_else() -> None:
    messages = Lines[AnyEvent](AnyEvent).decode(LINES)
    assert messages == list(EXAMPLES)
    assert [type(message) for message in messages] == [type(example) for example in EXAMPLES]
    with pytest.raises(AttributeError, match="immutable"):
        messages[0].event_id = "another"  # type: ignore[misc]


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic.messages is not None], ids=lambda t: t.name)
def test_every_topic_of_the_table_can_be_read_by_lines(topic) -> None:  # type: ignore[no-untyped-def]
    assert Lines(topic.messages).decode(b"") == []


@pytest.mark.parametrize("bad", ["a\nb", "-a", "a b", "a\n", "\u00e4", "", "a" * 65, "a/b"])
@pytest.mark.parametrize("field", ["event_id", "user_id", "ride_id"])
def test_an_id_that_is_none_fails_alone_wherever_it_stands(field: str, bad: str) -> None:
    ride = next(example for example in EXAMPLES if isinstance(example, RideRequested))
    wrong = msgspec.json.encode({**msgspec.json.decode(encode(ride)), field: bad})
    with pytest.raises((InvalidMessage, msgspec.ValidationError)):
        Lines[AnyEvent](AnyEvent).decode(LINES + b"\n" + wrong)
    values = [encode(ride), wrong, encode(ride)]
    messages, failures = Decoder[AnyEvent](AnyEvent).decode_batch(
        [Record("rides", 0, offset, 0, None, value) for offset, value in enumerate(values)]
    )
    assert messages == [ride, None, ride]
    assert [(failure.record.offset, failure.error.field) for failure in failures] == [(1, field)]
