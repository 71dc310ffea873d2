"""The live channel's log: per user a capped Redis stream, written and announced in one step, read from a cursor on.

Below `app.live` (which knows the messages) and the gateway's hub (which knows the connections). Redis is a cache here:
whoever asks for more than the log still holds is told so (`Page.complete`), and is served from the store instead.

A cursor is `<epoch>-<birth>-<n>`. `n` counts a user's messages without a hole, so a reader that sees n+2 after n knows
that it missed one; `birth` (ms) is when Redis began this stream, which expires when its user has been silent for long;
`epoch` is drawn anew whenever Redis may have forgotten something (FLUSHALL, a restart, messages a publisher gave up on).
"""

import asyncio
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple, Self

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

UNREACHABLE = (RedisError, OSError, TimeoutError)
"""What a Redis that is down, starting, full or slow may raise."""

EPOCH_KEY = "live:epoch"
STREAM_PREFIX = "live:user:"
ALL_CHANNELS = f"{STREAM_PREFIX}*"

_CURSOR = re.compile(r"^(?P<epoch>[0-9a-f]{16})-(?P<birth>[0-9]{1,15})-(?P<n>[0-9]{1,15})\Z")

# Redis tells its `run_id` anew at each start: a Redis that came back from an old snapshot has lost what came after it,
# although the epoch is still there.
_EPOCH = """
local function epoch(fresh, renew)
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local held = redis.call('HMGET', KEYS[1], 'token', 'run')
  if not renew and held[1] and held[2] == run then return held[1] end
  redis.call('HSET', KEYS[1], 'token', fresh, 'run', run)
  return fresh
end
local function now_ms()
  local clock = redis.call('TIME')
  return tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
end
local function parts(id)
  local birth, n = string.match(id, '(%d+)-(%d+)')
  return tonumber(birth), tonumber(n)
end
local function tail(key)
  local entry = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
  if entry then return parts(entry[1]) end
end
"""

# KEYS: epoch, then one stream per message. ARGV: fresh epoch, renew, cap, ttl (ms), then per message: identity, body, again.
_APPEND = (
    _EPOCH
    + """
local token = epoch(ARGV[1], ARGV[2] == '1')
local now, last, seen, cursors = now_ms(), {}, {}, {}
for i = 2, #KEYS do
  local key, at = KEYS[i], 3 * i - 1
  local identity, body, again = ARGV[at], ARGV[at + 1], ARGV[at + 2] == '1'
  if not last[key] then
    local birth, n = tail(key)
    last[key] = {birth or now, n or 0}
  end
  if again and not seen[key] then
    seen[key] = {}
    for _, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do seen[key][entry[2][2]] = true end
  end
  if again and seen[key][identity] then
    cursors[i - 1] = ''
  else
    local birth, n = last[key][1], last[key][2] + 1
    last[key][2] = n
    local id = string.format('%.0f-%.0f', birth, n)
    redis.call('XADD', key, 'MAXLEN', '~', ARGV[3], id, 'i', identity, 'b', body)
    redis.call('PEXPIRE', key, ARGV[4])
    if seen[key] then seen[key][identity] = true end
    cursors[i - 1] = token .. '-' .. id
    redis.call('PUBLISH', key, cursors[i - 1] .. '\\n' .. body)
  end
end
return cursors
"""
)

# KEYS: epoch, stream. ARGV: fresh epoch, cursor's epoch ('' for none), birth, n, limit, ttl (ms).
# Returns epoch, complete (0/1), more (0/1), birth and n the reader stands at afterwards, then id and body by turns.
_AFTER = (
    _EPOCH
    + """
local token, key = epoch(ARGV[1], false), KEYS[2]
local now, birth, n, ttl = now_ms(), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[6])
local last_birth, last_n = tail(key)
local same = token == ARGV[2]
if not last_n then
  local nothing_yet = same and n == 0 and now - birth < ttl
  return {token, nothing_yet and 1 or 0, 0, nothing_yet and ARGV[3] or string.format('%.0f', now), '0'}
end
local first_birth, first_n = parts(redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1][1])
local held = same and birth == last_birth and n <= last_n and first_n <= n + 1
local begun = same and n == 0 and birth <= last_birth and last_birth - birth < ttl and first_n == 1
if not (held or begun) then
  return {token, 0, 0, string.format('%.0f', last_birth), string.format('%.0f', last_n)}
end
local from = string.format('%.0f-%.0f', last_birth, n + 1)
local entries = redis.call('XRANGE', key, from, '+', 'COUNT', ARGV[5])
local answer = {token, 1, 0, string.format('%.0f', last_birth), string.format('%.0f', n + #entries)}
if n + #entries < last_n then answer[3] = 1 end
for _, entry in ipairs(entries) do
  answer[#answer + 1] = entry[1]
  answer[#answer + 1] = entry[2][4]
end
return answer
"""
)


class Cursor(NamedTuple):
    """A place in one user's log; `n` = 0 stands before the first message of a log that did not exist at `birth`."""

    epoch: str
    birth: int
    n: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.birth}-{self.n}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The cursor a client handed back; `None` when it is none of ours.

        Example:
            >>> Cursor.parse("00ff00ff00ff00ff-1700000000000-7")
            Cursor(epoch='00ff00ff00ff00ff', birth=1700000000000, n=7)
            >>> Cursor.parse("7") is None
            True
        """
        match = _CURSOR.match(text)
        return cls(match["epoch"], int(match["birth"]), int(match["n"])) if match else None

    def precedes(self, other: "Cursor") -> bool:
        """Whether `other` is the very next message after this one: anything else means that one was missed."""
        if self.epoch != other.epoch:
            return False
        if self.birth == other.birth:
            return other.n == self.n + 1
        return other.n == 1 and other.birth > self.birth


class Entry(NamedTuple):
    """One message of a user's log: the JSON object without its `id`."""

    cursor: Cursor
    body: bytes


class Line(NamedTuple):
    """What is to be appended: `again` drops it when the same identity is still in the user's log."""

    user_id: str
    identity: str
    body: bytes
    again: bool


class Page(NamedTuple):
    """What follows a cursor.

    Attributes:
        complete: nothing is missing between the cursor and `entries`; else `entries` is empty.
        more: there is another page after this one.
        position: where the reader stands after `entries` (at the end of the log when it is not complete).
    """

    complete: bool
    more: bool
    position: Cursor
    entries: list[Entry]


@contextmanager
def heeding() -> Iterator[None]:
    """End with `CancelledError` where the task was cancelled within, for redis-py (8.1) may lose that.

    It writes each command through `asyncio.wait_for`, which up to Python 3.11 prefers the result of what it waited for to a
    cancellation that comes in the same turn of the loop. A task that runs until it is cancelled would then run on.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task and task.cancelling() > before:  # more than before: one that tidies up after it was cancelled may do so
            raise asyncio.CancelledError


class _Heedful(Redis):
    """A client none of whose commands loses a cancellation."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        with heeding():
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py says no types


def connect(redis_url: str, timeout_s: float = 2.0) -> Redis:
    """A client that never reconnects behind our back: whoever uses it must know that something may have been missed."""
    return _Heedful.from_url(
        redis_url, retry=Retry(NoBackoff(), 0), socket_timeout=timeout_s, socket_connect_timeout=timeout_s
    )


def channel(user_id: str) -> str:
    """The pub/sub channel of a user, and the key of the user's stream."""
    return STREAM_PREFIX + user_id


def parse_announcement(data: bytes) -> Entry | None:
    """What came over a channel; `None` for what is none of ours (anyone may publish there)."""
    head, _, body = data.partition(b"\n")
    cursor = Cursor.parse(head.decode("ascii", "replace"))
    return Entry(cursor, body) if cursor and body else None


class LiveLog:
    """Appends and reads. Raises what redis-py raises (`UNREACHABLE`): what to do about it is the caller's affair.

    Args:
        cap: messages kept per user, at least; Redis trims whole nodes, so up to 100 more.
        ttl: how long a silent user's log is kept.
    """

    def __init__(self, redis: Redis, *, cap: int = 1000, ttl: timedelta = timedelta(hours=1)) -> None:
        self._cap, self._ttl_ms = cap, int(ttl.total_seconds() * 1000)
        self._append = redis.register_script(_APPEND)
        self._after = redis.register_script(_AFTER)

    async def append(self, lines: Sequence[Line], *, renew: bool = False) -> list[Cursor | None]:
        """Append and announce all, atomically; `None` stands where `again` dropped one. `renew` starts a new epoch."""
        arguments: list[bytes | str | int] = [_fresh_epoch(), int(renew), self._cap, self._ttl_ms]
        for line in lines:
            arguments += (line.identity, line.body, int(line.again))
        keys = [EPOCH_KEY, *(channel(line.user_id) for line in lines)]
        cursors: list[bytes] = await self._append(keys=keys, args=arguments)
        return [Cursor.parse(cursor.decode()) for cursor in cursors]

    async def after(self, user_id: str, cursor: Cursor | None, limit: int = 200) -> Page:
        """What the user's log holds after a cursor, oldest first; with none, just where the log ends."""
        epoch, birth, n = cursor or ("", 0, 0)
        answer: list[bytes] = await self._after(
            keys=[EPOCH_KEY, channel(user_id)], args=[_fresh_epoch(), epoch, birth, n, limit, self._ttl_ms]
        )
        token, complete, more, last_birth, last_n, *rest = answer
        held = token.decode()
        entries = [Entry(_cursor(held, id_), body) for id_, body in zip(rest[::2], rest[1::2], strict=True)]
        return Page(bool(complete), bool(more), Cursor(held, int(last_birth), int(last_n)), entries)


def _fresh_epoch() -> str:
    return secrets.token_hex(8)


def _cursor(epoch: str, stream_id: bytes) -> Cursor:
    birth, _, n = stream_id.partition(b"-")
    return Cursor(epoch, int(birth), int(n))
