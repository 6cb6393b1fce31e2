//! Which destination a request is for. The port it arrived on names the route; on a gateway route the request names
//! the destination itself by control headers, which are checked, consumed and never forwarded.

use std::str::FromStr;

use http::{HeaderMap, HeaderName};
use landbridge_destination::levels::Level;
use landbridge_destination::route::Route;
use landbridge_destination::selector::{ChainSelector, ChainVariable, DestinationSelector, FragmentSelector};

use crate::failure::{Failure, Kind};

/// Longest destination, fragment or chain name (seed L5600).
const MAX_NAME: usize = 200;

/// Most chain variables of one request. The predefined chains have five.
const MAX_CHAIN_VARIABLES: usize = 16;

/// Longest value of a chain variable: a large user token fits.
const MAX_VALUE: usize = 16 << 10;

const NAME: &str = "x-destination-name";
const LEVEL: &str = "x-destination-level";
const FRAGMENT: &str = "x-fragment-name";
const FRAGMENT_LEVEL: &str = "x-fragment-level";
const FRAGMENT_OPTIONAL: &str = "x-fragment-optional";
const CHAIN: &str = "x-chain-name";
const CHAIN_VARIABLE: &str = "x-chain-var-";
const TENANT_SUBDOMAIN: &str = "x-tenant-subdomain";
const TENANT_ID: &str = "x-tenant-id";
const LOCATION: &str = "sap-connectivity-scc-location_id";

/// Refused on a route that names its destination: they would contradict it.
const STATIC_REFUSES: [&str; 5] = [NAME, LEVEL, FRAGMENT, FRAGMENT_LEVEL, FRAGMENT_OPTIONAL];

/// Consumed without effect today; they must not leak to targets.
const CONSUMED: [&str; 8] = [
    "x-token-service-tenant",
    "x-redirect-uri",
    "x-code-verifier",
    "x-subject-token-type",
    "x-actor-token",
    "x-actor-token-type",
    "x-user-token",
    "sap-connectivity-region-configuration-id",
];
const CONSUMED_PREFIXES: [&str; 2] = ["x-client-assertion", CHAIN_VARIABLE];

/// What the control headers of one request say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// The destination this request names, where it differs from the route's own.
    pub selector: Option<DestinationSelector>,
    /// Subdomain of the tenant the request is for.
    pub tenant: Option<String>,
    /// Location id of the connector; wins over the destination's.
    pub location: Option<String>,
}

/// Reads, checks and removes the control headers.
///
/// # Errors
/// 400 when one is repeated, malformed, contradicts the route, or is missing on a gateway route.
pub fn take_control(headers: &mut HeaderMap, route: &Route) -> Result<Control, Failure> {
    // Most requests carry none: one pass over the names decides, without building anything.
    let mut found: Vec<HeaderName> = Vec::new();
    for name in headers.keys() {
        if is_control(name.as_str()) {
            found.push(name.clone());
        } else if name.as_str().contains('_') && is_control(&name.as_str().replace('_', "-")) {
            return Err(bad(format!(
                "header {name} has an underscore; write it with hyphens"
            )));
        }
    }
    if found.is_empty() && !route.is_gateway() {
        return Ok(Control::default());
    }
    let control = Reader { headers, route }.read(&found)?;
    for name in found {
        headers.remove(name);
    }
    Ok(control)
}

fn is_control(name: &str) -> bool {
    if !(name.starts_with("x-") || name.starts_with("sap-")) {
        return false;
    }
    STATIC_REFUSES.contains(&name)
        || matches!(name, CHAIN | TENANT_SUBDOMAIN | TENANT_ID | LOCATION)
        || CONSUMED.contains(&name)
        || CONSUMED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn bad(message: impl Into<String>) -> Failure {
    Failure::new(Kind::BadControlHeader, message)
}

struct Reader<'a> {
    headers: &'a HeaderMap,
    route: &'a Route,
}

impl Reader<'_> {
    fn read(&self, found: &[HeaderName]) -> Result<Control, Failure> {
        for name in found {
            if self.headers.get_all(name).iter().nth(1).is_some() {
                return Err(bad(format!("header {name} is sent more than once; send it once")));
            }
        }
        if !self.route.is_gateway()
            && let Some(name) = found.iter().find(|name| STATIC_REFUSES.contains(&name.as_str()))
        {
            let key = &self.route.key;
            return Err(bad(format!(
                "header {name} cannot be used with {key}, which names its destination itself; \
                 use a Destination with destinationRef.name \"*\""
            )));
        }
        let chain = self.chain(found)?;
        let selector = if self.route.is_gateway() {
            Some(self.gateway_selector(chain)?)
        } else {
            chain.map(|chain| DestinationSelector {
                chain: Some(chain),
                ..self.route.selector.clone()
            })
        };
        let tenant = match (self.text(TENANT_SUBDOMAIN)?, self.text(TENANT_ID)?) {
            (Some(_), Some(_)) => {
                return Err(bad(format!(
                    "send either {TENANT_SUBDOMAIN} or {TENANT_ID}, not both"
                )));
            }
            (Some(tenant), None) | (None, Some(tenant)) => Some(name_of(TENANT_SUBDOMAIN, tenant)?),
            (None, None) => None,
        };
        let location = self
            .text(LOCATION)?
            .map(|location| name_of(LOCATION, location))
            .transpose()?;
        Ok(Control {
            selector,
            tenant,
            location,
        })
    }

    fn gateway_selector(&self, chain: Option<ChainSelector>) -> Result<DestinationSelector, Failure> {
        let name = self.text(NAME)?.ok_or_else(|| {
            bad(format!(
                "header {NAME} is missing; {} is a gateway, every request names its destination",
                self.route.key
            ))
        })?;
        let fragment = match self.text(FRAGMENT)? {
            Some(fragment) => Some(FragmentSelector {
                name: name_of(FRAGMENT, fragment)?,
                level: self.level(FRAGMENT_LEVEL)?,
                optional: self.flag(FRAGMENT_OPTIONAL)?,
            }),
            None if self.text(FRAGMENT_LEVEL)?.is_some() || self.text(FRAGMENT_OPTIONAL)?.is_some() => {
                return Err(bad(format!(
                    "{FRAGMENT_LEVEL} and {FRAGMENT_OPTIONAL} need {FRAGMENT}"
                )));
            }
            None => None,
        };
        Ok(DestinationSelector {
            name: name_of(NAME, name)?,
            level: self.level(LEVEL)?,
            fragment,
            chain: chain.or_else(|| self.route.selector.chain.clone()),
            instance: self.route.selector.instance.clone(),
        })
    }

    /// The chain of the request: its variables win over the route's of the same name.
    fn chain(&self, found: &[HeaderName]) -> Result<Option<ChainSelector>, Failure> {
        let declared = self.route.selector.chain.as_ref();
        let asked = self.text(CHAIN)?;
        let Some(name) = asked.or(declared.map(|chain| chain.name.as_str())) else {
            return match found
                .iter()
                .find(|name| name.as_str().starts_with(CHAIN_VARIABLE))
            {
                Some(variable) => Err(bad(format!("header {variable} needs {CHAIN}"))),
                None => Ok(None),
            };
        };
        let mut variables = declared.map(|chain| chain.variables.clone()).unwrap_or_default();
        for header in found {
            let Some(variable) = header.as_str().strip_prefix(CHAIN_VARIABLE) else {
                continue;
            };
            let value = self.text(header.as_str())?.unwrap_or_default().to_owned();
            if value.len() > MAX_VALUE {
                return Err(bad(format!("header {header} is longer than {MAX_VALUE} bytes")));
            }
            variables.retain(|known| !known.name.eq_ignore_ascii_case(variable));
            variables.push(ChainVariable {
                name: variable.to_owned(),
                value,
            });
        }
        if variables.len() > MAX_CHAIN_VARIABLES {
            return Err(bad(format!(
                "a chain takes at most {MAX_CHAIN_VARIABLES} variables"
            )));
        }
        Ok(Some(ChainSelector {
            name: name_of(CHAIN, name)?,
            variables,
        }))
    }

    fn text(&self, name: &str) -> Result<Option<&str>, Failure> {
        match self.headers.get(name).map(|value| value.to_str()) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text.trim())),
            Some(Err(_)) => Err(bad(format!(
                "header {name} has bytes that are not printable ASCII"
            ))),
        }
    }

    fn level(&self, name: &str) -> Result<Option<Level>, Failure> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        Level::from_str(text).map(Some).map_err(|_| {
            bad(format!(
                "header {name}: use subaccount, instance, provider_subaccount or provider_instance"
            ))
        })
    }

    fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.text(name)? {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(bad(format!("header {name}: use true or false"))),
        }
    }
}

/// Whether a request's own chain is one, for who gets it otherwise than by headers.
///
/// # Errors
/// As [`take_control`].
pub(crate) fn check_chain(chain: Option<&ChainSelector>) -> Result<(), Failure> {
    let Some(chain) = chain else { return Ok(()) };
    name_of(CHAIN, &chain.name)?;
    let long = |variable: &ChainVariable| variable.name.len() > MAX_NAME || variable.value.len() > MAX_VALUE;
    if chain.variables.len() > MAX_CHAIN_VARIABLES || chain.variables.iter().any(long) {
        return Err(bad(format!(
            "a chain takes at most {MAX_CHAIN_VARIABLES} variables of at most {MAX_VALUE} bytes"
        )));
    }
    Ok(())
}

/// The same for a tenant.
///
/// # Errors
/// As [`take_control`].
pub(crate) fn check_tenant(tenant: &str) -> Result<String, Failure> {
    name_of(TENANT_SUBDOMAIN, tenant)
}

/// Names: letters, digits, `-`, `_` and `.` (location ids and subdomains may have dots), at most 200 characters.
fn name_of(header: &str, text: &str) -> Result<String, Failure> {
    let alphabet = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > MAX_NAME || !text.chars().all(alphabet) {
        return Err(bad(format!(
            "header {header}: use 1 to {MAX_NAME} letters, digits, '-', '_' or '.'"
        )));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
