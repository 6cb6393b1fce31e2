//! `GET /landbridge/v1/openapi.json`: what the REST API has, in the words of OpenAPI 3.1, for tools and for people.

use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

/// Where it is served; without a token, since it has nothing of any tenant.
pub(super) const PATH: &str = "/landbridge/v1/openapi.json";

/// Written by hand; tests compare it with the routes, and an independent tool with the answers.
const DOCUMENT: &str = include_str!("../../openapi.json");

/// The document.
pub(super) async fn document() -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json)], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// The methods of each path are compared over HTTP, where the answers name them: tests/rest/openapi.rs.
    #[test]
    fn every_path_is_described_and_every_described_path_exists() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let described: BTreeSet<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
        let routes: BTreeSet<_> = crate::api::routes()
            .into_iter()
            .map(|(path, _)| path.to_owned())
            .collect();
        let only = |one: &BTreeSet<String>, other| one.difference(other).cloned().collect::<Vec<_>>();
        assert_eq!(
            only(&routes, &described),
            [""; 0],
            "add these to store/openapi.json"
        );
        assert_eq!(only(&described, &routes), [""; 0], "these paths do not exist");
    }

    /// A reference to nothing would be found by those who generate clients.
    #[test]
    fn references_lead_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(reference)) = map.get("$ref") {
                        found.push(reference.clone());
                    }
                    map.values().for_each(|value| references(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 50);
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
