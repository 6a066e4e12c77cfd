-- A ledger of schema 1, as the program of its day left it: an order, five of its units (one confirmed, one void), a list.
-- Never edited: a ledger that was ever written opens for ever.
PRAGMA foreign_keys = OFF;
CREATE TABLE assignment (
    kind        TEXT NOT NULL,
    first       TEXT NOT NULL,
    prefix_bits INTEGER NOT NULL,
    PRIMARY KEY (kind, first, prefix_bits)
) STRICT;
CREATE TABLE blob (
    unit   INTEGER NOT NULL REFERENCES unit (id),
    name   TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    bytes  BLOB NOT NULL,
    PRIMARY KEY (unit, name, sha256)
) STRICT, WITHOUT ROWID;
INSERT INTO "blob" VALUES(1,'certificate',X'FBC55D52F35E5D15B90CA24174F54993B5E5C0944CF73A2944030E3E8D9394E6',X'6E6F74207265616C6C79206F6E65');
CREATE TABLE event (
    seq  INTEGER PRIMARY KEY,
    at   INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    hash BLOB NOT NULL
) STRICT;
INSERT INTO "event" VALUES(1,1780000000000000,'order-opened','{"order":"WO-1","document":"3eeb7e96e59ce40f9cb1a089daba079fd699f6867a30f6634af8570967b2375a","product":"sensor","quantity":10,"lock_required":false}',X'DCAC6E3B754A6FED3C1EC1616D7348C960CD3C3753C9E34C0C059CAE0A882A3D');
INSERT INTO "event" VALUES(2,1780000000000000,'pool-added','{"pool":1,"product":"sensor","order":"WO-1","kind":"serial","format":"S-{counter:4}","first":"1","count":10,"step":1}',X'3D9B1D77586A4D4DEBCF994DA4936027EA3A26DBE9DB30770963B5BB2ECF8B0A');
INSERT INTO "event" VALUES(3,1780000001000000,'reserved','{"product":"sensor","order":"WO-1","release":null,"run":"run-1","station":"line1","panel":"P,1 \"quoted\"","units":[{"unit":1,"uid":"6c6f742d372d776166650001","slot":1,"before":null,"state":"reserved","consumed":true,"numbers":{"serial":"S-0001","eui48":[],"eui64":[]},"supersedes":null},{"unit":2,"uid":"6c6f742d372d776166650002","slot":2,"before":null,"state":"reserved","consumed":true,"numbers":{"serial":"S-0002","eui48":[],"eui64":[]},"supersedes":null},{"unit":3,"uid":"6c6f742d372d776166650003","slot":3,"before":null,"state":"reserved","consumed":true,"numbers":{"serial":"S-0003","eui48":[],"eui64":[]},"supersedes":null},{"unit":4,"uid":"6c6f742d372d776166650004","slot":4,"before":null,"state":"reserved","consumed":true,"numbers":{"serial":"S-0004","eui48":[],"eui64":[]},"supersedes":null},{"unit":5,"uid":"6c6f742d372d776166650005","slot":5,"before":null,"state":"reserved","consumed":true,"numbers":{"serial":"S-0005","eui48":[],"eui64":[]},"supersedes":null}]}',X'4837C1EE2420F3D47B0740561DAEF796B27718ED927A6505D721AB716EE4700C');
INSERT INTO "event" VALUES(4,1780000002000000,'fingerprint','{"unit":1,"run":"run-1","state":"reserved","kind":"key","fingerprint":"8fa3aab2faa9b79e0a0398da5b5abd0780142442a5be80b9a64608d718cb1fcd"}',X'CE402613591B5F967415F0B61F8DEE4E9838D9541E4235F53F7751D3D79FFCF8');
INSERT INTO "event" VALUES(5,1780000002000000,'blob','{"unit":1,"run":"run-1","state":"reserved","name":"certificate","sha256":"fbc55d52f35e5d15b90ca24174f54993b5e5c0944cf73a2944030e3e8d9394e6"}',X'5F643A85B4C09F661494E3BB71C67D6AA816862248F6F1A5FA67C854935399D8');
INSERT INTO "event" VALUES(6,1780000002000000,'writing','{"unit":1,"run":"run-1","state":"writing"}',X'6B22819F241F70A28FC74FE6CCAD2347BD88846308B4FC7381C7A32D040B20A6');
INSERT INTO "event" VALUES(7,1780000002000000,'written','{"unit":1,"run":"run-1","state":"written","read_back":"c697d2981bf416569a16cfbcdec1542b5398f3cc77d2b905819aa99c46ecf6f6"}',X'ABEAFF81F09B1F593B281EB9D03DDBF82B65DA2ED6683C18112D360CEB16DA0A');
INSERT INTO "event" VALUES(8,1780000002000000,'confirmed','{"unit":1,"run":"run-1","state":"confirmed","record":"70ce871f8a3d3fb449bc3c3ace6547cef02dfc74ffe48d912532a724bfdbe5b9","lock_proof":null}',X'BE0DA461F23FDBCE87A7C9B8295ED85015F5090EBBF9C230D66A927EFEAAA2EB');
INSERT INTO "event" VALUES(9,1780000002000000,'void','{"unit":2,"run":"run-1","state":"void","reason":"scratched"}',X'A8E4A680254F3F6940196CFF4856614ED2868FFC1222C7B6B1F72BF2D5EB368B');
INSERT INTO "event" VALUES(10,1780000004000000,'pool-added','{"pool":2,"product":"valve","order":null,"kind":"list","format":null,"first":"","count":2,"step":1}',X'2F1D7378A4F8984EBDAF6F43FC4A9AE0BC36FB48A54793DDE201C2FFF69E4B84');
INSERT INTO "event" VALUES(11,1780000005000000,'reserved','{"product":"valve","order":null,"release":null,"run":"run-1","station":"line1","panel":"P,1 \"quoted\"","units":[{"unit":6,"uid":"6c6f742d372d776166650007","slot":7,"before":null,"state":"reserved","consumed":false,"numbers":{"serial":"L-1","eui48":[],"eui64":[]},"supersedes":null}]}',X'5836F99A0BA0FFD531DB83386A9FB66EF33088A74FCB5F59798CB0679BE7BA5B');
CREATE TABLE list_item (
    pool     INTEGER NOT NULL REFERENCES pool (id),
    position INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    ordinal  INTEGER NOT NULL,
    scope    TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (pool, position, kind, ordinal)
) STRICT, WITHOUT ROWID;
INSERT INTO "list_item" VALUES(2,0,'serial',0,'valve','L-1');
INSERT INTO "list_item" VALUES(2,1,'serial',0,'valve','L-2');
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
INSERT INTO "number" VALUES('key','','8fa3aab2faa9b79e0a0398da5b5abd0780142442a5be80b9a64608d718cb1fcd',1,0,NULL,NULL);
INSERT INTO "number" VALUES('serial','valve','L-1',6,0,2,0);
INSERT INTO "number" VALUES('serial','sensor','S-0001',1,0,1,0);
INSERT INTO "number" VALUES('serial','sensor','S-0002',2,0,1,1);
INSERT INTO "number" VALUES('serial','sensor','S-0003',3,0,1,2);
INSERT INTO "number" VALUES('serial','sensor','S-0004',4,0,1,3);
INSERT INTO "number" VALUES('serial','sensor','S-0005',5,0,1,4);
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
INSERT INTO "pool" VALUES(1,'sensor','WO-1','serial','S-{counter:4}','1',10,1,0,5);
INSERT INTO "pool" VALUES(2,'valve',NULL,'list',NULL,'',2,1,0,1);
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
INSERT INTO "unit" VALUES(1,'sensor',X'0100656661772D372D746F6C','WO-1',1,0,'confirmed',NULL,NULL,NULL,'run-1','line1','P,1 "quoted"',1,'S-0001',NULL,NULL,X'C697D2981BF416569A16CFBCDEC1542B5398F3CC77D2B905819AA99C46ECF6F6',X'70CE871F8A3D3FB449BC3C3ACE6547CEF02DFC74FFE48D912532A724BFDBE5B9',NULL,NULL,1780000001000000,1780000002000000);
INSERT INTO "unit" VALUES(2,'sensor',X'0200656661772D372D746F6C','WO-1',1,0,'void',NULL,'scratched',NULL,'run-1','line1','P,1 "quoted"',2,'S-0002',NULL,NULL,NULL,NULL,NULL,NULL,1780000001000000,1780000002000000);
INSERT INTO "unit" VALUES(3,'sensor',X'0300656661772D372D746F6C','WO-1',1,0,'reserved',NULL,NULL,NULL,'run-1','line1','P,1 "quoted"',3,'S-0003',NULL,NULL,NULL,NULL,NULL,NULL,1780000001000000,1780000001000000);
INSERT INTO "unit" VALUES(4,'sensor',X'0400656661772D372D746F6C','WO-1',1,0,'reserved',NULL,NULL,NULL,'run-1','line1','P,1 "quoted"',4,'S-0004',NULL,NULL,NULL,NULL,NULL,NULL,1780000001000000,1780000001000000);
INSERT INTO "unit" VALUES(5,'sensor',X'0500656661772D372D746F6C','WO-1',1,0,'reserved',NULL,NULL,NULL,'run-1','line1','P,1 "quoted"',5,'S-0005',NULL,NULL,NULL,NULL,NULL,NULL,1780000001000000,1780000001000000);
INSERT INTO "unit" VALUES(6,'valve',X'0700656661772D372D746F6C',NULL,0,0,'reserved',NULL,NULL,NULL,'run-1','line1','P,1 "quoted"',7,'L-1',NULL,NULL,NULL,NULL,NULL,NULL,1780000005000000,1780000005000000);
CREATE TABLE work_order (
    id            TEXT PRIMARY KEY,
    document      BLOB NOT NULL,
    product       TEXT NOT NULL,
    quantity      INTEGER NOT NULL,
    remaining     INTEGER NOT NULL CHECK (remaining >= 0),
    lock_required INTEGER NOT NULL
) STRICT;
INSERT INTO "work_order" VALUES('WO-1',X'3EEB7E96E59CE40F9CB1A089DABA079FD699F6867A30F6634AF8570967B2375A','sensor',10,5,0);
CREATE UNIQUE INDEX list_item_once ON list_item (kind, scope, value);
CREATE INDEX unit_chip ON unit (chip, product);
CREATE INDEX unit_took ON unit (order_id) WHERE took = 1;
CREATE INDEX unit_open ON unit (state) WHERE state IN ('writing', 'written');
CREATE INDEX number_fingerprint ON number (unit) WHERE kind IN ('key', 'certificate');
PRAGMA application_id = 1346784332;
PRAGMA user_version = 1;
