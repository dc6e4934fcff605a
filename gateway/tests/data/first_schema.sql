-- The schema of the first version with jobs in every state, by pg_dump --no-owner --no-privileges --inserts.
-- Its queue was a library's (procrastinate); migrations must bring such a database up to date.
--
-- PostgreSQL database dump
--



SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: procrastinate_job_event_type; Type: TYPE; Schema: public; Owner: -
--

CREATE TYPE public.procrastinate_job_event_type AS ENUM (
    'deferred',
    'started',
    'deferred_for_retry',
    'failed',
    'succeeded',
    'cancelled',
    'abort_requested',
    'aborted',
    'scheduled',
    'retried'
);


--
-- Name: procrastinate_job_status; Type: TYPE; Schema: public; Owner: -
--

CREATE TYPE public.procrastinate_job_status AS ENUM (
    'todo',
    'doing',
    'succeeded',
    'failed',
    'cancelled',
    'aborting',
    'aborted'
);


--
-- Name: procrastinate_job_to_defer_v1; Type: TYPE; Schema: public; Owner: -
--

CREATE TYPE public.procrastinate_job_to_defer_v1 AS (
	queue_name character varying,
	task_name character varying,
	priority integer,
	lock text,
	queueing_lock text,
	args jsonb,
	scheduled_at timestamp with time zone
);


--
-- Name: announce_job_event(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.announce_job_event() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM pg_notify('singscript_events', NEW.job_id::text);
    RETURN NULL;
END;
$$;


--
-- Name: procrastinate_cancel_job_v1(bigint, boolean, boolean); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_cancel_job_v1(job_id bigint, abort boolean, delete_job boolean) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
DECLARE
    _job_id bigint;
BEGIN
    IF delete_job THEN
        DELETE FROM procrastinate_jobs
        WHERE id = job_id AND status = 'todo'
        RETURNING id INTO _job_id;
    END IF;
    IF _job_id IS NULL THEN
        IF abort THEN
            UPDATE procrastinate_jobs
            SET abort_requested = true,
                status = CASE status
                    WHEN 'todo' THEN 'cancelled'::procrastinate_job_status ELSE status
                END
            WHERE id = job_id AND status IN ('todo', 'doing')
            RETURNING id INTO _job_id;
        ELSE
            UPDATE procrastinate_jobs
            SET status = 'cancelled'::procrastinate_job_status
            WHERE id = job_id AND status = 'todo'
            RETURNING id INTO _job_id;
        END IF;
    END IF;
    RETURN _job_id;
END;
$$;


--
-- Name: procrastinate_defer_jobs_v1(public.procrastinate_job_to_defer_v1[]); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_defer_jobs_v1(jobs public.procrastinate_job_to_defer_v1[]) RETURNS bigint[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    job_ids bigint[];
BEGIN
    WITH inserted_jobs AS (
        INSERT INTO procrastinate_jobs (queue_name, task_name, priority, lock, queueing_lock, args, scheduled_at)
        SELECT (job).queue_name,
               (job).task_name,
               (job).priority,
               (job).lock,
               (job).queueing_lock,
               (job).args,
               (job).scheduled_at
        FROM unnest(jobs) AS job
        RETURNING id
    )
    SELECT array_agg(id) FROM inserted_jobs INTO job_ids;

    RETURN job_ids;
END;
$$;


--
-- Name: procrastinate_defer_periodic_job_v2(character varying, character varying, character varying, character varying, integer, character varying, bigint, jsonb); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_defer_periodic_job_v2(_queue_name character varying, _lock character varying, _queueing_lock character varying, _task_name character varying, _priority integer, _periodic_id character varying, _defer_timestamp bigint, _args jsonb) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
DECLARE
	_job_id bigint;
	_defer_id bigint;
BEGIN
    INSERT
        INTO procrastinate_periodic_defers (task_name, periodic_id, defer_timestamp)
        VALUES (_task_name, _periodic_id, _defer_timestamp)
        ON CONFLICT DO NOTHING
        RETURNING id into _defer_id;

    IF _defer_id IS NULL THEN
        RETURN NULL;
    END IF;

    UPDATE procrastinate_periodic_defers
        SET job_id = (
            SELECT COALESCE((
                SELECT unnest(procrastinate_defer_jobs_v1(
                    ARRAY[
                        ROW(
                            _queue_name,
                            _task_name,
                            _priority,
                            _lock,
                            _queueing_lock,
                            _args,
                            NULL::timestamptz
                        )
                    ]::procrastinate_job_to_defer_v1[]
                ))
            ), NULL)
        )
        WHERE id = _defer_id
        RETURNING job_id INTO _job_id;

    DELETE
        FROM procrastinate_periodic_defers
        USING (
            SELECT id
            FROM procrastinate_periodic_defers
            WHERE procrastinate_periodic_defers.task_name = _task_name
            AND procrastinate_periodic_defers.periodic_id = _periodic_id
            AND procrastinate_periodic_defers.defer_timestamp < _defer_timestamp
            ORDER BY id
            FOR UPDATE
        ) to_delete
        WHERE procrastinate_periodic_defers.id = to_delete.id;

    RETURN _job_id;
END;
$$;


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: procrastinate_jobs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.procrastinate_jobs (
    id bigint NOT NULL,
    queue_name character varying(128) NOT NULL,
    task_name character varying(128) NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    lock text,
    queueing_lock text,
    args jsonb DEFAULT '{}'::jsonb NOT NULL,
    status public.procrastinate_job_status DEFAULT 'todo'::public.procrastinate_job_status NOT NULL,
    scheduled_at timestamp with time zone,
    attempts integer DEFAULT 0 NOT NULL,
    abort_requested boolean DEFAULT false NOT NULL,
    worker_id bigint,
    CONSTRAINT check_not_todo_abort_requested CHECK ((NOT ((status = 'todo'::public.procrastinate_job_status) AND (abort_requested = true))))
);


--
-- Name: procrastinate_fetch_job_v2(character varying[], bigint); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_fetch_job_v2(target_queue_names character varying[], p_worker_id bigint) RETURNS public.procrastinate_jobs
    LANGUAGE plpgsql
    AS $$
DECLARE
	found_jobs procrastinate_jobs;
BEGIN
    WITH candidate AS (
        SELECT jobs.*
            FROM procrastinate_jobs AS jobs
            WHERE
                -- reject the job if its lock has earlier or higher priority jobs
                NOT EXISTS (
                    SELECT 1
                        FROM procrastinate_jobs AS other_jobs
                        WHERE
                            jobs.lock IS NOT NULL
                            AND other_jobs.lock = jobs.lock
                            AND (
                                -- job with same lock is already running
                                other_jobs.status = 'doing'
                                OR
                                -- job with same lock is waiting and has higher priority (or same priority but was queued first)
                                (
                                    other_jobs.status = 'todo'
                                    AND (
                                        other_jobs.priority > jobs.priority
                                        OR (
                                        other_jobs.priority = jobs.priority
                                        AND other_jobs.id < jobs.id
                                        )
                                    )
                                )
                            )
                )
                AND jobs.status = 'todo'
                AND (target_queue_names IS NULL OR jobs.queue_name = ANY( target_queue_names ))
                AND (jobs.scheduled_at IS NULL OR jobs.scheduled_at <= now())
            ORDER BY jobs.priority DESC, jobs.id ASC LIMIT 1
            FOR UPDATE OF jobs SKIP LOCKED
    )
    UPDATE procrastinate_jobs
        SET status = 'doing', worker_id = p_worker_id
        FROM candidate
        WHERE procrastinate_jobs.id = candidate.id
        RETURNING procrastinate_jobs.* INTO found_jobs;

 RETURN found_jobs;
END;
$$;


--
-- Name: procrastinate_finish_job_v1(bigint, public.procrastinate_job_status, boolean); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_finish_job_v1(job_id bigint, end_status public.procrastinate_job_status, delete_job boolean) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    _job_id bigint;
BEGIN
    IF end_status NOT IN ('succeeded', 'failed', 'aborted') THEN
        RAISE 'End status should be either "succeeded", "failed" or "aborted" (job id: %)', job_id;
    END IF;
    IF delete_job THEN
        DELETE FROM procrastinate_jobs
        WHERE id = job_id AND status IN ('todo', 'doing')
        RETURNING id INTO _job_id;
    ELSE
        UPDATE procrastinate_jobs
        SET status = end_status,
            abort_requested = false,
            attempts = CASE status
                WHEN 'doing' THEN attempts + 1 ELSE attempts
            END
        WHERE id = job_id AND status IN ('todo', 'doing')
        RETURNING id INTO _job_id;
    END IF;
    IF _job_id IS NULL THEN
        RAISE 'Job was not found or not in "doing" or "todo" status (job id: %)', job_id;
    END IF;
END;
$$;


--
-- Name: procrastinate_notify_queue_abort_job_v1(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_notify_queue_abort_job_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    payload TEXT;
BEGIN
    SELECT json_build_object('type', 'abort_job_requested', 'job_id', NEW.id)::text INTO payload;
	PERFORM pg_notify('procrastinate_queue_v1#' || NEW.queue_name, payload);
	PERFORM pg_notify('procrastinate_any_queue_v1', payload);
	RETURN NEW;
END;
$$;


--
-- Name: procrastinate_notify_queue_job_inserted_v1(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_notify_queue_job_inserted_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    payload TEXT;
BEGIN
    SELECT json_build_object('type', 'job_inserted', 'job_id', NEW.id)::text INTO payload;
	PERFORM pg_notify('procrastinate_queue_v1#' || NEW.queue_name, payload);
	PERFORM pg_notify('procrastinate_any_queue_v1', payload);
	RETURN NEW;
END;
$$;


--
-- Name: procrastinate_prune_stalled_workers_v1(double precision); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_prune_stalled_workers_v1(seconds_since_heartbeat double precision) RETURNS TABLE(worker_id bigint)
    LANGUAGE plpgsql
    AS $$
BEGIN
    RETURN QUERY
    DELETE FROM procrastinate_workers
    WHERE last_heartbeat < NOW() - (seconds_since_heartbeat || 'SECOND')::INTERVAL
    RETURNING procrastinate_workers.id;
END;
$$;


--
-- Name: procrastinate_register_worker_v1(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_register_worker_v1() RETURNS TABLE(worker_id bigint)
    LANGUAGE plpgsql
    AS $$
BEGIN
    RETURN QUERY
    INSERT INTO procrastinate_workers DEFAULT VALUES
    RETURNING procrastinate_workers.id;
END;
$$;


--
-- Name: procrastinate_retry_job_v1(bigint, timestamp with time zone, integer, character varying, character varying); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_retry_job_v1(job_id bigint, retry_at timestamp with time zone, new_priority integer, new_queue_name character varying, new_lock character varying) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    _job_id bigint;
    _abort_requested boolean;
BEGIN
    SELECT abort_requested FROM procrastinate_jobs
    WHERE id = job_id AND status = 'doing'
    FOR UPDATE
    INTO _abort_requested;
    IF _abort_requested THEN
        UPDATE procrastinate_jobs
        SET status = 'failed'::procrastinate_job_status
        WHERE id = job_id AND status = 'doing'
        RETURNING id INTO _job_id;
    ELSE
        UPDATE procrastinate_jobs
        SET status = 'todo'::procrastinate_job_status,
            attempts = attempts + 1,
            scheduled_at = retry_at,
            priority = COALESCE(new_priority, priority),
            queue_name = COALESCE(new_queue_name, queue_name),
            lock = COALESCE(new_lock, lock)
        WHERE id = job_id AND status = 'doing'
        RETURNING id INTO _job_id;
    END IF;

    IF _job_id IS NULL THEN
        RAISE 'Job was not found or not in "doing" status (job id: %)', job_id;
    END IF;
END;
$$;


--
-- Name: procrastinate_retry_job_v2(bigint, timestamp with time zone, integer, character varying, character varying); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_retry_job_v2(job_id bigint, retry_at timestamp with time zone, new_priority integer, new_queue_name character varying, new_lock character varying) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    _job_id bigint;
    _abort_requested boolean;
    _current_status procrastinate_job_status;
BEGIN
    SELECT status, abort_requested FROM procrastinate_jobs
    WHERE id = job_id AND status IN ('doing', 'failed')
    FOR UPDATE
    INTO _current_status, _abort_requested;
    IF _current_status = 'doing' AND _abort_requested THEN
        UPDATE procrastinate_jobs
        SET status = 'failed'::procrastinate_job_status
        WHERE id = job_id AND status = 'doing'
        RETURNING id INTO _job_id;
    ELSE
        UPDATE procrastinate_jobs
        SET status = 'todo'::procrastinate_job_status,
            attempts = attempts + 1,
            scheduled_at = retry_at,
            priority = COALESCE(new_priority, priority),
            queue_name = COALESCE(new_queue_name, queue_name),
            lock = COALESCE(new_lock, lock)
        WHERE id = job_id AND status IN ('doing', 'failed')
        RETURNING id INTO _job_id;
    END IF;

    IF _job_id IS NULL THEN
        RAISE 'Job was not found or has an invalid status to retry (job id: %)', job_id;
    END IF;

END;
$$;


--
-- Name: procrastinate_trigger_abort_requested_events_procedure_v1(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_trigger_abort_requested_events_procedure_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO procrastinate_events(job_id, type)
        VALUES (NEW.id, 'abort_requested'::procrastinate_job_event_type);
    RETURN NEW;
END;
$$;


--
-- Name: procrastinate_trigger_function_scheduled_events_v1(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_trigger_function_scheduled_events_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO procrastinate_events(job_id, type, at)
        VALUES (NEW.id, 'scheduled'::procrastinate_job_event_type, NEW.scheduled_at);

	RETURN NEW;
END;
$$;


--
-- Name: procrastinate_trigger_function_status_events_insert_v1(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_trigger_function_status_events_insert_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO procrastinate_events(job_id, type)
        VALUES (NEW.id, 'deferred'::procrastinate_job_event_type);
	RETURN NEW;
END;
$$;


--
-- Name: procrastinate_trigger_function_status_events_update_v1(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_trigger_function_status_events_update_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    WITH t AS (
        SELECT CASE
            WHEN OLD.status = 'todo'::procrastinate_job_status
                AND NEW.status = 'doing'::procrastinate_job_status
                THEN 'started'::procrastinate_job_event_type
            WHEN OLD.status = 'doing'::procrastinate_job_status
                AND NEW.status = 'todo'::procrastinate_job_status
                THEN 'deferred_for_retry'::procrastinate_job_event_type
            WHEN OLD.status = 'doing'::procrastinate_job_status
                AND NEW.status = 'failed'::procrastinate_job_status
                THEN 'failed'::procrastinate_job_event_type
            WHEN OLD.status = 'doing'::procrastinate_job_status
                AND NEW.status = 'succeeded'::procrastinate_job_status
                THEN 'succeeded'::procrastinate_job_event_type
            WHEN OLD.status = 'todo'::procrastinate_job_status
                AND (
                    NEW.status = 'cancelled'::procrastinate_job_status
                    OR NEW.status = 'failed'::procrastinate_job_status
                    OR NEW.status = 'succeeded'::procrastinate_job_status
                )
                THEN 'cancelled'::procrastinate_job_event_type
            WHEN OLD.status = 'doing'::procrastinate_job_status
                AND NEW.status = 'aborted'::procrastinate_job_status
                THEN 'aborted'::procrastinate_job_event_type
            WHEN OLD.status = 'failed'::procrastinate_job_status
                AND NEW.status = 'todo'::procrastinate_job_status
                THEN 'retried'::procrastinate_job_event_type
            ELSE NULL
        END as event_type
    )
    INSERT INTO procrastinate_events(job_id, type)
        SELECT NEW.id, t.event_type
        FROM t
        WHERE t.event_type IS NOT NULL;
	RETURN NEW;
END;
$$;


--
-- Name: procrastinate_unlink_periodic_defers_v1(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_unlink_periodic_defers_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    UPDATE procrastinate_periodic_defers
    SET job_id = NULL
    WHERE job_id = OLD.id;
    RETURN OLD;
END;
$$;


--
-- Name: procrastinate_unregister_worker_v1(bigint); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_unregister_worker_v1(worker_id bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    DELETE FROM procrastinate_workers
    WHERE id = worker_id;
END;
$$;


--
-- Name: procrastinate_update_heartbeat_v1(bigint); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_update_heartbeat_v1(worker_id bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    UPDATE procrastinate_workers
    SET last_heartbeat = NOW()
    WHERE id = worker_id;
END;
$$;


--
-- Name: artifacts; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.artifacts (
    job_id uuid NOT NULL,
    name text NOT NULL,
    attempt integer NOT NULL,
    stage text NOT NULL,
    key text NOT NULL,
    media_type text NOT NULL,
    size_bytes bigint NOT NULL,
    sha256 text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: dispatchers; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.dispatchers (
    id uuid NOT NULL,
    heartbeat_at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: job_events; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.job_events (
    job_id uuid NOT NULL,
    seq bigint NOT NULL,
    attempt integer NOT NULL,
    kind text NOT NULL,
    data jsonb NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


--
-- Name: jobs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.jobs (
    id uuid NOT NULL,
    number bigint NOT NULL,
    state text DEFAULT 'queued'::text NOT NULL,
    request jsonb NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    failures integer DEFAULT 0 NOT NULL,
    cancel_requested boolean DEFAULT false NOT NULL,
    task_id bigint,
    heartbeat_at timestamp with time zone,
    last_seq bigint DEFAULT 0 NOT NULL,
    media jsonb,
    problem jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    CONSTRAINT jobs_check CHECK (((finished_at IS NOT NULL) = (state = ANY (ARRAY['succeeded'::text, 'failed'::text, 'cancelled'::text])))),
    CONSTRAINT jobs_check1 CHECK (((problem IS NOT NULL) = (state = 'failed'::text))),
    CONSTRAINT jobs_state_check CHECK ((state = ANY (ARRAY['queued'::text, 'running'::text, 'succeeded'::text, 'failed'::text, 'cancelled'::text])))
);


--
-- Name: jobs_number_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.jobs ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.jobs_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: procrastinate_events; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.procrastinate_events (
    id bigint NOT NULL,
    job_id bigint NOT NULL,
    type public.procrastinate_job_event_type,
    at timestamp with time zone DEFAULT now()
);


--
-- Name: procrastinate_events_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.procrastinate_events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: procrastinate_events_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.procrastinate_events_id_seq OWNED BY public.procrastinate_events.id;


--
-- Name: procrastinate_jobs_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.procrastinate_jobs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: procrastinate_jobs_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.procrastinate_jobs_id_seq OWNED BY public.procrastinate_jobs.id;


--
-- Name: procrastinate_periodic_defers; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.procrastinate_periodic_defers (
    id bigint NOT NULL,
    task_name character varying(128) NOT NULL,
    defer_timestamp bigint,
    job_id bigint,
    periodic_id character varying(128) DEFAULT ''::character varying NOT NULL
);


--
-- Name: procrastinate_periodic_defers_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.procrastinate_periodic_defers_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: procrastinate_periodic_defers_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.procrastinate_periodic_defers_id_seq OWNED BY public.procrastinate_periodic_defers.id;


--
-- Name: procrastinate_workers; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.procrastinate_workers (
    id bigint NOT NULL,
    last_heartbeat timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: procrastinate_workers_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.procrastinate_workers ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.procrastinate_workers_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: schema_migrations; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.schema_migrations (
    name text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: stages; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.stages (
    job_id uuid NOT NULL,
    attempt integer NOT NULL,
    stage text NOT NULL,
    "position" integer NOT NULL,
    state text DEFAULT 'pending'::text NOT NULL,
    engine text,
    model text,
    device text,
    done_s double precision,
    total_s double precision,
    done_bytes bigint,
    total_bytes bigint,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    CONSTRAINT stages_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'running'::text, 'succeeded'::text, 'failed'::text, 'skipped'::text])))
);


--
-- Name: procrastinate_events id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_events ALTER COLUMN id SET DEFAULT nextval('public.procrastinate_events_id_seq'::regclass);


--
-- Name: procrastinate_jobs id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_jobs ALTER COLUMN id SET DEFAULT nextval('public.procrastinate_jobs_id_seq'::regclass);


--
-- Name: procrastinate_periodic_defers id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_periodic_defers ALTER COLUMN id SET DEFAULT nextval('public.procrastinate_periodic_defers_id_seq'::regclass);


--
-- Data for Name: artifacts; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.artifacts VALUES ('f56423c6-c75b-4873-8d7e-7d14bff2972d', 'words.json', 1, 'align', 'align/0/words.json', 'application/json', 2, '0000000000000000000000000000000000000000000000000000000000000000', '2026-11-23 04:27:52.605237+00');


--
-- Data for Name: dispatchers; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: job_events; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.job_events VALUES ('ec3dddd2-e716-483f-82b5-3694d7d8ed93', 1, 0, 'state', '{"state": "queued"}', '2026-11-23 04:27:52.504855+00');
INSERT INTO public.job_events VALUES ('d4b9f33e-81cc-4945-9cc9-015eb75c760c', 1, 0, 'state', '{"state": "queued"}', '2026-11-23 04:27:52.522782+00');
INSERT INTO public.job_events VALUES ('d4b9f33e-81cc-4945-9cc9-015eb75c760c', 2, 1, 'state', '{"state": "running"}', '2026-11-23 04:27:52.537898+00');
INSERT INTO public.job_events VALUES ('d4b9f33e-81cc-4945-9cc9-015eb75c760c', 3, 1, 'stage', '{"stage": "separate", "state": "running"}', '2026-11-23 04:27:52.543149+00');
INSERT INTO public.job_events VALUES ('d4b9f33e-81cc-4945-9cc9-015eb75c760c', 4, 1, 'stage', '{"stage": "separate", "state": "failed"}', '2026-11-23 04:27:52.544665+00');
INSERT INTO public.job_events VALUES ('d4b9f33e-81cc-4945-9cc9-015eb75c760c', 5, 1, 'stage', '{"stage": "download", "state": "skipped"}', '2026-11-23 04:27:52.546175+00');
INSERT INTO public.job_events VALUES ('d4b9f33e-81cc-4945-9cc9-015eb75c760c', 6, 1, 'stage', '{"stage": "transcribe", "state": "skipped"}', '2026-11-23 04:27:52.546186+00');
INSERT INTO public.job_events VALUES ('d4b9f33e-81cc-4945-9cc9-015eb75c760c', 7, 1, 'stage', '{"stage": "align", "state": "skipped"}', '2026-11-23 04:27:52.546189+00');
INSERT INTO public.job_events VALUES ('d4b9f33e-81cc-4945-9cc9-015eb75c760c', 8, 1, 'state', '{"stage": "separate", "state": "queued", "reason": "UPSTREAM_UNAVAILABLE", "delay_s": 3600.0, "message": "The separator cannot be reached."}', '2026-11-23 04:27:52.549548+00');
INSERT INTO public.job_events VALUES ('830d1d40-cae4-49bb-9dca-eff1fd0789af', 1, 0, 'state', '{"state": "queued"}', '2026-11-23 04:27:52.553486+00');
INSERT INTO public.job_events VALUES ('830d1d40-cae4-49bb-9dca-eff1fd0789af', 2, 1, 'state', '{"state": "running"}', '2026-11-23 04:27:52.563557+00');
INSERT INTO public.job_events VALUES ('830d1d40-cae4-49bb-9dca-eff1fd0789af', 3, 1, 'stage', '{"stage": "download", "state": "running"}', '2026-11-23 04:27:52.567321+00');
INSERT INTO public.job_events VALUES ('830d1d40-cae4-49bb-9dca-eff1fd0789af', 4, 1, 'progress', '{"stage": "download", "done_s": 2.0, "total_s": 2.0, "finished": true, "done_bytes": null, "total_bytes": null}', '2026-11-23 04:27:52.568641+00');
INSERT INTO public.job_events VALUES ('830d1d40-cae4-49bb-9dca-eff1fd0789af', 5, 1, 'stage', '{"stage": "download", "state": "succeeded"}', '2026-11-23 04:27:52.570102+00');
INSERT INTO public.job_events VALUES ('f56423c6-c75b-4873-8d7e-7d14bff2972d', 1, 0, 'state', '{"state": "queued"}', '2026-11-23 04:27:52.584177+00');
INSERT INTO public.job_events VALUES ('f56423c6-c75b-4873-8d7e-7d14bff2972d', 2, 1, 'state', '{"state": "running"}', '2026-11-23 04:27:52.599044+00');
INSERT INTO public.job_events VALUES ('f56423c6-c75b-4873-8d7e-7d14bff2972d', 3, 1, 'stage', '{"stage": "separate", "state": "running"}', '2026-11-23 04:27:52.601999+00');
INSERT INTO public.job_events VALUES ('f56423c6-c75b-4873-8d7e-7d14bff2972d', 4, 1, 'progress', '{"stage": "separate", "done_s": 2.0, "total_s": 2.0, "finished": true, "done_bytes": null, "total_bytes": null}', '2026-11-23 04:27:52.603077+00');
INSERT INTO public.job_events VALUES ('f56423c6-c75b-4873-8d7e-7d14bff2972d', 5, 1, 'stage', '{"stage": "separate", "state": "succeeded"}', '2026-11-23 04:27:52.604122+00');
INSERT INTO public.job_events VALUES ('f56423c6-c75b-4873-8d7e-7d14bff2972d', 6, 1, 'stage', '{"stage": "download", "state": "skipped"}', '2026-11-23 04:27:52.609435+00');
INSERT INTO public.job_events VALUES ('f56423c6-c75b-4873-8d7e-7d14bff2972d', 7, 1, 'stage', '{"stage": "transcribe", "state": "skipped"}', '2026-11-23 04:27:52.609447+00');
INSERT INTO public.job_events VALUES ('f56423c6-c75b-4873-8d7e-7d14bff2972d', 8, 1, 'stage', '{"stage": "align", "state": "skipped"}', '2026-11-23 04:27:52.60945+00');
INSERT INTO public.job_events VALUES ('f56423c6-c75b-4873-8d7e-7d14bff2972d', 9, 1, 'state', '{"state": "succeeded"}', '2026-11-23 04:27:52.609982+00');
INSERT INTO public.job_events VALUES ('d60a9f37-a323-4ffc-bc4e-a9a9a9579ce9', 1, 0, 'state', '{"state": "queued"}', '2026-11-23 04:27:52.614205+00');
INSERT INTO public.job_events VALUES ('d60a9f37-a323-4ffc-bc4e-a9a9a9579ce9', 2, 1, 'state', '{"state": "running"}', '2026-11-23 04:27:52.623424+00');
INSERT INTO public.job_events VALUES ('d60a9f37-a323-4ffc-bc4e-a9a9a9579ce9', 3, 1, 'stage', '{"stage": "separate", "state": "running"}', '2026-11-23 04:27:52.627145+00');
INSERT INTO public.job_events VALUES ('d60a9f37-a323-4ffc-bc4e-a9a9a9579ce9', 4, 1, 'stage', '{"stage": "separate", "state": "failed"}', '2026-11-23 04:27:52.628356+00');
INSERT INTO public.job_events VALUES ('d60a9f37-a323-4ffc-bc4e-a9a9a9579ce9', 5, 1, 'stage', '{"stage": "download", "state": "skipped"}', '2026-11-23 04:27:52.629473+00');
INSERT INTO public.job_events VALUES ('d60a9f37-a323-4ffc-bc4e-a9a9a9579ce9', 6, 1, 'stage', '{"stage": "transcribe", "state": "skipped"}', '2026-11-23 04:27:52.629485+00');
INSERT INTO public.job_events VALUES ('d60a9f37-a323-4ffc-bc4e-a9a9a9579ce9', 7, 1, 'stage', '{"stage": "align", "state": "skipped"}', '2026-11-23 04:27:52.629489+00');
INSERT INTO public.job_events VALUES ('d60a9f37-a323-4ffc-bc4e-a9a9a9579ce9', 8, 1, 'state', '{"state": "failed", "problem": {"facts": {}, "stage": "separate", "reason": "UPSTREAM_UNAVAILABLE", "message": "The separator cannot be reached.", "retryable": false, "retry_after_s": null, "input_at_fault": false}}', '2026-11-23 04:27:52.6301+00');
INSERT INTO public.job_events VALUES ('2601f0f7-9fa7-4c86-84ff-74c09cfe99d0', 1, 0, 'state', '{"state": "queued"}', '2026-11-23 04:27:52.633894+00');
INSERT INTO public.job_events VALUES ('2601f0f7-9fa7-4c86-84ff-74c09cfe99d0', 2, 0, 'state', '{"state": "cancelled"}', '2026-11-23 04:27:52.638553+00');


--
-- Data for Name: jobs; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.jobs OVERRIDING SYSTEM VALUE VALUES ('830d1d40-cae4-49bb-9dca-eff1fd0789af', 3, 'running', '{"url": "https://example.org/running.mp3", "title": null, "lyrics": "", "upload": null, "language": null, "aligner_engines": [], "separator_model": null, "separator_engines": [], "transcriber_model": null, "transcriber_engines": []}', 1, 0, false, 4, '2026-11-23 04:27:52.560332+00', 5, NULL, NULL, '2026-11-23 04:27:52.551029+00', '2026-11-23 04:27:52.560332+00', NULL);
INSERT INTO public.jobs OVERRIDING SYSTEM VALUE VALUES ('ec3dddd2-e716-483f-82b5-3694d7d8ed93', 1, 'queued', '{"url": "https://example.org/queued.mp3", "title": null, "lyrics": "", "upload": null, "language": null, "aligner_engines": [], "separator_model": null, "separator_engines": [], "transcriber_model": null, "transcriber_engines": []}', 0, 0, false, 1, NULL, 1, NULL, NULL, '2026-11-23 04:27:52.49685+00', NULL, NULL);
INSERT INTO public.jobs OVERRIDING SYSTEM VALUE VALUES ('d4b9f33e-81cc-4945-9cc9-015eb75c760c', 2, 'queued', '{"url": "https://example.org/again.mp3", "title": null, "lyrics": "", "upload": null, "language": null, "aligner_engines": [], "separator_model": null, "separator_engines": [], "transcriber_model": null, "transcriber_engines": []}', 1, 1, false, 3, NULL, 8, NULL, NULL, '2026-11-23 04:27:52.508299+00', '2026-11-23 04:27:52.533963+00', NULL);
INSERT INTO public.jobs OVERRIDING SYSTEM VALUE VALUES ('d60a9f37-a323-4ffc-bc4e-a9a9a9579ce9', 5, 'failed', '{"url": "https://example.org/failed.mp3", "title": null, "lyrics": "", "upload": null, "language": null, "aligner_engines": [], "separator_model": null, "separator_engines": [], "transcriber_model": null, "transcriber_engines": []}', 1, 1, false, 6, NULL, 8, NULL, '{"facts": {}, "stage": "separate", "reason": "UPSTREAM_UNAVAILABLE", "message": "The separator cannot be reached.", "retryable": false, "retry_after_s": null, "input_at_fault": false}', '2026-11-23 04:27:52.611377+00', '2026-11-23 04:27:52.621285+00', '2026-11-23 04:27:52.62462+00');
INSERT INTO public.jobs OVERRIDING SYSTEM VALUE VALUES ('f56423c6-c75b-4873-8d7e-7d14bff2972d', 4, 'succeeded', '{"url": "https://example.org/succeeded.mp3", "title": null, "lyrics": "", "upload": null, "language": null, "aligner_engines": [], "separator_model": null, "separator_engines": [], "transcriber_model": null, "transcriber_engines": []}', 1, 0, false, 5, NULL, 9, NULL, NULL, '2026-11-23 04:27:52.572489+00', '2026-11-23 04:27:52.596542+00', '2026-11-23 04:27:52.606979+00');
INSERT INTO public.jobs OVERRIDING SYSTEM VALUE VALUES ('2601f0f7-9fa7-4c86-84ff-74c09cfe99d0', 6, 'cancelled', '{"url": "https://example.org/cancelled.mp3", "title": null, "lyrics": "", "upload": null, "language": null, "aligner_engines": [], "separator_model": null, "separator_engines": [], "transcriber_model": null, "transcriber_engines": []}', 0, 0, true, 7, NULL, 2, NULL, NULL, '2026-11-23 04:27:52.631365+00', NULL, '2026-11-23 04:27:52.635707+00');


--
-- Data for Name: procrastinate_events; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.procrastinate_events VALUES (1, 1, 'deferred', '2026-11-23 04:27:52.49685+00');
INSERT INTO public.procrastinate_events VALUES (2, 2, 'deferred', '2026-11-23 04:27:52.508299+00');
INSERT INTO public.procrastinate_events VALUES (3, 3, 'scheduled', '2026-11-23 05:27:52.546665+00');
INSERT INTO public.procrastinate_events VALUES (4, 3, 'deferred', '2026-11-23 04:27:52.539365+00');
INSERT INTO public.procrastinate_events VALUES (5, 4, 'deferred', '2026-11-23 04:27:52.551029+00');
INSERT INTO public.procrastinate_events VALUES (6, 5, 'deferred', '2026-11-23 04:27:52.572489+00');
INSERT INTO public.procrastinate_events VALUES (7, 6, 'deferred', '2026-11-23 04:27:52.611377+00');


--
-- Data for Name: procrastinate_jobs; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.procrastinate_jobs VALUES (1, 'singscript', 'run_job', 0, NULL, NULL, '{"job_id": "ec3dddd2-e716-483f-82b5-3694d7d8ed93"}', 'todo', NULL, 0, false, NULL);
INSERT INTO public.procrastinate_jobs VALUES (2, 'singscript', 'run_job', 0, NULL, NULL, '{"job_id": "d4b9f33e-81cc-4945-9cc9-015eb75c760c"}', 'todo', NULL, 0, false, NULL);
INSERT INTO public.procrastinate_jobs VALUES (3, 'singscript', 'run_job', 0, NULL, NULL, '{"job_id": "d4b9f33e-81cc-4945-9cc9-015eb75c760c"}', 'todo', '2026-11-23 05:27:52.546665+00', 0, false, NULL);
INSERT INTO public.procrastinate_jobs VALUES (4, 'singscript', 'run_job', 0, NULL, NULL, '{"job_id": "830d1d40-cae4-49bb-9dca-eff1fd0789af"}', 'todo', NULL, 0, false, NULL);
INSERT INTO public.procrastinate_jobs VALUES (5, 'singscript', 'run_job', 0, NULL, NULL, '{"job_id": "f56423c6-c75b-4873-8d7e-7d14bff2972d"}', 'todo', NULL, 0, false, NULL);
INSERT INTO public.procrastinate_jobs VALUES (6, 'singscript', 'run_job', 0, NULL, NULL, '{"job_id": "d60a9f37-a323-4ffc-bc4e-a9a9a9579ce9"}', 'todo', NULL, 0, false, NULL);


--
-- Data for Name: procrastinate_periodic_defers; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: procrastinate_workers; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: schema_migrations; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.schema_migrations VALUES ('procrastinate/00.00.00_01_initial.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.05.00_01_drop_started_at_column.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.05.00_02_drop_started_at_column.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.05.00_03_drop_procrastinate_version_table.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.06.00_01_fix_procrastinate_fetch_job.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.07.01_01_fix_trigger_status_events_insert.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.08.01_01_add_queueing_lock_column.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.10.00_01_close_fetch_job_race_condition.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.10.00_02_add_defer_job_function.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.11.00_03_add_procrastinate_periodic_defers.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.12.00_01_add_foreign_key_index.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.14.00_01_add_locks_to_periodic_defer.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.15.02_01_fix_procrastinate_defer_periodic_job.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.16.00_01_add_finish_job_and_retry_job_functions.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.17.00_01_add_trigger_on_job_deletion.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.17.00_02_delete_finished_jobs.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.17.00_03_add_checks_to_finish_job.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.17.00_04_add_checks_to_retry_job.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.18.01_01_fix_finish_job_compat_issue.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.19.00_01_add_index_on_procrastinate_jobs.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.22.00_01_add_kwargs_to_defer_periodic_job.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/00.23.00_01_null_locks_excluded.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/01.00.00_01_remove_old_finish_job_function.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/01.01.01_01_job_id_bigint.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/02.00.03_01_add_job_priority.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/02.05.00_01_add_periodic_job_priority.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/02.06.00_01_add_cancel_states.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/02.08.00_01_add_additional_params_to_retry_job.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/02.14.01_01_add_indexes_for_fetch_job.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/03.00.00_01_pre_cancel_notification.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/03.00.00_50_post_cancel_notification.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/03.01.00_01_pre_add_heartbeat.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/03.01.00_50_post_add_heartbeat.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/03.02.00_01_pre_batch_defer_jobs.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/03.02.00_50_post_batch_defer_jobs.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/03.03.00_01_pre_priority_lock_fetch_job.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/03.04.00_01_pre_add_retry_failed_job_procedure.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('procrastinate/03.04.00_50_post_add_retry_failed_job_procedure.sql', '2026-11-23 04:27:52.442553+00');
INSERT INTO public.schema_migrations VALUES ('0001_jobs.sql', '2026-11-23 04:27:52.474488+00');


--
-- Data for Name: stages; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.stages VALUES ('d4b9f33e-81cc-4945-9cc9-015eb75c760c', 1, 'separate', 1, 'failed', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-23 04:27:52.539365+00', '2026-11-23 04:27:52.539365+00');
INSERT INTO public.stages VALUES ('d4b9f33e-81cc-4945-9cc9-015eb75c760c', 1, 'align', 3, 'skipped', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-23 04:27:52.539365+00');
INSERT INTO public.stages VALUES ('d4b9f33e-81cc-4945-9cc9-015eb75c760c', 1, 'download', 0, 'skipped', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-23 04:27:52.539365+00');
INSERT INTO public.stages VALUES ('d4b9f33e-81cc-4945-9cc9-015eb75c760c', 1, 'transcribe', 2, 'skipped', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-23 04:27:52.539365+00');
INSERT INTO public.stages VALUES ('830d1d40-cae4-49bb-9dca-eff1fd0789af', 1, 'separate', 1, 'pending', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.stages VALUES ('830d1d40-cae4-49bb-9dca-eff1fd0789af', 1, 'transcribe', 2, 'pending', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.stages VALUES ('830d1d40-cae4-49bb-9dca-eff1fd0789af', 1, 'align', 3, 'pending', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.stages VALUES ('830d1d40-cae4-49bb-9dca-eff1fd0789af', 1, 'download', 0, 'succeeded', NULL, NULL, NULL, 2, 2, NULL, NULL, '2026-11-23 04:27:52.565251+00', '2026-11-23 04:27:52.565251+00');
INSERT INTO public.stages VALUES ('f56423c6-c75b-4873-8d7e-7d14bff2972d', 1, 'separate', 1, 'succeeded', NULL, NULL, NULL, 2, 2, NULL, NULL, '2026-11-23 04:27:52.600365+00', '2026-11-23 04:27:52.600365+00');
INSERT INTO public.stages VALUES ('f56423c6-c75b-4873-8d7e-7d14bff2972d', 1, 'align', 3, 'skipped', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-23 04:27:52.606979+00');
INSERT INTO public.stages VALUES ('f56423c6-c75b-4873-8d7e-7d14bff2972d', 1, 'download', 0, 'skipped', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-23 04:27:52.606979+00');
INSERT INTO public.stages VALUES ('f56423c6-c75b-4873-8d7e-7d14bff2972d', 1, 'transcribe', 2, 'skipped', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-23 04:27:52.606979+00');
INSERT INTO public.stages VALUES ('d60a9f37-a323-4ffc-bc4e-a9a9a9579ce9', 1, 'separate', 1, 'failed', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-23 04:27:52.62462+00', '2026-11-23 04:27:52.62462+00');
INSERT INTO public.stages VALUES ('d60a9f37-a323-4ffc-bc4e-a9a9a9579ce9', 1, 'align', 3, 'skipped', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-23 04:27:52.62462+00');
INSERT INTO public.stages VALUES ('d60a9f37-a323-4ffc-bc4e-a9a9a9579ce9', 1, 'download', 0, 'skipped', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-23 04:27:52.62462+00');
INSERT INTO public.stages VALUES ('d60a9f37-a323-4ffc-bc4e-a9a9a9579ce9', 1, 'transcribe', 2, 'skipped', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-23 04:27:52.62462+00');


--
-- Name: jobs_number_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.jobs_number_seq', 6, true);


--
-- Name: procrastinate_events_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.procrastinate_events_id_seq', 8, true);


--
-- Name: procrastinate_jobs_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.procrastinate_jobs_id_seq', 7, true);


--
-- Name: procrastinate_periodic_defers_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.procrastinate_periodic_defers_id_seq', 1, false);


--
-- Name: procrastinate_workers_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.procrastinate_workers_id_seq', 1, false);


--
-- Name: artifacts artifacts_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.artifacts
    ADD CONSTRAINT artifacts_pkey PRIMARY KEY (job_id, name);


--
-- Name: dispatchers dispatchers_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.dispatchers
    ADD CONSTRAINT dispatchers_pkey PRIMARY KEY (id);


--
-- Name: job_events job_events_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.job_events
    ADD CONSTRAINT job_events_pkey PRIMARY KEY (job_id, seq);


--
-- Name: jobs jobs_number_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_number_key UNIQUE (number);


--
-- Name: jobs jobs_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);


--
-- Name: procrastinate_events procrastinate_events_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_events
    ADD CONSTRAINT procrastinate_events_pkey PRIMARY KEY (id);


--
-- Name: procrastinate_jobs procrastinate_jobs_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_jobs
    ADD CONSTRAINT procrastinate_jobs_pkey PRIMARY KEY (id);


--
-- Name: procrastinate_periodic_defers procrastinate_periodic_defers_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_periodic_defers
    ADD CONSTRAINT procrastinate_periodic_defers_pkey PRIMARY KEY (id);


--
-- Name: procrastinate_periodic_defers procrastinate_periodic_defers_unique; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_periodic_defers
    ADD CONSTRAINT procrastinate_periodic_defers_unique UNIQUE (task_name, periodic_id, defer_timestamp);


--
-- Name: procrastinate_workers procrastinate_workers_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_workers
    ADD CONSTRAINT procrastinate_workers_pkey PRIMARY KEY (id);


--
-- Name: schema_migrations schema_migrations_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (name);


--
-- Name: stages stages_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.stages
    ADD CONSTRAINT stages_pkey PRIMARY KEY (job_id, attempt, stage);


--
-- Name: idx_procrastinate_jobs_worker_not_null; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idx_procrastinate_jobs_worker_not_null ON public.procrastinate_jobs USING btree (worker_id) WHERE ((worker_id IS NOT NULL) AND (status = 'doing'::public.procrastinate_job_status));


--
-- Name: idx_procrastinate_workers_last_heartbeat; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idx_procrastinate_workers_last_heartbeat ON public.procrastinate_workers USING btree (last_heartbeat);


--
-- Name: jobs_by_state; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX jobs_by_state ON public.jobs USING btree (state, number DESC);


--
-- Name: jobs_running; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX jobs_running ON public.jobs USING btree (heartbeat_at) WHERE (state = 'running'::text);


--
-- Name: procrastinate_events_job_id_fkey_v1; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX procrastinate_events_job_id_fkey_v1 ON public.procrastinate_events USING btree (job_id);


--
-- Name: procrastinate_jobs_id_lock_idx_v1; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX procrastinate_jobs_id_lock_idx_v1 ON public.procrastinate_jobs USING btree (id, lock) WHERE (status = ANY (ARRAY['todo'::public.procrastinate_job_status, 'doing'::public.procrastinate_job_status]));


--
-- Name: procrastinate_jobs_lock_idx_v1; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX procrastinate_jobs_lock_idx_v1 ON public.procrastinate_jobs USING btree (lock) WHERE (status = 'doing'::public.procrastinate_job_status);


--
-- Name: procrastinate_jobs_priority_idx_v1; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX procrastinate_jobs_priority_idx_v1 ON public.procrastinate_jobs USING btree (priority DESC, id) WHERE (status = 'todo'::public.procrastinate_job_status);


--
-- Name: procrastinate_jobs_queue_name_idx_v1; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX procrastinate_jobs_queue_name_idx_v1 ON public.procrastinate_jobs USING btree (queue_name);


--
-- Name: procrastinate_jobs_queueing_lock_idx_v1; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX procrastinate_jobs_queueing_lock_idx_v1 ON public.procrastinate_jobs USING btree (queueing_lock) WHERE (status = 'todo'::public.procrastinate_job_status);


--
-- Name: procrastinate_periodic_defers_job_id_fkey_v1; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX procrastinate_periodic_defers_job_id_fkey_v1 ON public.procrastinate_periodic_defers USING btree (job_id);


--
-- Name: job_events job_events_announced; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER job_events_announced AFTER INSERT ON public.job_events FOR EACH ROW EXECUTE FUNCTION public.announce_job_event();


--
-- Name: procrastinate_jobs procrastinate_jobs_notify_queue_job_aborted_v1; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER procrastinate_jobs_notify_queue_job_aborted_v1 AFTER UPDATE OF abort_requested ON public.procrastinate_jobs FOR EACH ROW WHEN (((old.abort_requested = false) AND (new.abort_requested = true) AND (new.status = 'doing'::public.procrastinate_job_status))) EXECUTE FUNCTION public.procrastinate_notify_queue_abort_job_v1();


--
-- Name: procrastinate_jobs procrastinate_jobs_notify_queue_job_inserted_v1; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER procrastinate_jobs_notify_queue_job_inserted_v1 AFTER INSERT ON public.procrastinate_jobs FOR EACH ROW WHEN ((new.status = 'todo'::public.procrastinate_job_status)) EXECUTE FUNCTION public.procrastinate_notify_queue_job_inserted_v1();


--
-- Name: procrastinate_jobs procrastinate_trigger_abort_requested_events_v1; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER procrastinate_trigger_abort_requested_events_v1 AFTER UPDATE OF abort_requested ON public.procrastinate_jobs FOR EACH ROW WHEN ((new.abort_requested = true)) EXECUTE FUNCTION public.procrastinate_trigger_abort_requested_events_procedure_v1();


--
-- Name: procrastinate_jobs procrastinate_trigger_delete_jobs_v1; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER procrastinate_trigger_delete_jobs_v1 BEFORE DELETE ON public.procrastinate_jobs FOR EACH ROW EXECUTE FUNCTION public.procrastinate_unlink_periodic_defers_v1();


--
-- Name: procrastinate_jobs procrastinate_trigger_scheduled_events_v1; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER procrastinate_trigger_scheduled_events_v1 AFTER INSERT OR UPDATE ON public.procrastinate_jobs FOR EACH ROW WHEN (((new.scheduled_at IS NOT NULL) AND (new.status = 'todo'::public.procrastinate_job_status))) EXECUTE FUNCTION public.procrastinate_trigger_function_scheduled_events_v1();


--
-- Name: procrastinate_jobs procrastinate_trigger_status_events_insert_v1; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER procrastinate_trigger_status_events_insert_v1 AFTER INSERT ON public.procrastinate_jobs FOR EACH ROW WHEN ((new.status = 'todo'::public.procrastinate_job_status)) EXECUTE FUNCTION public.procrastinate_trigger_function_status_events_insert_v1();


--
-- Name: procrastinate_jobs procrastinate_trigger_status_events_update_v1; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER procrastinate_trigger_status_events_update_v1 AFTER UPDATE OF status ON public.procrastinate_jobs FOR EACH ROW EXECUTE FUNCTION public.procrastinate_trigger_function_status_events_update_v1();


--
-- Name: artifacts artifacts_job_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.artifacts
    ADD CONSTRAINT artifacts_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.jobs(id) ON DELETE CASCADE;


--
-- Name: job_events job_events_job_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.job_events
    ADD CONSTRAINT job_events_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.jobs(id) ON DELETE CASCADE;


--
-- Name: procrastinate_events procrastinate_events_job_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_events
    ADD CONSTRAINT procrastinate_events_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.procrastinate_jobs(id) ON DELETE CASCADE;


--
-- Name: procrastinate_jobs procrastinate_jobs_worker_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_jobs
    ADD CONSTRAINT procrastinate_jobs_worker_id_fkey FOREIGN KEY (worker_id) REFERENCES public.procrastinate_workers(id) ON DELETE SET NULL;


--
-- Name: procrastinate_periodic_defers procrastinate_periodic_defers_job_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_periodic_defers
    ADD CONSTRAINT procrastinate_periodic_defers_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.procrastinate_jobs(id);


--
-- Name: stages stages_job_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.stages
    ADD CONSTRAINT stages_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.jobs(id) ON DELETE CASCADE;


--
-- PostgreSQL database dump complete
--


