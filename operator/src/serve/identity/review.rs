//! The reviewer of a cluster: the API server.

use std::sync::Arc;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};
use landbridge_destination::serve::AUDIENCE;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Identity, PodId, ReviewError, TokenReviewer};
use crate::cluster::client::{CALL, within};

const USER_PREFIX: &str = "system:serviceaccount:";
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Asks with `TokenReview` (authentication.k8s.io/v1); needs the right to create those.
#[derive(Clone)]
pub struct KubeReviewer {
    api: Api<TokenReview>,
}

impl std::fmt::Debug for KubeReviewer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("KubeReviewer").finish_non_exhaustive()
    }
}

impl KubeReviewer {
    /// Asks the API server of `client`.
    pub fn new(client: Client) -> Self {
        Self {
            api: Api::all(client),
        }
    }
}

impl TokenReviewer for KubeReviewer {
    async fn review(&self, token: &SecretString) -> Result<Identity, ReviewError> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![AUDIENCE.to_owned()]),
                token: Some(token.expose_secret().to_owned()),
            },
            ..TokenReview::default()
        };
        let parameters = PostParams::default();
        match within(CALL, self.api.create(&parameters, &review)).await {
            Ok(review) => identity_of(review.status.unwrap_or_default()),
            Err(error) if error.code() == Some(403) => Err(ReviewError::Unavailable(format!(
                "{error}; allow the operator's service account to create tokenreviews.authentication.k8s.io"
            ))),
            Err(error) => Err(ReviewError::Unavailable(error.to_string())),
        }
    }
}

/// What the API server's answer says. Everything that is not said counts as no.
fn identity_of(status: TokenReviewStatus) -> Result<Identity, ReviewError> {
    let refused = |why: String| Err(ReviewError::Refused(why));
    if status.authenticated != Some(true) {
        let why = status.error.filter(|why| !why.is_empty());
        return refused(why.unwrap_or_else(|| "it is not valid, or not any more".to_owned()));
    }
    // An authenticator that knows nothing of audiences accepts tokens that were made for somebody else.
    if !status
        .audiences
        .unwrap_or_default()
        .iter()
        .any(|audience| audience == AUDIENCE)
    {
        return refused(format!("it is not for the audience '{AUDIENCE}'"));
    }
    let user = status.user.unwrap_or_default();
    let name = user.username.unwrap_or_default();
    let account = name
        .strip_prefix(USER_PREFIX)
        .and_then(|rest| rest.split_once(':'));
    let Some((namespace, service_account)) = account else {
        return refused("it belongs to no service account".to_owned());
    };
    let extra = user.extra.unwrap_or_default();
    let one = |key: &str| match extra.get(key).map(Vec::as_slice) {
        Some([value]) => Some(value.clone()),
        _ => None,
    };
    let pod = one(POD_NAME).zip(one(POD_UID)).map(|(name, uid)| PodId {
        namespace: namespace.to_owned(),
        name,
        uid,
    });
    Ok(Identity {
        namespace: Arc::from(namespace),
        service_account: Arc::from(service_account),
        pod,
        expires: None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    fn status(audiences: &[&str], username: &str, extra: &[(&str, &[&str])]) -> TokenReviewStatus {
        let extra: BTreeMap<_, _> = extra
            .iter()
            .map(|(key, values)| {
                let values = values.iter().map(|value| (*value).to_owned()).collect();
                ((*key).to_owned(), values)
            })
            .collect();
        TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(audiences.iter().map(|audience| (*audience).to_owned()).collect()),
            user: Some(UserInfo {
                username: Some(username.to_owned()),
                extra: Some(extra),
                ..UserInfo::default()
            }),
            error: None,
        }
    }

    #[test]
    fn a_service_account_and_its_pod() {
        let extra: &[(&str, &[&str])] = &[(POD_NAME, &["proxy-0"]), (POD_UID, &["u-1"])];
        let account = "system:serviceaccount:landbridge:proxy";
        let identity = identity_of(status(&["other", AUDIENCE], account, extra)).unwrap();
        assert_eq!(
            (&*identity.namespace, &*identity.service_account),
            ("landbridge", "proxy")
        );
        let pod = identity.pod.unwrap();
        assert_eq!(
            (&*pod.namespace, &*pod.name, &*pod.uid),
            ("landbridge", "proxy-0", "u-1")
        );
        let unbound = identity_of(status(&[AUDIENCE], account, &extra[..1])).unwrap();
        assert_eq!(unbound.pod, None, "a name without a uid binds to nothing");
    }

    #[test]
    fn everything_else_is_refused() {
        let account = "system:serviceaccount:landbridge:proxy";
        let refused = |status| match identity_of(status).unwrap_err() {
            ReviewError::Refused(why) => why,
            other => panic!("{other:?}"),
        };
        let not_for_us = status(&["https://kubernetes.default.svc"], account, &[]);
        assert!(refused(not_for_us).contains("audience 'landbridge'"));
        let no_audiences = TokenReviewStatus {
            audiences: None,
            ..status(&[], account, &[])
        };
        assert!(refused(no_audiences).contains("audience"));
        assert!(refused(status(&[AUDIENCE], "admin", &[])).contains("no service account"));
        assert!(refused(status(&[AUDIENCE], "system:serviceaccount:x", &[])).contains("no service account"));
        let expired = TokenReviewStatus {
            authenticated: Some(false),
            error: Some("token has expired".to_owned()),
            ..status(&[AUDIENCE], account, &[])
        };
        assert_eq!(refused(expired), "token has expired");
        assert!(refused(TokenReviewStatus::default()).contains("not valid"));
    }
}
