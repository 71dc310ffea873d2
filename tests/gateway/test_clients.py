"""Other people's clients of the Open Inference Protocol, against a gateway and a worker in processes of their own.

Triton's comes with the development dependencies, KServe's has an environment of its own (`make test` makes it).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from app.agent import find
from app.events import Place
from app.modes.stream import load
from app.registry import open_registry
from app.services.process import free_port
from app.settings import Settings
from app.testing import Events
from app.tokens import mint

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / ".venv" / "clients"
AT = "2026-05-01T08:30:00Z"


class System(NamedTuple):
    address: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@contextmanager
def running(environment: dict[str, str], log: Path, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as file:
        command = [str(Path(sys.executable).with_name("millrace")), *arguments]
        process = subprocess.Popen(command, cwd=log.parent, env=environment, stdout=file, stderr=file)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def system(services: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A gateway, and a worker that serves `eta` and `spam`, as an operator starts them."""
    directory, port = tmp_path_factory.mktemp("system"), free_port()
    settings = services.model_copy(update={"data_dir": directory})
    environment = os.environ | {
        "MILLRACE_KAFKA": str(settings.kafka),
        "MILLRACE_REDIS": str(settings.redis),
        "MILLRACE_DATA_DIR": str(directory),
        "MILLRACE_PORT": str(port),
    }
    with (
        running(environment, directory / "worker.log", "agents", "run", "eta", "spam") as worker,
        running(environment, directory / "gateway.log", "gateway") as gateway,
    ):
        made = System(f"127.0.0.1:{port}", mint(settings, "client"))
        deadline = time.monotonic() + 60
        # That nobody serves `cost` is known a little later than that somebody serves the others.
        while not (
            ready(made) and answers(made, "eta") == answers(made, "spam") == 200 and answers(made, "cost") == 503
        ):
            ended = worker.poll() is not None or gateway.poll() is not None
            logs = "".join(path.read_text(encoding="utf-8") for path in directory.glob("*.log"))
            assert not ended, logs
            assert time.monotonic() < deadline, logs
            time.sleep(0.1)
        yield made


def ready(system: System) -> bool:
    """Whether Kafka, Redis and the database have answered the gateway, which takes a busy machine seconds."""
    try:
        return httpx.get(f"http://{system.address}/v2/health/ready", timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def answers(system: System, model: str) -> int:
    """The status of a question of one row, 0 where nobody listens."""
    title = {"name": "title", "datatype": "BYTES", "shape": [1], "data": ["a"]}
    zones = [{"name": f"{name}_zone", "datatype": "INT64", "shape": [1], "data": [1]} for name in ("pickup", "dropoff")]
    url, inputs = f"http://{system.address}/v2/models/{model}/infer", [title] if model == "spam" else zones
    try:
        return httpx.post(url, json={"inputs": inputs}, headers=system.headers, timeout=10).status_code
    except httpx.TransportError:
        return 0


def expected() -> list[float]:
    """What the models say of these two rides when they are asked in this process."""
    ready, events = load(find("eta"), open_registry(Settings.model_construct())), Events()
    places = [(Place(zone=74), Place(zone=1)), (Place(zone=236), Place(lat=40.7769, lon=-73.874))]
    at = datetime.fromisoformat(AT)
    rides = [events.ride(pickup=pickup, dropoff=dropoff, at=at) for pickup, dropoff in places]
    values: list[float] = ready.agent.score(ready.model, rides).values.tolist()
    return values


def tensor(name: str, values: list[object], datatype: str) -> triton.InferInput:
    """In Triton's default form, binary."""
    made = triton.InferInput(name, [len(values)], datatype)
    made.set_data_from_numpy(np.array(values, triton_to_np_dtype(datatype)))
    return made


def rides() -> list[triton.InferInput]:
    """Two: to a zone, and to a point, each without what the other has."""
    return [
        tensor("pickup_zone", [74, 236], "INT64"),
        tensor("dropoff_zone", [1, 0], "INT64"),
        tensor("dropoff_lat", [np.nan, 40.7769], "FP64"),
        tensor("dropoff_lon", [np.nan, -73.874], "FP64"),
        tensor("at", [AT, AT], "BYTES"),
    ]


@pytest.fixture
def client(system: System) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(system.address, network_timeout=20) as made:
        yield made


def test_triton_learns_what_there_is(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("eta")
    assert client.is_model_ready("eta", "1")
    assert not client.is_model_ready("eat")
    assert not client.is_model_ready("cost"), "no worker serves it"
    assert client.get_server_metadata()["name"] == "millrace"
    states = {line["name"]: line["state"] for line in client.get_model_repository_index()}
    assert (states["eta"], states["cost"]) == ("READY", "UNAVAILABLE")
    metadata = client.get_model_metadata("eta")
    datatypes = {each["name"]: each["datatype"] for each in metadata["inputs"]}
    assert (datatypes["pickup_lat"], datatypes["pickup_zone"], datatypes["payment"]) == ("FP64", "INT64", "BYTES")


def test_triton_infers_in_binary_with_the_bits_of_the_model(
    client: triton.InferenceServerClient, system: System
) -> None:
    result = client.infer("eta", rides(), request_id="t-1", headers=system.headers)
    assert (result.get_response()["id"], result.get_response()["model_version"]) == ("t-1", "1")
    assert result.as_numpy("prediction").tolist() == expected()
    assert result.as_numpy("problem").tolist() == [b"", b""]
    assert "track" in json.loads(result.as_numpy("detail")[0])


def test_triton_gets_what_it_asks_for_in_json_too(client: triton.InferenceServerClient, system: System) -> None:
    wanted = [triton.InferRequestedOutput("prediction", binary_data=False)]
    result = client.infer("eta", rides(), model_version="1", outputs=wanted, timeout=5_000_000, headers=system.headers)
    assert result.as_numpy("prediction").tolist() == expected()
    assert [output["name"] for output in result.get_response()["outputs"]] == ["prediction"]
    inputs = [
        tensor("title", ["buy now, cheap", "how to sharpen a knife"], "BYTES"),
        tensor("tags", ["", '["x"]'], "BYTES"),
    ]
    spam = client.infer("spam", inputs, headers=system.headers).as_numpy("prediction")
    assert spam.shape == (2,)
    assert ((spam > 0) & (spam < 1)).all()


def test_triton_reads_why_it_is_refused(client: triton.InferenceServerClient, system: System) -> None:
    with pytest.raises(InferenceServerException, match="passengers: row 1: Expected `int` <= 9"):
        client.infer("eta", [*rides(), tensor("passengers", [1, 10], "INT64")], headers=system.headers)
    with pytest.raises(InferenceServerException, match="no token"):
        client.infer("eta", rides())
    with pytest.raises(InferenceServerException, match="no worker serves it"):
        client.infer("cost", rides(), headers=system.headers)


@pytest.mark.skipif(
    not (CLIENTS / ".ready").exists(), reason="`make test` installs KServe's client in an environment of its own"
)
def test_kserve(system: System) -> None:
    command = [
        str(CLIENTS / "bin" / "python"),
        str(Path(__file__).with_name("kserve_client.py")),
        f"http://{system.address}",
        system.token,
    ]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, env=os.environ | {"PYTHONPATH": ""})
    assert done.returncode == 0, done.stderr.decode()
    seen = json.loads(done.stdout)
    assert [seen[name] for name in ("live", "ready", "model ready", "unknown ready")] == [True, True, True, False]
    assert seen["json"] == seen["binary"]
    identity, model, predictions = seen["binary"]
    assert (identity, model, len(predictions)) == ("k-1", "eta", 2)
    assert predictions[0] == expected()[0]
    assert "dropoff" in seen["error"]
