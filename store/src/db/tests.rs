use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::*;

async fn open(directory: &std::path::Path) -> SqliteDatabase {
    SqliteDatabase::open(directory, OpenOptions::default())
        .await
        .unwrap()
}

fn subaccount(id: &str, subdomain: &str) -> SubaccountRow {
    SubaccountRow {
        id: id.into(),
        subdomain: subdomain.into(),
        created_ms: 1,
    }
}

fn destination(owner: &str, name: &str, etag: &str) -> DestinationRow {
    DestinationRow {
        subaccount_id: "s".into(),
        owner: owner.into(),
        name: name.into(),
        sealed: etag.into(),
        etag: etag.into(),
        created_ms: 1,
        modified_ms: 1,
    }
}

#[tokio::test]
async fn instance_wins_over_subaccount_t06() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(directory.path()).await;
    database.insert_subaccount(&subaccount("s", "sub")).await.unwrap();
    for row in [
        destination("", "both", "1"),
        destination("i", "both", "2"),
        destination("", "one", "3"),
    ] {
        assert_eq!(
            database.insert_destinations(&[row], 10).await.unwrap(),
            [Written::Done]
        );
    }
    for (instance, name, etag) in [
        ("i", "both", Some("2")),
        ("other", "both", Some("1")),
        ("i", "one", Some("3")),
        ("i", "none", None),
    ] {
        let found = database.find_destination("s", instance, name).await.unwrap();
        assert_eq!(found.map(|row| row.etag).as_deref(), etag, "{instance} {name}");
    }
    assert!(
        database
            .find_destination("t", "i", "both")
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn writes_tell_what_became_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(directory.path()).await;
    assert_eq!(
        database.insert_subaccount(&subaccount("s", "sub")).await.unwrap(),
        Written::Done
    );
    assert_eq!(
        database.insert_subaccount(&subaccount("s", "x")).await.unwrap(),
        Written::Duplicate
    );
    assert_eq!(
        database.insert_subaccount(&subaccount("x", "sub")).await.unwrap(),
        Written::Duplicate
    );
    let rows = [
        destination("", "a", "1"),
        destination("", "a", "2"),
        destination("", "b", "3"),
        destination("", "c", "4"),
    ];
    let written = database.insert_destinations(&rows, 2).await.unwrap();
    assert_eq!(
        written,
        [Written::Done, Written::Duplicate, Written::Done, Written::Full]
    );
    let rows = [
        (destination("", "a", "5"), Some("1".to_owned())),
        (destination("", "b", "6"), Some("1".to_owned())),
        (destination("", "z", "7"), None),
    ];
    let written = database.replace_destinations(&rows).await.unwrap();
    assert_eq!(written, [Written::Done, Written::Changed, Written::Missing]);
    let place = Place::subaccount("s");
    assert_eq!(
        database.delete_destination(&place, "a", Some("1")).await.unwrap(),
        Written::Changed
    );
    assert_eq!(
        database.delete_destination(&place, "a", None).await.unwrap(),
        Written::Done
    );
    assert_eq!(
        database.delete_destination(&place, "a", None).await.unwrap(),
        Written::Missing
    );
    let mut orphan = destination("", "a", "1");
    orphan.subaccount_id = "gone".into();
    assert!(matches!(
        database.insert_destinations(&[orphan], 9).await,
        Err(DbError::NoParent)
    ));
    assert_eq!(
        database
            .insert_destinations(&[destination("", "d", "1")], 9)
            .await
            .unwrap(),
        [Written::Done]
    );
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
    let error = SqliteDatabase::open(directory.path(), OpenOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, DbError::NewerSchema { found: 9999 }), "{error}");
    assert!(error.to_string().contains("newer version"), "{error}");
}

/// A real read-only connection and a real file that is no database: the errors an administrator can act on.
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
    let error = SqliteDatabase::open(other.path(), OpenOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, DbError::Damaged { .. }), "{error}");
}

/// Two processes with the same file, as the administration command beside a running server.
#[tokio::test]
async fn two_writers_take_turns() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (open(directory.path()).await, open(directory.path()).await);
    one.insert_subaccount(&subaccount("s", "sub")).await.unwrap();
    let write = async |database: &SqliteDatabase, prefix: &str| {
        for number in 0..50 {
            let row = destination("", &format!("{prefix}{number}"), "1");
            assert_eq!(
                database.insert_destinations(&[row], 1000).await.unwrap(),
                [Written::Done]
            );
        }
    };
    tokio::join!(write(&one, "a"), write(&two, "b"));
    let all = one
        .destinations_after(&Place::subaccount("s"), "", 1000)
        .await
        .unwrap();
    assert_eq!(all.len(), 100);
}

#[tokio::test]
async fn the_first_value_of_the_store_itself_stays() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(directory.path()).await;
    assert_eq!(database.meta("k").await.unwrap(), None);
    assert_eq!(database.meta_or_insert("k", b"1").await.unwrap(), b"1");
    assert_eq!(database.meta_or_insert("k", b"2").await.unwrap(), b"1");
    assert_eq!(
        database.meta("k").await.unwrap().as_deref(),
        Some(b"1".as_slice())
    );
}
