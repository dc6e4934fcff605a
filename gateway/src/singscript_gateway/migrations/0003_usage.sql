-- What engines that are paid for have used: jobs/model.py, UsageSum.

-- Until there are accounts, everything belongs to one owner.
ALTER TABLE jobs ADD COLUMN owner text NOT NULL DEFAULT 'local';

-- A bill: it stays when its job is deleted, so it refers to none.
CREATE TABLE usage (
    job_id uuid NOT NULL,
    attempt integer NOT NULL,
    -- 1, 2, 3 ... of the attempt, by its dispatcher: a report that is written again counts once.
    number integer NOT NULL,
    owner text NOT NULL,
    stage text NOT NULL,
    engine text NOT NULL,
    model text NOT NULL,
    audio_s double precision NOT NULL,
    requests integer NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    -- NULL where the price is not known.
    cost_usd double precision,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, attempt, number)
);

CREATE INDEX usage_by_owner ON usage (owner, at);
