"""One scheduled run: extract in chunks -> features -> predict -> record -> load, under a lease, memory bounded.

`app.modes.schedule` claims the run and says what becomes of one that failed; `app.jobs.job` holds what is pure.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DataError, DBAPIError

from app.errors import MillraceError
from app.jobs.customers import SETTING
from app.jobs.job import Explained, History, Job
from app.jobs.loading import Loading
from app.modes.scheduling.lease import Lease
from app.registry import Registry
from app.sql.bulk import Row
from app.sql.engine import answering, whereabouts
from app.sql.runs import Run, Runs

_ALL = 2**62  # no limit; fits a BIGINT
Progress = Callable[[int, int], None]
"""Told how many subjects have been gone through, and how many there are."""


@dataclass
class Result:
    """What became of some subjects.

    Attributes:
        rows: for the job's tables, by name.
        failed: why a subject has no score, by its id.
        raised: how many of `failed` made the code raise, rather than being found wanting by it.
    """

    scored: int = 0
    rows: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    failed: dict[str, str] = field(default_factory=dict)
    raised: int = 0

    def merge(self, other: "Result") -> "Result":
        self.scored += other.scored
        self.raised += other.raised
        self.failed.update(other.failed)
        for name, rows in other.rows.items():
            self.rows[name] += rows
        return self


@dataclass(frozen=True)
class JobRun:
    """A claimed run and all it needs."""

    job: Job
    run: Run
    runs: Runs
    source: Engine
    registry: Registry

    def carry_out(self, progress: Progress) -> None:
        """Do all of it. Raises `Overtaken`, and whatever hinders the whole run.

        What hinders one subject (a value that cannot be read, a model that raises) is recorded with that subject.
        """
        artifact = self.registry.load(self.job.name)
        model = self.job.model(artifact)
        total = self._count()
        self.runs.describe(self.run, artifact.version, total)
        scored = failed = 0
        with Lease(self.runs, self.run) as lease:
            loading = Loading(self.runs, self.run, self.job.load)
            for ids in self._chunks():
                lease.check(scored + failed)
                result = self._score(model, artifact.version, ids)
                if result.raised == len(ids) and not scored:  # it is not the subjects that are at fault
                    subject, problem = next(iter(result.failed.items()))
                    raise MillraceError(f"none of the first {len(ids):,} could be scored ({subject}: {problem})")
                loading.add(result.rows, result.failed)
                scored += result.scored
                failed += len(result.failed)
                progress(scored + failed, total)
            loading.publish(scored=scored, failed=failed)

    def _count(self) -> int:
        everything = select(func.count()).select_from(self.job.subjects.subquery())
        with self._answering(), self.source.connect() as connection:
            parameters = {"as_of": self.run.as_of, "after": "", "limit": _ALL}
            return int(connection.execute(everything, parameters).scalar_one())

    def _chunks(self) -> Iterator[Sequence[str]]:
        """The ids of the subjects, in order, a chunk at a time; no transaction stays open in between."""
        after = ""
        while True:
            parameters = {"as_of": self.run.as_of, "after": after, "limit": self.job.chunk}
            with self._answering(), self.source.connect() as connection:
                ids = list(connection.scalars(self.job.subjects, parameters))
            if not ids:
                return
            yield ids
            after = ids[-1]

    def _score(self, model: Explained, version: str, ids: Sequence[str]) -> Result:
        """Score a chunk; one that raises is halved until the subject that is at fault stands alone."""
        try:
            history = History(ids, self._extract(ids), self.run.as_of)
            scored, failed = self.job.score(model, version, history)
            rows = {name: list(rows) for name, rows in self.job.record(scored).items()}
        except MillraceError:
            raise
        except DBAPIError as error:
            if not isinstance(error, DataError):
                with self._answering():
                    raise
            return self._halve(model, version, ids, error)
        except Exception as error:  # the features, the model, or a value the driver cannot read
            return self._halve(model, version, ids, error)
        return Result(len(scored.values), rows, failed)

    def _halve(self, model: Explained, version: str, ids: Sequence[str], error: Exception) -> Result:
        if len(ids) == 1:
            said = str(error).partition("\n")[0]  # of a database: without the statement and its parameters
            return Result(failed={ids[0]: f"{type(error).__name__}: {said}"}, raised=1)
        middle = len(ids) // 2
        first = self._score(model, version, ids[:middle])
        return first.merge(self._score(model, version, ids[middle:]))

    def _answering(self) -> AbstractContextManager[None]:
        return answering(whereabouts(self.source.url, SETTING))

    def _extract(self, ids: Sequence[str]) -> list[Row]:
        with self.source.connect() as connection:
            return [tuple(row) for row in connection.execute(self.job.extract, {"as_of": self.run.as_of, "ids": ids})]
