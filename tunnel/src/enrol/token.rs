//! One-time tokens: `lbe1.<id>.<secret>.<hash of the acceptor's authority>`.
//!
//! A token is a file in the acceptor's state folder that holds only a hash of the secret. It is used up by renaming
//! the file, which exactly one process can do exactly once, so that a second use is refused after a restart too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::ca::{Ca, CaError};
use super::unix_now;
use crate::files;
use crate::identity::{IdentityError, PeerIdentity};
use crate::tls::Pin;

const PREFIX: &str = "lbe1";
const FOLDER: &str = "tokens";
/// 72 random bits name a token; it is no secret.
const ID_BYTES: usize = 9;
/// 256 random bits are the secret.
const SECRET_BYTES: usize = 32;
/// Longest life of a token: it is a key that lies about until it is used.
pub const MAX_TTL: Duration = Duration::from_secs(30 * 86_400);

/// Why a token cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Tenant, connector or location are malformed.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The life is out of bounds.
    #[error("a token must live between one second and 30 days")]
    Ttl,
    /// The authority cannot be used.
    #[error(transparent)]
    Authority(#[from] CaError),
    /// The state folder cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No randomness.
    #[error("the system's random number generator failed")]
    Random,
    /// Not the text of a token.
    #[error(
        "this is not an enrolment token; it must be the whole text lbe1.ID.SECRET.HASH as it was printed"
    )]
    Malformed,
}

/// What a token is made for.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The connector that may enrol with it, and optionally the only location id it may serve.
    pub identity: PeerIdentity,
    /// How long it may be used, whole seconds, at most [`MAX_TTL`].
    pub ttl: Duration,
}

/// What is kept of a token.
#[derive(Debug, Deserialize, Serialize)]
struct StoredToken {
    version: u32,
    /// SHA-256 of the secret, base64url.
    secret_sha256: String,
    tenant: String,
    connector: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    /// Seconds since 1970.
    expires: u64,
}

/// Makes a token in the acceptor's state folder, whether the acceptor runs or not, and returns its text. Blocks on
/// files.
pub fn create_token(state_dir: &Path, new: &NewToken) -> Result<SecretString, TokenError> {
    if new.ttl < Duration::from_secs(1) || new.ttl > MAX_TTL {
        return Err(TokenError::Ttl);
    }
    let identity = &new.identity;
    PeerIdentity::new(
        &identity.tenant,
        &identity.connector,
        identity.location.as_deref(),
    )?;
    let ca = Ca::load_or_create(state_dir)?;
    let folder = state_dir.join(FOLDER);
    let file_error = |path: &Path, source| TokenError::File {
        path: path.to_owned(),
        source,
    };
    files::create_private_dir(&folder).map_err(|error| file_error(&folder, error))?;
    prune(&folder);
    let id = BASE64.encode(random::<ID_BYTES>()?);
    let secret = BASE64.encode(random::<SECRET_BYTES>()?);
    let stored = StoredToken {
        version: 1,
        secret_sha256: hash(&secret),
        tenant: identity.tenant.clone(),
        connector: identity.connector.clone(),
        location: identity.location.clone(),
        expires: unix_now() + new.ttl.as_secs(),
    };
    let path = folder.join(format!("{id}.json"));
    let json = serde_json::to_vec(&stored).map_err(|error| file_error(&path, error.into()))?;
    files::write_private_new(&path, &json).map_err(|error| file_error(&path, error))?;
    Ok(SecretString::from(format!(
        "{PREFIX}.{id}.{secret}.{}",
        BASE64.encode(ca.pin())
    )))
}

/// A token as the connector reads it.
#[derive(Debug)]
pub(crate) struct ParsedToken {
    pub(crate) id: String,
    pub(crate) secret: SecretString,
    pub(crate) pin: Pin,
}

/// Reads a token's text. White space around it is ignored, since it is pasted and kept in files.
pub(crate) fn parse(text: &SecretString) -> Result<ParsedToken, TokenError> {
    let mut parts = text.expose_secret().trim().split('.');
    let (prefix, id, secret, pin) = (parts.next(), parts.next(), parts.next(), parts.next());
    let (Some(PREFIX), Some(id), Some(secret), Some(pin), None) = (prefix, id, secret, pin, parts.next())
    else {
        return Err(TokenError::Malformed);
    };
    let pin = BASE64
        .decode(pin)
        .ok()
        .and_then(|bytes| Pin::try_from(bytes).ok())
        .ok_or(TokenError::Malformed)?;
    if !is_id(id) || secret.is_empty() || secret.len() > 128 {
        return Err(TokenError::Malformed);
    }
    Ok(ParsedToken {
        id: id.to_owned(),
        secret: SecretString::from(secret),
        pin,
    })
}

/// An id becomes a file name, so its alphabet is checked before anything else.
fn is_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=32).contains(&id.len()) && id.bytes().all(allowed)
}

/// Why a token is refused. For the log; the connector is told the same in every case.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the token is not known")]
    Unknown,
    #[error("the token was used before")]
    Used,
    #[error("the token has expired")]
    Expired,
    #[error("the secret is wrong")]
    Secret,
    #[error("the token's file is damaged or cannot be read: {0}")]
    File(String),
}

/// Checks id and secret without using the token up. Blocks on files.
pub(crate) fn check(state_dir: &Path, id: &str, secret: &str) -> Result<PeerIdentity, Refusal> {
    if !is_id(id) {
        return Err(Refusal::Unknown);
    }
    let folder = state_dir.join(FOLDER);
    let text = match files::read_bounded(&folder.join(format!("{id}.json"))) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let used = folder.join(format!("{id}.used")).exists();
            return Err(if used { Refusal::Used } else { Refusal::Unknown });
        }
        Err(error) => return Err(Refusal::File(error.to_string())),
    };
    let stored: StoredToken =
        serde_json::from_str(&text).map_err(|error| Refusal::File(error.to_string()))?;
    if !bool::from(stored.secret_sha256.as_bytes().ct_eq(hash(secret).as_bytes())) {
        return Err(Refusal::Secret);
    }
    if stored.expires <= unix_now() {
        return Err(Refusal::Expired);
    }
    PeerIdentity::new(&stored.tenant, &stored.connector, stored.location.as_deref())
        .map_err(|error| Refusal::File(error.to_string()))
}

/// Uses the token up. Of all that try, one succeeds. Blocks on files.
pub(crate) fn consume(state_dir: &Path, id: &str) -> Result<(), Refusal> {
    if !is_id(id) {
        return Err(Refusal::Unknown);
    }
    let folder = state_dir.join(FOLDER);
    match fs::rename(
        folder.join(format!("{id}.json")),
        folder.join(format!("{id}.used")),
    ) {
        Ok(()) => files::sync_dir(&folder).map_err(|error| Refusal::File(error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Refusal::Used),
        Err(error) => Err(Refusal::File(error.to_string())),
    }
}

/// Removes tokens that are past any possible use, so that the folder does not grow for ever.
fn prune(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let expired = files::read_bounded(&entry.path())
            .ok()
            .and_then(|text| serde_json::from_str::<StoredToken>(&text).ok())
            .is_some_and(|stored| stored.expires + MAX_TTL.as_secs() < unix_now());
        if expired {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], TokenError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| TokenError::Random)?;
    Ok(bytes)
}

fn hash(secret: &str) -> String {
    BASE64.encode(digest(&SHA256, secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_token(dir: &Path, ttl: u64) -> ParsedToken {
        let identity = PeerIdentity::new("acme", "c1", None).unwrap();
        let text = create_token(
            dir,
            &NewToken {
                identity,
                ttl: Duration::from_secs(ttl),
            },
        )
        .unwrap();
        parse(&text).unwrap()
    }

    #[test]
    fn works_once() {
        let dir = tempfile::tempdir().unwrap();
        let token = new_token(dir.path(), 60);
        let secret = token.secret.expose_secret();
        assert_eq!(token.pin, Ca::load_or_create(dir.path()).unwrap().pin());
        assert!(matches!(
            check(dir.path(), &token.id, "wrong"),
            Err(Refusal::Secret)
        ));
        assert_eq!(check(dir.path(), &token.id, secret).unwrap().connector, "c1");
        consume(dir.path(), &token.id).unwrap();
        assert!(matches!(check(dir.path(), &token.id, secret), Err(Refusal::Used)));
        assert!(matches!(consume(dir.path(), &token.id), Err(Refusal::Used)));
    }

    #[test]
    fn one_of_many_at_the_same_time_wins() {
        let dir = tempfile::tempdir().unwrap();
        let token = new_token(dir.path(), 60);
        let won = std::thread::scope(|scope| {
            let tasks: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| consume(dir.path(), &token.id).is_ok()))
                .collect();
            tasks
                .into_iter()
                .filter(|_| true)
                .map(|task| task.join().unwrap())
                .filter(|won| *won)
                .count()
        });
        assert_eq!(won, 1);
    }

    #[test]
    fn the_secret_is_not_kept_and_expiry_holds() {
        let dir = tempfile::tempdir().unwrap();
        let token = new_token(dir.path(), 60);
        let path = dir.path().join(FOLDER).join(format!("{}.json", token.id));
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(token.secret.expose_secret()));
        let mut stored: StoredToken = serde_json::from_str(&text).unwrap();
        stored.expires = unix_now() - 1;
        fs::write(&path, serde_json::to_string(&stored).unwrap()).unwrap();
        assert!(matches!(
            check(dir.path(), &token.id, token.secret.expose_secret()),
            Err(Refusal::Expired)
        ));
    }

    #[test]
    fn ids_cannot_leave_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        for id in ["../ca", "", "a/b", "a.b", &"x".repeat(33)] {
            assert!(
                matches!(check(dir.path(), id, "x"), Err(Refusal::Unknown)),
                "{id}"
            );
            assert!(matches!(consume(dir.path(), id), Err(Refusal::Unknown)), "{id}");
        }
    }

    #[test]
    fn only_whole_tokens_are_read() {
        let pin = BASE64.encode([7; 32]);
        assert!(parse(&SecretString::from(format!(" lbe1.id.secret.{pin}\n"))).is_ok());
        for text in [
            "",
            "lbe1",
            "lbe1.id.secret",
            "lbe2.id.secret.AA",
            "lbe1.id.secret.AA",
            "lbe1.i/d.secret.AA",
        ] {
            assert!(
                matches!(parse(&SecretString::from(text)), Err(TokenError::Malformed)),
                "{text}"
            );
        }
        assert!(matches!(
            parse(&SecretString::from(format!("lbe1.id.secret.{pin}.x"))),
            Err(TokenError::Malformed)
        ));
    }
}
