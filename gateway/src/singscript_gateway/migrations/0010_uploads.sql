-- Uploads that may be cut and go on, and what the list of jobs is filtered by: uploads/store.py, jobs/store.py.

CREATE TABLE uploads (
    id uuid PRIMARY KEY,
    owner text NOT NULL,
    length_bytes bigint NOT NULL CHECK (length_bytes > 0),
    -- What has arrived, to the byte.
    offset_bytes bigint NOT NULL DEFAULT 0 CHECK (offset_bytes BETWEEN 0 AND length_bytes),
    file_name text NOT NULL,
    -- As the client sent it; it is told it again.
    metadata text NOT NULL,
    -- The object that the parts were put together in, when it was expected, and its digest.
    key text,
    stored_since timestamptz,
    sha256 text,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- It is there no more, whether it was finished or not.
    expires_at timestamptz NOT NULL,
    CHECK (num_nulls(key, stored_since, sha256) IN (0, 3)),
    CHECK (key IS NULL OR offset_bytes = length_bytes)
);

CREATE INDEX uploads_by_expiry ON uploads (expires_at);
-- An object is kept while a finished upload is it.
CREATE INDEX uploads_by_object ON uploads (key) WHERE key IS NOT NULL;

-- Objects that hold what has arrived, until they are put together.
CREATE TABLE upload_parts (
    upload_id uuid NOT NULL REFERENCES uploads ON DELETE CASCADE,
    offset_bytes bigint NOT NULL,
    size_bytes bigint NOT NULL CHECK (size_bytes > 0),
    key text NOT NULL UNIQUE,
    PRIMARY KEY (upload_id, offset_bytes)
);

CREATE INDEX jobs_by_reason ON jobs ((problem->>'reason'), number DESC) WHERE problem IS NOT NULL;
CREATE INDEX jobs_by_age ON jobs (created_at);
