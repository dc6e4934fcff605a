-- Answers by Idempotency-Key, and the objects of jobs that were deleted: jobs/store.py.

-- What a POST was answered, so that it is answered the same when it is sent again. It outlives its job.
CREATE TABLE idempotency_keys (
    owner text NOT NULL,
    key text NOT NULL,
    -- Of the job that was asked for.
    digest text NOT NULL,
    -- Empty only inside the transaction that makes the job.
    job_id uuid,
    body text,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, key)
);

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Since when the newest attempt runs: what it announces was stored after that.
ALTER TABLE jobs ADD COLUMN attempt_at timestamptz;

-- Objects that a deleted job referred to, or that a job not yet made is to refer to.
CREATE TABLE unused_objects (
    key text PRIMARY KEY,
    -- From when on it is looked at, and removed if no job refers to it; NULL when that was done.
    due_at timestamptz,
    -- Somebody stores it meanwhile, for a job that may then not be made.
    expected_until timestamptz,
    -- 'infinity' while it is being removed. What was stored before this may be gone, and is not referred to anew.
    removed_at timestamptz
);

CREATE INDEX unused_objects_due ON unused_objects (due_at) WHERE due_at IS NOT NULL;

-- Every file of a job was announced: these two are all that refers to objects.
CREATE INDEX job_events_by_object ON job_events ((data->>'key')) WHERE kind = 'artifact';
CREATE INDEX jobs_by_upload ON jobs ((request->'upload'->>'key'));
