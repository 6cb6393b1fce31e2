//! Rules that both kinds of service channels keep, as CEL and in Rust. A test runs both over the same cases.

use serde_json::Value;

use crate::check::{Mistake, has, items};

/// Host and port.
pub(crate) const ADDRESS: &str = "!has(self.internalAddress) || \
     self.internalAddress.matches('^([A-Za-z0-9._-]+|\\\\[[0-9A-Fa-f:.]+\\\\]):([1-9][0-9]{0,3}|[1-5][0-9]{4}|\
     6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$')";
pub(crate) const ADDRESS_MESSAGE: &str = "internalAddress must be host:port, as in web.shop.svc:8080: without scheme \
     and path, with a port of 1 to 65535";

/// Connectors take `cluster host/service id` in one field and split it at the slash (seed L27565).
pub(crate) const SERVICE_ID: &str = "self.serviceId.matches('^[^\\\\s/]+$')";
pub(crate) const SERVICE_ID_MESSAGE: &str =
    "serviceId is a name that on-premise clients use like a host: remove blanks and slashes";

/// Usable in a URI (seed L18825).
pub(crate) const LOCATIONS: &str =
    "!has(self.locationIds) || self.locationIds.all(id, id.matches('^[A-Za-z0-9._~-]*$'))";
pub(crate) const LOCATIONS_MESSAGE: &str =
    "a location id has letters, digits and . _ ~ - alone; \"\" is the default location";

pub(crate) const ONE_TARGET: &str = "has(self.serviceRef) != has(self.internalAddress)";
pub(crate) const ONE_TARGET_MESSAGE: &str =
    "a channel leads to one place: set either serviceRef or internalAddress";

pub(crate) const SERVICE_NAME: &str = "self.name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$')";
pub(crate) const SERVICE_NAME_MESSAGE: &str = "name must be the name of a Service of this namespace, without a \
     domain: lower-case letters, digits and '-'";

/// The client derives the port from a two-digit instance number (seed L27517-27520).
pub(crate) const RFC_PORT: &str = "self.type != 'RFC' || !has(self.connector) || \
     (self.connector.localPort >= 3300 && self.connector.localPort <= 3399) || \
     (self.connector.localPort >= 4800 && self.connector.localPort <= 4899)";
pub(crate) const RFC_PORT_MESSAGE: &str = "RFC clients find the port by an instance number nn: set \
     connector.localPort to 33nn, or to 48nn with SNC";

/// As for RFC; instance number 00 is not allowed (seed L27410-27413).
pub(crate) const HANA_PORT: &str = "self.type != 'HANA' || !has(self.connector) || \
     (self.connector.localPort >= 30115 && self.connector.localPort <= 39915 && self.connector.localPort % 100 == 15)";
pub(crate) const HANA_PORT_MESSAGE: &str = "HANA clients find the port by an instance number nn of 01 to 99: set \
     connector.localPort to 3nn15";

/// What both kinds have in common. On untyped values, so that a mistake elsewhere hides none of these.
pub(crate) fn common(spec: &Value, found: &mut Vec<Mistake>) {
    if spec["internalAddress"]
        .as_str()
        .is_some_and(|address| !is_address(address))
    {
        found.push(Mistake::new("spec.internalAddress", ADDRESS_MESSAGE));
    }
    // The blanks of CEL's regular expressions (RE2) are the five of ASCII.
    let blank = |one: char| matches!(one, ' ' | '\t' | '\n' | '\r' | '\x0c' | '/');
    if spec["serviceId"].as_str().is_some_and(|id| id.contains(blank)) {
        found.push(Mistake::new("spec.serviceId", SERVICE_ID_MESSAGE));
    }
    let location = |id: &str| {
        id.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte))
    };
    if items(&spec["locationIds"])
        .filter_map(Value::as_str)
        .any(|id| !location(id))
    {
        found.push(Mistake::new("spec.locationIds", LOCATIONS_MESSAGE));
    }
}

/// What a `ServiceChannel` has besides.
pub(crate) fn channel(spec: &Value, found: &mut Vec<Mistake>) {
    if has(spec, "serviceRef") == has(spec, "internalAddress") {
        found.push(Mistake::new("spec", ONE_TARGET_MESSAGE));
    }
    let name = spec["serviceRef"]["name"].as_str();
    // The length is the schema's to judge; an empty name has its own message there.
    if name.is_some_and(|name| !name.is_empty() && !is_long_service_name(name)) {
        found.push(Mistake::new("spec.serviceRef", SERVICE_NAME_MESSAGE));
    }
    let Some(port) = spec["connector"]["localPort"].as_i64() else {
        return;
    };
    let message = match spec["type"].as_str() {
        Some("RFC") if !(3300..=3399).contains(&port) && !(4800..=4899).contains(&port) => RFC_PORT_MESSAGE,
        Some("HANA") if !(30115..=39915).contains(&port) || port % 100 != 15 => HANA_PORT_MESSAGE,
        _ => return,
    };
    found.push(Mistake::new("spec.connector.localPort", message));
}

fn is_long_service_name(name: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && name.bytes().all(|byte| alphanumeric(byte) || byte == b'-')
        && name.bytes().last().is_some_and(alphanumeric)
}

fn is_address(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let good_host = match bracketed {
        Some(inner) => {
            !inner.is_empty()
                && inner
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte))
        }
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        }
    };
    let good_port = port.bytes().all(|byte| byte.is_ascii_digit())
        && !port.starts_with('0')
        && port.parse::<u16>().is_ok();
    good_host && good_port
}
