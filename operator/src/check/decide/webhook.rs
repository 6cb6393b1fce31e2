//! The admission webhook.

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;

use super::super::facts::{Installed, Probe, Read};
use super::super::{Finding, Options, Trouble, catalogue as checks};
use super::operator::end_of;

/// What only our webhook says of a name that the schema allows.
const OUR_TEXT: &str = "cannot be the name of a Service";

/// All findings; none that is switched off is a mistake.
pub(super) fn of(facts: &Installed, options: &Options) -> Vec<Finding> {
    let (Some(registration), Some(probe)) = (&facts.webhook, &facts.probe) else {
        return vec![checks::WEBHOOK_REGISTERED.skipped("it is switched off (--webhook-listen=off)")];
    };
    let mut findings = vec![registered(registration, options)];
    if let Ok(registration) = registration
        && let Some(bundle) = bundle(registration)
    {
        findings.push(authority(bundle, facts.now, options));
        findings.push(answers(probe));
    }
    findings
}

fn bundle(registration: &ValidatingWebhookConfiguration) -> Option<&[u8]> {
    let webhook = registration.webhooks.as_ref()?.first()?;
    Some(&webhook.client_config.ca_bundle.as_ref()?.0)
}

fn registered(registration: &Read<ValidatingWebhookConfiguration>, options: &Options) -> Finding {
    let entry = checks::WEBHOOK_REGISTERED;
    let name = format!("landbridge-{}", options.namespace);
    let remedy = format!(
        "kubectl logs -n {} -l app.kubernetes.io/component=operator",
        options.namespace
    );
    match registration {
        Ok(registration) if bundle(registration).is_some() => entry.ok(name),
        Ok(_) => entry.failed(format_args!("{name} is there, and the operator has not filled it"), remedy),
        Err(Trouble::Missing) => entry.failed(
            format_args!("there is no ValidatingWebhookConfiguration {name}: no operator leads, or it has no right to create it"),
            remedy,
        ),
        Err(trouble) => entry.unknown(trouble, "try again"),
    }
}

fn authority(bundle: &[u8], now: i64, options: &Options) -> Finding {
    let entry = checks::WEBHOOK_AUTHORITY;
    let remedy = format!(
        "kubectl rollout restart deployment/landbridge-operator -n {}",
        options.namespace
    );
    match end_of(&String::from_utf8_lossy(bundle), now) {
        Ok(days) => entry.ok(format_args!("for {days} days")),
        Err((true, why)) => entry.warning(why, remedy),
        Err((false, why)) => entry.failed(why, remedy),
    }
}

fn answers(probe: &Probe) -> Finding {
    let entry = checks::WEBHOOK_ANSWERS;
    let remedy = "let the API server reach port 9443 of the operator's pods: look at network policies, and at firewalls \
                  between control plane and nodes";
    match probe {
        Probe::Refused(text) if text.contains(OUR_TEXT) => entry.ok("a dry run with a mistake was refused"),
        Probe::Refused(text) => entry.failed(
            format_args!("a dry run was refused, but not by it: {text}"),
            remedy,
        ),
        Probe::Admitted => entry.failed(
            "a dry run with a mistake was admitted: the API server does not reach it, and passes it over",
            remedy,
        ),
        Probe::NoPlace => entry
            .skipped("it does not look at the namespace default; name another one with --watch-namespace"),
        Probe::Trouble(Trouble::Missing) => entry.skipped("Destination is not defined"),
        Probe::Trouble(Trouble::Forbidden(why)) if !why.contains(OUR_TEXT) => entry.skipped(format_args!(
            "no right to create a Destination for a dry run: {why}"
        )),
        Probe::Trouble(trouble) => entry.failed(trouble, remedy),
    }
}
