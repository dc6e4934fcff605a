"""What an upload is made of, as plain values."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class StoredUpload(BaseModel):
    """A row of `uploads`.

    Attributes:
        offset_bytes: how much of `length_bytes` has arrived.
        metadata: as the client sent it.
        key: the object that it became; None until it was put together.
        stored_since: from when on that object was there.
    """

    model_config = ConfigDict(frozen=True)

    id: UUID
    owner: str
    length_bytes: int
    offset_bytes: int
    file_name: str
    metadata: str
    key: str | None
    stored_since: datetime | None
    sha256: str | None
    expires_at: datetime

    @property
    def complete(self) -> bool:
        """Every byte is there."""
        return self.offset_bytes == self.length_bytes


class Part(BaseModel):
    """A row of `upload_parts`: some of the bytes, as an object of their own."""

    model_config = ConfigDict(frozen=True)

    offset_bytes: int
    size_bytes: int
    key: str
