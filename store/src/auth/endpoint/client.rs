//! Which client asks for a token.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::{AUTHORIZATION, HeaderMap};
use secrecy::SecretString;

use super::error::OAuthError;
use super::form::Form;
use crate::api::Peer;
use crate::app::App;
use crate::auth::{secret, x509};
use crate::db::ClientRow;
use crate::server::ShownCertificate;

/// A client that has proven who it is.
pub(super) struct Client {
    pub(super) row: ClientRow,
    /// It used Basic.
    pub(super) challenge: bool,
    /// SHA-256 of its certificate, if it used one.
    pub(super) thumbprint: Option<String>,
}

/// How a client wants to prove who it is.
enum Proof {
    Secret(SecretString),
    Certificate(ShownCertificate),
}

/// The client, by Basic or by `client_id` and `client_secret` in the body (C15, seed L12354, L13187), or by
/// `client_id` and the certificate of its connection (seed L11587).
pub(super) async fn authenticate(
    app: &App,
    headers: &HeaderMap,
    form: &Form,
    peer: Peer,
    shown: Option<&ShownCertificate>,
) -> Result<Client, OAuthError> {
    let challenge = headers.contains_key(AUTHORIZATION);
    let (client_id, proof) = claimed(headers, form, shown)?;
    let row = app.storage.database.client(&client_id).await?;
    let thumbprint = match (&proof, &row) {
        (Proof::Certificate(shown), Some(row)) => proven(row, shown),
        _ => None,
    };
    let right = match &proof {
        Proof::Certificate(_) => thumbprint.is_some(),
        Proof::Secret(given) => {
            let kept = row
                .as_ref()
                .map(|row| (row.key.salt.as_slice(), row.key.secret_hash.as_slice()));
            secret::matches(kept, given)
        }
    };
    match (right, row) {
        // Whatever others did under this name from this address, which may be that of a TLS terminator.
        (true, Some(row)) => Ok(Client {
            row,
            challenge,
            thumbprint,
        }),
        _ => Err(failed(app, &client_id, peer, challenge || shown.is_none())),
    }
}

fn claimed(
    headers: &HeaderMap,
    form: &Form,
    shown: Option<&ShownCertificate>,
) -> Result<(String, Proof), OAuthError> {
    let in_body = form.get("client_id");
    if let Some(value) = headers.get(AUTHORIZATION) {
        let (id, secret) = basic(value).ok_or_else(|| OAuthError::bad_client(true))?;
        // The seed's clients repeat their id in the body; a different one is somebody's mistake.
        if in_body.is_some_and(|other| other != id) {
            return Err(OAuthError::invalid_request(
                "client_id and Authorization name different clients",
            ));
        }
        return Ok((id, Proof::Secret(secret)));
    }
    match (in_body, form.get("client_secret"), shown) {
        (Some(id), Some(secret), _) => Ok((id.to_owned(), Proof::Secret(secret.to_owned().into()))),
        (Some(id), None, Some(shown)) => Ok((id.to_owned(), Proof::Certificate(shown.clone()))),
        _ => Err(OAuthError::bad_client(true)),
    }
}

/// The thumbprint of the certificate, if it is the one of the client's service key.
fn proven(row: &ClientRow, shown: &ShownCertificate) -> Option<String> {
    let kept = row.key.certificate.as_deref()?;
    match x509::accepts(kept, &shown.0, jiff::Timestamp::now().as_second()) {
        Ok(()) => Some(x509::thumbprint(kept)),
        Err(reason) => {
            tracing::warn!(client_id = row.key.client_id, %reason, "a client certificate is refused");
            None
        }
    }
}

fn failed(app: &App, client_id: &str, Peer(peer): Peer, challenge: bool) -> OAuthError {
    if app.failures.is_blocked(client_id, peer) {
        return OAuthError::too_many_failures(
            "too many failures of this client from this address; wait a minute and correct the secret",
        );
    }
    app.failures.failed(client_id, peer);
    tracing::warn!(%peer, "token refused: unknown client, wrong secret or wrong certificate");
    OAuthError::bad_client(challenge)
}

/// Basic credentials. Clients may form-encode them first (RFC 6749 section 2.3.1); our own have no character that
/// would change, so decoding is right for both kinds of clients.
fn basic(value: &HeaderValue) -> Option<(String, SecretString)> {
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let decode = |part: &str| {
        percent_encoding::percent_decode_str(part)
            .decode_utf8()
            .ok()
            .map(String::from)
    };
    Some((decode(id)?, decode(secret)?.into()))
}
