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

#[tokio::test]
async fn the_feed_is_cut_off_at_its_old_end() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(directory.path()).await;
    for (id, subdomain) in [("s", "sub"), ("t", "other")] {
        database
            .insert_subaccount(&subaccount(id, subdomain))
            .await
            .unwrap();
    }
    let start = database.last_event().await.unwrap();
    assert!(
        start > 1_700_000_000_000,
        "numbers of an older database are never given out again"
    );
    let mut other = destination("", "x", "1");
    other.subaccount_id = "t".into();
    database.insert_destinations(&[other], 10).await.unwrap();
    let rows: Vec<_> = (0..KEPT_EVENTS + 5)
        .map(|number| destination("", &format!("d{number}"), "1"))
        .collect();
    for batch in rows.chunks(1000) {
        database.insert_destinations(batch, 20_000).await.unwrap();
    }
    let last = database.last_event().await.unwrap();
    assert_eq!(last, start + KEPT_EVENTS + 6);
    assert_eq!(*database.event_numbers().borrow(), last);
    let oldest = last - KEPT_EVENTS;
    for (after, found) in [
        (start, None),
        (oldest - 1, None),
        (oldest, Some(3)),
        (last - 1, Some(1)),
        (last, Some(0)),
        (last + 1, None),
    ] {
        let events = database.events_after("s", "i", after, 3).await.unwrap();
        assert_eq!(events.map(|events| events.len()), found, "{}", after - start);
    }
    let others = database.events_after("t", "i", start, 3).await.unwrap().unwrap();
    assert_eq!(others.len(), 1, "one tenant's writes cost another nothing");
}

#[tokio::test]
async fn events_are_for_their_instance() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(directory.path()).await;
    database.insert_subaccount(&subaccount("s", "sub")).await.unwrap();
    let start = database.last_event().await.unwrap();
    for owner in ["", "i", "j"] {
        database
            .insert_destinations(&[destination(owner, "d", "1")], 10)
            .await
            .unwrap();
    }
    // What did not happen is not told.
    database
        .insert_destinations(&[destination("", "d", "1")], 10)
        .await
        .unwrap();
    database
        .delete_destination(&Place::subaccount("s"), "none", None)
        .await
        .unwrap();
    let events = database.events_after("s", "i", start, 10).await.unwrap().unwrap();
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.owner.as_str(), event.action.as_str()))
        .collect();
    assert_eq!(told, [("", "created"), ("i", "created")]);
}

/// A full database must let go of something: events give way to a deletion.
#[tokio::test]
async fn a_deletion_works_in_a_full_database() {
    let directory = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        max_bytes: Some(256 * 1024),
    };
    let database = SqliteDatabase::open(directory.path(), options).await.unwrap();
    database.insert_subaccount(&subaccount("s", "sub")).await.unwrap();
    let start = database.last_event().await.unwrap();
    let mut count = 0;
    loop {
        match database
            .insert_destinations(&[destination("", &format!("d{count}"), "1")], 100_000)
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
            .delete_destination(&place, &format!("d{number}"), None)
            .await
            .unwrap();
        assert_eq!(written, Written::Done);
    }
    assert_eq!(database.events_after("s", "i", start, 3).await.unwrap(), None);
    let again = database
        .insert_destinations(&[destination("", "d", "1")], 10)
        .await
        .unwrap();
    assert_eq!(again, [Written::Done]);
}

/// A server and an administration command may begin at the same time, on a folder that has no database yet.
#[tokio::test]
async fn several_may_make_the_database_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let opening = (0..8).map(|_| SqliteDatabase::open(directory.path(), OpenOptions::default()));
    for opened in futures_util::future::join_all(opening).await {
        opened.unwrap().close().await;
    }
}
