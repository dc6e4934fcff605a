-- What is kept, and for how long. Format as in queries.sql.

-- expired_job --
-- Ended long ago, and nobody waits to be told of it.
SELECT * FROM jobs
 WHERE finished_at < now() - make_interval(secs => %(keep_s)s)
   AND NOT EXISTS (SELECT FROM webhook_deliveries WHERE job_id = jobs.id AND state = 'waiting')
 ORDER BY finished_at
 LIMIT 1
   FOR UPDATE SKIP LOCKED

-- stored_bytes --
-- Of all objects that jobs refer to, each once.
SELECT COALESCE(sum(size_bytes), 0)::bigint AS size_bytes
  FROM (SELECT key, max(size_bytes) AS size_bytes FROM stored_objects GROUP BY key) AS objects

-- oldest_job_with_objects --
-- The one that has ended first, of those whose end would free an object: what others refer to stays anyway.
SELECT * FROM jobs
 WHERE finished_at IS NOT NULL
   AND EXISTS (
        SELECT FROM stored_objects AS own
         WHERE own.job_id = jobs.id
           AND NOT EXISTS (SELECT FROM stored_objects AS others WHERE others.key = own.key AND others.job_id <> jobs.id))
   AND NOT EXISTS (SELECT FROM webhook_deliveries WHERE job_id = jobs.id AND state = 'waiting')
 ORDER BY finished_at
 LIMIT 1
   FOR UPDATE SKIP LOCKED

-- start_chore --
-- No row while it was done not long ago, by whomever.
INSERT INTO chores (name) VALUES (%(name)s)
ON CONFLICT (name) DO UPDATE SET started_at = now()
 WHERE chores.started_at < now() - make_interval(secs => %(every_s)s)
RETURNING name

-- drop_old_uses --
DELETE FROM quota_uses WHERE at < now() - make_interval(secs => %(kept_s)s)

-- note_orphans --
-- Those that nobody knows of; should a job come to refer to one, it stays.
INSERT INTO unused_objects (key, due_at)
SELECT key, now() + make_interval(secs => %(within_s)s) FROM unnest(%(keys)s::text[]) AS found (key)
 WHERE NOT EXISTS (SELECT FROM job_events WHERE kind = 'artifact' AND data->>'key' = found.key)
   AND NOT EXISTS (SELECT FROM jobs WHERE request->'upload'->>'key' = found.key)
   AND NOT EXISTS (SELECT FROM parts WHERE parts.key = found.key)
   AND NOT EXISTS (SELECT FROM uploads WHERE uploads.key = found.key)
   AND NOT EXISTS (SELECT FROM upload_parts WHERE upload_parts.key = found.key)
 ORDER BY key
ON CONFLICT (key) DO NOTHING

-- due_object --
SELECT key FROM unused_objects WHERE due_at <= now() ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED

-- hold_object --
-- Waits for those who are about to refer to it.
SELECT pg_advisory_xact_lock(hashtextextended(%(key)s, 0))

-- begin_removal --
-- No row when a job or an upload refers to the object.
UPDATE unused_objects SET removed_at = 'infinity', due_at = now() + make_interval(secs => %(within_s)s)
 WHERE key = %(key)s
   AND NOT EXISTS (SELECT FROM job_events WHERE kind = 'artifact' AND data->>'key' = %(key)s)
   AND NOT EXISTS (SELECT FROM jobs WHERE request->'upload'->>'key' = %(key)s)
   AND NOT EXISTS (SELECT FROM parts WHERE key = %(key)s)
   AND NOT EXISTS (SELECT FROM uploads WHERE key = %(key)s)
   AND NOT EXISTS (SELECT FROM upload_parts WHERE key = %(key)s)
RETURNING due_at

-- keep_object --
UPDATE unused_objects SET due_at = NULL WHERE key = %(key)s

-- end_removal --
-- Whoever was storing it may have done so after it was removed.
UPDATE unused_objects
   SET removed_at = clock_timestamp(), due_at = CASE WHEN expected_until > now() THEN expected_until END
 WHERE key = %(key)s AND due_at = %(due_at)s

-- postpone_removal --
UPDATE unused_objects SET due_at = now() + make_interval(secs => %(delay_s)s)
 WHERE key = %(key)s AND due_at = %(due_at)s

-- forget_objects --
-- Longer ago than any attempt began.
DELETE FROM unused_objects
 WHERE due_at IS NULL AND (removed_at IS NULL OR removed_at < now() - interval '7 days')
