"""Noticing that the caller of a request has gone, so that no charger is asked for nobody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request

from ohmstead.link.links import caller_left


@asynccontextmanager
async def attended(request: Request) -> AsyncIterator[None]:
    """Drop what the block asks of chargers and is not sent yet when the caller of the request goes.

    What has been sent is left alone: its answer is taken. The body of the request must have been read.
    """
    left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    watching = asyncio.create_task(_watch(request, left))
    before = caller_left.set(left)
    try:
        yield
    finally:
        caller_left.reset(before)
        watching.cancel()


async def _watch(request: Request, left: asyncio.Future[None]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    left.set_result(None)
