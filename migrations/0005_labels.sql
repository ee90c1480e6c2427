-- Why: people judge runs, and what they say of them should lie beside the numbers and not in a file that is lost. It decides
-- nothing and proves nothing, so no hash covers it and no number depends on it.

-- Words that somebody put on a run.
CREATE TABLE tag (
    run_id TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    name   TEXT NOT NULL,
    at     TEXT NOT NULL,
    PRIMARY KEY (run_id, name)
) STRICT, WITHOUT ROWID;

-- What somebody wrote of a run, in order.
CREATE TABLE note (
    id     INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    at     TEXT NOT NULL,
    text   TEXT NOT NULL
) STRICT;
CREATE INDEX note_by_run ON note (run_id);
