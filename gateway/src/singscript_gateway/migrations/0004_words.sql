-- Corrections of words.json, and the files that are rendered anew from it: jobs/model.py, Revision and Job.formats.

ALTER TABLE jobs
    -- Of the artifact words.json: 1 is the aligner's own, each correction adds one.
    ADD COLUMN words_revision integer NOT NULL DEFAULT 1,
    -- How each subtitle file is rendered, by its format. Jobs of before have SRT.
    ADD COLUMN formats jsonb NOT NULL DEFAULT '{"srt": {}}';

-- What words.json was before.
CREATE TABLE replaced_words (
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    revision integer NOT NULL,
    key text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (job_id, revision)
);
