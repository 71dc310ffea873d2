"""`millrace ask`: ask an agent and wait for its answer, through the gateway."""

import json
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from app.errors import ConfigurationError, MillraceError
from cli.options import Token, Url, gateway_url

if TYPE_CHECKING:
    import httpx

    from app.settings import Settings

Json = dict[str, Any]

_GRACE_S = 5.0
"""How much longer than the deadline the gateway may take to say that it has passed."""


class Unanswered(MillraceError):
    """The gateway has said no. Attribute `status`: of HTTP."""

    def __init__(self, status: int, detail: str, field: str | None, retry_after: str | None) -> None:
        self.status = status
        again = f"; try again in {retry_after} s" if retry_after else ""
        super().__init__(f"{f'{field}: ' if field else ''}{detail} (HTTP {status}){again}")


def ask(
    agent: Annotated[str, typer.Argument(help="whom to ask, for instance duration; `millrace agents list` names them")],
    given: Annotated[
        str | None, typer.Option("--json", help="one instance as a JSON object, or several as an array")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="instances, one JSON object per line; - reads standard input")
    ] = None,
    deadline_ms: Annotated[int, typer.Option(min=1, max=30_000, help="how long each request may take")] = 2000,
    publish: Annotated[bool, typer.Option("--publish", help="store and publish the predictions, too")] = False,
    wait_decision: Annotated[
        bool, typer.Option("--wait-decision", help="post the instances as events, and wait for what is decided on them")
    ] = False,
    user: Annotated[str, typer.Option(help="who asks; whose rides or uploads they are")] = "demo",
    token: Token = None,
    url: Url = None,
    as_json: Annotated[bool, typer.Option("--json-output", help="one JSON object per row")] = False,
) -> None:
    """Ask an agent and wait: the same model that scores the stream, by request and reply.

    Exit code 1 when a row got no answer, 2 when the call failed.

    Examples:

      millrace ask duration --json '{"pickup": {"zone": 74}, "dropoff": {"zone": 132}}'

      millrace ask spam --file comments.ndjson --json-output | jq .value

      millrace ask eta --wait-decision --json '{"pickup": {"zone": 74}, "dropoff": {"zone": 132}}'
    """
    from app.settings import read_settings

    settings = read_settings()
    instances = _instances(given, file)
    parameters = {"publish": "true"} if publish else {"wait": "decision"} if wait_decision else {}
    if publish and wait_decision:
        raise ConfigurationError("--publish and --wait-decision exclude each other: posted events are published anyway")
    with _client(url or gateway_url(settings), token or _token(settings, user), deadline_ms) as client:
        rows = _asked(client, agent, instances, parameters)
    if not rows:
        raise ConfigurationError(f"{'--json' if file is None else file}: there is no instance in it")
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
    else:
        Console().print(_decided(rows) if wait_decision else _table(agent, rows))
    raise typer.Exit(0 if all(row["value" if "value" in row else "decision"] is not None for row in rows) else 1)


def _token(settings: "Settings", user: str) -> str:
    from app.tokens import read_secret
    from simulator.badges import Badges

    return Badges(read_secret(settings)).of(user)


def _client(address: str, token: str, deadline_ms: int) -> "httpx.Client":
    import httpx

    headers = {"Authorization": f"Bearer {token}", "Deadline-Ms": str(deadline_ms)}
    return httpx.Client(base_url=address, headers=headers, timeout=deadline_ms / 1000 + _GRACE_S)


def _asked(client: "httpx.Client", agent: str, instances: Iterator[Json], parameters: dict[str, str]) -> list[Json]:
    """A row for each instance, in order; as many go in one call as it may have."""
    from app.asking.requests import MAX_ROWS

    rows: list[Json] = []
    while some := list(islice(instances, MAX_ROWS)):
        rows += _rows(_post(client, agent, some, parameters))
    return rows


def _instances(given: str | None, file: Path | None) -> Iterator[Json]:
    if (given is None) == (file is None):
        raise ConfigurationError("give the instances: either --json or --file")
    if given is not None:
        parsed = _parse(given, "--json")
        yield from parsed if isinstance(parsed, list) else [parsed]
    elif file is not None:
        try:
            lines = (sys.stdin if str(file) == "-" else file.open(encoding="utf-8")).readlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"--file: {file} cannot be read ({error})") from error
        yield from (_parse(line, f"{file}, line {number}") for number, line in enumerate(lines, 1) if line.strip())


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except ValueError as error:
        raise ConfigurationError(f"{where}: not JSON ({error})") from error


def _no_number(name: str) -> None:
    """NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(f"{name} is no number in it")


def _post(client: "httpx.Client", agent: str, instances: Sequence[Json], parameters: dict[str, str]) -> Json:
    import httpx

    from simulator.errors import AccessRefused, NoGateway

    try:
        response = client.post(f"/v1/predict/{agent}", params=parameters, json={"instances": instances})
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise NoGateway(str(client.base_url), str(error) or type(error).__name__) from error
    try:
        said: Json = response.json()
    except ValueError:
        said = {}
    if response.status_code in (401, 403):
        raise AccessRefused(str(client.base_url), said.get("detail", f"HTTP {response.status_code}"))
    if not response.is_success:
        detail = said.get("detail") or response.reason_phrase
        raise Unanswered(response.status_code, detail, said.get("field"), response.headers.get("retry-after"))
    return said


def _rows(said: Json) -> list[Json]:
    if "decisions" in said:
        return list(said["decisions"])
    shared = {"model": said["model"], "version": said["version"]}
    return [
        {**row, **shared, "event_id": event_id}
        for row, event_id in zip(said["predictions"], said["event_ids"], strict=True)
    ]


def _table(agent: str, rows: Sequence[Json]) -> Table:
    version = rows[0]["version"] if rows else "?"
    table = Table("row", title=f"{agent}, version {version}", title_justify="left")
    table.add_column("value", justify="right")
    for name in ("unit", "detail"):
        table.add_column(name, overflow="fold")
    for number, row in enumerate(rows, 1):
        value = "-" if row["value"] is None else f"{row['value']:.4g}"
        table.add_row(str(number), value, row["unit"], row.get("problem") or _brief(row.get("detail")))
    return table


def _decided(rows: Sequence[Json]) -> Table:
    table = Table("subject", "action", "why", "missing", title="Decisions", title_justify="left")
    for row in rows:
        decision = row["decision"] or {"action": "not yet", "reasons": ["it comes live"]}
        table.add_row(row["subject_id"], decision["action"], "; ".join(decision["reasons"]), ", ".join(row["missing"]))
    return table


def _brief(detail: Json | None) -> str:
    return json.dumps(detail) if detail else ""
