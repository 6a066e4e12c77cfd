-- Ledger, schema 2: blobs that come with lists, one per unit. In list_item and number their scope is their name and
-- their value the SHA-256 of their bytes in hexadecimal; in unit they stand as NAME=SHA256, separated by blanks.
-- A secret is kept sealed, `length` and `sha256` are those of its plain bytes.

ALTER TABLE unit ADD COLUMN blobs TEXT;

CREATE TABLE content (
    name   TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    length INTEGER NOT NULL,
    sealed INTEGER NOT NULL,
    bytes  BLOB NOT NULL,
    UNIQUE (name, sha256)
) STRICT;
