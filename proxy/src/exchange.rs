//! What happens to one request, from its head to the head of its answer.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use landbridge_destination::route::Route;
use landbridge_runtime::shutdown::Shutdown;

use crate::body::{AnswerBody, Progress, RequestBody, ResponseBody};
use crate::carry;
use crate::connect::Connector;
use crate::failure::{Failure, Kind};
use crate::head_guard::{MAX_HEAD, Objection};
use crate::headers::{self, REQUEST_ID};
use crate::identify::{self, Control};
use crate::metrics::RouteMetrics;
use crate::record::{Outcome, Record};
use crate::resolve::{Query, Resolver};
use crate::resolved::Resolved;
use crate::upgrade;

/// What all routes share.
pub struct Shared {
    /// Finds destinations.
    pub resolver: Arc<dyn Resolver>,
    /// Makes connections.
    pub connector: Connector,
    /// Stops upgraded connections.
    pub shutdown: Shutdown,
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

/// Answers `request`. Never fails: a failure is an answer too. `objection` is what the head guard found.
pub async fn handle(
    context: &RouteContext,
    request: Request<Incoming>,
    objection: Option<Objection>,
) -> Response<ResponseBody> {
    let id = headers::request_id(request.headers());
    let mut record = Record::new(
        Arc::clone(&context.route),
        Arc::clone(&context.metrics),
        request.method().clone(),
        request.uri().clone(),
        id.clone(),
    );
    let mut response = match answer(context, request, objection, &mut record).await {
        Ok(answered) => answered.into_response(record),
        Err(failure) => {
            record.finish(&Outcome::Failed(&failure));
            failure.response().map(ResponseBody::Text)
        }
    };
    response.headers_mut().insert(REQUEST_ID, id);
    if objection.is_some() {
        // What follows on this connection cannot be told apart from this request's body.
        response
            .headers_mut()
            .insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
    }
    response
}

/// The target's answer, or the switch to another protocol.
struct Answered {
    response: Response<Incoming>,
    lease: Option<crate::body::Lease>,
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
    objection: Option<Objection>,
    record: &mut Record,
) -> Result<Answered, Failure> {
    check(&request, objection)?;
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
    parts.headers.insert(REQUEST_ID, record.request_id().clone());
    if let Some(protocol) = protocol {
        headers::set_upgrade(&mut parts.headers, protocol);
    }
    let (body, progress) = RequestBody::new(body);
    let outgoing = Outgoing {
        method: parts.method,
        uri: parts.uri,
        headers: parts.headers,
    };

    let (answer, resolved) =
        send_renewing(context, &query, resolved, outgoing, (body, progress), record).await?;
    let (mut response, lease) = answer;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(application) = application else {
            return Err(Failure::new(
                Kind::TargetFailed,
                "the target switched protocols without being asked",
            ));
        };
        return switch(context, response, application, resolved, record);
    }
    headers::strip_hop_by_hop(response.headers_mut());
    Ok(Answered {
        response,
        lease: Some(lease),
        resolved,
    })
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
            return Err(Failure::new(
                Kind::HeadTooLong,
                format!("the request's line and headers are longer than {MAX_HEAD} bytes; send shorter ones"),
            ));
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

/// A request's head, before the destination's additions.
struct Outgoing {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Outgoing {
    fn request(self, resolved: &Resolved, body: RequestBody) -> Result<Request<RequestBody>, Failure> {
        let unusable = |what: &str| {
            let message = format!("destination '{}' cannot be used: {what}", resolved.name);
            Failure::new(Kind::DestinationUnusable, message)
        };
        let target = resolved
            .target
            .as_ref()
            .ok_or_else(|| unusable("it is a TCP destination"))?;
        let mut request = Request::new(body);
        *request.version_mut() = Version::HTTP_11;
        *request.method_mut() = self.method;
        *request.uri_mut() = target.request_uri(&self.uri).map_err(|_| {
            Failure::new(
                Kind::BadRequest,
                "the request's path and query cannot be joined with the destination's URL",
            )
        })?;
        let mut headers = self.headers;
        headers.insert(HOST, target.host_header.clone());
        for (name, value) in &resolved.headers {
            headers.append(name.clone(), value.clone());
        }
        if let Some(credential) = &resolved.credential {
            // Whatever kind of credential the destination has, the application's own must not travel beside it.
            headers.remove(AUTHORIZATION);
            headers.insert(credential.name.clone(), credential.value.clone());
        }
        *request.headers_mut() = headers;
        Ok(request)
    }
}

type Answer = (Response<Incoming>, crate::body::Lease);

/// Sends the request; when the target refuses a token of ours, the token is given up, and the request repeated once
/// with a new one if that can do no harm: a safe method (RFC 9110, section 9.2.1) without a body.
async fn send_renewing(
    context: &RouteContext,
    query: &Arc<Query>,
    resolved: Arc<Resolved>,
    outgoing: Outgoing,
    (body, progress): (RequestBody, Option<Progress>),
    record: &mut Record,
) -> Result<(Answer, Arc<Resolved>), Failure> {
    let connector = &context.shared.connector;
    let renewable = resolved
        .credential
        .as_ref()
        .is_some_and(|credential| credential.renewable);
    let repeatable = renewable && body.is_end_stream() && outgoing.method.is_safe();
    let again = repeatable.then(|| Outgoing {
        method: outgoing.method.clone(),
        uri: outgoing.uri.clone(),
        headers: outgoing.headers.clone(),
    });
    let request = outgoing.request(&resolved, body)?;
    let answer = carry::send(connector, &resolved, request, progress.as_ref(), record).await?;
    let refused = resolved
        .credential
        .as_ref()
        .filter(|_| renewable && answer.0.status() == StatusCode::UNAUTHORIZED);
    let Some(refused) = refused else {
        return Ok((answer, resolved));
    };

    let resolver = context.shared.resolver.as_ref();
    resolver.reject(query, &refused.value);
    let Some(again) = again else {
        return Ok((answer, resolved));
    };
    // Without a better token the target's own 401 is the most honest answer.
    let Ok(renewed) = resolver.resolve(query).await else {
        return Ok((answer, resolved));
    };
    if renewed
        .credential
        .as_ref()
        .is_some_and(|credential| credential.is_same(&refused.value))
    {
        return Ok((answer, resolved));
    }
    drop(answer);
    record.set_resolved(&renewed);
    let request = again.request(&renewed, RequestBody::Empty)?;
    let answer = carry::send(connector, &renewed, request, None, record).await?;
    Ok((answer, renewed))
}

/// Joins both connections after a 101.
fn switch(
    context: &RouteContext,
    mut response: Response<Incoming>,
    application: OnUpgrade,
    resolved: Arc<Resolved>,
    record: &mut Record,
) -> Result<Answered, Failure> {
    let Some(protocol) = headers::upgrade(response.headers()) else {
        return Err(Failure::new(
            Kind::TargetFailed,
            "the target switched protocols without saying to which",
        ));
    };
    let target = hyper::upgrade::on(&mut response);
    headers::strip_hop_by_hop(response.headers_mut());
    headers::set_upgrade(response.headers_mut(), protocol);
    let id = record.request_id().clone();
    let shutdown = context.shared.shutdown.clone();
    shutdown
        .clone()
        .spawn(upgrade::splice(application, target, id, shutdown));
    Ok(Answered {
        response,
        lease: None,
        resolved,
    })
}
