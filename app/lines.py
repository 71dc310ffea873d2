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
_Bounded = Annotated[str, Meta(min_length=_META.min_length, max_length=_META.max_length)]
_ALONE = str(_META.pattern).removeprefix("^").removesuffix(r"\Z")
_TOGETHER = re.compile(rf"(?:{_ALONE}+\n)*+\Z")  # possessive: what an id has taken is not tried again


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
                _check([found for get in twin.ids for found in map(get, of)])
                for message in of:
                    message.__class__ = twin.original  # Python sees to it that their layouts are the same
        return messages


def _union(kinds: Iterable[Any]) -> Any:
    first, *others = kinds
    for kind in others:
        first |= kind
    return first


def _check(ids: Sequence[str]) -> None:
    together = "\n".join(ids) + "\n"
    if together.count("\n") != len(ids) or not _TOGETHER.match(together):
        raise InvalidMessage("not an id")
