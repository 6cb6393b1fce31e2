//! The content of the Secret: what is in it, whether it holds together, and how it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use rustls::sign::CertifiedKey;
use secrecy::{ExposeSecret as _, SecretString};

use super::authority::{IssueError, Issued, new_authority, new_leaf, public_half};
use super::pem::{BUNDLE, Broken, Judge, LEAF, LEAF_KEY, certificates_of, certified_key, life_of, parsed};
use super::renewal::{Facts, Life, Renewal, renewal};
use super::workload::Signer;

/// Keys of the Secret beside those of a `kubernetes.io/tls` Secret.
const CA_KEY: &str = "ca.key";
const NEXT: &str = "next-ca.crt";
const NEXT_KEY: &str = "next-ca.key";
const NEXT_PUBLISHED: &str = "next-ca.published";

/// Steps of one look, more than there are kinds of them.
const MAX_STEPS: usize = 8;

/// The data of a Secret.
pub type Data = BTreeMap<String, ByteString>;

#[derive(Debug, Clone)]
struct Authority {
    issued: Issued,
    life: Life,
}

#[derive(Debug, Clone)]
struct Leaf {
    issued: Issued,
    life: Life,
    certified: Arc<CertifiedKey>,
}

/// Everything that servers need. Consistent: keys belong to their certificates.
#[derive(Debug, Clone)]
pub struct Material {
    names: Vec<String>,
    /// None when it does not fit names or authorities.
    leaf: Option<Leaf>,
    ca: Authority,
    next: Option<(Authority, Option<i64>)>,
    /// Former authorities: PEM and end.
    former: Vec<(String, Life)>,
}

impl Material {
    /// A first authority and a certificate of it.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn afresh(names: Vec<String>, now: i64) -> Result<Self, IssueError> {
        let ca = Authority::made(now)?;
        let mut material = Self {
            names,
            leaf: None,
            ca,
            next: None,
            former: Vec::new(),
        };
        material.issue_leaf(now)?;
        Ok(material)
    }

    /// Reads a Secret. A server certificate or a next authority that cannot be used is left out, because it can be
    /// made again; without the authority there is nothing to go on from.
    ///
    /// # Errors
    /// See [`Broken`].
    pub fn read(data: &Data, names: Vec<String>, now: i64) -> Result<Self, Broken> {
        let mut trusted = certificates_of(BUNDLE, text(data, BUNDLE)?)?.into_iter();
        let first = trusted.next().ok_or(Broken::Missing(BUNDLE))?;
        let ca = Authority::read(first, text(data, CA_KEY)?, (CA_KEY, BUNDLE))?;
        let next = read_next(data);
        let former = trusted
            .filter(|pem| {
                next.as_ref()
                    .is_none_or(|(next, _)| next.issued.certificate != *pem)
            })
            .map(|pem| life_of(BUNDLE, &pem).map(|life| (pem, life)))
            .collect::<Result<Vec<_>, _>>()?;
        let mut material = Self {
            names,
            leaf: None,
            ca,
            next,
            former,
        };
        material.leaf = Leaf::read(data)
            .ok()
            .filter(|leaf| material.vouches_for(&leaf.certified, now));
        Ok(material)
    }

    /// Writes a Secret.
    pub fn write(&self) -> Data {
        let mut data = Data::new();
        let mut put = |key: &str, value: &str| {
            data.insert(key.to_owned(), ByteString(value.as_bytes().to_vec()));
        };
        if let Some(leaf) = &self.leaf {
            put(LEAF, &leaf.issued.certificate);
            put(LEAF_KEY, leaf.issued.key.expose_secret());
        }
        put(BUNDLE, &self.bundle());
        put(CA_KEY, self.ca.issued.key.expose_secret());
        if let Some((next, published)) = &self.next {
            put(NEXT, &next.issued.certificate);
            put(NEXT_KEY, next.issued.key.expose_secret());
            if let Some(published) = published {
                put(NEXT_PUBLISHED, &published.to_string());
            }
        }
        data
    }

    /// The trusted authorities as PEM, the one that signs first.
    pub fn bundle(&self) -> String {
        let next = self.next.iter().map(|(next, _)| next.issued.certificate.as_str());
        let former = self.former.iter().map(|(pem, _)| pem.as_str());
        let mut bundle = self.ca.issued.certificate.clone();
        bundle.extend(next.chain(former));
        bundle
    }

    /// For servers; none when there is no certificate that fits.
    pub fn certified(&self) -> Option<Arc<CertifiedKey>> {
        self.leaf.as_ref().map(|leaf| Arc::clone(&leaf.certified))
    }

    /// For workloads.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn signer(&self) -> Result<Signer, IssueError> {
        Signer::new(&self.ca.issued.certificate, &self.ca.issued.key, self.bundle())
    }

    /// End of the server certificate, and of the authority that signs.
    pub fn ends(&self) -> (Option<i64>, i64) {
        (self.leaf.as_ref().map(|leaf| leaf.life.until), self.ca.life.until)
    }

    /// Whether the next authority waits for [`Material::published`].
    pub fn waits_for_publication(&self) -> bool {
        matches!(self.next, Some((_, None)))
    }

    /// Everybody can know the present bundle from now on.
    pub fn published(&mut self, now: i64) {
        if let Some((_, published)) = &mut self.next {
            published.get_or_insert(now);
        }
    }

    /// Does what is due. Tells which steps that were.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn renew(&mut self, now: i64) -> Result<Vec<Renewal>, IssueError> {
        let mut steps = Vec::new();
        while steps.len() < MAX_STEPS {
            let step = renewal(now, self.facts(now));
            match step {
                Renewal::Keep => break,
                Renewal::NewLeaf => self.issue_leaf(now)?,
                Renewal::NewCa => self.next = Some((Authority::made(now)?, None)),
                Renewal::Promote => self.promote(now)?,
                Renewal::DropNext => self.next = None,
                Renewal::Forget => self.former.retain(|(_, life)| !life.is_over(now)),
                Renewal::Afresh => *self = Self::afresh(std::mem::take(&mut self.names), now)?,
            }
            steps.push(step);
        }
        Ok(steps)
    }

    fn facts(&self, now: i64) -> Facts {
        Facts {
            leaf: self.leaf.as_ref().map(|leaf| leaf.life),
            ca: self.ca.life,
            next: self
                .next
                .as_ref()
                .map(|(next, published)| (next.life, *published)),
            former_ended: self.former.iter().any(|(_, life)| life.is_over(now)),
        }
    }

    fn promote(&mut self, now: i64) -> Result<(), IssueError> {
        if let Some((next, _)) = self.next.take() {
            let former = std::mem::replace(&mut self.ca, next);
            self.former.push((former.issued.certificate, former.life));
            self.issue_leaf(now)?;
        }
        Ok(())
    }

    fn issue_leaf(&mut self, now: i64) -> Result<(), IssueError> {
        let issued = new_leaf(&self.ca.issued, self.ca.life, &self.names, now)?;
        let leaf = Leaf::of(issued).map_err(|broken| IssueError::from_text(broken.to_string()))?;
        self.leaf = Some(leaf);
        Ok(())
    }

    /// Whether a client that trusts the bundle accepts the certificate for every name now.
    fn vouches_for(&self, certified: &CertifiedKey, now: i64) -> bool {
        let Ok(judge) = Judge::new(&self.bundle()) else {
            return false;
        };
        let mut names = self.names.iter();
        names.all(|name| judge.accepts(&certified.cert, name, now).is_ok())
    }
}

impl Authority {
    fn made(now: i64) -> Result<Self, IssueError> {
        let issued = new_authority(now)?;
        let life = life_of(BUNDLE, &issued.certificate)
            .map_err(|broken| IssueError::from_text(broken.to_string()))?;
        Ok(Self { issued, life })
    }

    fn read(certificate: String, key: &str, names: (&'static str, &'static str)) -> Result<Self, Broken> {
        let (key_name, certificate_name) = names;
        let key = SecretString::from(key);
        let public = public_half(&key).map_err(|error| Broken::Unreadable(key_name, error.to_string()))?;
        let (life, spki) = parsed(certificate_name, &certificate)?;
        if spki != public {
            return Err(Broken::Mismatch(key_name, certificate_name));
        }
        let issued = Issued { certificate, key };
        Ok(Self { issued, life })
    }
}

impl Leaf {
    fn read(data: &Data) -> Result<Self, Broken> {
        let certificate = text(data, LEAF)?.to_owned();
        let key = SecretString::from(text(data, LEAF_KEY)?);
        Self::of(Issued { certificate, key })
    }

    fn of(issued: Issued) -> Result<Self, Broken> {
        let life = life_of(LEAF, &issued.certificate)?;
        let certified = certified_key((LEAF, &issued.certificate), (LEAF_KEY, &issued.key))?;
        Ok(Self {
            issued,
            life,
            certified: Arc::new(certified),
        })
    }
}

fn read_next(data: &Data) -> Option<(Authority, Option<i64>)> {
    let certificate = certificates_of(NEXT, text(data, NEXT).ok()?).ok()?.pop()?;
    let authority = Authority::read(certificate, text(data, NEXT_KEY).ok()?, (NEXT_KEY, NEXT));
    let published = text(data, NEXT_PUBLISHED)
        .ok()
        .and_then(|at| at.trim().parse().ok());
    Some((authority.ok()?, published))
}

fn text<'a>(data: &'a Data, key: &'static str) -> Result<&'a str, Broken> {
    let bytes = &data.get(key).ok_or(Broken::Missing(key))?.0;
    std::str::from_utf8(bytes).map_err(|error| Broken::Unreadable(key, error.to_string()))
}
