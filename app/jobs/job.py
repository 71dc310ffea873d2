"""The declaration of a scheduled job: which rows it extracts, its features, its model, where it loads what it scored.

As an agent is to events, a job is to the rows of a database as of a time. It knows nothing of clocks, leases or retries:
`app.modes.schedule` runs it.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Select, Table

from app import declared
from app.boosting import LightGBMModel
from app.registry import Artifact
from app.sql.bulk import Row

Floats = NDArray[np.float64]
CatchUp = Literal["all", "latest", "none"]


class History(NamedTuple):
    """What is known of n subjects as of a time.

    Attributes:
        ids: of the subjects, n of them; row i of the features is of the i-th.
        rows: as `extract` gave them: the subject's id first; a subject may have none.
        as_of: nothing at or after it is in the rows.
    """

    ids: Sequence[str]
    rows: Sequence[Row]
    as_of: datetime

    def only(self, keep: NDArray[np.bool_]) -> Self:
        """That of the subjects where `keep`, (n,), is true."""
        ids = [subject for subject, kept in zip(self.ids, keep, strict=True) if kept]
        wanted = set(ids)
        return self._replace(ids=ids, rows=[row for row in self.rows if row[0] in wanted])


class Explained(Protocol):
    """A model that says why."""

    def predict(self, features: Floats) -> Floats:
        """(n, d) -> (n,)."""
        ...

    def contributions(self, features: Floats) -> Floats:
        """(n, d) -> (n, d): what each feature adds to the score, against the average subject."""
        ...


class Scored(NamedTuple):
    """n subjects with their scores, for `record`.

    Attributes:
        features, contributions: (n, d).
        values: (n,), within the job's bounds.
        version: of the model.
    """

    history: History
    features: Floats
    values: Floats
    contributions: Floats
    version: str


@dataclass(frozen=True, eq=False)
class Job:
    """A declaration; see `job` for the parameters."""

    name: str
    unit: str
    columns: Sequence[str]
    subjects: Select[Any]
    extract: Select[Any]
    load: Sequence[Table]
    record: Callable[[Scored], Mapping[str, Sequence[Row]]]
    features: Callable[[History], Floats]
    why: Callable[[Sequence[Row]], str]
    model: Callable[[Artifact], Explained]
    low: float = -np.inf
    high: float = np.inf
    rank: str = "value"
    cron: str = "daily"
    zone: str = "UTC"
    catch_up: CatchUp = "latest"
    retries: int = 3
    chunk: int = 2000

    def score(self, model: Explained, version: str, history: History) -> tuple[Scored, dict[str, str]]:
        """Features, then the model; and why a subject has no score, by its id. Pure."""
        features = np.asarray(self.features(history), dtype=np.float64)
        if features.shape != (len(history.ids), len(self.columns)):
            raise ValueError(f"{self.name}: features are {features.shape} for {len(history.ids)} subjects")
        known = np.asarray(~np.isnan(features).all(axis=1), dtype=np.bool_)
        history, features, problems = history.only(known), features[known], self._unknown(history, known)
        values = np.asarray(model.predict(features), dtype=np.float64) if len(features) else np.empty(0)
        usable = np.isfinite(values) & (values >= self.low) & (values <= self.high)
        for row in np.flatnonzero(~usable).tolist():
            problems[history.ids[row]] = f"the model answered {values[row]:g} {self.unit}"
        features, values = features[usable], values[usable]
        why = model.contributions(features) if len(features) else features
        return Scored(history.only(usable), features, values, why, version), problems

    def _unknown(self, history: History, known: NDArray[np.bool_]) -> dict[str, str]:
        rows = defaultdict(list)
        for row in history.rows:
            rows[row[0]].append(row)
        return {history.ids[at]: self.why(rows[history.ids[at]]) for at in np.flatnonzero(~known).tolist()}


def job(name: str, **options: Any) -> Callable[[Callable[[History], Floats]], Job]:
    """Declare a job by decorating its features function, which is pure: n subjects -> (n, d).

    Args:
        name: of the job, its module in `agents.jobs`, and its model in the registry.
        options: `unit` of the score; `columns`: names of the d features; `subjects`: a statement with the parameters
            `as_of`, `after` and `limit` that gives the next ids in order; `extract`: one with `as_of` and `ids` that
            gives their rows; `why`: rows of a subject whose features are all NaN -> the reason, in words;
            `model`: artifact -> `Explained`; `load`: the tables it fills, each with a column `as_of`; `record`: scored
            subjects -> rows for each of these, by its name; `low`, `high`: bounds of a score; `rank`: the column of the first
            of them by which readers order, the greatest first; `cron` and `zone`: when it
            is due (see `app.jobs.cron`); `catch_up`: which of the runs that were missed are made up for; `retries` of a
            failed run; `chunk`: subjects in memory at a time.
    """

    def declare(features: Callable[[History], Floats]) -> Job:
        return Job(name=name, features=features, **options)

    return declare


def find(name: str) -> Job:
    """The job `name` of module `agents.jobs.<name>`. Raises `ConfigurationError` that lists the jobs there are."""
    return declared.find("agents.jobs", name, Job, name)


def names() -> list[str]:
    """Every job there is, without loading any."""
    return declared.names("agents.jobs")


class ExplainedBooster(LightGBMModel):
    """A LightGBM booster with its own tree SHAP values (Lundberg and Lee 2017); of a classifier they are log-odds."""

    def contributions(self, features: Floats) -> Floats:
        """(n, d) -> (n, d); the last column LightGBM gives, the average, is left out."""
        told = self._booster.predict(features, num_threads=1, pred_contrib=True)
        return np.asarray(told, dtype=np.float64)[:, :-1]


def explained_booster(artifact: Artifact) -> ExplainedBooster:
    """The model of an artifact that holds one booster, `model.txt`."""
    return ExplainedBooster(artifact.path("model.txt"))
