"""An echo on python3-websockets, for make bench PEERS=1. It says where it listens."""

import asyncio

import websockets


async def echo(ws, *_):
    async for message in ws:
        await ws.send(message)


async def main():
    async with websockets.serve(echo, '127.0.0.1', 0, compression=None, ping_interval=None,
                                backlog=4096) as server:
        print(f'listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}', flush=True)
        await asyncio.Future()


asyncio.run(main())
