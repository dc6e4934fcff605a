-- Whether another job does now what this one is to do; that of another owner counts only where results are shared.

DROP FUNCTION same_work_under_way(uuid);

CREATE FUNCTION same_work_under_way(id uuid, shared boolean) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT
          FROM work AS mine
          JOIN jobs AS own ON own.id = mine.job_id
          JOIN work AS theirs ON theirs.key = mine.key AND theirs.job_id <> mine.job_id
          JOIN jobs AS other ON other.id = theirs.job_id AND other.state = 'running'
          JOIN stages ON stages.job_id = other.id AND stages.attempt = other.attempt AND stages.stage = theirs.stage
         WHERE mine.job_id = same_work_under_way.id AND (shared OR other.owner = own.owner)
           AND stages.state IN ('pending', 'running'))
$$;
