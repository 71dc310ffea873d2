"""What `test_clients.py` asks through KServe's client, in an environment of its own, for KServe needs an older psutil than we do.

Run as `python kserve_client.py URL TOKEN`; prints what it saw as one JSON object.
"""

import asyncio
import json
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

ZONES = {"pickup_zone": [74, 236], "dropoff_zone": [1, 161]}
AT = "2026-05-01T08:30:00Z"


def inputs(*, binary: bool) -> list[InferInput]:
    made = []
    for name, values in ZONES.items():
        made.append(InferInput(name, [2], "INT64"))
        made[-1].set_data_from_numpy(np.array(values, np.int64), binary_data=binary)
    made.append(InferInput("at", [2], "BYTES"))
    made[-1].set_data_from_numpy(np.array([AT.encode()] * 2, np.object_), binary_data=binary)
    return made


async def main(url: str, token: str) -> dict[str, object]:
    headers = {"Authorization": f"Bearer {token}"}
    async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=20)) as client:
        seen: dict[str, object] = {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model ready": await client.is_model_ready(url, "eta"),
            "unknown ready": await client.is_model_ready(url, "eat"),
        }
        for binary in (True, False):
            wanted = [RequestedOutput("prediction", {"binary_data": binary}), RequestedOutput("problem")]
            request = InferRequest("eta", inputs(binary=binary), request_id="k-1", request_outputs=wanted)
            answer = await client.infer(url, request, model_name="eta", headers=dict(headers))
            outputs = {output.name: output.as_numpy().tolist() for output in answer.outputs}
            seen["binary" if binary else "json"] = [answer.id, answer.model_name, outputs["prediction"]]
        try:
            await client.infer(
                url, InferRequest("eta", inputs(binary=True)[:1]), model_name="eta", headers=dict(headers)
            )
        except httpx.HTTPStatusError as error:
            seen["error"] = str(error)
    return seen


if __name__ == "__main__":
    json.dump(asyncio.run(main(*sys.argv[1:])), sys.stdout)
