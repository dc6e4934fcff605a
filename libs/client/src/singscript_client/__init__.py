"""A client of Singscript's REST API.

    with Client("https://songs.example.org", api_key="ss_...") as client:
        job = client.jobs.create_from_link("https://example.org/song.mp3", formats=["ass"])
        for event in client.jobs.watch(job.id):
            print(event.kind, event.data)
        for artifact in client.jobs.result(job.id).artifacts:
            client.jobs.save(job.id, artifact, Path(artifact.name))

`errors` draws what it raises, `shapes` has what the gateway answers, `options` what a job can be asked for.
"""

from singscript_client.client import Client
from singscript_client.errors import (
    ApiError,
    Conflict,
    Damaged,
    NotFound,
    SingscriptError,
    TryLater,
    Unauthorized,
    Unreachable,
)
from singscript_client.options import Format, JobOptions, Karaoke, Lookup, WebhookOrder
from singscript_client.shapes import Artifact, Event, Job, JobSummary, Limits, Result, Upload, UsageSum, Words

__all__ = [
    "ApiError",
    "Artifact",
    "Client",
    "Conflict",
    "Damaged",
    "Event",
    "Format",
    "Job",
    "JobOptions",
    "JobSummary",
    "Karaoke",
    "Limits",
    "Lookup",
    "NotFound",
    "Result",
    "SingscriptError",
    "TryLater",
    "Unauthorized",
    "Unreachable",
    "Upload",
    "UsageSum",
    "WebhookOrder",
    "Words",
]
