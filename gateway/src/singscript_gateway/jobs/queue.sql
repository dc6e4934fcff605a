-- Whose turn it is, what an attempt reports, and how it ends. Format as in queries.sql.

-- wake_dispatchers --
SELECT pg_notify('singscript_queue', '')

-- make_due --
-- Dispatchers look for themselves when a delay is over.
UPDATE jobs SET due_at = now() + make_interval(secs => %(delay_s)s), begins_at = %(begins_at)s
 WHERE id = %(id)s
RETURNING pg_notify('singscript_queue', '')

-- hold_queue --
-- One claims at a time, so that each sees what the one before has taken. Any number that no other lock has.
SELECT pg_advisory_xact_lock(0x73696e67)

-- put_capacity --
INSERT INTO stage_capacity (stage, streams) VALUES (%(stage)s, %(streams)s)
ON CONFLICT (stage) DO UPDATE SET streams = excluded.streams, reported_at = now()

-- drop_capacity --
DELETE FROM stage_capacity WHERE stage = %(stage)s

-- full_stages --
-- One more than a stage can work on at once is let in: it waits in front, so that the stage never idles.
SELECT stage FROM stage_capacity AS capacity
 WHERE reported_at > now() - make_interval(secs => %(kept_s)s)
   AND streams < (SELECT count(*) FROM jobs JOIN stages ON stages.job_id = jobs.id AND stages.attempt = jobs.attempt
                   WHERE jobs.state = 'running' AND stages.stage = capacity.stage
                     AND stages.state IN ('pending', 'running'))

-- next_job --
-- The owner with the fewest running jobs comes first, then the one whose last turn is longest ago; of an owner's jobs
-- the one of the highest priority, then the oldest. All that is queued is counted in its index; only of the owner whose
-- turn it is the jobs themselves are looked at, and of the next ones while that one has none to begin.
WITH waiting AS (
    SELECT owner, min(number) AS number FROM jobs
     WHERE state = 'queued' AND begins_at = ANY(%(begins_at)s)
     GROUP BY owner
), busy AS (
    SELECT owner, count(*) AS jobs FROM jobs WHERE state = 'running' GROUP BY owner
)
SELECT first.id
  FROM (SELECT owner, COALESCE(busy.jobs, 0) AS jobs, waiting.number,
               (SELECT max(attempt_at) FROM jobs
                 WHERE jobs.owner = waiting.owner AND attempt_at IS NOT NULL) AS turn_at
          FROM waiting LEFT JOIN busy USING (owner)
         ORDER BY jobs, turn_at NULLS FIRST, number
        OFFSET 0) AS turn
       CROSS JOIN LATERAL (
       SELECT best.id
         FROM unnest(%(begins_at)s::text[]) AS allowed (stage) CROSS JOIN LATERAL (
              -- The order is all of the index's, so that no other index looks as good.
              SELECT id, priority, number FROM jobs
               WHERE state = 'queued' AND begins_at = stage AND owner = turn.owner AND due_at <= now()
                 -- What another job does just now is not done a second time: kept.sql.
                 AND NOT same_work_under_way(jobs.id, %(shared)s)
               ORDER BY priority DESC, number
               LIMIT 1) AS best
        ORDER BY best.priority DESC, best.number
        LIMIT 1) AS first
 ORDER BY turn.jobs, turn.turn_at NULLS FIRST, turn.number
 LIMIT 1

-- claim_job --
-- By the clock, not since the transaction began: it may have waited for others who claimed.
UPDATE jobs
   SET state = 'running', attempt = attempt + 1, heartbeat_at = clock_timestamp(), attempt_at = clock_timestamp(),
       started_at = COALESCE(started_at, clock_timestamp())
 WHERE id = %(id)s AND state = ANY(%(before)s)
RETURNING *

-- requeue_job --
-- A refused attempt did no work: its time does not count.
UPDATE jobs
   SET state = 'queued', heartbeat_at = NULL, failures = failures + %(failures)s,
       refusals = CASE WHEN %(refused)s THEN refusals + 1 ELSE 0 END,
       worked_s = worked_s + CASE WHEN %(refused)s THEN 0
                                  ELSE COALESCE(extract(epoch FROM now() - attempt_at)::float8, 0) END
 WHERE id = %(id)s AND state = 'running' AND state = ANY(%(before)s) AND attempt = %(attempt)s
RETURNING *

-- hold_attempt --
-- Locks the job for a write of this attempt; no row means that the attempt is over.
SELECT id FROM jobs WHERE id = %(id)s AND attempt = %(attempt)s AND state = 'running' FOR UPDATE

-- insert_stages --
INSERT INTO stages (job_id, attempt, stage, position)
SELECT %(id)s, %(attempt)s, chain.stage, chain.n - 1
  FROM unnest(%(stages)s::text[]) WITH ORDINALITY AS chain (stage, n)

-- set_stage_engine --
UPDATE stages SET engine = %(engine)s, model = %(model)s, device = %(device)s
 WHERE job_id = %(id)s AND attempt = %(attempt)s AND stage = %(stage)s

-- set_stage_progress --
UPDATE stages
   SET done_s = %(done_s)s, total_s = COALESCE(%(total_s)s, total_s),
       done_bytes = COALESCE(%(done_bytes)s, done_bytes), total_bytes = COALESCE(%(total_bytes)s, total_bytes)
 WHERE job_id = %(id)s AND attempt = %(attempt)s AND stage = %(stage)s

-- add_usage --
-- Also for an attempt that is over, and for a job that was deleted: what it has spent is spent. No row when this report
-- was written before.
INSERT INTO usage (job_id, attempt, number, owner, key_line, stage, engine, model, audio_s, requests, input_tokens,
                   output_tokens, cost_usd)
VALUES (%(id)s, %(attempt)s, %(number)s, %(owner)s, %(key_line)s, %(stage)s, %(engine)s, %(model)s, %(audio_s)s, %(requests)s,
        %(input_tokens)s, %(output_tokens)s, %(cost_usd)s)
ON CONFLICT DO NOTHING
RETURNING number

-- object_gone_since_attempt --
SELECT unused_objects.removed_at = 'infinity' AS under_way FROM unused_objects, jobs
 WHERE unused_objects.key = %(key)s AND jobs.id = %(id)s AND unused_objects.removed_at > jobs.attempt_at

-- beat_dispatcher --
INSERT INTO dispatchers (id) VALUES (%(dispatcher)s)
ON CONFLICT (id) DO UPDATE SET heartbeat_at = now()

-- drop_dispatcher --
DELETE FROM dispatchers WHERE id = %(dispatcher)s OR heartbeat_at < now() - interval '1 day'

-- beat_jobs --
-- Those that come back are still ours.
UPDATE jobs SET heartbeat_at = now()
  FROM unnest(%(ids)s::uuid[], %(attempts)s::int[]) AS mine (id, attempt)
 WHERE jobs.id = mine.id AND jobs.attempt = mine.attempt AND jobs.state = 'running'
RETURNING jobs.id, jobs.attempt

-- cancels_requested --
SELECT id FROM jobs WHERE id = ANY(%(ids)s) AND cancel_requested

-- lost_jobs --
-- Running, and nobody has said so for a lease; save those of the caller, who knows better.
SELECT * FROM jobs
 WHERE state = 'running' AND heartbeat_at < now() - make_interval(secs => %(lease_s)s)
   AND (id, attempt) NOT IN (SELECT * FROM unnest(%(own_ids)s::uuid[], %(own_attempts)s::int[]))
 ORDER BY heartbeat_at
 LIMIT 1
   FOR UPDATE SKIP LOCKED
