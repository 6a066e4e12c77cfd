-- Records of production runs. `events` is the truth; every other table is its projection and can be
-- computed from it again. Times are UTC microseconds (`*_us`) and microseconds since the run began
-- (`*_run_us`).

CREATE TABLE releases (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL,
    version TEXT NOT NULL,
    sha256  BLOB NOT NULL CHECK (length(sha256) = 32),
    UNIQUE (sha256, name, version)
) STRICT;

CREATE TABLE images (
    id      INTEGER PRIMARY KEY,
    release INTEGER NOT NULL REFERENCES releases (id),
    name    TEXT NOT NULL,
    address INTEGER NOT NULL,
    length  INTEGER NOT NULL,
    crc32   INTEGER NOT NULL,
    sha256  BLOB NOT NULL CHECK (length(sha256) = 32)
) STRICT;
CREATE INDEX images_of_release ON images (release);

CREATE TABLE runs (
    id              INTEGER PRIMARY KEY,
    panel           TEXT NOT NULL,
    product         TEXT NOT NULL,
    job             TEXT NOT NULL,
    job_sha256      BLOB NOT NULL CHECK (length(job_sha256) = 32),
    release         INTEGER NOT NULL REFERENCES releases (id),
    order_id        TEXT,
    station         TEXT NOT NULL,
    operator        TEXT NOT NULL,
    fixture         TEXT NOT NULL,
    program_version TEXT NOT NULL,
    seed            TEXT,             -- of the simulated boards, decimal; NULL: real boards
    virtual_time    INTEGER NOT NULL CHECK (virtual_time IN (0, 1)),
    shipment        TEXT NOT NULL CHECK (shipment IN ('for shipment', 'NOT FOR SHIPMENT')),
    required_steps  TEXT NOT NULL,    -- JSON array: steps that must have ended well before a PASS
    started_us      INTEGER NOT NULL,
    ended_us        INTEGER,          -- NULL: runs, or its process died
    exit            INTEGER,
    CHECK ((ended_us IS NULL) = (exit IS NULL))
) STRICT;
CREATE INDEX runs_by_panel ON runs (panel);

CREATE TABLE units (
    id      INTEGER PRIMARY KEY,
    product TEXT NOT NULL,
    uid     BLOB NOT NULL CHECK (length(uid) = 12),
    serial  TEXT,                     -- the last one given
    UNIQUE (product, uid)
) STRICT;
CREATE INDEX units_by_uid ON units (uid);

CREATE TABLE attempts (
    id              INTEGER PRIMARY KEY,
    run             INTEGER NOT NULL REFERENCES runs (id),
    slot            INTEGER NOT NULL CHECK (slot BETWEEN 0 AND 65535),
    number          INTEGER NOT NULL, -- 1, 2, ... in this slot of this run
    unit            INTEGER REFERENCES units (id),
    serial          TEXT,
    started_us      INTEGER NOT NULL,
    started_run_us  INTEGER NOT NULL,
    ended_us        INTEGER,
    ended_run_us    INTEGER,          -- NULL also when it was closed after its process had died
    end_event       INTEGER UNIQUE,   -- the event that ended it; the order of lines in units.csv
    result          TEXT CHECK (result IN ('pass', 'fail', 'error', 'skipped', 'aborted', 'in-doubt')),
    code            TEXT,
    detail          TEXT,
    step            TEXT,
    resolution      TEXT CHECK (resolution IN ('complete', 'reprogrammed', 'not-seen', 'scrapped')),
    resolution_note TEXT,
    resolved_us     INTEGER,
    resolved_by_run INTEGER REFERENCES runs (id),
    UNIQUE (run, slot, number),
    CHECK ((result IS NULL) = (ended_us IS NULL)),
    CHECK ((result IS NULL) = (end_event IS NULL)),
    CHECK (result IS NOT 'pass' OR unit IS NOT NULL),
    CHECK (resolution IS NULL OR result IS 'in-doubt')
) STRICT;
CREATE UNIQUE INDEX one_open_attempt_per_slot ON attempts (run, slot) WHERE result IS NULL;
CREATE INDEX attempts_in_doubt ON attempts (id)
    WHERE result IS NULL OR (result = 'in-doubt' AND resolution IS NULL);
CREATE INDEX attempts_of_unit ON attempts (unit);
CREATE INDEX attempts_by_start ON attempts (started_us);
CREATE INDEX attempts_by_serial ON attempts (serial);

CREATE TABLE steps (
    id             INTEGER PRIMARY KEY,
    attempt        INTEGER NOT NULL REFERENCES attempts (id),
    name           TEXT NOT NULL,
    started_us     INTEGER NOT NULL,
    started_run_us INTEGER NOT NULL,
    ended_us       INTEGER,
    ended_run_us   INTEGER,
    outcome        TEXT CHECK (outcome IN ('ok', 'failed', 'skipped')),
    CHECK ((outcome IS NULL) = (ended_us IS NULL))
) STRICT;
CREATE INDEX steps_of_attempt ON steps (attempt);

CREATE TABLE measurements (
    id      INTEGER PRIMARY KEY,
    attempt INTEGER NOT NULL REFERENCES attempts (id),
    at_us   INTEGER NOT NULL,
    name    TEXT NOT NULL,
    value   REAL NOT NULL,
    unit    TEXT NOT NULL,
    low     REAL,
    high    REAL,
    outcome TEXT NOT NULL CHECK (outcome IN ('pass', 'fail', 'no-limits'))
) STRICT;
CREATE INDEX measurements_of_attempt ON measurements (attempt);

CREATE TABLE events (
    id      INTEGER PRIMARY KEY,      -- 1, 2, ... without a gap
    run     INTEGER NOT NULL REFERENCES runs (id),
    seq     INTEGER NOT NULL,         -- 1, 2, ... in the run
    at_us   INTEGER NOT NULL,
    run_us  INTEGER,                  -- NULL: written when the run's own clock had gone
    kind    TEXT NOT NULL,
    slot    INTEGER,
    attempt INTEGER REFERENCES attempts (id),
    body    TEXT NOT NULL,            -- JSON
    hash    BLOB NOT NULL CHECK (length(hash) = 32),
    UNIQUE (run, seq)
) STRICT;
CREATE INDEX events_of_attempt ON events (attempt);

-- A slip of the hand is refused here; a determined one is found by the hash chain.
CREATE TRIGGER events_stay_as_written BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER attempts_are_not_deleted BEFORE DELETE ON attempts
BEGIN SELECT RAISE(ABORT, 'attempts are never deleted'); END;
CREATE TRIGGER attempts_keep_their_result BEFORE UPDATE OF result, code, unit, ended_us, end_event ON attempts
WHEN OLD.result IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'an ended attempt keeps its result'); END;
