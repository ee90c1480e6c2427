-- Why: what was trained can be used after its run has ended. Weights are files beside the store, named by their contents:
-- they are many times larger than all else that a run leaves, and no report needs them. A copy of the store that travels
-- alone has them inside (`unmute export store --with-weights`).

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
