-- What users do, and what every transaction may need. Format: a line with the name between dashes, then the statement.
-- Conditions on states come as parameters from states.py. What is asked for a user names the owner.

-- insert_job --
-- It is due at once, from its first stage on. With its first event, and what it is about to do: kept.sql.
WITH job AS (
    INSERT INTO jobs (id, owner, key_line, request, formats, priority, last_seq)
    VALUES (%(id)s, %(owner)s, %(key_line)s, %(request)s, %(formats)s, %(priority)s, 1)
    RETURNING *
), told AS (
    INSERT INTO job_events (job_id, seq, attempt, kind, data)
    SELECT id, last_seq, attempt, 'state', jsonb_build_object('state', state) FROM job
), noted AS (
    INSERT INTO work (job_id, stage, key)
    SELECT id, stage, key FROM job, unnest(%(stages)s::text[], %(keys)s::text[]) AS work (stage, key)
)
SELECT * FROM job

-- restart_job --
-- The user asks for it: what is counted and timed begins anew.
UPDATE jobs
   SET state = 'queued', failures = 0, refusals = 0, worked_s = 0, problem = NULL, cancel_requested = false,
       started_at = NULL, finished_at = NULL
 WHERE id = %(id)s AND owner = %(owner)s AND finished_at IS NOT NULL AND state = ANY(%(before)s)
RETURNING *

-- set_key_line --
-- Of a job that was asked for again, with another key.
UPDATE jobs SET key_line = %(key_line)s WHERE id = %(id)s

-- finish_job --
-- By the holder of a running attempt: while the job waits for its next one, the number is still that of the last.
UPDATE jobs
   SET state = %(state)s, finished_at = now(), heartbeat_at = NULL, problem = %(problem)s,
       failures = failures + %(failures)s
 WHERE id = %(id)s AND state = 'running' AND state = ANY(%(before)s) AND attempt = %(attempt)s
RETURNING *

-- cancel_queued_job --
UPDATE jobs
   SET state = 'cancelled', finished_at = now(), cancel_requested = true
 WHERE id = %(id)s AND owner = %(owner)s AND state = 'queued' AND state = ANY(%(before)s)
RETURNING *

-- request_cancel --
UPDATE jobs SET cancel_requested = true
 WHERE id = %(id)s AND owner = %(owner)s AND state = 'running'
RETURNING pg_notify('singscript_cancel', '')

-- append_events --
WITH job AS (
    UPDATE jobs SET last_seq = last_seq + cardinality(%(kinds)s::text[])
     WHERE id = %(id)s
    RETURNING id, attempt, last_seq - cardinality(%(kinds)s::text[]) AS base
)
INSERT INTO job_events (job_id, seq, attempt, kind, data)
SELECT job.id, job.base + event.n, job.attempt, event.kind, event.data
  FROM job, unnest(%(kinds)s::text[], %(data)s::jsonb[]) WITH ORDINALITY AS event (kind, data, n)
 ORDER BY event.n

-- move_stages --
UPDATE stages
   SET state = %(state)s,
       started_at = CASE WHEN %(state)s = 'running' THEN now() ELSE started_at END,
       finished_at = CASE WHEN %(state)s = 'running' THEN NULL ELSE now() END
 WHERE job_id = %(id)s AND attempt = %(attempt)s AND stage = ANY(%(stages)s) AND state = ANY(%(before)s)
RETURNING stage, position

-- set_media --
-- The job's sound counts for its owner from now on, once: quotas/model.py.
WITH job AS (
    UPDATE jobs SET media = %(media)s WHERE id = %(id)s
    RETURNING id, owner, key_line, COALESCE((media->>'duration_s')::float8, 0) AS duration_s
)
INSERT INTO quota_uses (kind, id, owner, key_line, amount)
SELECT 'audio', id, owner, key_line, duration_s FROM job
ON CONFLICT (kind, id) DO UPDATE SET amount = excluded.amount, key_line = excluded.key_line, at = excluded.at

-- put_artifact --
INSERT INTO artifacts (job_id, name, attempt, stage, key, media_type, size_bytes, sha256, levels)
VALUES (%(id)s, %(name)s, %(attempt)s, %(stage)s, %(key)s, %(media_type)s, %(size_bytes)s, %(sha256)s, %(levels)s)
ON CONFLICT (job_id, name) DO UPDATE
   SET attempt = excluded.attempt, stage = excluded.stage, key = excluded.key,
       media_type = excluded.media_type, size_bytes = excluded.size_bytes, sha256 = excluded.sha256,
       levels = excluded.levels, created_at = excluded.created_at

-- sum_usage --
SELECT engine, model, sum(audio_s) AS audio_s, sum(requests) AS requests,
       sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens,
       sum(cost_usd) AS cost_usd,
       COALESCE(sum(requests) FILTER (WHERE cost_usd IS NULL), 0) AS unpriced_requests
  FROM usage
 WHERE owner = %(owner)s AND (%(id)s::uuid IS NULL OR job_id = %(id)s)
   AND (%(since)s::timestamptz IS NULL OR at >= %(since)s) AND (%(until)s::timestamptz IS NULL OR at < %(until)s)
 GROUP BY engine, model
 ORDER BY engine, model

-- get_job --
SELECT * FROM jobs WHERE id = %(id)s

-- find_job --
SELECT * FROM jobs WHERE id = %(id)s AND owner = %(owner)s

-- list_jobs --
SELECT * FROM jobs
 WHERE owner = %(owner)s AND (%(states)s::text[] IS NULL OR state = ANY(%(states)s))
   AND (%(before)s::bigint IS NULL OR number < %(before)s)
   AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
   AND (%(until)s::timestamptz IS NULL OR created_at < %(until)s)
   AND (%(reason)s::text IS NULL OR problem->>'reason' = %(reason)s)
 ORDER BY number DESC
 LIMIT %(limit)s

-- get_stages --
SELECT * FROM stages WHERE job_id = %(id)s AND attempt = %(attempt)s ORDER BY position

-- unfinished_stages --
SELECT stage FROM stages
 WHERE job_id = %(id)s AND attempt = %(attempt)s AND state IN ('pending', 'running')
 ORDER BY position

-- get_artifacts --
SELECT artifacts.* FROM artifacts JOIN jobs ON jobs.id = job_id
 WHERE job_id = %(id)s AND owner = %(owner)s
 ORDER BY artifacts.created_at, name

-- get_revisions --
-- Those that were replaced, and the one that stands.
SELECT revision, key, replaced_words.created_at
  FROM replaced_words JOIN jobs ON jobs.id = job_id
 WHERE job_id = %(id)s AND owner = %(owner)s
 UNION ALL
SELECT jobs.words_revision, artifacts.key, artifacts.created_at
  FROM jobs JOIN artifacts ON artifacts.job_id = jobs.id AND artifacts.name = %(words)s
 WHERE jobs.id = %(id)s AND owner = %(owner)s
 ORDER BY revision

-- hold_files --
-- Locks a job that has succeeded, for new files of it; no row when anything has happened since `last_seq`.
UPDATE jobs SET formats = %(formats)s, words_revision = words_revision + %(corrections)s
 WHERE id = %(id)s AND owner = %(owner)s AND state = 'succeeded' AND last_seq = %(last_seq)s
RETURNING words_revision

-- keep_words --
-- Before words.json is replaced.
INSERT INTO replaced_words (job_id, revision, key, created_at)
SELECT job_id, %(revision)s, key, created_at FROM artifacts WHERE job_id = %(id)s AND name = %(words)s

-- get_warnings --
SELECT data FROM job_events
 WHERE job_id = %(id)s AND attempt = %(attempt)s AND kind = 'warning'
 ORDER BY seq

-- events_after --
SELECT seq, attempt, kind, data, at FROM job_events
 WHERE job_id = %(id)s AND seq > %(after)s AND EXISTS (SELECT FROM jobs WHERE id = %(id)s AND owner = %(owner)s)
 ORDER BY seq
 LIMIT %(limit)s

-- drop_old_keys --
-- One that somebody else drops just now is waited for where its key is taken.
DELETE FROM idempotency_keys
 WHERE (owner, key) IN (
        SELECT owner, key FROM idempotency_keys
         WHERE created_at < now() - make_interval(secs => %(kept_s)s)
           FOR UPDATE SKIP LOCKED)

-- take_key --
-- Waits for whoever has the same key under way; no row when that one has made its job.
INSERT INTO idempotency_keys (owner, key, digest) VALUES (%(owner)s, %(key)s, %(digest)s)
ON CONFLICT DO NOTHING
RETURNING key

-- keep_answer --
UPDATE idempotency_keys SET job_id = %(id)s, body = %(body)s WHERE owner = %(owner)s AND key = %(key)s

-- get_answer --
SELECT digest, job_id, body FROM idempotency_keys
 WHERE owner = %(owner)s AND key = %(key)s AND created_at >= now() - make_interval(secs => %(kept_s)s)

-- hold_job --
SELECT * FROM jobs WHERE id = %(id)s AND owner = %(owner)s FOR UPDATE

-- release_objects --
-- Before the job goes. In the order of the keys: two of them may share some.
INSERT INTO unused_objects (key, due_at)
SELECT of_job.key, now()
  FROM (SELECT data->>'key' FROM job_events WHERE job_id = %(id)s AND kind = 'artifact'
         UNION
        SELECT request->'upload'->>'key' FROM jobs WHERE id = %(id)s
         UNION
        SELECT key FROM parts WHERE job_id = %(id)s) AS of_job (key)
 WHERE of_job.key IS NOT NULL
 ORDER BY of_job.key
ON CONFLICT (key) DO UPDATE SET due_at = excluded.due_at

-- delete_job --
DELETE FROM jobs WHERE id = %(id)s

-- expect_object --
-- No row while it is being removed.
INSERT INTO unused_objects (key, due_at, expected_until)
SELECT %(key)s, until, until FROM (SELECT now() + make_interval(secs => %(within_s)s)) AS latest (until)
ON CONFLICT (key) DO UPDATE SET due_at = excluded.due_at, expected_until = excluded.expected_until
 WHERE unused_objects.removed_at IS DISTINCT FROM 'infinity'
RETURNING clock_timestamp() AS since

-- share_object --
-- Until the transaction ends nobody finds out that no job refers to the object.
SELECT pg_advisory_xact_lock_shared(hashtextextended(%(key)s, 0))

-- object_gone --
SELECT removed_at = 'infinity' AS under_way FROM unused_objects WHERE key = %(key)s AND removed_at > %(since)s

-- count_dispatchers --
SELECT count(*) AS live FROM dispatchers WHERE heartbeat_at > now() - make_interval(secs => %(lease_s)s)

-- insert_webhook --
INSERT INTO webhooks (id, job_id, url, secrets)
VALUES (%(webhook_id)s, %(id)s, %(url)s, %(secrets)s)

-- put_operators_webhook --
-- What waits goes to the new address; a webhook that was disabled is tried again.
INSERT INTO webhooks (id, url, secrets)
VALUES (%(webhook_id)s, %(url)s, %(secrets)s)
ON CONFLICT ((true)) WHERE job_id IS NULL AND owner IS NULL DO UPDATE
   SET url = excluded.url, secrets = excluded.secrets, disabled_at = NULL

-- delete_operators_webhook --
DELETE FROM webhooks WHERE job_id IS NULL AND owner IS NULL

-- put_owners_webhook --
-- What waits goes to the new address; a webhook that was disabled is tried again. Without new secrets a made one is put
-- before the newest of those that were.
INSERT INTO webhooks AS hook (id, owner, url, secrets)
VALUES (%(webhook_id)s, %(owner)s, %(url)s, COALESCE(%(secrets)s::text[], ARRAY[%(made)s]))
ON CONFLICT (owner) WHERE owner IS NOT NULL DO UPDATE
   SET url = excluded.url, secrets = COALESCE(%(secrets)s::text[], ARRAY[%(made)s, hook.secrets[1]]), disabled_at = NULL
RETURNING *

-- get_owners_webhook --
SELECT * FROM webhooks WHERE owner = %(owner)s

-- delete_owners_webhook --
DELETE FROM webhooks WHERE owner = %(owner)s RETURNING id

-- get_webhook --
SELECT webhooks.* FROM webhooks JOIN jobs ON jobs.id = job_id WHERE job_id = %(id)s AND jobs.owner = %(owner)s

-- webhooks_to_tell --
SELECT id FROM webhooks WHERE job_id = %(id)s AND disabled_at IS NULL
 UNION ALL
SELECT id FROM webhooks WHERE owner = (SELECT owner FROM jobs WHERE id = %(id)s) AND disabled_at IS NULL
 UNION ALL
SELECT id FROM webhooks WHERE job_id IS NULL AND owner IS NULL AND disabled_at IS NULL

-- insert_delivery --
INSERT INTO webhook_deliveries (id, webhook_id, job_id, type, body)
VALUES (%(delivery_id)s, %(webhook_id)s, %(id)s, %(type)s, %(body)s)
RETURNING *

-- get_deliveries --
SELECT * FROM webhook_deliveries WHERE webhook_id = %(webhook_id)s ORDER BY number

-- list_deliveries --
SELECT webhook_deliveries.* FROM webhook_deliveries JOIN webhooks ON webhooks.id = webhook_id
 WHERE owner = %(owner)s AND (%(before)s::bigint IS NULL OR number < %(before)s)
 ORDER BY number DESC
 LIMIT %(limit)s

-- claim_deliveries --
-- Of each host no more than have a place; those with the fewest under way come first.
WITH busy AS (
    SELECT * FROM unnest(%(hosts)s::text[], %(under_way)s::int[]) AS busy (host, under_way)
), ranked AS (
    SELECT delivery.id, delivery.due_at,
           COALESCE(busy.under_way, 0) + row_number() OVER (PARTITION BY host ORDER BY delivery.due_at) AS place
      FROM webhook_deliveries AS delivery JOIN webhooks ON webhooks.id = webhook_id LEFT JOIN busy USING (host)
     WHERE state = 'waiting' AND delivery.due_at <= now()
), chosen AS (
    SELECT id FROM ranked WHERE place <= %(per_host)s ORDER BY place, due_at LIMIT %(limit)s
), due AS MATERIALIZED (
    SELECT id FROM webhook_deliveries
     WHERE id IN (SELECT id FROM chosen) AND state = 'waiting' AND due_at <= now()
       FOR UPDATE SKIP LOCKED
)
UPDATE webhook_deliveries AS delivery
   SET attempts = attempts + 1, due_at = now() + make_interval(secs => %(lease_s)s)
  FROM due, webhooks
 WHERE delivery.id = due.id AND webhooks.id = delivery.webhook_id
RETURNING delivery.id, webhook_id, delivery.job_id, type, body, attempts, url, host, secrets

-- record_delivery --
-- By the holder of its newest claim.
UPDATE webhook_deliveries
   SET state = %(state)s, last_status = %(status)s, last_error = %(error)s,
       due_at = now() + make_interval(secs => %(pause_s)s),
       ended_at = CASE WHEN %(state)s = 'waiting' THEN NULL ELSE now() END
 WHERE id = %(id)s AND state = 'waiting' AND attempts = %(attempts)s
RETURNING id

-- hold_told_jobs --
-- Of what a webhook is to be told: none of them is deleted meanwhile.
SELECT id FROM jobs
 WHERE id IN (SELECT job_id FROM webhook_deliveries WHERE webhook_id = %(webhook_id)s AND state = 'waiting')
 ORDER BY id
   FOR KEY SHARE

-- hold_told_job --
SELECT id FROM jobs WHERE id = %(id)s FOR KEY SHARE

-- drop_told --
-- What a job that was deleted was told is of no use any more; what is to be told yet stays, with the job's webhook.
DELETE FROM webhook_deliveries
 WHERE job_id = %(id)s AND state <> 'waiting' AND NOT EXISTS (SELECT FROM jobs WHERE jobs.id = %(id)s)

-- drop_webhook_of_job --
DELETE FROM webhooks
 WHERE job_id = %(id)s AND NOT EXISTS (SELECT FROM jobs WHERE jobs.id = %(id)s)
   AND NOT EXISTS (SELECT FROM webhook_deliveries WHERE webhook_id = webhooks.id)

-- disable_webhook --
UPDATE webhooks SET disabled_at = now() WHERE id = %(webhook_id)s

-- drop_deliveries --
UPDATE webhook_deliveries SET state = 'given_up', ended_at = now()
 WHERE webhook_id = %(webhook_id)s AND state = 'waiting'
RETURNING job_id
