//! What a pod's annotations change of the sidecar. Mistakes in amounts cost the amount; mistakes in what the sidecar is
//! cost the sidecar; no mistake costs the pod.

use std::collections::BTreeMap;

use landbridge_runtime::telemetry::check_filter;

use super::options::{AMOUNTS, Amount, SidecarOptions};
use super::quantity::Quantity;

/// Another image.
pub const IMAGE: &str = "connectivity.landbridge.dev/proxy-image";

/// Another uid.
pub const UID: &str = "connectivity.landbridge.dev/proxy-uid";

/// Another log filter.
pub const LOG: &str = "connectivity.landbridge.dev/proxy-log";

/// Before the words of [`AMOUNTS`].
pub const AMOUNT_PREFIX: &str = "connectivity.landbridge.dev/proxy-";

/// Longest name of an image that is taken.
const MAX_IMAGE: usize = 512;

/// Whether this can be the name of an image. The registry has the last word.
pub fn is_image(text: &str) -> bool {
    let allowed = |one: char| one.is_ascii_alphanumeric() || "._-/:@".contains(one);
    !text.is_empty() && text.len() <= MAX_IMAGE && text.chars().all(allowed)
}

/// Whether a sidecar can run as this uid: not as root, which the redirection's own container is.
pub fn is_uid(uid: i64) -> bool {
    (1..=i64::from(i32::MAX)).contains(&uid)
}

/// The options of one pod, and what was not taken.
///
/// # Errors
/// Why it gets no sidecar.
pub(super) fn apply(
    options: &SidecarOptions,
    annotations: Option<&BTreeMap<String, String>>,
) -> Result<(SidecarOptions, Vec<String>), String> {
    let (mut own, mut warnings) = (options.clone(), Vec::new());
    let Some(annotations) = annotations else {
        return Ok((own, warnings));
    };
    if let Some(image) = annotations.get(IMAGE) {
        if !is_image(image) {
            return Err(format!(
                "the annotation {IMAGE} is no name of an image: correct it"
            ));
        }
        own.image.clone_from(image);
    }
    if let Some(text) = annotations.get(UID) {
        let uid = text.trim().parse().ok().filter(|uid| is_uid(*uid));
        own.uid = uid
            .ok_or_else(|| format!("the annotation {UID} is no uid: write a number from 1 to 2147483647"))?;
    }
    if let Some(filter) = annotations.get(LOG) {
        match check_filter(filter) {
            Ok(()) => own.log.clone_from(filter),
            Err(error) => warnings.push(format!("Landbridge passes over the annotation {LOG}: {error}")),
        }
    }
    let amounts = amounts(annotations, &mut warnings);
    match own.resources.with(amounts) {
        Ok(resources) => own.resources = resources,
        Err(error) => warnings.push(format!(
            "Landbridge passes over the annotations {AMOUNT_PREFIX}*: {error}"
        )),
    }
    Ok((own, warnings))
}

fn amounts(annotations: &BTreeMap<String, String>, warnings: &mut Vec<String>) -> Vec<(Amount, Quantity)> {
    let mut amounts = Vec::new();
    for (amount, word) in AMOUNTS {
        let key = format!("{AMOUNT_PREFIX}{word}");
        let Some(text) = annotations.get(&key) else {
            continue;
        };
        match text.parse() {
            Ok(quantity) => amounts.push((amount, quantity)),
            Err(error) => warnings.push(format!("Landbridge passes over the annotation {key}: {error}")),
        }
    }
    amounts
}
