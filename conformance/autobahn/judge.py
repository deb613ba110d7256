"""Runs all of Autobahn's cases against one end of the WebSocket codec, and judges more strictly than kosoku does.

    judge.py server ECHO_SERVER      kosoku is the client, ECHO_SERVER the program under test
    judge.py client AUTOBAHN_CLIENT  kosoku is the server

Prints one line, "517 passed, 0 failed", and before it one for each case that failed. A case passes when both its
behaviour and its close are OK or INFORMATIONAL: NON-STRICT and UNIMPLEMENTED are failures.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence

from kosoku import FailureError, run_fuzzingclient, run_fuzzingserver

CASES = 517
GOOD = {"OK", "INFORMATIONAL"}
PARALLEL = 1 + len(os.sched_getaffinity(0))
# The slowest case has 480 seconds by Autobahn's own rules; a run that takes this long hangs.
TIMEOUT_SECONDS = 1800


async def against_server(program: str) -> Sequence:
    """The echo server takes a free port and says which on its first line."""
    server = subprocess.Popen([program, "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().strip()
        return await asyncio.wait_for(run_fuzzingclient(address, concurrency=PARALLEL), TIMEOUT_SECONDS)
    finally:
        server.kill()
        server.wait()


async def against_client(program: str) -> Sequence:
    """The client asks for the number of cases, runs them and ends the run."""
    async with run_fuzzingserver(host="127.0.0.1", port=0) as server:
        client = await asyncio.create_subprocess_exec(program, f"127.0.0.1:{server.port}", str(PARALLEL))
        try:
            if await asyncio.wait_for(client.wait(), TIMEOUT_SECONDS) != 0:
                raise SystemExit(f"{program} failed")
            return await asyncio.wait_for(server.get_result(), TIMEOUT_SECONDS)
        finally:
            if client.returncode is None:
                client.kill()


async def main(role: str, program: str) -> int:
    run = {"server": against_server, "client": against_client}[role]
    try:
        results = await run(program)
    except FailureError as failure:
        results = failure.results
    failed = 0
    for case in results:
        verdict = (case.behavior.value, case.behavior_close.value)
        if not GOOD.issuperset(verdict):
            failed += 1
            print(f"{role} {case.case_id}: {verdict[0]} / {verdict[1]}: {case.result} {case.result_close}")
    missing = CASES - len(results)
    print(f"{role}: {len(results) - failed} passed, {failed} failed" + (f", {missing} missing" if missing else ""))
    return 1 if failed or missing else 0


sys.exit(asyncio.run(main(*sys.argv[1:])))
