//! Resources of a kind: how many, and which of them are not as they must be. Page by page: a cluster may have 10 000.

use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Resource, ResourceExt as _};
use landbridge_crds::Destination;
use serde_json::Value;

use super::super::Options;
use super::super::facts::{Listing, Read};
use super::super::reader::Reader;

/// Objects of one page.
pub(super) const PAGE: u32 = 500;

/// Kept as examples.
pub(super) const EXAMPLES: usize = 5;

/// Longest part of a message that is shown.
const SHOWN: usize = 160;

fn api<K: Resource<DynamicType = ()>>(reader: &Reader, options: &Options) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<K>(&());
    match &options.watch_namespace {
        Some(namespace) if is_namespaced(&resource) => {
            Api::namespaced_with(reader.client(), namespace, &resource)
        }
        _ => Api::all_with(reader.client(), &resource),
    }
}

fn is_namespaced(resource: &ApiResource) -> bool {
    resource.kind != "ServiceMapping"
}

fn place(namespace: Option<String>, name: &str) -> String {
    namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

/// All by name.
pub(super) async fn names<K: Resource<DynamicType = ()>>(
    reader: &Reader,
    options: &Options,
) -> Read<Listing> {
    let api = api::<K>(reader, options);
    let (mut listing, mut page) = (Listing::default(), ListParams::default().limit(PAGE));
    loop {
        let found = reader.call(api.list_metadata(&page)).await?;
        listing.total += found.items.len();
        let left = EXAMPLES.saturating_sub(listing.examples.len());
        let names = found.items.iter().take(left);
        listing
            .examples
            .extend(names.map(|one| place(one.namespace(), &one.name_any())));
        match found.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(listing),
        }
    }
}

async fn judged<K: Resource<DynamicType = ()>>(
    reader: &Reader,
    options: &Options,
    condition: &str,
    everywhere: bool,
) -> Read<Listing> {
    let api = api::<K>(reader, options);
    let (mut listing, mut page) = (Listing::default(), ListParams::default().limit(PAGE));
    loop {
        let found = reader.call(api.list(&page)).await?;
        listing.total += found.items.len();
        for object in &found.items {
            if let Some(why) = wrong(&object.data, condition, everywhere) {
                listing.bad += 1;
                if listing.examples.len() < EXAMPLES {
                    let name = place(object.namespace(), &object.name_any());
                    listing.examples.push(format!("{name} ({why})"));
                }
            }
        }
        match found.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(listing),
        }
    }
}

/// What a resource says of itself, if that is not good. One without a word is wrong only where the operator looks after
/// all of them.
fn wrong(object: &Value, condition: &str, everywhere: bool) -> Option<String> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions
        .into_iter()
        .flatten()
        .find(|one| one["type"] == condition);
    let Some(found) = found else {
        return everywhere.then(|| "no operator has looked at it".to_owned());
    };
    if found["status"] == "True" {
        return None;
    }
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    let mut message = text("message");
    if message.len() > SHOWN {
        message.truncate(message.floor_char_boundary(SHOWN));
        message.push_str("...");
    }
    Some(format!("{}: {message}", text("reason")))
}

/// Destinations that are not available.
pub(super) async fn destinations(reader: &Reader, options: &Options, everywhere: bool) -> Read<Listing> {
    judged::<Destination>(reader, options, "Available", everywhere).await
}

/// Channels that are not ready.
pub(super) async fn channels<K: Resource<DynamicType = ()>>(
    reader: &Reader,
    options: &Options,
    everywhere: bool,
) -> Read<Listing> {
    judged::<K>(reader, options, "Ready", everywhere).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_resource_says_of_itself() {
        let with = |status: &str| {
            json!({"status": {"conditions": [
                {"type": "Other", "status": "False"},
                {"type": "Available", "status": status, "reason": "NotFound", "message": "ä".repeat(200)},
            ]}})
        };
        assert_eq!(wrong(&with("True"), "Available", true), None);
        let said = wrong(&with("False"), "Available", true).unwrap();
        assert!(said.starts_with("NotFound: ä") && said.ends_with("..."), "{said}");
        assert!(wrong(&with("Unknown"), "Available", true).is_some());
        let silent = json!({"spec": {}});
        assert_eq!(
            wrong(&silent, "Available", false),
            None,
            "somebody else may look after its namespace"
        );
        assert!(wrong(&silent, "Available", true).unwrap().contains("no operator"));
    }
}
