//! Which store is asked for which destination: one client per destination service instance.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use landbridge_destination::client::StoreClient;

use crate::failure::{Failure, Kind};

/// The default instance is none of those that are configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the default instance '{name}' is not configured (there is {known}); name one that is")]
pub struct NoDefault {
    /// The name.
    pub name: String,
    /// What there is.
    pub known: String,
}

/// The clients by instance. Cheap to clone; clones share a replaced client.
#[derive(Clone, Debug)]
pub struct Stores {
    /// Name of the instance that is asked where none is named.
    default: Arc<str>,
    clients: Arc<ArcSwap<HashMap<String, StoreClient>>>,
}

impl Stores {
    /// One store without a name: destinations that name an instance cannot be resolved.
    pub fn single(client: StoreClient) -> Self {
        Self::of(String::new(), HashMap::from([(String::new(), client)]))
    }

    /// Several; `default` is asked for destinations that name none.
    ///
    /// # Errors
    /// `default` is none of them.
    pub fn new(default: impl Into<String>, clients: HashMap<String, StoreClient>) -> Result<Self, NoDefault> {
        let default = default.into();
        if clients.contains_key(&default) {
            return Ok(Self::of(default, clients));
        }
        Err(NoDefault {
            known: known(&clients),
            name: default,
        })
    }

    fn of(default: String, clients: HashMap<String, StoreClient>) -> Self {
        Self {
            default: default.into(),
            clients: Arc::new(ArcSwap::from_pointee(clients)),
        }
    }

    /// From now on `client` is asked for this instance: its binding has changed.
    pub fn replace(&self, instance: &str, client: &StoreClient) {
        self.clients.rcu(|clients| {
            let mut clients = HashMap::clone(clients);
            clients.insert(instance.to_owned(), client.clone());
            clients
        });
    }

    /// The client of an instance; `None` means the default one.
    ///
    /// # Errors
    /// There is no such instance; the message names those that there are.
    pub fn client(&self, instance: Option<&str>) -> Result<StoreClient, Failure> {
        let clients = self.clients.load();
        let name = self.name(instance);
        clients.get(name).cloned().ok_or_else(|| {
            let message = format!(
                "this proxy has no binding for the destination service instance '{name}' (there is {}); correct \
                 destinationServiceInstanceName, or give the proxy the binding",
                known(&clients)
            );
            Failure::new(Kind::DestinationUnusable, message)
        })
    }

    /// The name of an instance, also where it is not named.
    pub fn name<'a>(&'a self, instance: Option<&'a str>) -> &'a str {
        instance.unwrap_or(&self.default)
    }
}

fn known(clients: &HashMap<String, StoreClient>) -> String {
    let mut names: Vec<&str> = clients
        .keys()
        .map(String::as_str)
        .filter(|name| !name.is_empty())
        .collect();
    if names.is_empty() {
        return "only one, which has no name".to_owned();
    }
    names.sort_unstable();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use landbridge_destination::binding::Binding;
    use landbridge_runtime::dial::{AddressPolicy, Dialer};
    use landbridge_runtime::http_client;

    fn client(id: &str) -> StoreClient {
        let json = format!(r#"{{"clientid":"{id}","clientsecret":"s","url":"http://h","uri":"http://h"}}"#);
        let http = http_client::standard(Dialer::new(AddressPolicy::Any).unwrap(), &[]).unwrap();
        StoreClient::new(Binding::from_json(&json).unwrap(), http)
    }

    #[tokio::test]
    async fn instances_are_told_apart() {
        let clients = HashMap::from([("one".to_owned(), client("1")), ("two".to_owned(), client("2"))]);
        let error = Stores::new("three", clients.clone()).unwrap_err();
        assert!(
            error.to_string().contains("'three'") && error.to_string().contains("one, two"),
            "{error}"
        );
        let stores = Stores::new("one", clients).unwrap();
        let id = |instance: Option<&str>| {
            stores
                .client(instance)
                .map(|found| found.binding().client_id.clone())
        };
        assert_eq!(id(None).unwrap(), "1");
        assert_eq!(id(Some("two")).unwrap(), "2");
        let failure = id(Some("four")).unwrap_err();
        assert!(
            failure.message.contains("'four'") && failure.message.contains("one, two"),
            "{failure}"
        );
        stores.clone().replace("two", &client("3"));
        assert_eq!(id(Some("two")).unwrap(), "3");
        assert_eq!((stores.name(None), stores.name(Some("two"))), ("one", "two"));

        let single = Stores::single(client("1"));
        assert!(single.client(None).is_ok());
        let failure = single.client(Some("x")).unwrap_err();
        assert!(failure.message.contains("has no name"), "{failure}");
    }
}
