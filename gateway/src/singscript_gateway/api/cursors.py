"""Where a page of a list ended, as a text that means nothing to who has it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Protocol, TypeVar

from fastapi import Query

from singscript_core.errors import InvalidInput

Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.", max_length=100)]
Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.")]


class _Numbered(Protocol):
    @property
    def number(self) -> int: ...


_Row = TypeVar("_Row", bound=_Numbered)


def number_of(cursor: str | None) -> int | None:
    """The number that the page begins below; raises InvalidInput."""
    if not cursor:
        return None
    try:
        number = int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        number = -1
    if not 0 <= number < 2**63:
        raise InvalidInput("The cursor is not one of ours. Use next_cursor of the page before.")
    return number


def page_of(rows: Sequence[_Row], limit: int) -> tuple[Sequence[_Row], str | None]:
    """A page of rows, one more of which were asked for than it holds, and the cursor of the next one."""
    page = rows[:limit]
    return page, _cursor(page[-1].number) if len(rows) > limit else None


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(b"%d" % number).decode().rstrip("=")
