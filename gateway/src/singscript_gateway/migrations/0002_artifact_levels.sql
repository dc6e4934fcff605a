-- How loud a sound is: jobs/model.py, Levels. NULL for what is no sound, or was not measured.

ALTER TABLE artifacts ADD COLUMN levels jsonb;
