-- Jobs, their stages, events and artifacts. States and their order: jobs/states.py.

CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    -- Order of creation; pages of the list are cut by it.
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    state text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    -- What was asked for: jobs/model.py, JobRequest.
    request jsonb NOT NULL,
    -- Counts claims. Whoever writes for an older attempt is refused.
    attempt integer NOT NULL DEFAULT 0,
    -- Attempts that failed or crashed; those handed back do not count.
    failures integer NOT NULL DEFAULT 0,
    cancel_requested boolean NOT NULL DEFAULT false,
    -- The queue's task that may claim the job.
    task_id bigint,
    heartbeat_at timestamptz,
    last_seq bigint NOT NULL DEFAULT 0,
    media jsonb,
    problem jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    CHECK ((finished_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled'))),
    CHECK ((problem IS NOT NULL) = (state = 'failed'))
);

CREATE INDEX jobs_by_state ON jobs (state, number DESC);
CREATE INDEX jobs_running ON jobs (heartbeat_at) WHERE state = 'running';

CREATE TABLE stages (
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    attempt integer NOT NULL,
    stage text NOT NULL,
    -- Place in the chain, from 0.
    position integer NOT NULL,
    state text NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'running', 'succeeded', 'failed', 'skipped')),
    engine text,
    model text,
    device text,
    done_s double precision,
    total_s double precision,
    done_bytes bigint,
    total_bytes bigint,
    started_at timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (job_id, attempt, stage)
);

CREATE TABLE job_events (
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    -- 1, 2, 3 ... of the job, in the order in which they became visible: the job's row is locked to take one.
    seq bigint NOT NULL,
    attempt integer NOT NULL,
    kind text NOT NULL,
    data jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (job_id, seq)
);

CREATE FUNCTION announce_job_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('singscript_events', NEW.job_id::text);
    RETURN NULL;
END;
$$;

CREATE TRIGGER job_events_announced AFTER INSERT ON job_events
    FOR EACH ROW EXECUTE FUNCTION announce_job_event();

CREATE TABLE artifacts (
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    name text NOT NULL,
    attempt integer NOT NULL,
    stage text NOT NULL,
    key text NOT NULL,
    media_type text NOT NULL,
    size_bytes bigint NOT NULL,
    sha256 text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, name)
);

CREATE TABLE dispatchers (
    id uuid PRIMARY KEY,
    heartbeat_at timestamptz NOT NULL DEFAULT now()
);
