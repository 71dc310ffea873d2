"""The batch page and its calls: scheduled runs, their scores, live errors and card decisions by week, what-if reports.

For operators: `status:read`. `batch_reads` has the queries; `static/js/batch*.js` draws what they give.
"""

import re
from contextlib import suppress
from datetime import datetime, timedelta
from importlib.metadata import distribution
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.errors import InvalidMessage
from app.tokens import STATUS_READ
from gateway.auth import Door
from gateway.batch_reads import MOST_RUNS, RUNS, BatchReads
from gateway.reads import OffLoop
from gateway.requests import need_id, query
from gateway.routes import answer
from gateway.system import page

PLOTLY = Path(str(distribution("plotly").locate_file("plotly/package_data")))
"""Where the installed package keeps its JavaScript: no content network is asked, and its Python is not imported."""

_AT_ONCE = 2
_DEADLINE = timedelta(seconds=20)  # the scores of a million customers are read in about two


class BatchRoutes:
    """`GET /batch` and `GET /v1/batch/...`."""

    def __init__(self, door: Door, reads: BatchReads) -> None:
        self._door, self._reads, self._off_loop = door, reads, OffLoop(_AT_ONCE, _DEADLINE)

    def router(self) -> APIRouter:
        router = APIRouter()
        router.add_route("/batch", self.page)
        router.add_route("/v1/batch/runs", self.runs)
        router.add_route("/v1/batch/scores/{job}", self.scores)
        router.add_route("/v1/batch/errors", self.errors)
        router.add_route("/v1/batch/reports", self.reports)
        router.add_route("/v1/batch/reports/{run}/{model}", self.report)
        return router

    async def page(self, _: Request) -> Response:
        return page("batch.html", styles="'self' 'unsafe-inline'")  # the charts write style attributes

    async def runs(self, request: Request) -> Response:
        self._door.admit(request.headers, STATUS_READ)
        said = query(request, "job", "limit", "before")
        job, limit, before = said.get("job"), _limit(said.get("limit")), _instant(said.get("before"), "before")
        return answer(await self._off_loop(lambda: self._reads.runs(job, limit, before)))

    async def scores(self, request: Request) -> Response:
        self._door.admit(request.headers, STATUS_READ)
        job, said = need_id(request.path_params["job"], "job"), query(request, "as_of", "by")
        as_of, by = _instant(said.get("as_of"), "as_of"), said.get("by")
        return answer(await self._off_loop(lambda: self._reads.scores(job, as_of, by)))

    async def errors(self, request: Request) -> Response:
        self._door.admit(request.headers, STATUS_READ)
        errors, cards = await self._off_loop(lambda: (self._reads.errors(), self._reads.cards()))
        return answer({"errors": errors, "cards": cards})

    async def reports(self, request: Request) -> Response:
        self._door.admit(request.headers, STATUS_READ)
        return answer({"reports": await self._off_loop(self._reads.reports)})

    async def report(self, request: Request) -> Response:
        self._door.admit(request.headers, STATUS_READ)
        run, model = (need_id(request.path_params[name], name) for name in ("run", "model"))
        return answer(await self._off_loop(lambda: self._reads.report(run, model)))


def _limit(text: str | None) -> int:
    if text is None:
        return RUNS
    if re.fullmatch("[0-9]{1,4}", text) and 1 <= int(text) <= MOST_RUNS:
        return int(text)
    raise InvalidMessage(f"expected a number from 1 to {MOST_RUNS}", "limit")


def _instant(text: str | None, field: str) -> datetime | None:
    if text is None:
        return None
    with suppress(ValueError):
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at
    raise InvalidMessage("expected an instant with its zone, as 2026-11-01T00:00Z", field)
