-- Who is told of the end of a job, and what each has been told: webhooks/model.py.

CREATE TABLE webhooks (
    id uuid PRIMARY KEY,
    -- NULL: the operator's, which is told of every job.
    job_id uuid UNIQUE REFERENCES jobs ON DELETE CASCADE,
    url text NOT NULL,
    -- All of them sign; the first is the newest.
    secrets text[] NOT NULL CHECK (cardinality(secrets) > 0),
    -- Its server has answered 410: it wants to hear no more.
    disabled_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX webhooks_of_the_operator ON webhooks ((true)) WHERE job_id IS NULL;

CREATE TABLE webhook_deliveries (
    -- The same at each attempt, so that the receiver can tell a repetition.
    id uuid PRIMARY KEY,
    webhook_id uuid NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    type text NOT NULL,
    -- As it is signed, to the byte.
    body text NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'given_up')),
    -- Counts claims. Whoever writes for an older one is refused.
    attempts integer NOT NULL DEFAULT 0,
    -- While it is being sent: when whoever sends it is thought dead.
    due_at timestamptz NOT NULL DEFAULT now(),
    last_status integer,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    CHECK ((ended_at IS NULL) = (state = 'waiting'))
);

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due_at) WHERE state = 'waiting';
CREATE INDEX webhook_deliveries_by_webhook ON webhook_deliveries (webhook_id);
CREATE INDEX webhook_deliveries_by_job ON webhook_deliveries (job_id);
