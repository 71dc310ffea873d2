"""The calls of the batch page, for `gateway.openapi`."""

from app.tokens import STATUS_READ
from gateway.batch_reads import MOST_RUNS, RUNS
from gateway.openapi_calls import Json, in_path, in_query, operation

_READ = (401, 403, 503)


def paths() -> Json:
    as_of = {**in_query("as_of"), "schema": {"type": "string", "format": "date-time"}}
    as_of["description"] = "of which run; the latest that has scores unless said"
    by = {**in_query("by"), "description": "what puts the subjects in order: the job's rank, or `value`, the score"}
    job = {**in_query("job"), "description": "of this job only"}
    limit = {**in_query("limit"), "schema": {"type": "integer", "minimum": 1, "maximum": MOST_RUNS, "default": RUNS}}
    limit["description"] = "how many runs of each job"
    before = {**as_of, "name": "before", "description": "only runs as of an earlier time: for the page after this one"}
    listed = operation("The latest runs of each job", None, (*_READ, 404, 422), STATUS_READ, job, limit, before)
    page = operation("Scheduled scores and what-if reports, as a page", None, (), None)
    page["responses"]["200"]["content"] = {"text/html": {"schema": {"type": "string"}}}
    found = (*_READ, 404, 422)
    scores = operation(
        "How a job's scores are spread, and who comes first", None, found, STATUS_READ, in_path("job"), as_of, by
    )
    one = operation("One what-if report", None, found, STATUS_READ, in_path("run"), in_path("model"))
    return {
        "/batch": {"get": page},
        "/v1/batch/runs": {"get": listed},
        "/v1/batch/scores/{job}": {"get": scores},
        "/v1/batch/errors": {
            "get": operation(
                "Each model's live error and the worth of the card decisions, week by week, the oldest first",
                None,
                _READ,
                STATUS_READ,
            )
        },
        "/v1/batch/reports": {"get": operation("What-if reports, newest first", None, _READ, STATUS_READ)},
        "/v1/batch/reports/{run}/{model}": {"get": one},
    }
