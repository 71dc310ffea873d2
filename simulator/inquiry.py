"""Asks the gateway what it knows: decisions that did not come live, and the live errors it keeps."""

import asyncio
from collections.abc import Iterable
from typing import Self

import aiohttp
import msgspec

from app.sql.ledger import LiveError
from simulator.badges import Badges
from simulator.errors import NoGateway

AT_ONCE = 16


class Status(msgspec.Struct, frozen=True):
    """The part of `GET /v1/status` a report shows: the live error of each model, version and stage."""

    errors: tuple[LiveError, ...] = ()


class Made(msgspec.Struct, frozen=True):
    """A decision, as a receipt lists it; its id is `<event id>.<revision>`."""

    decision_id: str


class Receipt(msgspec.Struct, frozen=True):
    """The part of `GET /v1/decisions/{subject_id}/receipt` that says what was decided."""

    decisions: tuple[Made, ...] = ()


class Inquiry:
    """Questions to one gateway, as an async context manager."""

    def __init__(self, url: str, badges: Badges) -> None:
        self._url, self._badges = url.rstrip("/"), badges
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20, connect=5))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def alive(self) -> None:
        """Raises `NoGateway` when nobody answers."""
        try:
            async with self._session.get(f"{self._url}/health/live"):
                return
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise NoGateway(self._url, str(error) or type(error).__name__) from error

    async def decided(self, asked: Iterable[tuple[str, str, str]]) -> list[str]:
        """Which of these (event id, subject id, user id) have a decision in the store: their event ids."""
        answers = await asyncio.gather(*(self._decided(*one) for one in asked))
        return [event_id for event_id in answers if event_id]

    async def errors(self) -> tuple[LiveError, ...]:
        """The live errors by model, version and stage; empty when the gateway does not tell."""
        said = await self._get("/v1/status", self._badges.operator())
        return () if said is None else msgspec.json.decode(said, type=Status).errors

    async def _decided(self, event_id: str, subject_id: str, user_id: str) -> str | None:
        async with self._at_once:
            said = await self._get(f"/v1/decisions/{subject_id}/receipt", self._badges.of(user_id))
        if said is None:
            return None
        decisions = msgspec.json.decode(said, type=Receipt).decisions
        return event_id if any(decision.decision_id.startswith(f"{event_id}.") for decision in decisions) else None

    async def _get(self, path: str, token: str) -> bytes | None:
        """The body of a 200; `None` for everything else."""
        try:
            async with self._session.get(self._url + path, headers={"Authorization": f"Bearer {token}"}) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            return None
        return body if answer.status == 200 else None
