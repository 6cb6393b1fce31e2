//! The ConfigMap that tells proxies whom to trust: what is in it, and how long a former authority stays in it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};

use super::keeper::KeeperError;
use super::pem::{BUNDLE, certificates_of, life_of};
use super::{BUNDLE_CONFIG_MAP, BUNDLE_KEY};
use crate::cluster::children::{MANAGED_BY, MANAGER};
use crate::cluster::client::{CALL, CallError, within};

/// Field manager of the ConfigMap.
const FIELD_MANAGER: &str = "landbridge-operator/certificates";

/// Until when former authorities are trusted, in seconds since 1970.
const FORMER_UNTIL: &str = "connectivity.landbridge.dev/former-authorities-until";

/// How long an authority that is not mounted any more stays trusted. The replicas see a changed Secret within two minutes
/// of each other, and each goes on with its old certificate for [`super::mounted::SWITCH`]; an hour covers both and a
/// slow kubelet.
pub(super) const FORMER: i64 = 3600;

/// What the ConfigMap says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Published {
    /// Trusted authorities, PEM.
    pub(super) bundle: String,
    /// Until when those of them that are former ones stay.
    pub(super) former_until: Option<i64>,
}

/// What it has to say: the authorities in use, and for a while those that it had before.
pub(super) fn with_former(own: &[String], known: &Published, now: i64) -> Published {
    // What somebody wrote into it by hand and is no certificate is not kept.
    let known_now = certificates_of(BUNDLE, &known.bundle).unwrap_or_default();
    let begins = own.iter().any(|pem| !known_now.contains(pem));
    let until = match known.former_until {
        Some(until) if !begins => until,
        _ => now.saturating_add(FORMER),
    };
    let lives = |pem: &String| life_of(BUNDLE, pem).is_ok_and(|life| !life.is_over(now));
    let former: Vec<String> = known_now
        .into_iter()
        .filter(|pem| until > now && !own.contains(pem) && lives(pem))
        .collect();
    Published {
        former_until: (!former.is_empty()).then_some(until),
        bundle: own.iter().chain(&former).map(String::as_str).collect(),
    }
}

/// The ConfigMap in the cluster.
#[derive(Debug)]
pub(super) struct BundleMap {
    api: Api<ConfigMap>,
    namespace: String,
}

impl BundleMap {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
        }
    }

    /// What it says now; nothing when it is not there.
    pub(super) async fn read(&self) -> Result<Published, KeeperError> {
        let known = within(CALL, self.api.get_opt(BUNDLE_CONFIG_MAP)).await;
        let known = known.map_err(|source| self.failed("read", source))?;
        let Some(map) = known else {
            return Ok(Published::default());
        };
        let annotation = |annotations: BTreeMap<String, String>| annotations.get(FORMER_UNTIL)?.parse().ok();
        Ok(Published {
            former_until: map.metadata.annotations.and_then(annotation),
            bundle: map
                .data
                .and_then(|mut data| data.remove(BUNDLE_KEY))
                .unwrap_or_default(),
        })
    }

    pub(super) async fn write(&self, wanted: &Published) -> Result<(), KeeperError> {
        let until = wanted.former_until;
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(BUNDLE_CONFIG_MAP.to_owned()),
                namespace: Some(self.namespace.clone()),
                labels: Some(BTreeMap::from([(MANAGED_BY.to_owned(), MANAGER.to_owned())])),
                annotations: until
                    .map(|until| BTreeMap::from([(FORMER_UNTIL.to_owned(), until.to_string())])),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(BUNDLE_KEY.to_owned(), wanted.bundle.clone())])),
            ..ConfigMap::default()
        };
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(map);
        let write = self.api.patch(BUNDLE_CONFIG_MAP, &parameters, &patch);
        within(CALL, write)
            .await
            .map_err(|source| self.failed("written", source))?;
        Ok(())
    }

    fn failed(&self, action: &'static str, source: CallError) -> KeeperError {
        let what = format!("ConfigMap {}/{BUNDLE_CONFIG_MAP}", self.namespace);
        KeeperError::Call { what, action, source }
    }
}

#[cfg(test)]
mod tests {
    use super::super::material::Material;
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn authority(since: i64) -> String {
        Material::afresh(vec!["a".into()], since).unwrap().bundle()
    }

    #[test]
    fn a_former_authority_stays_for_an_hour_and_not_longer() {
        let (one, two, three) = (authority(NOW - 10), authority(NOW - 5), authority(NOW));
        let first = with_former(std::slice::from_ref(&one), &Published::default(), NOW);
        assert_eq!(
            first,
            Published {
                bundle: one.clone(),
                former_until: None
            }
        );

        let second = with_former(std::slice::from_ref(&two), &first, NOW);
        assert_eq!(second.bundle, format!("{two}{one}"));
        assert_eq!(second.former_until, Some(NOW + FORMER));
        let own = [two.clone()];
        assert_eq!(
            with_former(&own, &second, NOW + FORMER - 1),
            second,
            "asked again, nothing changes"
        );
        let alone = Published {
            bundle: two.clone(),
            former_until: None,
        };
        assert_eq!(with_former(&own, &second, NOW + FORMER), alone);

        // Exchanged again meanwhile: the hour begins anew, or the second one would go at once.
        let later = NOW + FORMER - 1;
        let third = with_former(std::slice::from_ref(&three), &second, later);
        assert_eq!(third.bundle, format!("{three}{two}{one}"));
        assert_eq!(third.former_until, Some(later + FORMER));
    }

    #[test]
    fn what_ended_or_is_no_certificate_is_not_kept() {
        let (ended, own) = (authority(NOW - 400 * 86_400), authority(NOW));
        for known in [ended, "mine".to_owned(), String::new()] {
            let known = Published {
                bundle: known,
                former_until: Some(NOW + 10),
            };
            let wanted = with_former(std::slice::from_ref(&own), &known, NOW);
            assert_eq!(
                wanted,
                Published {
                    bundle: own.clone(),
                    former_until: None
                }
            );
        }
    }
}
