-- Times are milliseconds since 1970-01-01 UTC. `sealed` columns hold what vault.rs made of them, never plain text.

CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

CREATE TABLE subaccounts (
    id         TEXT    NOT NULL PRIMARY KEY,
    subdomain  TEXT    NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE instances (
    id            TEXT    NOT NULL PRIMARY KEY,
    subaccount_id TEXT    NOT NULL REFERENCES subaccounts (id) ON DELETE CASCADE,
    name          TEXT    NOT NULL,
    created_ms    INTEGER NOT NULL,
    UNIQUE (subaccount_id, name)
) STRICT;

CREATE TABLE service_keys (
    client_id   TEXT    NOT NULL PRIMARY KEY,
    instance_id TEXT    NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    scopes      TEXT    NOT NULL,
    salt        BLOB    NOT NULL,
    secret_hash BLOB    NOT NULL,
    created_ms  INTEGER NOT NULL,
    UNIQUE (instance_id, name)
) STRICT;

-- owner: '' for the subaccount level, the id of the instance for the instance level. Not NULL, so that UNIQUE works.
CREATE TABLE destinations (
    subaccount_id TEXT    NOT NULL REFERENCES subaccounts (id) ON DELETE CASCADE,
    owner         TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    sealed        BLOB    NOT NULL,
    etag          TEXT    NOT NULL,
    created_ms    INTEGER NOT NULL,
    modified_ms   INTEGER NOT NULL,
    UNIQUE (subaccount_id, owner, name)
) STRICT;

CREATE TABLE signing_keys (
    kid        TEXT    NOT NULL PRIMARY KEY,
    algorithm  TEXT    NOT NULL,
    sealed     BLOB    NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;
