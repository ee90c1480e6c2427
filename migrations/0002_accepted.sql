-- Why: numbers of older code may be accepted for those of this one (`--accept-changed-code`), and whoever reads them must
-- be able to tell. And a list of the newest runs should not have to read them all.

ALTER TABLE run ADD COLUMN accepted_from TEXT;       -- the older run whose numbers these are; NULL where it was trained

CREATE INDEX run_by_creation ON run (created_at);
