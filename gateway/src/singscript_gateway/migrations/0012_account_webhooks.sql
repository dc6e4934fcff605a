-- Webhooks of users, and deliveries that outlive their jobs: webhooks/model.py.

ALTER TABLE webhooks
    -- Of a user, told of every job of theirs. A webhook has a job, an owner, or neither: then it is the operator's.
    ADD COLUMN owner text,
    -- Who is asked: one that is slow does not hold up the others.
    ADD COLUMN host text NOT NULL GENERATED ALWAYS AS (lower(substring(url FROM '^[^:]*://([^/?#]*)'))) STORED,
    -- What a job's webhook has to be told stays when the job goes.
    DROP CONSTRAINT webhooks_job_id_fkey,
    ADD CHECK (job_id IS NULL OR owner IS NULL);

DROP INDEX webhooks_of_the_operator;
CREATE UNIQUE INDEX webhooks_of_the_operator ON webhooks ((true)) WHERE job_id IS NULL AND owner IS NULL;
CREATE UNIQUE INDEX webhooks_by_owner ON webhooks (owner) WHERE owner IS NOT NULL;

ALTER TABLE webhook_deliveries
    DROP CONSTRAINT webhook_deliveries_job_id_fkey,
    -- A test is of no job.
    ALTER COLUMN job_id DROP NOT NULL,
    -- Order of creation; pages of the list are cut by it.
    ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY UNIQUE;

DROP INDEX webhook_deliveries_by_webhook;
CREATE INDEX webhook_deliveries_by_webhook ON webhook_deliveries (webhook_id, number DESC);
