"""The messages of the Open Inference Protocol v2, as its clients and this gateway exchange them. Pure.

Source: https://github.com/kserve/open-inference-protocol, and the documents of Triton's extensions `binary_tensor_data`
and `model_repository`.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

LENGTH_HEADER = "Inference-Header-Content-Length"
"""Of a body with binary data: the length of the JSON before it, bytes."""

Scalar = bool | int | float | str
Parameters = dict[str, Scalar | None]
EXTENSIONS = ("binary_tensor_data",)


class InputTensor(Struct, frozen=True, kw_only=True):
    """One input of a request.

    Attributes:
        shape: `[rows]`, or `[rows, 1]`.
        parameters: `binary_data_size`, bytes, where the data follows the JSON.
        data: the values, row by row; absent where the data is binary.
    """

    name: str
    datatype: str
    shape: Annotated[list[int], Meta(min_length=1, max_length=2)]
    parameters: Parameters | None = None
    data: list[object] | None = None


class RequestedOutput(Struct, frozen=True, kw_only=True):
    """An output that is asked for; its parameter `binary_data` says in which form."""

    name: str
    parameters: Parameters | None = None


class InferRequest(Struct, frozen=True, kw_only=True):
    """An inference request; what it has beside these is passed over, as the protocol's extensions ask.

    Attributes:
        id: comes back with the answer.
        parameters: `deadline_ms`, `publish`, `timeout` (microseconds), `binary_data_output`.
        outputs: those wanted; all, when there are none.
    """

    inputs: Annotated[list[InputTensor], Meta(min_length=1)]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[RequestedOutput] | None = None


class OutputTensor(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One output of an answer."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters | None = None
    data: list[Scalar | None] | None = None


class InferResponse(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to an inference request.

    Attributes:
        parameters: `unscored`: how many rows have no prediction.
    """

    model_name: str
    model_version: str
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[OutputTensor]


class ServerMetadata(Struct, frozen=True, kw_only=True):
    """What answers here."""

    name: str = "millrace"
    version: str
    extensions: tuple[str, ...] = EXTENSIONS


class TensorMetadata(Struct, frozen=True, kw_only=True):
    """An input or an output: one value per row.

    Attributes:
        parameters: of an input: `content` (how a text is written), `optional`, `absent` (the integer that says there is none);
            of an output: `unit`.
    """

    name: str
    datatype: str
    shape: tuple[int, ...] = (-1,)
    parameters: Parameters


class ModelMetadata(Struct, frozen=True, kw_only=True):
    """An agent. `versions` are those that answer now."""

    name: str
    versions: tuple[str, ...]
    platform: str = "millrace_agent"
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class ModelNames(Struct, frozen=True, kw_only=True):
    """The models there are, as KServe lists them."""

    models: tuple[str, ...]


class ModelState(Struct, frozen=True, kw_only=True):
    """One line of the repository's index."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str = ""


class ServerLive(Struct, frozen=True, kw_only=True):
    """The process works."""

    live: bool = True


class ServerReady(Struct, frozen=True, kw_only=True):
    """What the process needs answers."""

    ready: bool = True


class ModelReady(Struct, frozen=True, kw_only=True):
    """A worker serves the agent."""

    name: str
    ready: bool = True
