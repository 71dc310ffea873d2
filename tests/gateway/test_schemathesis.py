"""Every call of the OpenAPI document under Schemathesis: with what fits and what does not, each answer is one the document names.

Bounded, and the same on every run; `schemathesis.toml` says how it is tried. Not `positive_data_acceptance`: what `gateway.bodies`
refuses is tested there.
"""

import asyncio
import re
import sys
from pathlib import Path

from app.tokens import OPERATOR_SCOPES, mint
from gateway import openapi

CONFIG = Path(__file__).with_name("schemathesis.toml")


async def test_no_5xx_and_no_undocumented_answer(serve, namespace, tmp_path) -> None:
    async with serve(demo=True) as served:
        token = mint(served.settings, namespace, OPERATOR_SCOPES)
        options = ["--config-file", str(CONFIG), "run", f"{served.url}/openapi.json", "--no-color"]
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("schemathesis")),
            *options,
            *("--header", f"Authorization: Bearer {token}"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 300)  # 15 s, of a machine that does nothing else
    calls = sum(len(operations) for operations in openapi.document()["paths"].values())
    text = output.decode()
    assert process.returncode == 0, text
    tested = re.search(r"Tested: +(\d+)", text)
    assert tested is not None, text
    assert int(tested[1]) == calls, text
