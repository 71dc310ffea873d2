"""Errors as `application/problem+json` (RFC 9457): the one place where the error tree meets HTTP.

Every response that is not a success comes from here. None of them repeats what the client sent.
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.errors import (
    AskingFailed,
    DeadlineExceeded,
    InvalidMessage,
    MillraceError,
    NotAnswered,
    NotServed,
    Overloaded,
    ServiceUnavailable,
    TooLarge,
    TooManyEvents,
)
from app.tokens import Unauthenticated

MEDIA_TYPE = "application/problem+json"
INFERENCE = "/v2"
"""Begins the paths of the Open Inference Protocol, which has a form of its own for errors."""
ASKING: dict[type[AskingFailed], int] = {
    DeadlineExceeded: 504,
    NotServed: 503,
    Overloaded: 503,
    TooLarge: 413,
    NotAnswered: 422,
}
"""What it means that a synchronous question got no answer."""
logger = logging.getLogger(__name__)


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457.

    Attributes:
        field: the offending field, as a path into the body (`pickup.lat`), or a header's or parameter's name.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    field: str | None = None


class InferenceError(ProblemDetails, frozen=True, kw_only=True, omit_defaults=True):
    """What the Open Inference Protocol calls an error, with RFC 9457's details.

    Attributes:
        error: what is wrong, and with which tensor, in a sentence.
    """

    error: str


class Refused(MillraceError):
    """A request the gateway turns down for a reason of HTTP itself (its size, its media type, its rights, its rate)."""

    def __init__(self, status: HTTPStatus, detail: str, field: str | None = None, **headers: str) -> None:
        self.status, self.detail, self.field = status, detail, field
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        super().__init__(detail)


def problem(
    status: int, detail: str = "", field: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """A problem response; a 5xx and a 429 should carry `Retry-After` in `headers`."""
    body = ProblemDetails(title=HTTPStatus(status).phrase, status=status, detail=detail, field=field or None)
    return Response(msgspec.json.encode(body), status, headers, MEDIA_TYPE)


def of(error: Exception) -> Response:
    """The response an error amounts to."""
    match error:
        case Refused():
            return problem(error.status, error.detail, error.field, error.headers)
        case Unauthenticated():
            return problem(401, str(error), headers={"WWW-Authenticate": 'Bearer realm="millrace"'})
        case InvalidMessage():
            return problem(422, error.problem, error.field)
        case ServiceUnavailable():
            wait_s = max(1, round(error.retry_after_s))
            detail = f"{error.part} does not answer; send the same again later"
            return problem(503, detail, headers={"Retry-After": str(wait_s)})
        case TooManyEvents():
            return problem(503, str(error), headers={"Retry-After": str(round(error.retry_after_s))})
        case AskingFailed():
            wait = (
                {"Retry-After": str(round(error.retry_after_s))} if isinstance(error, NotServed | Overloaded) else None
            )
            return problem(ASKING[type(error)], str(error), headers=wait)
        case HTTPException():
            return problem(error.status_code, _of_http(error), headers=error.headers)
        case _:
            logger.error("unexpected error in a request", exc_info=error)
            return problem(500, "an unexpected error; it has been logged")


def _of_http(error: HTTPException) -> str:
    """What to do about a path or a method there is not; the framework says no more than the number."""
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return "there is nothing at this path; /docs lists the calls"
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return f"this path takes {(error.headers or {}).get('Allow', 'another method')}"
        case _:
            return ""


async def handle(request: Request, error: Exception) -> Response:
    """FastAPI's exception handler for everything."""
    response = of(error)
    return for_inference(response) if request.url.path.startswith(INFERENCE) else response


def for_inference(response: Response) -> Response:
    """A problem response in the form of the Open Inference Protocol, whose clients read `error`, of `application/json` only."""
    said = msgspec.json.decode(response.body, type=ProblemDetails)
    what = said.detail or said.title
    body = InferenceError(**msgspec.structs.asdict(said), error=f"{said.field}: {what}" if said.field else what)
    kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
    return Response(msgspec.json.encode(body), response.status_code, kept, "application/json")
