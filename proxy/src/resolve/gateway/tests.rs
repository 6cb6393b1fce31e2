use landbridge_destination::route::RouteKey;
use landbridge_destination::selector::DestinationSelector;

use super::*;

const FRESH: Duration = Duration::from_secs(30);

fn query() -> Query {
    Query {
        route: Some(RouteKey::new("shop", "erp")),
        tenant: Some("t".to_owned()),
        ..Query::new(DestinationSelector::named("erp"))
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_must_be_younger_than_the_last_change() {
    let start = Instant::now();
    for (since, expected) in [(None, 30_000), (Some(2), 2000), (Some(100), 30_000)] {
        let asking = Asking {
            since: since.map(|_| start),
            ..Asking::default()
        };
        let now = start + Duration::from_secs(since.unwrap_or_default());
        let request = request(&query(), &asking, FRESH, now).unwrap();
        assert_eq!(request.fresh_ms, Some(expected), "{since:?}");
        assert_eq!(
            (request.route.to_string().as_str(), request.tenant.as_deref()),
            ("shop/erp", Some("t"))
        );
        assert!(request.refused.is_none());
    }
}

#[test]
fn a_refused_credential_is_told() {
    use secrecy::ExposeSecret as _;
    let asking = Asking {
        refused: credential_value("Bearer old"),
        ..Asking::default()
    };
    let request = request(&query(), &asking, FRESH, Instant::now()).unwrap();
    assert_eq!(request.refused.unwrap().expose_secret(), "Bearer old");
    let nameless = Query::new(DestinationSelector::named("erp"));
    assert!(super::request(&nameless, &asking, FRESH, Instant::now()).is_err());
}

#[test]
fn failures_are_those_of_the_gateway() {
    let failure = told("caller-forbidden", "not you".to_owned());
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (Kind::CallerForbidden, "not you")
    );
    let failure = told("something-new", "odd".to_owned());
    assert_eq!(failure.kind, Kind::GatewayUnavailable);
    assert!(failure.message.contains("something-new") && failure.message.contains("odd"));
}
