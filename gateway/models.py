"""What the gateway can ask, as models: each agent's signature and the version that answers. For `gateway.inference`."""

import asyncio
from http import HTTPStatus
from typing import NamedTuple

from app import agent
from app.errors import ArtifactError
from app.registry import Registry
from gateway.problems import Refused
from gateway.signature import Signature


class Model(NamedTuple):
    """An agent, as the Open Inference Protocol sees it.

    Attributes:
        version: of the model that answers; `None` where none was ever trained.
    """

    name: str
    version: str | None
    signature: Signature


class Models:
    """Every agent there is; each is imported when it is first asked for."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._signatures: dict[str, Signature] = {}
        self.names = tuple(agent.names())

    async def signature(self, name: str) -> Signature:
        """The tensors of this model. Raises `Refused` with 404."""
        if name not in self.names:
            raise Refused(HTTPStatus.NOT_FOUND, f"no such model; there are: {', '.join(self.names)}", "model")
        if name not in self._signatures:  # an import is not for the event loop
            self._signatures[name] = await asyncio.to_thread(lambda: Signature(agent.find(name)))
        return self._signatures[name]

    async def find(self, name: str, version: str | None = None) -> Model:
        """The model of this name, in this version where one is given. Raises `Refused` with 404."""
        signature = await self.signature(name)
        answering = await asyncio.to_thread(self._version, name)
        if version is not None and version != answering:
            raise Refused(HTTPStatus.NOT_FOUND, f"the version of {name} that answers is {answering}", "version")
        return Model(name, answering, signature)

    def _version(self, name: str) -> str | None:
        try:
            return self._registry.resolve(name)
        except ArtifactError:
            return None
