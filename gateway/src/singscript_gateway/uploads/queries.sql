-- Every statement on the uploads' tables. Format: a line with the name between dashes, then the statement.

-- insert_upload --
INSERT INTO uploads (id, owner, length_bytes, file_name, metadata, expires_at)
VALUES (%(id)s, %(owner)s, %(length_bytes)s, %(file_name)s, %(metadata)s,
        now() + make_interval(secs => %(kept_s)s))
RETURNING *

-- get_upload --
SELECT * FROM uploads WHERE id = %(id)s AND owner = %(owner)s AND expires_at > now()

-- add_to_upload --
-- No row when others have added something since, or it is gone: then nothing of this is counted.
UPDATE uploads
   SET offset_bytes = offset_bytes + %(size_bytes)s, expires_at = now() + make_interval(secs => %(kept_s)s)
 WHERE id = %(id)s AND offset_bytes = %(offset_bytes)s AND expires_at > now()
RETURNING *

-- insert_part --
INSERT INTO upload_parts (upload_id, offset_bytes, size_bytes, key)
VALUES (%(id)s, %(offset_bytes)s, %(size_bytes)s, %(key)s)

-- get_upload_parts --
SELECT offset_bytes, size_bytes, key FROM upload_parts WHERE upload_id = %(id)s ORDER BY offset_bytes

-- give_up_objects --
UPDATE unused_objects SET due_at = now() WHERE key = ANY(%(keys)s)

-- count_upload_parts --
SELECT count(*) AS parts FROM upload_parts WHERE upload_id = %(id)s

-- finish_upload --
-- No row when others have put it together, or it is gone.
UPDATE uploads SET key = %(key)s, stored_since = %(since)s, sha256 = %(sha256)s
 WHERE id = %(id)s AND key IS NULL AND offset_bytes = length_bytes
RETURNING *

-- hold_upload --
SELECT id FROM uploads WHERE id = %(id)s AND owner = %(owner)s AND expires_at > now() FOR UPDATE

-- hold_expired_upload --
SELECT id FROM uploads WHERE expires_at <= now() ORDER BY expires_at LIMIT 1 FOR UPDATE SKIP LOCKED

-- release_upload --
-- Before it goes, or its parts do. In the order of the keys: a job that is deleted may share one.
INSERT INTO unused_objects (key, due_at)
SELECT of_upload.key, now()
  FROM (SELECT key FROM upload_parts WHERE upload_id = %(id)s
         UNION
        SELECT key FROM uploads WHERE id = %(id)s AND NOT %(parts_only)s) AS of_upload (key)
 WHERE of_upload.key IS NOT NULL
 ORDER BY of_upload.key
ON CONFLICT (key) DO UPDATE SET due_at = excluded.due_at

-- delete_parts --
DELETE FROM upload_parts WHERE upload_id = %(id)s

-- delete_upload --
-- What never came is given back to the quota.
WITH gone AS (DELETE FROM uploads WHERE id = %(id)s RETURNING id, offset_bytes)
UPDATE quota_uses AS used SET amount = gone.offset_bytes
  FROM gone WHERE used.kind = 'upload' AND used.id = gone.id
