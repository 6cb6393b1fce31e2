use super::*;
use crate::testing::Home;

mod sqlite_only;

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
    let home = Home::new();
    let database = home.database().await;
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

/// A real read-only connection and a real file that is no database: the errors an administrator can act on.
/// Two processes with the same file, as the administration command beside a running server.
#[tokio::test]
async fn two_writers_take_turns() {
    let home = Home::new();
    let (one, two) = (home.database().await, home.database().await);
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
    let home = Home::new();
    let database = home.database().await;
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
    let home = Home::new();
    let database = home.database().await;
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
    let home = Home::new();
    let database = home.database().await;
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
/// A server and an administration command may begin at the same time, on a folder that has no database yet.
#[tokio::test]
async fn several_may_make_the_database_at_once() {
    let home = Home::new();
    let opening = (0..8).map(|_| home.database());
    for opened in futures_util::future::join_all(opening).await {
        opened.close().await;
    }
}

/// What a store of an earlier version has kept is found again.
#[tokio::test]
async fn what_keeps_copies_is_told_what_changed() {
    let home = Home::new();
    let database = home.database().await;
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
