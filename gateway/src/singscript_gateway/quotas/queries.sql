-- Every statement on limits and on what was used of them. Format as in jobs/queries.sql.
-- Where `key_line` is NULL all that the owner has used is meant.

-- get_limits --
SELECT users.quotas AS of_user, api_keys.quotas AS of_key, api_keys.line
  FROM (SELECT) AS one
  LEFT JOIN users ON users.id = %(owner)s
  LEFT JOIN api_keys ON api_keys.id = %(key_id)s AND api_keys.owner = %(owner)s

-- limit_user --
UPDATE users SET quotas = %(quotas)s WHERE id = %(id)s RETURNING id

-- hold_owner --
-- One at a time is counted and let in.
SELECT pg_advisory_xact_lock(hashtextextended('quota ' || %(owner)s, 0))

-- take_request --
-- No row when the bucket is empty. Half a step is granted, for what is lost in rounding.
INSERT INTO quota_meters AS meter (id, full_at)
VALUES (%(meter)s, clock_timestamp() + make_interval(secs => %(step_s)s))
ON CONFLICT (id) DO UPDATE SET full_at = GREATEST(meter.full_at, clock_timestamp()) + make_interval(secs => %(step_s)s)
 WHERE meter.full_at <= clock_timestamp() + make_interval(secs => 60 - %(step_s)s / 2)
RETURNING full_at

-- get_meter --
SELECT GREATEST(extract(epoch FROM full_at - clock_timestamp()), 0)::float8 AS until_full_s
  FROM quota_meters WHERE id = %(meter)s

-- count_active --
SELECT count(*) AS used FROM jobs
 WHERE owner = %(owner)s AND state = ANY(%(active)s) AND (%(key_line)s::text IS NULL OR key_line = %(key_line)s)
   AND id <> %(beside)s

-- sum_uses --
SELECT COALESCE(sum(amount), 0)::float8 AS used FROM quota_uses
 WHERE owner = %(owner)s AND kind = %(kind)s AND at > now() - make_interval(secs => %(window_s)s)
   AND (%(key_line)s::text IS NULL OR key_line = %(key_line)s)

-- room_after --
-- When enough is older than the window that no more than `most` is left.
SELECT extract(epoch FROM at - now())::float8 + %(window_s)s AS wait_s
  FROM (SELECT at, sum(amount) OVER (ORDER BY at DESC, id) - amount AS left_then FROM quota_uses
         WHERE owner = %(owner)s AND kind = %(kind)s AND at > now() - make_interval(secs => %(window_s)s)
           AND (%(key_line)s::text IS NULL OR key_line = %(key_line)s)) AS uses
 WHERE left_then <= %(most)s
 ORDER BY at
 LIMIT 1

-- note_upload --
INSERT INTO quota_uses (kind, id, owner, key_line, amount)
VALUES ('upload', %(id)s, %(owner)s, %(key_line)s, %(size_bytes)s)

-- sum_spend --
SELECT COALESCE(sum(cost_usd), 0)::float8 AS used FROM usage
 WHERE owner = %(owner)s AND at >= date_trunc('month', now(), 'UTC')
   AND (%(key_line)s::text IS NULL OR key_line = %(key_line)s)
