"""The AsyncAPI document: the live channel and the Kafka topics, generated from the messages and the topics table."""

from functools import cache
from typing import Any, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from app.live import AnyLive, Reconnect
from app.topics import TOPICS, Topic
from gateway.openapi import schemas
from gateway.routes import answer
from gateway.sockets import Ending

Json = dict[str, Any]

LIVE = f"""\
Live updates of one user; the same messages go out as server-sent events from `GET /v1/live`.

The first message is `connected`. With `last_id` (the `id` of the last message you had, from any gateway) it says
`recovered: true` and what you missed follows, each exactly once and in order. `recovered: false` (no `last_id`, one that
is none of yours, or the history no longer reaches back to it) comes with `snapshot`, your latest decisions: start from
those; it may also come later, when Redis lost its memory. A decision may be both in the snapshot and in the next message: `decision_id` tells.

`heartbeat` comes when nothing else does, every 15 s. `reconnect` announces that the gateway closes. A client that reads
slowly is served from the history at its own pace; one that takes nothing for 20 s is cut off and may resume.

`all=1` (scope `live:all`) sends every user's messages; what was missed of other users is not made up for. Resume with
the `id` of a message of your own, or of a `connected` or `heartbeat`: another user's is a place in their history.

Close codes: {"; ".join(f"{ending.value[0]}: {ending.value[1]}" for ending in Ending)}. Before the handshake: HTTP 401,
403 (scope, origin), 429 (too many connections of this user), 503.
"""


async def endpoint(_: Request) -> Response:
    return answer(document())


@cache
def document() -> Json:
    """The document, AsyncAPI 3.0."""
    live = get_args(AnyLive)
    topics = [topic for topic in TOPICS if topic.messages is not None]
    carried = [message for topic in topics for message in _messages(topic)]
    components = schemas([*live, *carried])
    for message in live:
        if message is not Reconnect:  # which has nothing to resume from; else it is absent inside a snapshot only
            components[message.__name__]["required"].append("id")
    channels = {"live": _channel("/v1/live", LIVE, live) | {"bindings": {"ws": {"query": _QUERY}}}}
    channels |= {topic.name: _channel(topic.name, f"Key: {topic.key}.", _messages(topic)) for topic in topics}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Millrace", "version": "1"},
        "channels": channels,
        "operations": {
            f"{_identifier(name)}.{'send' if name == 'live' else 'receive'}": {
                "action": "send" if name == "live" else "receive",
                "channel": {"$ref": f"#/channels/{name}"},
            }
            for name in channels
        },
        "components": {
            "schemas": components,
            "messages": {type_.__name__: _message(type_) for type_ in (*live, *carried)},
        },
    }


_QUERY: Json = {
    "type": "object",
    "properties": {
        "token": {"type": "string", "description": "JWT; or send `Authorization: Bearer`"},
        "last_id": {"type": "string", "description": "resume after this message"},
        "all": {"enum": ["1"], "description": "every user's messages; scope live:all"},
    },
}


def _messages(topic: Topic) -> tuple[type[msgspec.Struct], ...]:
    return get_args(topic.messages) or (topic.messages,)


def _channel(address: str, description: str, messages: tuple[type[msgspec.Struct], ...]) -> Json:
    refs = {message.__name__: {"$ref": f"#/components/messages/{message.__name__}"} for message in messages}
    return {"address": address, "description": description, "messages": refs}


def _message(message: type[msgspec.Struct]) -> Json:
    return {
        "name": str(message.__struct_config__.tag),
        "summary": (message.__doc__ or "").strip().splitlines()[0],
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{message.__name__}"},
    }


def _identifier(name: str) -> str:
    return name.replace("-", "_")
