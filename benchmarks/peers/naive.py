"""The peer most projects start as: FastAPI, a pydantic model, and sqlite3 opened for each request, as in tutorials.

It checks less than Heatfleet does (no ranges, no limits, no repeats) and is as durable: SQLite's defaults sync every
commit. Its path operations are `def`, so FastAPI runs them in threads, as its documentation recommends for code that
blocks.
"""

import os
import sqlite3
from contextlib import closing

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

app = FastAPI()

KEPT = ("instant_power", "temp_interior")
TABLE = "CREATE TABLE IF NOT EXISTS readings (device_id TEXT, product_id TEXT, code TEXT, time INTEGER, value REAL)"


class Property(BaseModel):
    code: str
    dpId: int | None = None  # noqa: N815  # the wire's own names
    time: int
    value: float


class BizData(BaseModel):
    devId: str  # noqa: N815
    productId: str  # noqa: N815
    properties: list[Property]


class Message(BaseModel):
    bizCode: str  # noqa: N815
    bizData: BizData  # noqa: N815
    ts: int | None = None


def rows_of(messages: list[Message]) -> list[tuple[str, str, str, int, float]]:
    return [
        (message.bizData.devId, message.bizData.productId, prop.code, prop.time, prop.value)
        for message in messages
        for prop in message.bizData.properties
        if prop.code in KEPT
    ]


def store(messages: list[Message]) -> int:
    rows = rows_of(messages)
    with closing(sqlite3.connect(os.environ["PEER_DATABASE"])) as connection:
        connection.execute(TABLE)
        connection.executemany("INSERT INTO readings VALUES (?, ?, ?, ?, ?)", rows)
        connection.commit()
    return len(rows)


@app.post("/message")
def receive(message: Message) -> dict[str, str | int]:
    if message.bizCode != "devicePropertyMessage":
        raise HTTPException(400, "unsupported bizCode")
    return {"status": "ok", "inserted": store([message])}


@app.post("/messages")
def receive_many(messages: list[Message]) -> dict[str, str | int]:
    return {"status": "ok", "inserted": store(messages)}
