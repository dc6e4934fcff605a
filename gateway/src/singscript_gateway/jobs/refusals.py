"""Why something cannot be done with a job, or an upload. The same for REST and gRPC."""

from __future__ import annotations

from singscript_core.errors import NotFound, Rejected


class JobNotFound(NotFound):
    """There is none, or it is somebody else's."""

    reason = "JOB_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("There is no job with this id.")


UPLOAD_NOT_FOUND = "There is no upload with this id; perhaps it has expired. Begin a new one."


class UploadNotFound(NotFound):
    """There is none, or it is somebody else's."""

    reason = "UPLOAD_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__(UPLOAD_NOT_FOUND)


class WrongState(Rejected):
    """Not as things stand now.

    Args:
        facts: for machines, such as `state`.
    """

    def __init__(self, reason: str, message: str, **facts: object) -> None:
        super().__init__(message, metadata={name: str(fact) for name, fact in facts.items()})
        self.reason = reason
        self.facts = facts
