-- The queue is the table of jobs: a job that is queued and due may be claimed.

-- What was the queue before was a library's; of its objects only the names are ours to know.
DO $$
DECLARE
    object record;
BEGIN
    FOR object IN SELECT oid::regclass AS name FROM pg_class
                   WHERE relname LIKE 'procrastinate\_%' AND relkind = 'r' AND relnamespace = current_schema()::regnamespace
    LOOP
        EXECUTE format('DROP TABLE %s CASCADE', object.name);
    END LOOP;
    FOR object IN SELECT oid::regprocedure AS name FROM pg_proc
                   WHERE proname LIKE 'procrastinate\_%' AND pronamespace = current_schema()::regnamespace
    LOOP
        EXECUTE format('DROP ROUTINE %s CASCADE', object.name);
    END LOOP;
    FOR object IN SELECT oid::regtype AS name FROM pg_type
                   WHERE typname LIKE 'procrastinate\_%' AND typtype IN ('c', 'e')
                     AND typnamespace = current_schema()::regnamespace
    LOOP
        EXECUTE format('DROP TYPE %s CASCADE', object.name);
    END LOOP;
END;
$$;

DELETE FROM schema_migrations WHERE name LIKE 'procrastinate/%';

ALTER TABLE jobs
    DROP COLUMN task_id,
    -- While it is queued: from when on it may be claimed.
    ADD COLUMN due_at timestamptz NOT NULL DEFAULT now(),
    -- Among the jobs of its owner: -1 low, 0 normal, 1 high.
    ADD COLUMN priority smallint NOT NULL DEFAULT 0,
    -- The first stage that its next attempt has to do; earlier ones are stored.
    ADD COLUMN begins_at text NOT NULL DEFAULT 'download',
    -- Attempts in a row that a full service refused.
    ADD COLUMN refusals integer NOT NULL DEFAULT 0,
    -- Seconds that attempts before the newest one took. What they waited between is not counted.
    ADD COLUMN worked_s double precision NOT NULL DEFAULT 0;

-- The next job of an owner is the first of its part of this index.
CREATE INDEX jobs_queued ON jobs (begins_at, owner, priority DESC, number) WHERE state = 'queued';
-- When an owner's last turn was.
CREATE INDEX jobs_by_turn ON jobs (owner, attempt_at) WHERE attempt_at IS NOT NULL;

-- How many streams a stage's service can work on at once, as it said last.
CREATE TABLE stage_capacity (
    stage text PRIMARY KEY,
    streams integer NOT NULL,
    reported_at timestamptz NOT NULL DEFAULT now()
);
