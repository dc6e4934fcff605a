-- How much users and keys may use, and what they have used: quotas/model.py.

-- Limits that an admin gave: quotas/model.py, Limits. What is not in them is as the settings say.
ALTER TABLE users ADD COLUMN quotas jsonb NOT NULL DEFAULT '{}';

ALTER TABLE api_keys
    ADD COLUMN quotas jsonb NOT NULL DEFAULT '{}',
    -- The first of the keys that were rotated into one another: all of them count as one.
    ADD COLUMN line text;
UPDATE api_keys SET line = id;
ALTER TABLE api_keys ALTER COLUMN line SET NOT NULL;

-- The line of the key that a job was asked for with; NULL: with none.
ALTER TABLE jobs ADD COLUMN key_line text;
ALTER TABLE usage ADD COLUMN key_line text;

-- What counts for a day, also when its job or upload is gone.
CREATE TABLE quota_uses (
    -- 'audio' in seconds, 'upload' in bytes.
    kind text NOT NULL CHECK (kind IN ('audio', 'upload')),
    -- Of the job or the upload.
    id uuid NOT NULL,
    owner text NOT NULL,
    key_line text,
    amount double precision NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, id)
);

CREATE INDEX quota_uses_by_owner ON quota_uses (owner, kind, at);
CREATE INDEX quota_uses_by_age ON quota_uses (at);

-- Buckets of requests. Each one moves `full_at` on; who would move it more than a minute ahead is refused. Not logged:
-- that costs a request nothing, and after a crash of the server the buckets are full.
CREATE UNLOGGED TABLE quota_meters (
    -- 'user' or 'key', a space, and the user's id or the key's line.
    id text PRIMARY KEY,
    full_at timestamptz NOT NULL
);
