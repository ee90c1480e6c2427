-- Why: blobs had hashes, and numbers in plain columns had none, so that a flipped bit in one of them was believed.

ALTER TABLE run ADD COLUMN numbers_hash TEXT;        -- BLAKE3 over its epochs, values, scores and bank; NULL unless finished by a version that has it

ALTER TABLE view ADD COLUMN val_hash TEXT;           -- BLAKE3 of `val`; NULL where an earlier version wrote it
