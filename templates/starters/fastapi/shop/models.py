"""What an item is. Requests that say anything else get 422 with the reason."""

from typing import Annotated

from pydantic import BaseModel, Field


class NewItem(BaseModel):
    """An item as a client sends it."""

    name: str = Field(min_length=1, max_length=100, examples=["Tea"])
    price_cents: int = Field(ge=0, le=100_000_000, examples=[450])
    tags: list[Annotated[str, Field(min_length=1, max_length=40)]] = Field(default_factory=list, max_length=20)


class Item(NewItem):
    """An item as it is kept."""

    id: int
