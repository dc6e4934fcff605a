-- What is kept of a job's work: parts, and what other jobs have done already. Format as in queries.sql.

-- put_part --
INSERT INTO parts (job_id, stage, number, key, size_bytes, sha256, end_s)
VALUES (%(id)s, %(stage)s, %(number)s, %(key)s, %(size_bytes)s, %(sha256)s, %(end_s)s)
ON CONFLICT (job_id, stage, number) DO UPDATE
   SET key = excluded.key, size_bytes = excluded.size_bytes, sha256 = excluded.sha256, end_s = excluded.end_s,
       created_at = excluded.created_at

-- drop_parts --
-- Those from a number on: they did not fit, or are needed no more. Their objects may go.
WITH dropped AS (
    DELETE FROM parts WHERE job_id = %(id)s AND stage = %(stage)s AND number >= %(number)s RETURNING key
)
INSERT INTO unused_objects (key, due_at)
SELECT key, now() FROM dropped GROUP BY key ORDER BY key
ON CONFLICT (key) DO UPDATE SET due_at = excluded.due_at

-- get_parts --
SELECT number, key FROM parts WHERE job_id = %(id)s AND stage = %(stage)s ORDER BY number

-- share_parts --
-- Until the transaction ends their objects are not removed.
SELECT pg_advisory_xact_lock_shared(hashtextextended(key, 0))
  FROM parts WHERE job_id = %(source)s AND stage = %(stage)s

-- copy_parts --
INSERT INTO parts (job_id, stage, number, key, size_bytes, sha256, end_s)
SELECT %(id)s, stage, number, key, size_bytes, sha256, end_s
  FROM parts WHERE job_id = %(source)s AND stage = %(stage)s

-- last_separation --
-- The newest attempt before this one that has all its stems; they were all announced before that.
SELECT attempt FROM stages
 WHERE job_id = %(id)s AND attempt < %(attempt)s AND stage = 'separate' AND (state = 'succeeded' OR reused)
 ORDER BY attempt DESC
 LIMIT 1

-- get_stems --
-- None of an attempt whose files another one has replaced since.
SELECT * FROM artifacts WHERE job_id = %(id)s AND attempt = %(attempt)s AND stage = 'separate' ORDER BY created_at, name

-- get_original --
-- What was behind the link.
SELECT * FROM artifacts WHERE job_id = %(id)s AND stage = 'download' ORDER BY created_at DESC LIMIT 1

-- pass_on_artifacts --
-- They are those of this attempt, too.
UPDATE artifacts SET attempt = %(attempt)s WHERE job_id = %(id)s AND stage = ANY(%(stages)s)

-- forget_artifacts --
-- The objects behind them cannot be read.
DELETE FROM artifacts WHERE job_id = %(id)s AND stage = ANY(%(stages)s)

-- reuse_stage --
UPDATE stages SET reused = true, engine = %(engine)s, model = %(model)s, device = %(device)s
 WHERE job_id = %(id)s AND attempt = %(attempt)s AND stage = %(stage)s

-- set_resumed --
UPDATE stages SET resumed_s = %(from_s)s
 WHERE job_id = %(id)s AND attempt = %(attempt)s AND stage = %(stage)s

-- add_work --
INSERT INTO work (job_id, stage, key)
SELECT %(id)s, stage, key FROM unnest(%(stages)s::text[], %(keys)s::text[]) AS work (stage, key)
ON CONFLICT DO NOTHING

-- forget_work --
-- Whoever has done the same: it may be their objects that cannot be read.
DELETE FROM work WHERE key IN (SELECT key FROM work WHERE job_id = %(id)s)

-- hold_work --
-- Two that find out at once that they do the same find it out one after the other.
SELECT pg_advisory_xact_lock(hashtextextended(key, 0))
  FROM (SELECT DISTINCT key FROM unnest(%(keys)s::text[]) AS keys (key) ORDER BY key) AS ordered

-- same_work --
SELECT same_work_under_way(%(id)s, %(shared)s) AS under_way

-- separations_elsewhere --
-- Not what a second choice made: the first may be there by now. A job that is read from is not deleted meanwhile.
SELECT jobs.*, stages.attempt AS done_by
  FROM work
  JOIN jobs ON jobs.id = work.job_id
  JOIN stages ON stages.job_id = jobs.id AND stages.stage = 'separate' AND (stages.state = 'succeeded' OR stages.reused)
 WHERE work.stage = 'separate' AND work.key = %(key)s AND work.job_id <> %(id)s
   AND (%(shared)s OR jobs.owner = %(owner)s)
   AND NOT EXISTS (
        SELECT FROM job_events AS event
         WHERE event.job_id = jobs.id AND event.attempt = stages.attempt AND event.kind = 'warning'
           AND event.data->>'stage' = 'separate' AND event.data->>'reason' = 'ENGINE_FALLBACK')
 ORDER BY stages.finished_at DESC
 LIMIT 5
   FOR KEY SHARE OF jobs

-- parts_elsewhere --
-- Whether its engine is still the one to ask is found out by the service.
SELECT jobs.id
  FROM work
  JOIN jobs ON jobs.id = work.job_id
  JOIN stages ON stages.job_id = jobs.id AND stages.stage = work.stage AND stages.state = 'succeeded'
 WHERE work.stage = %(stage)s AND work.key = %(key)s AND work.job_id <> %(id)s
   AND (%(shared)s OR jobs.owner = %(owner)s)
   AND EXISTS (SELECT FROM parts WHERE parts.job_id = jobs.id AND parts.stage = work.stage)
 ORDER BY stages.finished_at DESC
 LIMIT 1
   FOR KEY SHARE OF jobs
