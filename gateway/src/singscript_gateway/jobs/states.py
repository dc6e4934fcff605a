"""Every state of a job and of a stage, and every step between them. The SQL takes its conditions from here.

    job     queued ──► running ──► succeeded
              ▲  │        │  ├───► failed ────┐
              │  │        │  └───► cancelled ─┤
              │  └───────────────► cancelled ─┤
              └───────────┴───────────────────┘

    stage   pending ──► running ──► succeeded | failed | skipped
               └───────────────────────────────► skipped

A job goes back from running to queued when its attempt failed and may be repeated, when a service was full, when its
dispatcher died, or when it was handed back; and from failed or cancelled when the user asks for it once more. Each
claim is a new attempt with stages of its own; an older attempt writes nothing.
"""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Nothing more happens unless the user asks for it."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class StageState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"


JOB_STEPS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}

# States of a job that is not over.
ACTIVE = [state.value for state in JobState if not state.final]

STAGE_STEPS: dict[StageState, frozenset[StageState]] = {
    StageState.PENDING: frozenset({StageState.RUNNING, StageState.SKIPPED}),
    StageState.RUNNING: frozenset({StageState.SUCCEEDED, StageState.FAILED, StageState.SKIPPED}),
    StageState.SUCCEEDED: frozenset(),
    StageState.FAILED: frozenset(),
    StageState.SKIPPED: frozenset(),
}


def jobs_before(state: JobState) -> list[str]:
    """The states that a job may have just before `state`."""
    return [before.value for before, after in JOB_STEPS.items() if state in after]


def stages_before(state: StageState) -> list[str]:
    """The states that a stage may have just before `state`."""
    return [before.value for before, after in STAGE_STEPS.items() if state in after]
