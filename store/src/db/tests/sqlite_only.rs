//! What is about the file of SQLite. Not run on PostgreSQL.

use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::*;

async fn open(directory: &std::path::Path) -> Database {
    Database::open_sqlite(directory, OpenOptions::default())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(directory.path()).await;
    database.insert_subaccount(&subaccount("s", "sub")).await.unwrap();
    database.close().await;
    let options = SqliteConnectOptions::new().filename(directory.path().join(DATABASE_FILE));
    let pool = SqlitePoolOptions::new().connect_with(options).await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'future', TRUE, x'00', 0)";
    sqlx::query(newer).execute(&pool).await.unwrap();
    pool.close().await;
    let error = Database::open_sqlite(directory.path(), OpenOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, DbError::NewerSchema { found: 9999 }), "{error}");
    assert!(error.to_string().contains("newer version"), "{error}");
}

#[tokio::test]
async fn failures_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).await.close().await;
    let options = SqliteConnectOptions::new()
        .filename(directory.path().join(DATABASE_FILE))
        .read_only(true);
    let pool = SqlitePoolOptions::new().connect_with(options).await.unwrap();
    let write = sqlx::query("INSERT INTO meta (key, value) VALUES ('a', x'00')")
        .execute(&pool)
        .await;
    assert!(matches!(
        DbError::from(write.unwrap_err()),
        DbError::ReadOnly { .. }
    ));
    pool.close().await;

    let other = tempfile::tempdir().unwrap();
    std::fs::write(
        other.path().join(DATABASE_FILE),
        "no database at all, but long enough to be read as one".repeat(50),
    )
    .unwrap();
    let error = Database::open_sqlite(other.path(), OpenOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, DbError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn a_deletion_works_in_a_full_database() {
    let directory = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        max_bytes: Some(256 * 1024),
    };
    let database = Database::open_sqlite(directory.path(), options).await.unwrap();
    database.insert_subaccount(&subaccount("s", "sub")).await.unwrap();
    let start = database.last_event().await.unwrap();
    let mut count = 0;
    loop {
        match database
            .insert(&[destination("", &format!("d{count}"), "1")], 100_000)
            .await
        {
            Ok(_) => count += 1,
            Err(error) => break assert!(matches!(error, DbError::Full { .. }), "{error}"),
        }
    }
    assert!(count > 100, "{count}");
    let place = Place::subaccount("s");
    for number in 0..count {
        let written = database
            .delete_item(Kind::Destination, &place, &format!("d{number}"), None)
            .await
            .unwrap();
        assert_eq!(written, Written::Done);
    }
    assert_eq!(database.events_after("s", "i", start, 3).await.unwrap(), None);
    let again = database.insert(&[destination("", "d", "1")], 10).await.unwrap();
    assert_eq!(again, [Written::Done]);
}

#[tokio::test]
async fn destinations_move_to_the_table_of_all_things() {
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(directory.path().join(DATABASE_FILE))
        .create_if_missing(true);
    let pool = SqlitePoolOptions::new().connect_with(options).await.unwrap();
    let all = sqlx::migrate!("./migrations/sqlite");
    let mut old = sqlx::migrate::Migrator::with_migrations(
        all.iter()
            .filter(|migration| migration.version <= 2)
            .cloned()
            .collect(),
    );
    old.set_ignore_missing(true);
    old.run(&pool).await.unwrap();
    for statement in [
        "INSERT INTO subaccounts VALUES ('s', 'sub', 1)",
        "INSERT INTO destinations VALUES ('s', 'i', 'd', x'01', 'e', 2, 3)",
        "INSERT INTO events (subaccount_id, owner, kind, name, action) VALUES ('s', 'i', 'destination', 'd', 'created')",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    let (number,): (i64,) = sqlx::query_as("SELECT id FROM events")
        .fetch_one(&pool)
        .await
        .unwrap();
    pool.close().await;
    let database = open(directory.path()).await;
    let item = database
        .item(Kind::Destination, &place("i"), "d")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (
            item.sealed.as_slice(),
            item.etag.as_str(),
            item.created_ms,
            item.modified_ms
        ),
        (&[1][..], "e", 2, 3)
    );
    assert_eq!(database.last_event().await.unwrap(), number);
    database
        .insert(&[destination("", "next", "1")], 10)
        .await
        .unwrap();
    assert_eq!(database.last_event().await.unwrap(), number + 1);
}
