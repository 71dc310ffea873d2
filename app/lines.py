"""Decodes many messages in one call, their ids checked all at once.

Below `app.codec`. msgspec checks the pattern of an id by a call into `re`, 0.4 microseconds for each of the three to six
ids of an event, which is more than all the rest of its decoding. So a batch is decoded as types that are the same but for the
pattern, the ids are matched as one text, and the messages are given back the types they have everywhere else.
"""

import re
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Annotated, Any, Generic, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct, defstruct

from app.errors import InvalidMessage
from app.events import Id

M = TypeVar("M")

_META: Meta = get_args(Id)[1]
_ONE = re.compile(str(_META.pattern))
_Bounded = Annotated[str, Meta(min_length=_META.min_length, max_length=_META.max_length)]


def _kind(byte: int) -> bytes:
    """What a byte is in an id: `a` may begin one, `.` may follow, `!` must not be; the newline stays."""
    text = chr(byte)
    if text == "\n":
        return b"\n"
    return b"!" if byte > 127 or not _ONE.match("a" + text) else b"a" if _ONE.match(text) else b"."


_KINDS = b"".join(map(_kind, range(256)))


def are_ids(texts: Sequence[str]) -> bool:
    r"""Whether each of these is an `app.events.Id`, its greatest length apart. As one text: a tenth of one by one.

    Example:
        >>> are_ids(["a-1", "b:2"]), are_ids(["a-1", "-b"]), are_ids(["a\nb"]), are_ids(["", "a"]), are_ids(["a", ""])
        (True, False, False, False, False)
    """
    kinds = "\n".join(texts).encode().translate(_KINDS)
    lines = kinds.count(b"\n") + 1 == len(texts) and b"\n\n" not in kinds and b"\n." not in kinds
    return not texts or (lines and b"!" not in kinds and kinds[:1] == b"a" and kinds[-1:] != b"\n")


class _Twin:
    """A message type without the pattern of its ids; `kind` is decoded, `original` is handed out."""

    def __init__(self, original: type[Struct]) -> None:
        self.original = original
        hints = get_type_hints(original, include_extras=True)
        self.ids = [attrgetter(name) for name, hint in hints.items() if hint == Id]
        fields = [(name, _Bounded) for name, hint in hints.items() if hint == Id]
        config = original.__struct_config__
        self.kind = (
            defstruct(
                original.__name__, fields, bases=(original,), kw_only=True, frozen=False, gc=config.gc, tag=config.tag
            )
            if fields
            else original
        )


class Lines(Generic[M]):
    """Decodes newline-delimited messages of a struct, or of a union of tagged structs.

    Example:
        >>> from app.events import AnyUpload
        >>> Lines(AnyUpload).decode(b"")
        []
    """

    def __init__(self, messages: Any) -> None:
        self._twins = [_Twin(original) for original in get_args(messages) or (messages,)]
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_union(twin.kind for twin in self._twins))

    def decode(self, document: bytes) -> list[M]:
        """The messages, in order. Raises msgspec's errors, and `InvalidMessage` for an id that is none."""
        messages: list[Any] = self._decoder.decode_lines(document)
        met = set(map(type, messages))
        for twin in self._twins:
            if twin.kind in met and twin.ids:
                of = messages if len(met) == 1 else [message for message in messages if type(message) is twin.kind]
                if not are_ids([found for get in twin.ids for found in map(get, of)]):
                    raise InvalidMessage("not an id")
                for message in of:
                    message.__class__ = twin.original  # Python sees to it that their layouts are the same
        return messages


def _union(kinds: Iterable[Any]) -> Any:
    first, *others = kinds
    for kind in others:
        first |= kind
    return first
