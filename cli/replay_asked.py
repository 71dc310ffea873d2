"""The words of `millrace replay` as a plan: times, offsets, files and names checked, versions settled."""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from app.agent import find
from app.errors import ConfigurationError
from app.modes.replay.files import default_type, event_tag
from app.modes.replay.plan import EVERY, Chosen, Plan, Question, Rows, Target, TopicRange
from app.registry import open_registry
from app.settings import Settings
from cli.replay_trips import TRIPS, is_trips

_RANGE = re.compile(r"^(?:(\d+)=)?(\d*):(\d*)$")
_LAST = 2**62


class NothingAsked(ConfigurationError):
    """No agent was named."""


@dataclass(frozen=True)
class Asked:
    """Where to read, as it was typed."""

    topic: str | None = None
    since: str | None = None
    until: str | None = None
    offsets: str | None = None
    file: Path | None = None
    sql: str | None = None
    events: str | None = None


def make_plan(
    settings: Settings,
    agents: str | None,
    version: str | None,
    asked: Asked,
    target: Target = "store",
    directory: Path | None = None,
    question: Question | None = None,
) -> Plan:
    """What was asked, checked. Raises `ConfigurationError` naming the option that cannot be honoured."""
    if not agents:
        raise NothingAsked("--agent: say which, NAME[,NAME...], or continue a run with --resume")
    names = list(dict.fromkeys(name.strip() for name in agents.split(",") if name.strip()))
    if version is not None and len(names) > 1 and version.isdigit():
        raise ConfigurationError(
            "--version, --diff: each agent numbers its versions itself, so name one agent, or an alias"
        )
    if question is not None and target != "store":
        raise ConfigurationError(f"--{question}: its report is made from the store, so --target is store")
    if (target == "parquet") != (directory is not None):
        raise ConfigurationError("--target parquet and --into DIRECTORY go together")
    registry = open_registry(settings)
    chosen = tuple(Chosen(find(name).name, registry.resolve(name, version)) for name in names)
    where = None if directory is None else str(directory.resolve())
    return Plan(chosen=chosen, source=_source(asked, names), target=target, directory=where, question=question)


def _source(asked: Asked, names: list[str]) -> TopicRange | Rows:
    rows = asked.file is not None or asked.sql is not None
    of_topic = [asked.topic, asked.since, asked.until, asked.offsets]
    if rows and any(value is not None for value in of_topic):
        raise ConfigurationError("--topic, --from, --to and --offsets are for topics, not for --file and --sql")
    if asked.file is not None and asked.sql is not None:
        raise ConfigurationError("one source at a time: --file or --sql")
    if not rows:
        return _range(asked)
    if asked.file is not None and is_trips(asked.file):
        return Rows(TRIPS, str(asked.file.resolve()))
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
