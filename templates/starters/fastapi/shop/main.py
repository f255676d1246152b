"""A small shop: items to list, add, change and remove. Its own documentation is at /docs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from . import store
from .models import Item, NewItem


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Runs once in each instance, before its first call."""
    store.prepare()
    yield


app = FastAPI(title="Shop", lifespan=lifespan)

ItemId = Annotated[int, Path(ge=1, le=store.LARGEST_ID)]


@app.exception_handler(RequestValidationError)
def refuse(_: Request, error: RequestValidationError) -> JSONResponse:
    """What is wrong and where. FastAPI's own answer repeats the input, which can be what no answer can hold: NaN, or
    half a surrogate pair."""
    problems = [{key: problem[key] for key in ("type", "loc", "msg")} for problem in error.errors()]
    return JSONResponse({"detail": problems}, 422)


@app.get("/items")
def list_items(
    limit: Annotated[int, Query(ge=1, le=100)] = 50, after: Annotated[int, Query(ge=0, le=store.LARGEST_ID)] = 0
) -> list[Item]:
    return store.every(limit, after)


@app.post("/items", status_code=201)
def add_item(item: NewItem) -> Item:
    return store.add(item)


@app.get("/items/{item_id}")
def read_item(item_id: ItemId) -> Item:
    return found(store.find(item_id))


@app.put("/items/{item_id}")
def change_item(item_id: ItemId, item: NewItem) -> Item:
    return found(store.change(item_id, item))


@app.delete("/items/{item_id}", status_code=204)
def remove_item(item_id: ItemId) -> Response:
    if not store.remove(item_id):
        raise HTTPException(404, "There is no such item")
    return Response(status_code=204)


def found(item: Item | None) -> Item:
    if item is None:
        raise HTTPException(404, "There is no such item")
    return item
