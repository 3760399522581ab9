"""The naive peer after an afternoon with a profiler: one connection, kept open, with a write-ahead log.

Every commit still reaches the disk before its answer (`synchronous=FULL`). Its path operations are `async def`, so one
request at a time uses the connection; nobody shares a commit.
"""

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from fastapi import FastAPI, HTTPException, Request

from benchmarks.peers.naive import TABLE, Message, rows_of


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, sqlite3.Connection]]:
    with closing(sqlite3.connect(os.environ["PEER_DATABASE"])) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(TABLE)
        yield {"connection": connection}


app = FastAPI(lifespan=lifespan)


def store(connection: sqlite3.Connection, messages: list[Message]) -> int:
    rows = rows_of(messages)
    with connection:
        connection.executemany("INSERT INTO readings VALUES (?, ?, ?, ?, ?)", rows)
    return len(rows)


@app.post("/message")
async def receive(request: Request, message: Message) -> dict[str, str | int]:
    if message.bizCode != "devicePropertyMessage":
        raise HTTPException(400, "unsupported bizCode")
    return {"status": "ok", "inserted": store(request.state.connection, [message])}


@app.post("/messages")
async def receive_many(request: Request, messages: list[Message]) -> dict[str, str | int]:
    return {"status": "ok", "inserted": store(request.state.connection, messages)}
