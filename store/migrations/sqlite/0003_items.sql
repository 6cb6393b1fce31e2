-- Every named and sealed thing of a tenant in one table: destinations, fragments, certificates and what else there is.
-- owner: '' for the subaccount level, the id of an instance for the instance level; for the subscription level the id of
-- the instance too, together with the subscriber's subaccount. renew_ms: when work on it is due, if ever.
CREATE TABLE items (
    kind          TEXT    NOT NULL,
    subaccount_id TEXT    NOT NULL REFERENCES subaccounts (id) ON DELETE CASCADE,
    owner         TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    sealed        BLOB    NOT NULL,
    etag          TEXT    NOT NULL,
    created_ms    INTEGER NOT NULL,
    modified_ms   INTEGER NOT NULL,
    renew_ms      INTEGER,
    PRIMARY KEY (subaccount_id, kind, owner, name)
) STRICT;

CREATE INDEX items_due ON items (renew_ms) WHERE renew_ms IS NOT NULL;

INSERT INTO items (kind, subaccount_id, owner, name, sealed, etag, created_ms, modified_ms)
    SELECT 'destination', subaccount_id, owner, name, sealed, etag, created_ms, modified_ms FROM destinations;

DROP TABLE destinations;

CREATE TABLE labels (
    kind          TEXT NOT NULL,
    subaccount_id TEXT NOT NULL,
    owner         TEXT NOT NULL,
    name          TEXT NOT NULL,
    label         TEXT NOT NULL,
    value         TEXT NOT NULL,
    PRIMARY KEY (subaccount_id, kind, owner, name, label, value),
    FOREIGN KEY (subaccount_id, kind, owner, name)
        REFERENCES items (subaccount_id, kind, owner, name) ON DELETE CASCADE
) STRICT;

CREATE INDEX labels_by_value ON labels (subaccount_id, kind, owner, label, value);

CREATE TABLE subscriptions (
    instance_id   TEXT    NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    subaccount_id TEXT    NOT NULL REFERENCES subaccounts (id) ON DELETE CASCADE,
    created_ms    INTEGER NOT NULL,
    PRIMARY KEY (instance_id, subaccount_id)
) STRICT;

-- What an instance was configured with, without secrets: a JSON object.
ALTER TABLE instances ADD COLUMN properties TEXT NOT NULL DEFAULT '{}';

-- The one certificate (DER) of a service key that has no secret.
ALTER TABLE service_keys ADD COLUMN certificate BLOB;

-- A new key is published before it signs, so that clients know it by then.
ALTER TABLE signing_keys ADD COLUMN signs_from_ms INTEGER NOT NULL DEFAULT 0;

-- Numbers without gaps, given out under the lock of their row or database.
CREATE TABLE counters (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;

INSERT INTO counters (name, value) SELECT 'events', seq FROM sqlite_sequence WHERE name = 'events';
