use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::db::Place;
use crate::testing::Home;

const FILE: &str = r"
subaccounts:
- subdomain: shop
  instances:
  - name: main
    config:
      HTML5Runtime_enabled: 'true'
      init_data:
        instance:
          destinations:
          - {Name: own, Type: HTTP, URL: 'http://own', ProxyType: Internet, Authentication: NoAuthentication}
    keys:
    - {name: proxy, file: proxy.json, readOnly: true}
    subscribers: [branch]
  trustedIssuers:
  - {name: idp, issuer: 'https://idp.example', audiences: [store]}
  destinations: [destinations.json]
  fragments: [fragment.json]
- subdomain: branch
";

const DESTINATIONS: &str = r#"[{"Name": "erp", "Type": "HTTP", "URL": "http://erp", "ProxyType": "Internet",
    "Authentication": "NoAuthentication"}]"#;

fn write(folder: &Path, name: &str, text: &str) -> Bootstrap {
    std::fs::write(folder.join(name), text).unwrap();
    Bootstrap::read(&folder.join(name)).unwrap()
}

async fn apply(admin: &Admin, bootstrap: &Bootstrap) -> Result<(), String> {
    let applied = admin.bootstrap(bootstrap, "https://store.example").await;
    applied.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_file_is_applied_again_and_again() {
    let home = Home::new();
    let admin = Admin::open(&home.config()).await.unwrap();
    let folder = home.path();
    std::fs::write(folder.join("destinations.json"), DESTINATIONS).unwrap();
    let fragment = r#"{"FragmentName": "f", "URL": "http://other"}"#;
    std::fs::write(folder.join("fragment.json"), fragment).unwrap();
    let bootstrap = write(folder, "bootstrap.yaml", FILE);
    apply(&admin, &bootstrap).await.unwrap();
    let key = std::fs::read_to_string(folder.join("proxy.json")).unwrap();
    assert!(key.contains("\"clientsecret\""), "{key}");
    let mode = std::fs::metadata(folder.join("proxy.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let events = admin.storage.database.last_event().await.unwrap();
    let instances = admin.instances("shop").await.unwrap();
    assert_eq!(instances.len(), 1);
    let place = Place::subaccount(admin.tenant("shop").await.unwrap().id);
    let records = admin.destination_records();
    let version = records.get(&place, "erp").await.unwrap().unwrap().etag.clone();

    apply(&admin, &bootstrap).await.unwrap();
    assert_eq!(std::fs::read_to_string(folder.join("proxy.json")).unwrap(), key);
    assert_eq!(
        records.get(&place, "erp").await.unwrap().unwrap().etag,
        version,
        "not written again"
    );
    let issuer_only = admin.storage.database.last_event().await.unwrap() - events;
    assert!(issuer_only <= 1, "{issuer_only}");
    let subscribers = admin.subscribers("shop", Some("main")).await.unwrap();
    assert_eq!(subscribers[0].subdomain, "branch");

    // Less in the file deletes nothing, unless it says so.
    let less = "subaccounts: [{subdomain: shop}]";
    apply(&admin, &write(folder, "less.yaml", less)).await.unwrap();
    assert_eq!(admin.instances("shop").await.unwrap(), instances);
    let less = r#"{"prune": true, "subaccounts": [{"subdomain": "shop"}]}"#;
    apply(&admin, &write(folder, "less.json", less)).await.unwrap();
    assert!(admin.instances("shop").await.unwrap().is_empty());
    assert!(records.get(&place, "erp").await.unwrap().is_none());
    assert!(admin.trusted_issuers("shop").await.unwrap().is_empty());
    assert_eq!(
        admin.subaccounts().await.unwrap().len(),
        2,
        "tenants are never pruned"
    );
}

#[tokio::test]
async fn mistakes_are_told_with_their_place() {
    let home = Home::new();
    let folder = home.path();
    for (text, told) in [
        ("subacounts: []", "subacounts"),
        ("subaccounts:\n- subdomain: shop\n  instance: []", "instance"),
        ("subaccounts: 7", "line 1"),
    ] {
        std::fs::write(folder.join("bad.yaml"), text).unwrap();
        let error = Bootstrap::read(&folder.join("bad.yaml")).unwrap_err().to_string();
        assert!(error.contains("bad.yaml") && error.contains(told), "{error}");
    }
    let admin = Admin::open(&home.config()).await.unwrap();
    std::fs::write(folder.join("bad.json"), r#"[{"Name": "a b"}]"#).unwrap();
    for (text, place, told) in [
        (
            "subaccounts: [{subdomain: 'a b'}]",
            "subaccounts[0]: ",
            "no subdomain",
        ),
        (
            "subaccounts: [{subdomain: s, destinations: [none.json]}]",
            "subaccounts[0].destinations[0]: ",
            "none.json",
        ),
        (
            "subaccounts: [{subdomain: s, destinations: [bad.json]}]",
            "subaccounts[0].destinations[0] (bad.json [0]): ",
            "Name",
        ),
        (
            "subaccounts: [{subdomain: s, instances: [{name: i, subscribers: [nobody]}]}]",
            "subaccounts[0].instances[0].subscribers[0]: ",
            "nobody",
        ),
        (
            "subaccounts: [{subdomain: s, instances: [{name: i, keys: [{name: k, file: k, roles: [root]}]}]}]",
            "subaccounts[0].instances[0].keys[0]: ",
            "root",
        ),
        (
            "subaccounts: [{subdomain: s, instances: [{name: i, keys: [{name: k, file: no/folder}]}]}]",
            "subaccounts[0].instances[0].keys[0]: ",
            "no/folder",
        ),
    ] {
        let error = apply(&admin, &write(folder, "b.yaml", text)).await.unwrap_err();
        assert!(error.starts_with(place) && error.contains(told), "{error}");
    }
    // A key whose file could not be written is not in the way.
    let good = "subaccounts: [{subdomain: s, instances: [{name: i, keys: [{name: k, file: k.json}]}]}]";
    apply(&admin, &write(folder, "b.yaml", good)).await.unwrap();
    std::fs::remove_file(folder.join("k.json")).unwrap();
    let error = apply(&admin, &write(folder, "b.yaml", good)).await.unwrap_err();
    assert!(error.contains("put the file back"), "{error}");
}
