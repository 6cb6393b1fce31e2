//! What happens to one request, from its head to the head of its answer.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use landbridge_destination::route::Route;
use landbridge_runtime::shutdown::Shutdown;

use crate::body::{AnswerBody, Lease, RequestBody, ResponseBody};
use crate::connect::Connector;
use crate::failure::{Failure, Kind};
use crate::head_guard::{MAX_HEAD, Objection, Verdict};
use crate::headers::{self, REQUEST_ID};
use crate::identify::{self, Control};
use crate::metrics::RouteMetrics;
use crate::outgoing::{Outgoing, Pseudonym};
use crate::place::Place;
use crate::record::{Outcome, Record};
use crate::renew;
use crate::resolve::{Query, Resolver};
use crate::resolved::Resolved;
use crate::upgrade;
use crate::workloads::{Access, Workloads};

/// What all routes share.
pub struct Shared {
    /// Finds destinations.
    pub resolver: Arc<dyn Resolver>,
    /// Makes connections.
    pub connector: Connector,
    /// Marks requests that have passed.
    pub pseudonym: Pseudonym,
    /// Stops upgraded connections.
    pub shutdown: Shutdown,
    /// Who calls from which address; `None` where callers are not known (without a cluster).
    pub workloads: Option<Arc<Workloads>>,
}

/// One route, ready for requests.
pub struct RouteContext {
    /// What was declared.
    pub route: Arc<Route>,
    /// Its series.
    pub metrics: Arc<RouteMetrics>,
    /// Its query, unless requests name their own destination.
    pub query: Arc<Query>,
    /// What all routes share.
    pub shared: Arc<Shared>,
}

impl RouteContext {
    /// A caller was refused.
    pub fn count_denied(&self) {
        self.metrics.denied.inc();
    }
}

/// How a request came.
pub struct Arrival {
    /// Its number on its connection, counted from 0.
    pub index: u64,
    /// What the head guard has found on the connection.
    pub verdict: Verdict,
    /// The connection's place.
    pub place: Place,
    /// Whether the connection's other end may use the route.
    pub access: Arc<Access>,
    /// The route as it is at any time, for what the connection may become.
    pub current: Arc<ArcSwap<RouteContext>>,
}

/// Answers `request`. Never fails: a failure is an answer too.
pub async fn handle(
    context: &RouteContext,
    request: Request<Incoming>,
    arrival: Arrival,
) -> Response<ResponseBody> {
    let id = headers::request_id(request.headers());
    let objection = arrival.verdict.objection(arrival.index);
    let mut record = Record::new(
        Arc::clone(&context.route),
        Arc::clone(&context.metrics),
        request.method().clone(),
        request.uri().clone(),
        id.clone(),
    );
    let checked = check(&request, objection).and_then(|()| authorize(context, &arrival.access));
    let answered = match checked {
        Ok(()) => answer(context, request, arrival, &mut record).await,
        Err(failure) => Err(failure),
    };
    let mut response = match answered {
        Ok(answered) => answered.into_response(record),
        Err(failure) => {
            record.finish(&Outcome::Failed(&failure));
            failure.response().map(ResponseBody::Text)
        }
    };
    // A target's own version is its hop's business (RFC 9110, section 6.2).
    *response.version_mut() = Version::HTTP_11;
    response.headers_mut().insert(REQUEST_ID, id);
    if objection.is_some() {
        // What follows on this connection cannot be told apart from this request's body.
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The target's answer, or the switch to another protocol.
struct Answered {
    response: Response<Incoming>,
    lease: Option<Lease>,
    resolved: Arc<Resolved>,
}

impl Answered {
    fn into_response(self, mut record: Record) -> Response<ResponseBody> {
        record.set_status(self.response.status());
        let timeout = self.resolved.read_timeout;
        self.response
            .map(|body| ResponseBody::Streaming(AnswerBody::new(body, self.lease, record, timeout)))
    }
}

async fn answer(
    context: &RouteContext,
    mut request: Request<Incoming>,
    arrival: Arrival,
    record: &mut Record,
) -> Result<Answered, Failure> {
    let control = identify::take_control(request.headers_mut(), &context.route)?;
    let query = query(context, control);
    let resolver = context.shared.resolver.as_ref();
    let resolved = match resolver.cached(&query) {
        Some(resolved) => resolved,
        None => resolver
            .resolve(&query)
            .await
            .map_err(|failure| blame_caller(context, failure))?,
    };
    record.set_resolved(&resolved);

    let protocol = headers::upgrade(request.headers());
    let application = protocol.as_ref().map(|_| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    headers::strip_hop_by_hop(&mut parts.headers);
    context.shared.pseudonym.mark(&mut parts.headers)?;
    parts.headers.insert(REQUEST_ID, record.request_id().clone());
    if let Some(protocol) = protocol {
        headers::set_upgrade(&mut parts.headers, protocol);
    }
    let logs_on = headers::logs_connection_on(&parts.headers);
    let outgoing = Outgoing {
        method: parts.method,
        uri: parts.uri,
        headers: parts.headers,
    };

    let shared = &context.shared;
    let (answer, resolved) =
        renew::send(shared, &query, resolved, outgoing, RequestBody::new(body), record).await?;
    let (mut response, mut lease) = answer;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(application) = application else {
            return Err(Failure::new(
                Kind::TargetFailed,
                "the target switched protocols without being asked",
            ));
        };
        lease.connection.detach();
        let response = switch(context, response, application, arrival, record)?;
        return Ok(Answered {
            response,
            lease: None,
            resolved,
        });
    }
    lease.personal = logs_on || headers::logs_connection_on(response.headers());
    headers::strip_hop_by_hop(response.headers_mut());
    Ok(Answered {
        response,
        lease: Some(lease),
        resolved,
    })
}

/// Who calls decides before anything is looked up for them.
fn authorize(context: &RouteContext, access: &Access) -> Result<(), Failure> {
    access
        .check(&context.route)
        .inspect_err(|_| context.count_denied())
}

fn check(request: &Request<Incoming>, objection: Option<Objection>) -> Result<(), Failure> {
    match objection {
        Some(Objection::Ambiguous) => {
            return Err(Failure::new(
                Kind::BadRequest,
                "the request's framing is ambiguous (Content-Length beside Transfer-Encoding, a repeated \
                 Content-Length, or a bare line feed); send exactly one form",
            ));
        }
        Some(Objection::TooLong) => {
            let message =
                format!("the request's line and headers are longer than {MAX_HEAD} bytes; send shorter ones");
            return Err(Failure::new(Kind::HeadTooLong, message));
        }
        None => {}
    }
    if request.method() == Method::CONNECT {
        return Err(Failure::new(
            Kind::MethodNotAllowed,
            "CONNECT is not served here; call the destination in plain HTTP, the proxy encrypts where the target wants it",
        ));
    }
    headers::check_host(request.headers(), request.version())
}

/// The route's own query, unless the request says more.
fn query(context: &RouteContext, control: Control) -> Arc<Query> {
    if control == Control::default() {
        return Arc::clone(&context.query);
    }
    let selector = control.selector.unwrap_or_else(|| context.route.selector.clone());
    Arc::new(Query {
        route: context.query.route.clone(),
        selector,
        tenant: control.tenant,
        location: control.location,
    })
}

/// A destination that the request named and the store does not know is the caller's mistake, not the route's.
fn blame_caller(context: &RouteContext, mut failure: Failure) -> Failure {
    if context.route.is_gateway() && failure.kind == Kind::DestinationNotFound {
        failure.kind = Kind::RequestedDestinationNotFound;
    }
    failure
}

/// Joins both connections after a 101, and gives the answer for the application.
fn switch(
    context: &RouteContext,
    mut response: Response<Incoming>,
    application: OnUpgrade,
    arrival: Arrival,
    record: &Record,
) -> Result<Response<Incoming>, Failure> {
    let Some(protocol) = headers::upgrade(response.headers()) else {
        return Err(Failure::new(
            Kind::TargetFailed,
            "the target switched protocols without saying to which",
        ));
    };
    let target = hyper::upgrade::on(&mut response);
    headers::strip_hop_by_hop(response.headers_mut());
    headers::set_upgrade(response.headers_mut(), protocol);
    arrival.verdict.release();
    let (id, shutdown) = (record.request_id().clone(), context.shared.shutdown.clone());
    let ties = upgrade::Ties {
        shutdown: shutdown.clone(),
        access: arrival.access,
        current: arrival.current,
        _place: arrival.place,
    };
    shutdown.spawn(upgrade::splice(application, target, id, ties));
    Ok(response)
}
