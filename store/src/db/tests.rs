use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::*;

async fn open(directory: &std::path::Path) -> Database {
    Database::open_sqlite(directory, OpenOptions::default())
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

fn place(owner: &str) -> Place {
    Place {
        subaccount_id: "s".into(),
        owner: owner.into(),
    }
}

fn destination(owner: &str, name: &str, etag: &str) -> ItemRow {
    ItemRow {
        subaccount_id: "s".into(),
        owner: owner.into(),
        name: name.into(),
        sealed: etag.into(),
        etag: etag.into(),
        created_ms: 1,
        modified_ms: 1,
        renew_ms: None,
    }
}

impl Database {
    async fn insert(&self, rows: &[ItemRow], limit: u32) -> Result<Vec<Written>, DbError> {
        let place = Place {
            subaccount_id: rows[0].subaccount_id.clone(),
            owner: rows[0].owner.clone(),
        };
        let items: Vec<_> = rows
            .iter()
            .map(|row| NewItem {
                row: row.clone(),
                labels: Vec::new(),
            })
            .collect();
        self.insert_items(Kind::Destination, &place, &items, limit).await
    }
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
    let written = database.insert(&rows, 2).await.unwrap();
    assert_eq!(
        written,
        [Written::Done, Written::Duplicate, Written::Done, Written::Full]
    );
    let rows = [
        destination("", "a", "5"),
        destination("", "b", "6"),
        destination("", "z", "7"),
    ];
    let kind = Kind::Destination;
    let written = database
        .replace_items(kind, &place(""), &rows, Some("1"))
        .await
        .unwrap();
    assert_eq!(written, [Written::Done, Written::Changed, Written::Missing]);
    let place = place("");
    assert_eq!(
        database.delete_item(kind, &place, "a", Some("1")).await.unwrap(),
        Written::Changed
    );
    assert_eq!(
        database.delete_item(kind, &place, "a", None).await.unwrap(),
        Written::Done
    );
    assert_eq!(
        database.delete_item(kind, &place, "a", None).await.unwrap(),
        Written::Missing
    );
    let mut orphan = destination("", "a", "1");
    orphan.subaccount_id = "gone".into();
    assert!(matches!(
        database.insert(&[orphan], 9).await,
        Err(DbError::NoParent)
    ));
    assert_eq!(
        database.insert(&[destination("", "d", "1")], 9).await.unwrap(),
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
    let error = Database::open_sqlite(directory.path(), OpenOptions::default())
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
    let error = Database::open_sqlite(other.path(), OpenOptions::default())
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
    let write = async |database: &Database, prefix: &str| {
        for number in 0..50 {
            let row = destination("", &format!("{prefix}{number}"), "1");
            assert_eq!(database.insert(&[row], 1000).await.unwrap(), [Written::Done]);
        }
    };
    tokio::join!(write(&one, "a"), write(&two, "b"));
    let all = one
        .items_after(Kind::Destination, &Place::subaccount("s"), "", 1000)
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
    database.insert(&[other], 10).await.unwrap();
    let rows: Vec<_> = (0..KEPT_EVENTS + 5)
        .map(|number| destination("", &format!("d{number}"), "1"))
        .collect();
    for batch in rows.chunks(1000) {
        database.insert(batch, 20_000).await.unwrap();
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
            .insert(&[destination(owner, "d", "1")], 10)
            .await
            .unwrap();
    }
    // What did not happen is not told.
    database.insert(&[destination("", "d", "1")], 10).await.unwrap();
    database
        .delete_item(Kind::Destination, &Place::subaccount("s"), "none", None)
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

/// A server and an administration command may begin at the same time, on a folder that has no database yet.
#[tokio::test]
async fn several_may_make_the_database_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let opening = (0..8).map(|_| Database::open_sqlite(directory.path(), OpenOptions::default()));
    for opened in futures_util::future::join_all(opening).await {
        opened.unwrap().close().await;
    }
}

/// What a store of an earlier version has kept is found again.
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

#[tokio::test]
async fn what_keeps_copies_is_told_what_changed() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(directory.path()).await;
    database.insert_subaccount(&subaccount("s", "sub")).await.unwrap();
    let start = database.last_event().await.unwrap();
    assert_eq!(
        database.changes_after(start).await.unwrap(),
        (start, Changes::Of(Vec::new()))
    );
    database.insert(&[destination("i", "d", "1")], 10).await.unwrap();
    let (last, changes) = database.changes_after(start).await.unwrap();
    let Changes::Of(events) = changes else { panic!() };
    assert_eq!((last, events.len(), events[0].name.as_str()), (start + 1, 1, "d"));
    // What cannot be told one by one is told as a whole.
    database.delete_instance("none").await.unwrap();
    assert_eq!(database.last_event().await.unwrap(), last);
    database.delete_subaccount("s").await.unwrap();
    let (after, changes) = database.changes_after(last).await.unwrap();
    assert_eq!((after, changes), (last + 1, Changes::Everything));
    assert!(
        database
            .item(Kind::Destination, &place("i"), "d")
            .await
            .unwrap()
            .is_none()
    );
}
