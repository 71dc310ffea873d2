"""The words of `millrace replay` as a plan: times, offsets, files and names checked, versions settled."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.agent import find
from app.errors import ConfigurationError
from app.events import RideRequested
from app.modes.replay.files import default_type, event_tag
from app.modes.replay.plan import EVERY, Chosen, Plan, Question, Rows, Target, TopicRange
from app.registry import open_registry
from app.settings import Settings
from cli.replay_trips import TRIPS, is_trips

_RANGE = re.compile(r"^(?:(\d+)=)?(\d*):(\d*)$")
_LAST = 2**62
_EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
"""A day later than Kafka's clock begins: reading begins an hour before the time that is asked for."""


class NothingAsked(ConfigurationError):
    """No plan was typed: a run is to go on as it was begun."""


@dataclass(frozen=True)
class Asked:
    """What is to be replayed, as it was typed; see `cli.replay_options`."""

    agents: str | None = None
    version: str | None = None
    topic: str | None = None
    since: str | None = None
    until: str | None = None
    offsets: str | None = None
    file: Path | None = None
    sql: str | None = None
    events: str | None = None
    target: Target = "store"
    into: Path | None = None
    diff: str | None = None
    backfill: bool = False

    @property
    def question(self) -> Question | None:
        return "diff" if self.diff is not None else "backfill" if self.backfill else None


@dataclass(frozen=True)
class Going:
    """Which run is begun or gone on with, as it was typed.

    Attributes:
        resume: the latest that is not finished.
    """

    run: str | None = None
    resume: bool = False


def refuse(beside: str, given: Mapping[str, object]) -> None:
    """Raises `ConfigurationError` naming the options that were given and mean nothing beside another."""
    if strays := [option for option, value in given.items() if value not in (None, False)]:
        raise ConfigurationError(f"{', '.join(strays)}: means nothing beside {beside}, so leave one of them out")


def make_plan(settings: Settings, asked: Asked) -> Plan:
    """What was asked, checked. Raises `ConfigurationError` naming the option that cannot be honoured."""
    if asked == Asked():
        raise NothingAsked("--agent: say which, NAME[,NAME...], or continue a run with --resume")
    names = list(dict.fromkeys(name.strip() for name in (asked.agents or "").split(",") if name.strip()))
    if not names:
        raise ConfigurationError("--agent: say which, NAME[,NAME...]; a run goes on with --run NAME alone")
    _check_together(asked, names)
    registry, version = open_registry(settings), asked.diff or asked.version
    chosen = tuple(Chosen(find(name).name, registry.resolve(name, version)) for name in names)
    where = None if asked.into is None else str(asked.into.resolve())
    return Plan(
        chosen=chosen, source=_source(asked, names), target=asked.target, directory=where, question=asked.question
    )


def _check_together(asked: Asked, names: list[str]) -> None:
    version = asked.diff or asked.version
    if version is not None and len(names) > 1 and version.isdigit():
        raise ConfigurationError(
            "--version, --diff: each agent numbers its versions itself, so name one agent, or an alias"
        )
    if asked.diff is not None:
        refuse("--diff VERSION", {"--version": asked.version, "--backfill": asked.backfill})
    if asked.question is not None and asked.target != "store":
        raise ConfigurationError(f"--{asked.question}: its report is made from the store, so --target is store")
    if (asked.target == "parquet") != (asked.into is not None):
        raise ConfigurationError("--target parquet and --into DIRECTORY go together")


def _source(asked: Asked, names: list[str]) -> TopicRange | Rows:
    rows = asked.file is not None or asked.sql is not None
    of_topic = [asked.topic, asked.since, asked.until, asked.offsets]
    if rows and any(value is not None for value in of_topic):
        raise ConfigurationError("--topic, --from, --to and --offsets are for topics, not for --file and --sql")
    if asked.file is not None and asked.sql is not None:
        raise ConfigurationError("one source at a time: --file or --sql")
    if not rows:
        refuse("a topic, whose records say it themselves", {"--events": asked.events})
        return _range(asked)
    if asked.file is not None and is_trips(asked.file):
        refuse("a month of the TLC, whose rows are rides", {"--events": asked.events})
        return Rows(TRIPS, str(asked.file.resolve()), event_tag(RideRequested.__name__))
    events = event_tag(asked.events) if asked.events is not None else _common_type(names)
    if asked.sql is not None:
        return Rows("sql", asked.sql, events)
    return Rows("table", str(Path(asked.file or "").resolve()), events)


def _common_type(names: list[str]) -> str:
    types = {default_type(find(name)) for name in names}
    if len(types) > 1:
        raise ConfigurationError("--events: these agents answer different events, so say which a row is")
    return types.pop()


def _range(asked: Asked) -> TopicRange:
    since, until = _instant("--from", asked.since), _instant("--to", asked.until)
    if since is not None and until is not None and until <= since:
        raise ConfigurationError("--to: must be later than --from")
    return TopicRange(asked.topic, since, until, _offsets(asked.offsets))


def _instant(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(f"{option}: {text!r} is no time such as 2023-02-01T00:00Z") from error
    if at.tzinfo is None:
        raise ConfigurationError(f"{option}: {text!r} needs an offset: 2023-02-01T00:00Z, or -05:00 for New York")
    if at < _EARLIEST:
        raise ConfigurationError(f"{option}: {text!r} lies before 1970, where the clocks of logs begin")
    return at


def _offsets(text: str | None) -> dict[int, tuple[int, int]]:
    ranges: dict[int, tuple[int, int]] = {}
    for word in (text or "").split(","):
        if not word.strip():
            continue
        match = _RANGE.match(word.strip())
        if match is None:
            raise ConfigurationError(f"--offsets: {word!r} is not FIRST:END, nor PARTITION=FIRST:END")
        partition, first, end = match.groups()
        bounds = int(first or 0), int(end or _LAST)
        if bounds[1] <= bounds[0]:
            raise ConfigurationError(f"--offsets: {word!r} is empty, the end is excluded")
        ranges[int(partition) if partition else EVERY] = bounds
    if EVERY in ranges and len(ranges) > 1:
        raise ConfigurationError("--offsets: either one range for every partition, or each named")
    return ranges
