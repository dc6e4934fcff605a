-- Commits that notify wait for each other, so a job is made without. Nobody can be watching it yet.

DROP TRIGGER job_events_announced ON job_events;
CREATE TRIGGER job_events_announced AFTER INSERT ON job_events
    FOR EACH ROW WHEN (NEW.seq > 1) EXECUTE FUNCTION announce_job_event();
