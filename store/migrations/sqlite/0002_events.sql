-- The change feed: what was written, in the order it was written. AUTOINCREMENT, so that no number is ever used twice.
CREATE TABLE events (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    subaccount_id TEXT NOT NULL REFERENCES subaccounts (id) ON DELETE CASCADE,
    owner         TEXT NOT NULL,
    kind          TEXT NOT NULL,
    name          TEXT NOT NULL,
    action        TEXT NOT NULL
) STRICT;

CREATE INDEX events_of_tenant ON events (subaccount_id, id);

-- Up to which event a tenant's feed has been cut off at its old end; the tenant '' stands for all.
CREATE TABLE event_floors (
    subaccount_id TEXT    NOT NULL PRIMARY KEY,
    floor         INTEGER NOT NULL
) STRICT;

-- Numbers start at the time in milliseconds: a database made anew never gives out numbers that clients of the old one
-- know, so that they learn that everything may have changed.
INSERT INTO sqlite_sequence (name, seq) VALUES ('events', CAST(unixepoch('subsec') * 1000 AS INTEGER));
INSERT INTO event_floors (subaccount_id, floor) SELECT '', seq FROM sqlite_sequence WHERE name = 'events';
