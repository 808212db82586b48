"""A peer for `bench/fleet_status.py`: the same question to the same hosts with asyncssh.

    python asyncssh_status.py COMMAND USER KEY KNOWN_HOSTS PORT default|tuned|polls ADDRESS...

Key and known hosts are read once; fifty connections are opened at once; the JSON is
parsed and a line printed for each host.  "tuned" names the cheapest algorithms and runs
on uvloop.  "polls" keeps the connections, and asks again for every line that it reads.
"""

from __future__ import annotations

import asyncio
import json
import sys

import asyncssh


async def ask(gate, address, command, options):
    async with gate, asyncssh.connect(address, options=options) as connection:
        done = await connection.run(command, check=True)
    status = json.loads(done.stdout[done.stdout.index("{") :])
    return address, status["status"]["booted"]["image"]["imageDigest"]


async def poll(gate, command, addresses, options):
    """Connect to all, and ask all of them whenever a line comes in."""

    async def connected(address):
        async with gate:
            return await asyncssh.connect(address, options=options)

    async def again(connection):
        async with gate:
            done = await connection.run(command, check=True)
        json.loads(done.stdout[done.stdout.index("{") :])

    connections = await asyncio.gather(*map(connected, addresses))
    print("ready", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        await asyncio.gather(*map(again, connections))
        print("asked", flush=True)


async def main():
    command, user, key, known, port, how, *addresses = sys.argv[1:]
    options = asyncssh.SSHClientConnectionOptions(
        username=user,
        port=int(port),
        client_keys=[asyncssh.read_private_key(key)],
        known_hosts=asyncssh.read_known_hosts(known),
        agent_path=None,
        config=[],
        **(
            {"kex_algs": ["curve25519-sha256"], "encryption_algs": ["aes128-gcm@openssh.com"]}
            if how == "tuned"
            else {}
        ),
    )
    gate = asyncio.Semaphore(50)
    if how == "polls":
        await poll(gate, command, addresses, options)
        return
    for address, digest in await asyncio.gather(
        *(ask(gate, address, command, options) for address in addresses)
    ):
        print(address, digest)


if sys.argv[6] == "tuned":
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
