"""The bank's part of the OpenAPI document, see `gateway.transactions`."""

from app.tokens import TRANSACTIONS_ANY
from gateway import bodies
from gateway.ndjson import MAX_LINE, MEDIA_TYPES
from gateway.openapi_calls import Json, in_path, json_of, ref, takes
from gateway.problems import MEDIA_TYPE
from gateway.routes import TransactionAccepted
from gateway.transactions import StreamProblem, Taken

STRUCTS: tuple[type, ...] = (TransactionAccepted, Taken, StreamProblem)

_BANK = f"With the scope `{TRANSACTIONS_ANY}`, a bank's own, `user_id` names the card holder; else it is the token's subject."
_STREAM = (
    f"A transaction per line, at most {MAX_LINE} bytes each, as many as there are: published as they come, each line for itself. "
    "202 with the number accepted and rejected and why; 422 when none is good. Any other problem says how far it came "
    "(`resume_at`). Sending lines again is safe where they have a `transaction_id` or an `event_id`."
)


def paths() -> Json:
    made = json_of(bodies.MADE.struct)
    stream: Json = {"schema": {"type": "string"}, "x-line": ref(bodies.MADE.struct)}
    take = takes("A card transaction, or many as NDJSON", made | {MEDIA_TYPES[0]: stream}, TransactionAccepted)
    take["description"] += f" {_BANK}\n\n{_STREAM}"
    take["responses"]["202"]["content"]["application/json"]["schema"] = {
        "anyOf": [ref(TransactionAccepted), ref(Taken)]
    }
    problem = take["responses"]["422"]["content"][MEDIA_TYPE]
    for code in ("400", "408", "422", "503"):
        response = take["responses"].setdefault(code, {"description": "the client left"})
        response["content"] = {MEDIA_TYPE: {"schema": {"anyOf": [problem["schema"], ref(StreamProblem)]}}}
    report = takes(
        "A transaction was a fraud", json_of(bodies.REPORTED.struct), TransactionAccepted, in_path("transaction_id")
    )
    report["description"] += f" {_BANK}"
    return {"/v1/transactions": {"post": take}, "/v1/transactions/{transaction_id}/fraud": {"post": report}}
