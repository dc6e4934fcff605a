-- Every statement on users, keys and the audit. Format: a line with the name between dashes, then the statement.

-- insert_user --
INSERT INTO users (id, name) VALUES (%(id)s, %(name)s)
ON CONFLICT DO NOTHING
RETURNING *

-- insert_oidc_user --
INSERT INTO users (id, name, issuer, subject) VALUES (%(id)s, %(name)s, %(issuer)s, %(subject)s)
ON CONFLICT DO NOTHING
RETURNING id

-- get_user --
SELECT * FROM users WHERE id = %(id)s

-- list_users --
SELECT * FROM users
 WHERE %(before)s::bigint IS NULL OR number < %(before)s
 ORDER BY number DESC
 LIMIT %(limit)s

-- disable_user --
UPDATE users SET disabled_at = now() WHERE id = %(id)s AND disabled_at IS NULL RETURNING id

-- enable_user --
UPDATE users SET disabled_at = NULL WHERE id = %(id)s AND disabled_at IS NOT NULL RETURNING id

-- rename_user --
UPDATE users SET name = %(name)s WHERE id = %(id)s AND name <> %(name)s RETURNING id

-- known_key --
SELECT api_keys.id, owner, digest, scopes, expires_at, revoked_at, last_used_at,
       users.disabled_at IS NOT NULL AS disabled
  FROM api_keys JOIN users ON users.id = owner
 WHERE api_keys.id = %(id)s

-- key_used --
UPDATE api_keys SET last_used_at = now()
 WHERE id = %(id)s AND (last_used_at IS NULL OR last_used_at < now() - make_interval(secs => %(every_s)s))

-- insert_key --
INSERT INTO api_keys (id, line, quotas, owner, name, digest, scopes, expires_at)
SELECT %(id)s, %(id)s, %(quotas)s, users.id, %(name)s, %(digest)s, %(scopes)s, %(expires_at)s
  FROM users WHERE users.id = %(owner)s
RETURNING *

-- get_key --
SELECT * FROM api_keys WHERE id = %(id)s AND owner = %(owner)s

-- hold_key --
SELECT api_keys.*,
       replaced_by IS NULL AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS active
  FROM api_keys WHERE id = %(id)s AND owner = %(owner)s
   FOR UPDATE

-- owner_of_key --
SELECT owner FROM api_keys WHERE id = %(id)s

-- list_keys --
SELECT * FROM api_keys
 WHERE owner = %(owner)s AND (%(before)s::bigint IS NULL OR number < %(before)s)
 ORDER BY number DESC
 LIMIT %(limit)s

-- rotate_key --
-- The new one lives as long from now on as the old one was to live; both count as one.
INSERT INTO api_keys (id, line, quotas, owner, name, digest, scopes, expires_at)
SELECT %(new_id)s, line, quotas, owner, name, %(digest)s, scopes, now() + (expires_at - created_at)
  FROM api_keys WHERE id = %(id)s
RETURNING *

-- replace_key --
UPDATE api_keys
   SET replaced_by = %(new_id)s, expires_at = LEAST(expires_at, now() + make_interval(secs => %(overlap_s)s))
 WHERE id = %(id)s

-- end_replaced_key --
-- No more than two of them live.
UPDATE api_keys SET expires_at = LEAST(expires_at, now()) WHERE replaced_by = %(id)s

-- rename_key --
UPDATE api_keys SET name = %(name)s WHERE id = %(id)s AND owner = %(owner)s AND name <> %(name)s RETURNING id

-- limit_key --
UPDATE api_keys SET quotas = %(quotas)s WHERE id = %(id)s AND owner = %(owner)s RETURNING scopes

-- revoke_key --
UPDATE api_keys SET revoked_at = now() WHERE id = %(id)s AND owner = %(owner)s AND revoked_at IS NULL RETURNING id

-- note --
INSERT INTO audit (owner, key_id, address, action, target)
VALUES (%(owner)s, %(key_id)s, %(address)s, %(action)s, %(target)s)

-- refused_lately --
SELECT number FROM audit
 WHERE target = %(id)s AND action = 'key.refused' AND at > now() - make_interval(secs => %(every_s)s)
 LIMIT 1

-- list_audit --
SELECT * FROM audit
 WHERE (%(owner)s::text IS NULL OR owner = %(owner)s) AND (%(before)s::bigint IS NULL OR number < %(before)s)
 ORDER BY number DESC
 LIMIT %(limit)s
