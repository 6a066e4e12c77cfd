-- Ledger, schema 1. Times are microseconds since 1970 (UTC), hashes 32 bytes. A chip is its 12-byte unique id
-- with the bytes reversed: the lot comes first then (RM0090, 39.1: coordinates, wafer, lot), and the boards of
-- one panel, whose chips come off one reel, are neighbours in the index.

CREATE TABLE event (
    seq  INTEGER PRIMARY KEY,
    at   INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    hash BLOB NOT NULL
) STRICT;

CREATE TABLE work_order (
    id            TEXT PRIMARY KEY,
    document      BLOB NOT NULL,
    product       TEXT NOT NULL,
    quantity      INTEGER NOT NULL,
    remaining     INTEGER NOT NULL CHECK (remaining >= 0),
    lock_required INTEGER NOT NULL
) STRICT;

CREATE TABLE assignment (
    kind        TEXT NOT NULL,
    first       TEXT NOT NULL,
    prefix_bits INTEGER NOT NULL,
    PRIMARY KEY (kind, first, prefix_bits)
) STRICT;

-- Numbers to give out. `used` sets were given; it only grows.
CREATE TABLE pool (
    id       INTEGER PRIMARY KEY,
    product  TEXT,
    order_id TEXT REFERENCES work_order (id),
    kind     TEXT NOT NULL,
    format   TEXT,
    first    TEXT NOT NULL,
    count    INTEGER NOT NULL,
    step     INTEGER NOT NULL,
    local    INTEGER NOT NULL,
    used     INTEGER NOT NULL CHECK (used >= 0 AND used * step <= count)
) STRICT;

CREATE TABLE list_item (
    pool     INTEGER NOT NULL REFERENCES pool (id),
    position INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    ordinal  INTEGER NOT NULL,
    scope    TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (pool, position, kind, ordinal)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX list_item_once ON list_item (kind, scope, value);

-- One chip with one identity. Void units stay. `took` is set on the one unit of a chip and product with which
-- it took from the quota of its order. Numbers stand here for reading; what makes them unique is below.
-- Few indices: each costs pages of the journal for every panel.
CREATE TABLE unit (
    id            INTEGER PRIMARY KEY,
    product       TEXT NOT NULL,
    chip          BLOB NOT NULL CHECK (length(chip) = 12),
    order_id      TEXT REFERENCES work_order (id),
    took          INTEGER NOT NULL,
    lock_required INTEGER NOT NULL,
    state         TEXT NOT NULL,
    failed        TEXT,
    reason        TEXT,
    release       BLOB,
    run           TEXT NOT NULL,
    station       TEXT NOT NULL,
    panel         TEXT,
    slot          INTEGER NOT NULL,
    serial        TEXT,
    eui48         TEXT,
    eui64         TEXT,
    read_back     BLOB,
    record        BLOB,
    lock_proof    BLOB,
    supersedes    INTEGER REFERENCES unit (id),
    reserved_at   INTEGER NOT NULL,
    changed_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX unit_chip ON unit (chip, product);
CREATE INDEX unit_took ON unit (order_id) WHERE took = 1;
CREATE INDEX unit_open ON unit (state) WHERE state IN ('writing', 'written');

-- Every number ever given. Nothing is deleted, so the primary key makes a number unique for ever.
CREATE TABLE number (
    kind    TEXT NOT NULL,
    scope   TEXT NOT NULL,
    value   TEXT NOT NULL,
    unit    INTEGER NOT NULL REFERENCES unit (id),
    ordinal INTEGER NOT NULL,
    pool    INTEGER REFERENCES pool (id),
    place   INTEGER,
    PRIMARY KEY (value, kind, scope)
) STRICT, WITHOUT ROWID;
CREATE INDEX number_fingerprint ON number (unit) WHERE kind IN ('key', 'certificate');

CREATE TABLE blob (
    unit   INTEGER NOT NULL REFERENCES unit (id),
    name   TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    bytes  BLOB NOT NULL,
    PRIMARY KEY (unit, name, sha256)
) STRICT, WITHOUT ROWID;
