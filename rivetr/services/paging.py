"""Pages of a list: a cursor is the sort key of the last row given, so that new rows shift nothing."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from rivetr.db import session
from rivetr.errors import Invalid

Row = TypeVar("Row")

DEFAULT_LIMIT, MAX_LIMIT = 50, 200


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list is wanted: at most `limit` rows after `cursor`."""

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None

    @classmethod
    def parse(cls, limit: str | None, cursor: str | None) -> "Window":
        """From the texts of a query string. Raises `Invalid`."""
        if limit is None:
            return cls(cursor=cursor)
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit) <= MAX_LIMIT:
            raise Invalid({"limit": f"must be 1 to {MAX_LIMIT}"})
        return cls(int(limit), cursor)


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows, and the cursor of the next page or None."""

    items: Sequence[Row]
    next: str | None


def page(
    query: Select[Row], keys: Sequence[InstrumentedAttribute[Any]], window: Window, descending: bool = False
) -> Page[Row]:
    """The rows of `query` in the window, sorted by `keys` (together unique). Raises `Invalid`."""
    order = [key.desc() if descending else key.asc() for key in keys]
    if window.cursor is not None:
        last = tuple_(*_decode(window.cursor, keys))
        query = query.where(tuple_(*keys) < last if descending else tuple_(*keys) > last)
    rows = session().scalars(query.order_by(*order).limit(window.limit + 1)).all()
    items = rows[: window.limit]
    more = len(rows) > window.limit
    return Page(items, _encode([getattr(items[-1], key.key) for key in keys]) if more else None)


def _encode(values: list[Any]) -> str:
    texts = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    return base64.urlsafe_b64encode(json.dumps(texts).encode()).decode().rstrip("=")


def _decode(cursor: str, keys: Sequence[InstrumentedAttribute[Any]]) -> list[Any]:
    try:
        texts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(texts, list) or len(texts) != len(keys):
            raise ValueError
        return [
            datetime.fromisoformat(text) if key.type.python_type is datetime else text
            for text, key in zip(texts, keys, strict=True)
        ]
    except (ValueError, TypeError):
        raise Invalid({"cursor": "is no cursor that a list gave"}) from None
