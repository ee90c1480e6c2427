-- Why: one file holds everything that a report needs, so that a reviewer can make every table again from it alone,
-- with no data set and no training. Checkpoints are files beside it and may be deleted.

-- A data set as it was when runs were made of it. `files` maps each part to the hash of its contents, so that a change
-- can be named.
CREATE TABLE dataset (
    id          INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL UNIQUE,
    name        TEXT NOT NULL,
    kind        TEXT NOT NULL CHECK (kind IN ('real', 'synthetic')),
    manifest    TEXT NOT NULL,                       -- JSON: dataset.yaml
    files       TEXT NOT NULL,                       -- JSON: {file: hash}
    created_at  TEXT NOT NULL
) STRICT;

-- A data set with an experiment's silent clips. Scores have one row for each of `val`, in its order.
CREATE TABLE view (
    id          INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL UNIQUE,
    dataset_id  INTEGER NOT NULL REFERENCES dataset (id),
    missing     TEXT,                                -- JSON: {rate, by, seed}; NULL where nothing was simulated
    counts      TEXT NOT NULL,                       -- JSON: {train: {sounded, silent}, val: {sounded, silent}}
    val         BLOB NOT NULL,                       -- zstd of JSON: {clips: [...], labels: [...], sounded: [...]}
    created_at  TEXT NOT NULL
) STRICT;

-- An experiment as it was resolved for a call of `run`: its configuration and the tables, claims and ledger beside it.
CREATE TABLE experiment (
    id         INTEGER PRIMARY KEY,
    digest     TEXT NOT NULL UNIQUE,                 -- over configuration (less seeds) and data set
    name       TEXT NOT NULL,
    dataset_id INTEGER NOT NULL REFERENCES dataset (id),
    config     TEXT NOT NULL,                        -- JSON
    sets       TEXT NOT NULL,                        -- JSON: the --set values
    tables     TEXT NOT NULL,                        -- JSON
    claims     TEXT NOT NULL,                        -- JSON
    ledger     TEXT NOT NULL,                        -- JSON
    created_at TEXT NOT NULL,
    used_at    TEXT NOT NULL
) STRICT;
CREATE INDEX experiment_by_name ON experiment (name, used_at);

-- The points of an experiment's grid. `fingerprint` names the cell without its seed; NULL where it was skipped.
CREATE TABLE cell (
    experiment_id INTEGER NOT NULL REFERENCES experiment (id) ON DELETE CASCADE,
    position      INTEGER NOT NULL,
    key           TEXT NOT NULL,                     -- vggish/lstm/l2/with
    kind          TEXT NOT NULL CHECK (kind IN ('stream', 'bank', 'generator', 'control')),
    part          TEXT NOT NULL,                     -- JSON
    overrides     TEXT NOT NULL,                     -- JSON: values of further axes
    view_id       INTEGER REFERENCES view (id),
    fingerprint   TEXT,
    skipped       TEXT,                              -- why it is not run
    PRIMARY KEY (experiment_id, position)
) STRICT, WITHOUT ROWID;

-- What explains a number and never invalidates it: commit, compiler, machine.
CREATE TABLE environment (
    id     INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    record TEXT NOT NULL                             -- JSON
) STRICT;

-- A cell with a seed on a data set. `id` is the semantic fingerprint of all that its numbers depend on.
CREATE TABLE run (
    id             TEXT PRIMARY KEY,
    cell           TEXT NOT NULL,                    -- the cell's fingerprint
    kind           TEXT NOT NULL,
    key            TEXT NOT NULL,
    seed           INTEGER,                          -- NULL where the result does not depend on one
    view_id        INTEGER NOT NULL REFERENCES view (id),
    spec           TEXT NOT NULL,                    -- JSON: what the fingerprint is made of
    state          TEXT NOT NULL CHECK (state IN ('pending', 'running', 'done', 'failed', 'interrupted')),
    attempt        INTEGER NOT NULL DEFAULT 0,
    host           TEXT,
    pid            INTEGER,
    heartbeat_at   TEXT,
    created_at     TEXT NOT NULL,
    started_at     TEXT,
    finished_at    TEXT,
    seconds        REAL,                             -- time spent on it, all attempts; of a training side by side with others, an equal share
    peak_memory    INTEGER,                          -- bytes of the process, at its end
    command        TEXT,                             -- the command line
    environment_id INTEGER REFERENCES environment (id),
    error          TEXT
) STRICT;
CREATE INDEX run_by_cell ON run (cell, seed);
CREATE INDEX run_by_state ON run (state, finished_at);

-- Measures after each epoch; `split` is train or val. Losses in nats or squared units, accuracy in percent.
CREATE TABLE epoch (
    run_id        TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    epoch         INTEGER NOT NULL,
    split         TEXT NOT NULL,
    loss          REAL,
    loss_cls      REAL,
    loss_rec      REAL,
    accuracy      REAL,
    feature_error REAL,
    PRIMARY KEY (run_id, epoch, split)
) STRICT, WITHOUT ROWID;

-- Numbers about a whole run: top1, top5, r2/silent, parameters, ...
CREATE TABLE value (
    run_id TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    name   TEXT NOT NULL,
    value  REAL NOT NULL,
    PRIMARY KEY (run_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX value_by_name ON value (name, value);

-- Class probabilities of the val clips: zstd of the bytes of clips x classes f32, byte planes first. `what` is `real`
-- (recorded audio; silent clips are absent), `generated` (all clips), or `vision`. `hash` is BLAKE3 of the blob.
CREATE TABLE score (
    run_id  TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    what    TEXT NOT NULL,
    clips   INTEGER NOT NULL,
    classes INTEGER NOT NULL,
    present BLOB,                                    -- one byte a clip; NULL where all are present
    blob    BLOB NOT NULL,
    hash    TEXT NOT NULL,
    PRIMARY KEY (run_id, what)
) STRICT;

-- SVM banks: weights (classes x (width + 1)), input scale and sigmoids, as zstd of little-endian numbers.
CREATE TABLE bank (
    run_id  TEXT PRIMARY KEY REFERENCES run (id) ON DELETE CASCADE,
    classes INTEGER NOT NULL,
    width   INTEGER NOT NULL,
    fits    TEXT NOT NULL,                           -- JSON: how each class's training ended
    blob    BLOB NOT NULL,
    hash    TEXT NOT NULL
) STRICT;

-- What happened, in order.
CREATE TABLE event (
    id      INTEGER PRIMARY KEY,
    at      TEXT NOT NULL,
    run_id  TEXT REFERENCES run (id) ON DELETE CASCADE,
    level   TEXT NOT NULL,
    message TEXT NOT NULL
) STRICT;
