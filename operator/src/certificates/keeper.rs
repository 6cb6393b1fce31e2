//! Keeps Secret and ConfigMap, and what servers show, up to date.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use landbridge_runtime::shutdown::Shutdown;
use tokio::sync::watch;
use tokio::time::sleep;

use super::authority::IssueError;
use super::bundle::{BundleMap, Published};
use super::material::Material;
use super::pem::Broken;
use super::{CertificateConfig, Certificates, Outlets};
use crate::cluster::children::{MANAGED_BY, MANAGER};
use crate::cluster::client::{CALL, CallError, within};
use crate::serve::Leadership;

/// Time between two looks. By the wall clock and not by timers, because a machine that slept has missed these.
const LOOK: Duration = Duration::from_secs(300);

/// Time until the next look when something is missing or failed.
const RETRY: Duration = Duration::from_secs(10);

/// How often another replica may be faster within one look.
const ATTEMPTS: usize = 4;

/// Why a look did not end well.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// A call to the API server.
    #[error("{what} cannot be {action}: {source}; check the rights of the operator's service account on it")]
    Call {
        /// Kind and name.
        what: String,
        /// "read", "written".
        action: &'static str,
        /// The answer.
        source: CallError,
    },
    /// The content of the Secret.
    #[error("Secret {name} cannot be used: {broken}; {remedy}")]
    Broken {
        /// Namespace and name.
        name: String,
        /// What is wrong.
        broken: Broken,
        /// What happens or is to be done.
        remedy: &'static str,
    },
    /// Nobody made a usable certificate yet.
    #[error("Secret {0} has no usable server certificate; the leading replica makes one")]
    NoLeaf(String),
    /// A certificate cannot be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// Others change the Secret all the time.
    #[error("Secret {0} is changed by others all the time; let only the operator write it")]
    Contended(String),
}

const BY_LEADER: &str = "the leading replica makes new ones";
const FOREIGN: &str =
    "it is not the operator's own (label app.kubernetes.io/managed-by): delete it, or repair it";

/// The Secret as it was read.
struct Stored {
    material: Result<Material, Broken>,
    version: Option<String>,
    own: bool,
}

/// Looks after the certificates until the process ends.
#[derive(Debug)]
pub struct Keeper {
    secrets: Api<Secret>,
    bundle_map: BundleMap,
    config: CertificateConfig,
    leadership: watch::Receiver<Leadership>,
    outlets: Outlets,
}

/// A keeper, and what the rest of the operator uses of it.
pub fn keeper(
    client: Client,
    config: CertificateConfig,
    leadership: watch::Receiver<Leadership>,
) -> (Keeper, Certificates) {
    let outlets = Outlets {
        signer: Some(Arc::default()),
        ..Outlets::default()
    };
    let certificates = outlets.certificates();
    let keeper = Keeper {
        secrets: Api::namespaced(client.clone(), &config.namespace),
        bundle_map: BundleMap::new(client, &config.namespace),
        config,
        leadership,
        outlets,
    };
    (keeper, certificates)
}

impl Keeper {
    /// Looks every five minutes, and at once when this replica begins to lead. Ends when `shutdown` begins.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            let result = tokio::select! {
                result = self.look(Timestamp::now().as_second()) => result,
                () = shutdown.started() => return,
            };
            let pause = match &result {
                Ok(()) => LOOK,
                Err(_) => RETRY,
            };
            self.outlets.tell(result.err().map(|error| error.to_string()));
            tokio::select! {
                () = sleep(pause) => {}
                changed = self.leadership.changed() => if changed.is_err() { return },
                () = shutdown.started() => return,
            }
        }
    }

    /// One look, at the time `now` in seconds since 1970.
    ///
    /// # Errors
    /// See [`KeeperError`]. What is in use stays in use.
    pub async fn look(&mut self, now: i64) -> Result<(), KeeperError> {
        for _ in 0..ATTEMPTS {
            let stored = match self.read(now).await? {
                Some(stored) => stored,
                None => {
                    let material = Material::afresh(self.config.names(), now)?;
                    if self.create(&material).await? {
                        tracing::info!(secret = self.name(), "made an authority and a server certificate");
                    }
                    continue;
                }
            };
            if let Some((mut material, version)) = self.renewed(stored, now).await? {
                self.use_(&material)?;
                return self.publish(&mut material, version, now).await;
            }
        }
        Err(KeeperError::Contended(self.name()))
    }

    /// The content after everything that is due was done and written; none when somebody else was faster.
    async fn renewed(
        &self,
        stored: Stored,
        now: i64,
    ) -> Result<Option<(Material, Option<String>)>, KeeperError> {
        let writes = stored.own && *self.leadership.borrow() == Leadership::Leading;
        let (mut material, broken) = match stored.material {
            Ok(material) => (material, None),
            Err(broken) if writes => (Material::afresh(self.config.names(), now)?, Some(broken)),
            Err(broken) => {
                let remedy = if stored.own { BY_LEADER } else { FOREIGN };
                let name = self.name();
                return Err(KeeperError::Broken { name, broken, remedy });
            }
        };
        if !writes {
            return Ok(Some((material, None)));
        }
        let steps = material.renew(now)?;
        if let Some(broken) = &broken {
            tracing::warn!(secret = self.name(), %broken, "the Secret could not be used; everything in it is made anew");
        } else if steps.is_empty() {
            return Ok(Some((material, stored.version)));
        }
        let Some(version) = self.replace(&material, stored.version).await? else {
            return Ok(None);
        };
        tracing::info!(secret = self.name(), ?steps, "certificates renewed");
        Ok(Some((material, Some(version))))
    }

    /// Hands it to the servers.
    fn use_(&self, material: &Material) -> Result<(), KeeperError> {
        let bundle = Bytes::from(material.bundle());
        self.outlets
            .bundle
            .send_if_modified(|before| std::mem::replace(before, bundle.clone()) != bundle);
        let (leaf_until, authority_until) = material.ends();
        self.outlets.health.send_if_modified(|health| {
            let ends = (leaf_until.or(health.leaf_until), Some(authority_until));
            let news = (health.leaf_until, health.authority_until) != ends;
            (health.leaf_until, health.authority_until) = ends;
            news
        });
        if let Some(signer) = &self.outlets.signer {
            signer.replace(material.signer()?);
        }
        let certified = material
            .certified()
            .ok_or_else(|| KeeperError::NoLeaf(self.name()))?;
        self.outlets.current.replace(certified);
        Ok(())
    }

    /// Lets the proxies know whom to trust. Only the leader writes.
    async fn publish(
        &self,
        material: &mut Material,
        version: Option<String>,
        now: i64,
    ) -> Result<(), KeeperError> {
        if *self.leadership.borrow() != Leadership::Leading {
            return Ok(());
        }
        let wanted = Published {
            bundle: material.bundle(),
            former_until: None,
        };
        if self.bundle_map.read().await? != wanted {
            self.bundle_map.write(&wanted).await?;
        }
        // Only what was published may sign later, so the clock starts here and not when the authority was made.
        if material.waits_for_publication() && version.is_some() {
            material.published(now);
            self.replace(material, version).await?;
        }
        Ok(())
    }

    async fn read(&self, now: i64) -> Result<Option<Stored>, KeeperError> {
        let secret = within(CALL, self.secrets.get_opt(&self.config.secret)).await;
        let secret = secret.map_err(|source| self.failed("read", source))?;
        Ok(secret.map(|secret| Stored {
            material: Material::read(&secret.data.unwrap_or_default(), self.config.names(), now),
            own: secret
                .metadata
                .labels
                .is_some_and(|labels| labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER)),
            version: secret.metadata.resource_version,
        }))
    }

    /// Whether it was this replica that made it.
    async fn create(&self, material: &Material) -> Result<bool, KeeperError> {
        let secret = self.secret(material, None);
        match within(CALL, self.secrets.create(&PostParams::default(), &secret)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(source) => Err(self.failed("written", source)),
        }
    }

    /// The new version; none when the Secret is not what it was.
    async fn replace(
        &self,
        material: &Material,
        version: Option<String>,
    ) -> Result<Option<String>, KeeperError> {
        let secret = self.secret(material, version);
        let parameters = PostParams::default();
        let write = self.secrets.replace(&self.config.secret, &parameters, &secret);
        match within(CALL, write).await {
            Ok(written) => Ok(Some(written.metadata.resource_version.unwrap_or_default())),
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(None),
            Err(source) => Err(self.failed("written", source)),
        }
    }

    /// Opaque, although its keys are those of a TLS Secret: the type of a Secret cannot be changed later.
    fn secret(&self, material: &Material, version: Option<String>) -> Secret {
        Secret {
            metadata: self.metadata(&self.config.secret, version),
            data: Some(material.write()),
            ..Secret::default()
        }
    }

    fn metadata(&self, name: &str, version: Option<String>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.config.namespace.clone()),
            labels: Some(BTreeMap::from([(MANAGED_BY.to_owned(), MANAGER.to_owned())])),
            resource_version: version,
            ..ObjectMeta::default()
        }
    }

    fn failed(&self, action: &'static str, source: CallError) -> KeeperError {
        let what = format!("Secret {}", self.name());
        KeeperError::Call { what, action, source }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.config.namespace, self.config.secret)
    }
}
