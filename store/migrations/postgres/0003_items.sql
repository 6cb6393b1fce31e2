-- The tables of migrations 1 to 3 of SQLite at once: there is no older database of this kind. What each is for is said
-- there. Names and ids sort by bytes, as they do in SQLite, whatever the database's locale.
-- Times are milliseconds since 1970-01-01 UTC. `sealed` columns hold what vault.rs made of them, never plain text.

CREATE TABLE meta (
    key   TEXT  COLLATE "C" NOT NULL PRIMARY KEY,
    value BYTEA NOT NULL
);

CREATE TABLE subaccounts (
    id         TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    subdomain  TEXT   COLLATE "C" NOT NULL UNIQUE,
    created_ms BIGINT NOT NULL
);

CREATE TABLE instances (
    id            TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    subaccount_id TEXT   COLLATE "C" NOT NULL REFERENCES subaccounts (id) ON DELETE CASCADE,
    name          TEXT   COLLATE "C" NOT NULL,
    created_ms    BIGINT NOT NULL,
    properties    TEXT   NOT NULL DEFAULT '{}',
    UNIQUE (subaccount_id, name)
);

CREATE TABLE service_keys (
    client_id   TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    instance_id TEXT   COLLATE "C" NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    name        TEXT   COLLATE "C" NOT NULL,
    scopes      TEXT   NOT NULL,
    salt        BYTEA  NOT NULL,
    secret_hash BYTEA  NOT NULL,
    created_ms  BIGINT NOT NULL,
    certificate BYTEA,
    UNIQUE (instance_id, name)
);

CREATE TABLE subscriptions (
    instance_id   TEXT   COLLATE "C" NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    subaccount_id TEXT   COLLATE "C" NOT NULL REFERENCES subaccounts (id) ON DELETE CASCADE,
    created_ms    BIGINT NOT NULL,
    PRIMARY KEY (instance_id, subaccount_id)
);

CREATE TABLE items (
    kind          TEXT   COLLATE "C" NOT NULL,
    subaccount_id TEXT   COLLATE "C" NOT NULL REFERENCES subaccounts (id) ON DELETE CASCADE,
    owner         TEXT   COLLATE "C" NOT NULL,
    name          TEXT   COLLATE "C" NOT NULL,
    sealed        BYTEA  NOT NULL,
    etag          TEXT   NOT NULL,
    created_ms    BIGINT NOT NULL,
    modified_ms   BIGINT NOT NULL,
    renew_ms      BIGINT,
    PRIMARY KEY (subaccount_id, kind, owner, name)
);

CREATE INDEX items_due ON items (renew_ms) WHERE renew_ms IS NOT NULL;

CREATE TABLE labels (
    kind          TEXT COLLATE "C" NOT NULL,
    subaccount_id TEXT COLLATE "C" NOT NULL,
    owner         TEXT COLLATE "C" NOT NULL,
    name          TEXT COLLATE "C" NOT NULL,
    label         TEXT COLLATE "C" NOT NULL,
    value         TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (subaccount_id, kind, owner, name, label, value),
    FOREIGN KEY (subaccount_id, kind, owner, name)
        REFERENCES items (subaccount_id, kind, owner, name) ON DELETE CASCADE
);

CREATE INDEX labels_by_value ON labels (subaccount_id, kind, owner, label, value);

CREATE TABLE signing_keys (
    kid           TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    algorithm     TEXT   NOT NULL,
    sealed        BYTEA  NOT NULL,
    created_ms    BIGINT NOT NULL,
    signs_from_ms BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE events (
    id            BIGINT NOT NULL PRIMARY KEY,
    subaccount_id TEXT   COLLATE "C" NOT NULL REFERENCES subaccounts (id) ON DELETE CASCADE,
    owner         TEXT   COLLATE "C" NOT NULL,
    kind          TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    action        TEXT   NOT NULL
);

CREATE INDEX events_of_tenant ON events (subaccount_id, id);

CREATE TABLE event_floors (
    subaccount_id TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    floor         BIGINT NOT NULL
);

CREATE TABLE counters (
    name  TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);

INSERT INTO counters (name, value) VALUES ('events', (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT);
INSERT INTO event_floors (subaccount_id, floor) SELECT '', value FROM counters WHERE name = 'events';
