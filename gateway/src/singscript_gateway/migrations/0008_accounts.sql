-- Users, their API keys, and who did what: auth/model.py.

CREATE TABLE users (
    -- A name that an operator gave; of a user that came with an OIDC token, made from its issuer and subject.
    id text PRIMARY KEY,
    -- Order of creation; pages of the list are cut by it.
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    name text NOT NULL,
    -- Both, or neither: whom an OIDC token means.
    issuer text,
    subject text,
    created_at timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz,
    CHECK ((issuer IS NULL) = (subject IS NULL)),
    UNIQUE (issuer, subject)
);

-- Whose everything was until there were accounts, and is where SINGSCRIPT_AUTH is off.
INSERT INTO users (id, name) VALUES ('local', 'Local');

CREATE TABLE api_keys (
    -- Stands in the key itself; no secret.
    id text PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    owner text NOT NULL REFERENCES users,
    name text NOT NULL,
    -- SHA-256 of the whole key, which stands nowhere.
    digest bytea NOT NULL CHECK (length(digest) = 32),
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    -- Written once a minute at most.
    last_used_at timestamptz,
    -- The key that it was rotated into.
    replaced_by text UNIQUE REFERENCES api_keys
);

CREATE INDEX api_keys_by_owner ON api_keys (owner, number DESC);

-- Stays, whatever becomes of what it tells of: it refers to nothing.
CREATE TABLE audit (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Who did it; NULL: the admin command.
    owner text,
    -- With which key; NULL: with none.
    key_id text,
    -- Of the connection that it came by.
    address text,
    -- auth/model.py, Action.
    action text NOT NULL,
    -- Id of what it was done to.
    target text NOT NULL
);

CREATE INDEX audit_by_owner ON audit (owner, number DESC);
CREATE INDEX audit_by_target ON audit (target, number DESC);

ALTER TABLE jobs ALTER COLUMN owner DROP DEFAULT;

CREATE INDEX jobs_by_owner ON jobs (owner, number DESC);
CREATE INDEX jobs_by_owner_and_state ON jobs (owner, state, number DESC);
