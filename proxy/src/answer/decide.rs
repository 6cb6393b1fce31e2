//! Whether a question is answered, and what is looked up for it. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderValue;
use landbridge_destination::WorkloadIdentity;
use landbridge_destination::gateway::ResolveRequest;
use landbridge_destination::route::RouteSnapshot;
use landbridge_destination::serve::Workload;
use secrecy::ExposeSecret as _;

use crate::failure::{Failure, Kind};
use crate::identify;
use crate::resolve::Query;
use crate::resolve::gateway::credential_value;
use crate::workloads;

/// What to look up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) query: Query,
    /// What the target has refused.
    pub(super) refused: Option<HeaderValue>,
}

/// What `caller` asks for, if it may.
///
/// # Errors
/// It may not, or the route is not known (yet), or only gateways can carry it.
pub(super) fn decide(
    snapshot: &Arc<RouteSnapshot>,
    caller: &WorkloadIdentity,
    address: IpAddr,
    request: ResolveRequest,
) -> Result<Question, Failure> {
    let Some(route) = snapshot.get(&request.route) else {
        // A sidecar may have heard of a new route a moment earlier: it asks again.
        let message = format!("this gateway does not know {} (yet); try again", request.route);
        return Err(Failure::new(Kind::GatewayUnavailable, message));
    };
    let workload = Workload {
        address,
        namespace: caller.namespace.clone(),
        service_account: caller.service_account.clone(),
    };
    workloads::decide(route, address, Some(&workload))?;
    if route.is_gateway() {
        let message = format!("each request to {} names its destination itself", route.key);
        return Err(Failure::new(Kind::CarriedByGateway, message));
    }
    let mut query = Query::new(route.selector.clone());
    if request.chain.is_some() && request.chain != route.selector.chain {
        identify::check_chain(request.chain.as_ref())?;
        query.selector.chain = request.chain;
    }
    query.tenant = request
        .tenant
        .map(|tenant| identify::check_tenant(&tenant))
        .transpose()?;
    let refused = request
        .refused
        .and_then(|refused| credential_value(refused.expose_secret()));
    Ok(Question { query, refused })
}

#[cfg(test)]
mod tests {
    use super::*;
    use landbridge_destination::route::{Route, RouteKey, RouteProtocol, Scope};
    use landbridge_destination::selector::{ChainSelector, DestinationSelector};
    use secrecy::SecretString;

    fn snapshot() -> Arc<RouteSnapshot> {
        let route = |name: &str, destination: &str, scope| {
            Arc::new(Route {
                key: RouteKey::new("shop", name),
                selector: DestinationSelector::named(destination),
                protocol: RouteProtocol::Http,
                port: 1,
                scope,
                generation: 1,
                frontends: Vec::new(),
            })
        };
        let routes = vec![
            route("erp", "erp-prod", Scope::Namespaced),
            route("open", "open", Scope::ClusterWide),
            route("any", "*", Scope::ClusterWide),
        ];
        Arc::new(RouteSnapshot::new(1, routes))
    }

    fn asked(name: &str) -> ResolveRequest {
        ResolveRequest {
            route: RouteKey::new("shop", name),
            chain: None,
            tenant: None,
            refused: None,
            fresh_ms: None,
        }
    }

    fn decision(namespace: &str, request: ResolveRequest) -> Result<Question, Failure> {
        let caller = WorkloadIdentity::new(namespace, "cart").unwrap();
        decide(&snapshot(), &caller, "10.0.0.1".parse().unwrap(), request)
    }

    #[test]
    fn the_namespace_of_the_certificate_decides() {
        let own = decision("shop", asked("erp")).unwrap();
        assert_eq!(own.query, Query::new(DestinationSelector::named("erp-prod")));
        assert!(decision("dev", asked("open")).is_ok());
        let failure = decision("dev", asked("erp")).unwrap_err();
        assert_eq!(failure.kind, Kind::CallerForbidden);
        assert!(failure.message.contains("in namespace 'dev'"), "{failure}");
    }

    #[test]
    fn what_gateways_carry_and_what_is_unknown() {
        for (name, kind) in [("any", Kind::CarriedByGateway), ("new", Kind::GatewayUnavailable)] {
            assert_eq!(decision("shop", asked(name)).unwrap_err().kind, kind, "{name}");
        }
    }

    #[test]
    fn a_request_may_say_what_headers_may() {
        let chain = |name: &str| {
            Some(ChainSelector {
                name: name.into(),
                variables: Vec::new(),
            })
        };
        let request = ResolveRequest {
            chain: chain("c"),
            tenant: Some("acme".into()),
            refused: Some(SecretString::from("Bearer x")),
            ..asked("erp")
        };
        let question = decision("shop", request).unwrap();
        assert_eq!(question.query.selector.chain, chain("c"));
        assert_eq!(question.query.tenant.as_deref(), Some("acme"));
        assert!(question.refused.unwrap().is_sensitive());
        for request in [
            ResolveRequest {
                chain: chain("a b"),
                ..asked("erp")
            },
            ResolveRequest {
                tenant: Some("x/y".into()),
                ..asked("erp")
            },
        ] {
            assert_eq!(
                decision("shop", request).unwrap_err().kind,
                Kind::BadControlHeader
            );
        }
    }
}
