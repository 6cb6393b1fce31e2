use super::*;
use Outcome::{Failed, Skipped, Warning};

#[test]
fn what_can_be_wrong_with_certificates_the_webhook_and_keys() {
    all_differ(vec![
        (
            |f| f.authorities = Err(Trouble::Missing),
            "trusted-authorities",
            Failed,
            "no ConfigMap landbridge-ca",
            "kubectl logs",
        ),
        (
            |f| f.authorities.as_mut().unwrap().data = None,
            "trusted-authorities",
            Failed,
            "no authority in it",
            "kubectl logs",
        ),
        (
            |f| f.authorities = Ok(serde_json::from_value(json!({"data": {"ca.crt": "mine"}})).unwrap()),
            "trusted-authorities",
            Failed,
            "cannot be read",
            "kubectl logs",
        ),
        (
            |f| f.now = NOW + 360 * DAY,
            "trusted-authorities",
            Warning,
            "ends in 5 days",
            "kubectl logs",
        ),
        (
            |f| f.now = NOW + 360 * DAY,
            "webhook-authority",
            Warning,
            "ends in 5 days",
            "rollout restart",
        ),
        (
            |f| f.now = NOW + 368 * DAY,
            "webhook-authority",
            Failed,
            "ended 3 days ago",
            "rollout restart",
        ),
        (
            |f| f.proxies.as_mut().unwrap()[0].version = Ok("0.0.9".into()),
            "versions",
            Warning,
            "proxies: 0.0.9, operator and this program: 0.1.0",
            "update all charts",
        ),
        (
            |f| {
                f.operators = Ok(vec![]);
                f.proxies.as_mut().unwrap()[0].version = timeout();
            },
            "versions",
            Skipped,
            "no pod",
            "",
        ),
        (
            |f| f.webhook = Some(Err(Trouble::Missing)),
            "webhook-registered",
            Failed,
            "landbridge-system",
            "kubectl logs",
        ),
        (
            |f| f.webhook.as_mut().unwrap().as_mut().unwrap().webhooks = None,
            "webhook-registered",
            Failed,
            "has not filled it",
            "kubectl logs",
        ),
        (
            |f| f.webhook = None,
            "webhook-registered",
            Skipped,
            "switched off",
            "",
        ),
        (
            |f| f.probe = Some(Probe::Admitted),
            "webhook-answers",
            Failed,
            "was admitted",
            "port 9443",
        ),
        (
            |f| f.probe = Some(Probe::Refused("other".into())),
            "webhook-answers",
            Failed,
            "not by it: other",
            "9443",
        ),
        (
            |f| {
                f.probe = Some(Probe::Trouble(Trouble::Answer(
                    500,
                    "failed calling webhook".into(),
                )))
            },
            "webhook-answers",
            Failed,
            "failed calling webhook",
            "9443",
        ),
        (
            |f| f.probe = Some(Probe::Trouble(Trouble::Forbidden("bob".into()))),
            "webhook-answers",
            Skipped,
            "bob",
            "",
        ),
        (
            |f| f.probe = Some(Probe::NoPlace),
            "webhook-answers",
            Skipped,
            "--watch-namespace",
            "",
        ),
        (
            |f| f.keys[0].1 = Err(Trouble::Missing),
            "service-key",
            Failed,
            "system/key (key k) does not exist",
            "generic key -n system --from-file=k=",
        ),
        (
            |f| f.keys[0].1 = Ok(KeyFact::Malformed("no clientid".into())),
            "service-key",
            Failed,
            "default: the Secret system/key (key k): no clientid",
            "kubectl create secret",
        ),
        (
            |f| f.keys[0].1 = Ok(KeyFact::File),
            "service-key",
            Skipped,
            "default",
            "",
        ),
        (|f| f.keys[0].1 = forbidden(), "service-key", Skipped, "bob", ""),
        (
            |f| f.misread = vec!["\"x\" is no".into()],
            "service-key",
            Failed,
            "\"x\" is no",
            "--destination-service",
        ),
        (
            |f| f.keys.clear(),
            "service-key",
            Skipped,
            "does not name any",
            "",
        ),
    ]);
}
