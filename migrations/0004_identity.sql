-- Why: what a number stands for (its cell, data and seed) must be as safe from a flipped bit or a careless hand as the
-- number; which call of `run` came last must not hang on a clock; and a store, and each process that works on it, needs a
-- name that no other one has.
-- What was trained can be used after its run has ended. Weights are files beside the store, named by their contents:
-- they are many times larger than all else that a run leaves, and no report needs them. A copy of the store that travels
-- alone has them inside (`unmute export store --with-weights`).

-- The store itself; one row. Every transaction counts `sequence` up, so a write-ahead log always holds this row, and a log
-- beside the file that belongs to another one is told by its id.
CREATE TABLE store (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    id       TEXT NOT NULL,                           -- drawn at random when the file was made or migrated
    sequence INTEGER NOT NULL                         -- transactions so far
) STRICT;
INSERT INTO store VALUES (1, lower(hex(randomblob(16))), 0);

ALTER TABLE dataset ADD COLUMN row_hash TEXT;         -- BLAKE3 over the row: fingerprint, name, kind, manifest, files

ALTER TABLE view ADD COLUMN row_hash TEXT;            -- BLAKE3 over the row, with the fingerprint of its data set

ALTER TABLE experiment ADD COLUMN row_hash TEXT;      -- BLAKE3 over the row and its cells, with the fingerprints of their views

ALTER TABLE experiment ADD COLUMN declared TEXT;      -- JSON: the seeds that experiment.yaml and --set declare; NULL where an earlier version wrote it

ALTER TABLE experiment ADD COLUMN used INTEGER NOT NULL DEFAULT 0; -- counts calls of `run`: the largest was run last, whatever the clock said

ALTER TABLE run ADD COLUMN worker TEXT;               -- who works on it: an id drawn at random by each process

ALTER TABLE run ADD COLUMN machine TEXT;              -- where: boot id and PID namespace; the pid means something there only

-- Times of a clock that was ahead when they were written are known to be wrong; they come before all others.
UPDATE experiment SET used = (
    SELECT count(*) FROM experiment o
    WHERE (o.used_at <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), o.used_at, o.id)
        <= (experiment.used_at <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), experiment.used_at, experiment.id));

CREATE INDEX experiment_by_use ON experiment (name, used);

-- Runs whose weights were kept, and the file that has them: STORE.weights/HASH.safetensors.
CREATE TABLE weights (
    run_id TEXT PRIMARY KEY REFERENCES run (id) ON DELETE CASCADE,
    hash   TEXT NOT NULL,                            -- BLAKE3 of the file
    bytes  INTEGER NOT NULL                          -- its length
) STRICT;

-- Files of weights that travel inside the store.
CREATE TABLE weights_file (
    hash TEXT PRIMARY KEY,                           -- BLAKE3 of the blob
    blob BLOB NOT NULL                               -- safetensors, as it is
) STRICT;
