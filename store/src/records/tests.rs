use std::sync::Arc;

use landbridge_runtime::shutdown::Shutdown;

use super::*;
use crate::db::SubaccountRow;
use crate::testing::Home;

async fn open(home: &Home) -> Records<DestinationConfig> {
    let storage = Storage::open(&home.config()).await.unwrap();
    let row = SubaccountRow {
        id: "s".into(),
        subdomain: "sub".into(),
        created_ms: 1,
    };
    storage.database.insert_subaccount(&row).await.unwrap();
    Records::new(Arc::new(storage), 10, 1 << 20)
}

fn destination(url: &str) -> Vec<New<DestinationConfig>> {
    let config: DestinationConfig = [("Name", "d"), ("URL", url)].into_iter().collect();
    vec![New::from(config)]
}

async fn url(records: &Records<DestinationConfig>) -> Option<String> {
    let place = Place::subaccount("s");
    let record = records.get(&place, "d").await.unwrap();
    record.map(|record| record.value.url().unwrap_or_default().to_owned())
}

async fn until(records: &Records<DestinationConfig>, expected: Option<&str>) {
    for _ in 0..3000 {
        if url(records).await.as_deref() == expected {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("never {expected:?}");
}

/// Two processes with one database: what one remembers is void as soon as it hears what the other has written, and its own
/// writes at once.
#[tokio::test]
async fn what_is_remembered_is_never_older_than_what_was_heard() {
    let home = Home::new();
    let (one, other) = (open(&home).await, open(&home).await);
    let shutdown = Shutdown::new();
    for records in [&one, &other] {
        let storage = &records.storage;
        shutdown.spawn(follow(
            storage.database.clone(),
            Arc::clone(&storage.freshness),
            shutdown.child(),
        ));
    }
    let place = Place::subaccount("s");
    assert_eq!(url(&one).await, None);
    one.create(&place, destination("http://1")).await.unwrap();
    assert_eq!(url(&one).await.as_deref(), Some("http://1"));
    until(&other, Some("http://1")).await;
    for number in 2..20 {
        let new = format!("http://{number}");
        one.replace(&place, destination(&new), None).await.unwrap();
        assert_eq!(url(&one).await.as_deref(), Some(new.as_str()));
    }
    until(&other, Some("http://19")).await;
    // Remembered: the same thing, not the same content read again.
    let mut remembered = false;
    for _ in 0..100 {
        let (a, b) = (
            other.get(&place, "d").await.unwrap(),
            other.get(&place, "d").await.unwrap(),
        );
        remembered |= Arc::ptr_eq(&a.unwrap(), &b.unwrap());
    }
    assert!(remembered);
    other.delete(&place, "d", None).await.unwrap();
    assert_eq!(url(&other).await, None);
    until(&one, None).await;
    // A tenant that goes takes everything along.
    one.create(&place, destination("http://1")).await.unwrap();
    until(&other, Some("http://1")).await;
    one.storage.database.delete_subaccount("s").await.unwrap();
    until(&other, None).await;
}
