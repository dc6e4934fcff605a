-- What is kept of a job's work, so that nothing is computed twice: jobs/kept.py.

-- Stretches of unfinished work that stages have stored, in order.
CREATE TABLE parts (
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    stage text NOT NULL,
    number integer NOT NULL,
    key text NOT NULL,
    size_bytes bigint NOT NULL,
    sha256 text NOT NULL,
    -- Up to where, of the sound, it reaches.
    end_s double precision NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, stage, number)
);

CREATE INDEX parts_by_object ON parts (key);

-- What a stage of a job works on and how, as a digest: equal work has an equal key. A link has a key of its own until
-- it is known what lies behind it.
CREATE TABLE work (
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    stage text NOT NULL,
    key text NOT NULL,
    PRIMARY KEY (job_id, stage, key)
);

CREATE INDEX work_by_key ON work (key);

-- Whether another job does now what this one is to do.
CREATE FUNCTION same_work_under_way(id uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT
          FROM work AS mine
          JOIN work AS theirs ON theirs.key = mine.key AND theirs.job_id <> mine.job_id
          JOIN jobs AS other ON other.id = theirs.job_id AND other.state = 'running'
          JOIN stages ON stages.job_id = other.id AND stages.attempt = other.attempt AND stages.stage = theirs.stage
         WHERE mine.job_id = same_work_under_way.id AND stages.state IN ('pending', 'running'))
$$;

ALTER TABLE stages
    -- The results are those of an earlier attempt, or of another job.
    ADD COLUMN reused boolean NOT NULL DEFAULT false,
    -- Up to where the work of an earlier attempt, or of another job, was used.
    ADD COLUMN resumed_s double precision;

-- Every object that a job refers to, and how large it is.
CREATE VIEW stored_objects AS
SELECT job_id, key, size_bytes FROM artifacts
 UNION ALL
SELECT job_id, key, size_bytes FROM parts
 UNION ALL
SELECT id, request->'upload'->>'key', (request->'upload'->>'size_bytes')::bigint
  FROM jobs WHERE request->'upload'->>'key' IS NOT NULL;

CREATE INDEX artifacts_by_object ON artifacts (key);
CREATE INDEX jobs_by_end ON jobs (finished_at) WHERE finished_at IS NOT NULL;

-- What is done once in a while, by whichever process comes first.
CREATE TABLE chores (
    name text PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT now()
);
