//! What to make of a token service's answer (RFC 6749 section 5).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use crate::properties::shorten;

/// Largest answer read. Tokens with many scopes reach some 20 KiB.
pub const MAX_ANSWER_BYTES: usize = 128 * 1024;

/// Longest scope and longest refresh token kept with a token.
const MAX_EXTRA_BYTES: usize = 16 * 1024;

/// Life of a token whose answer does not say: short, because an hour assumed for a token of five minutes means 55
/// minutes of failures.
const UNSTATED_LIFE: Duration = Duration::from_secs(300);

/// A token is not used in its last 30 s: clocks differ, and a request needs time to arrive.
const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// Longest life believed; keeps arithmetic safe from absurd answers.
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// A token as fetched.
#[derive(Debug, Clone)]
pub struct Token {
    /// The token.
    pub access_token: SecretString,
    /// How long it is valid, from the moment of the answer.
    pub life: Duration,
    /// How long it may be used: [`life`](Self::life) less the clock skew; zero means "once".
    pub usable: Duration,
    /// Scopes, if stated.
    pub scope: Option<String>,
    /// Refresh token, if given.
    pub refresh_token: Option<SecretString>,
    /// What kind of token it is, if stated (RFC 8693 section 2.2.1).
    pub issued_token_type: Option<String>,
}

/// An answer that is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The token service refused (RFC 6749 section 5.2).
    #[error("the token service answered {status}{}", .reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default())]
    Refused {
        /// Status.
        status: u16,
        /// `error` and `error_description`, shortened.
        reason: Option<String>,
    },
    /// Status 200, but not what RFC 6749 section 5.1 asks for.
    #[error("the token service's answer cannot be used: {0}")]
    Unusable(&'static str),
}

impl AnswerError {
    /// Whether asking again may help: overload and server errors yes, wrong credentials never.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == 429 || *status >= 500)
    }
}

#[derive(Deserialize)]
struct Body {
    access_token: Option<SecretString>,
    #[serde(default)]
    token_type: Value,
    #[serde(default)]
    expires_in: Value,
    #[serde(default)]
    scope: Value,
    #[serde(default)]
    refresh_token: Option<SecretString>,
    #[serde(default)]
    issued_token_type: Value,
}

#[derive(Deserialize)]
struct Refusal {
    error: Option<String>,
    error_description: Option<String>,
}

/// Reads an answer. `now` is the time it arrived, for tokens that carry their own expiry.
///
/// # Errors
/// See [`AnswerError`].
pub fn read_answer(status: StatusCode, body: &[u8], now: SystemTime) -> Result<Token, AnswerError> {
    let body = body_of(status, body)?;
    // Compared without case; consumers always send `Bearer` (seed L12366). A type that is not understood must not be
    // used (RFC 6749 section 7.1).
    match &body.token_type {
        Value::Null => {}
        Value::String(kind) if kind.is_empty() || kind.eq_ignore_ascii_case("bearer") => {}
        // What was exchanged for is no access token, such as an assertion, and the answer says so (RFC 8693 section 2.2.1).
        Value::String(kind) if kind.eq_ignore_ascii_case("n_a") && body.issued_token_type.is_string() => {}
        _ => return Err(AnswerError::Unusable("token_type is not Bearer")),
    }
    let token = body
        .access_token
        .ok_or(AnswerError::Unusable("it has no access_token"))?;
    let life = {
        use secrecy::ExposeSecret;
        let text = token.expose_secret();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AnswerError::Unusable("access_token cannot be sent in a header"));
        }
        life(text, &body.expires_in, now)?
    };
    let scope = body.scope.as_str().filter(|scope| !scope.is_empty());
    let refresh_token = body.refresh_token;
    {
        use secrecy::ExposeSecret;
        let refresh = refresh_token
            .as_ref()
            .map_or(0, |token| token.expose_secret().len());
        if scope.map_or(0, str::len) > MAX_EXTRA_BYTES || refresh > MAX_EXTRA_BYTES {
            return Err(AnswerError::Unusable(
                "scope or refresh_token is longer than 16 KiB",
            ));
        }
    }
    // A URI of the registry has some 50 characters.
    let issued = body.issued_token_type.as_str().filter(|kind| kind.len() <= 256);
    Ok(Token {
        access_token: token,
        life,
        usable: life.saturating_sub(CLOCK_SKEW),
        scope: scope.map(str::to_owned),
        refresh_token,
        issued_token_type: issued.map(str::to_owned),
    })
}

/// Reads an answer for its refresh token alone: the first half of a user token exchange, whose access token is null
/// (seed L7697).
///
/// # Errors
/// See [`AnswerError`].
pub fn read_refresh_token(status: StatusCode, body: &[u8]) -> Result<SecretString, AnswerError> {
    use secrecy::ExposeSecret;
    let token = body_of(status, body)?
        .refresh_token
        .ok_or(AnswerError::Unusable("it has no refresh_token"))?;
    match token.expose_secret().len() {
        1..=MAX_EXTRA_BYTES => Ok(token),
        0 => Err(AnswerError::Unusable("refresh_token is empty")),
        _ => Err(AnswerError::Unusable("refresh_token is longer than 16 KiB")),
    }
}

fn body_of(status: StatusCode, body: &[u8]) -> Result<Body, AnswerError> {
    if status != StatusCode::OK {
        return Err(AnswerError::Refused {
            status: status.as_u16(),
            reason: refusal(body),
        });
    }
    if body.len() > MAX_ANSWER_BYTES {
        return Err(AnswerError::Unusable("it is too large"));
    }
    serde_json::from_slice(body)
        .map_err(|_| AnswerError::Unusable("it is not the JSON of RFC 6749; check tokenServiceURL"))
}

fn life(token: &str, stated: &Value, now: SystemTime) -> Result<Duration, AnswerError> {
    let life = match expiry_of_jwt(token) {
        Some(expiry) => expiry
            .duration_since(now)
            .ok()
            .filter(|life| !life.is_zero())
            .ok_or(AnswerError::Unusable(
                "the token has expired already; check both clocks",
            ))?,
        None => {
            let seconds = match stated {
                Value::Number(number) => number.as_f64(),
                Value::String(text) => text.trim().parse::<f64>().ok(),
                _ => None,
            };
            match seconds.filter(|seconds| seconds.is_finite()) {
                Some(seconds) if seconds < 1.0 => {
                    return Err(AnswerError::Unusable(
                        "expires_in says the token has expired already",
                    ));
                }
                Some(seconds) => Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_LIFE),
                None => UNSTATED_LIFE,
            }
        }
    };
    Ok(life.min(LONGEST_LIFE))
}

/// `exp` of a JWT (RFC 7519 section 4.1.4). The signature is the business of whoever receives the token; here only
/// its life is of interest, and a wrong one harms nobody but its issuer.
fn expiry_of_jwt(token: &str) -> Option<SystemTime> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let mut parts = token.split('.');
    let (_, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(claims.exp).ok()?)
}

/// What the server says, if it speaks RFC 6749. Anything else is not repeated: error pages echo requests, and with
/// them secrets.
fn refusal(body: &[u8]) -> Option<String> {
    let refusal: Refusal = serde_json::from_slice(body.get(..MAX_ANSWER_BYTES).unwrap_or(body)).ok()?;
    let error = refusal.error?;
    Some(match refusal.error_description {
        Some(description) => format!("{} ({})", shorten(&error), description_text(&description)),
        None => shorten(&error),
    })
}

fn description_text(text: &str) -> String {
    text.chars()
        .take(200)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
