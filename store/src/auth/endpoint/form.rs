//! The parameters of a token request.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::error::OAuthError;

/// Form parameters; one value per name (RFC 6749 section 3.2), no empty ones. They may be passwords.
pub(super) struct Form(BTreeMap<String, Zeroizing<String>>);

impl Form {
    pub(super) fn parse(body: &[u8]) -> Result<Self, OAuthError> {
        let mut form = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(body) {
            if value.is_empty() {
                continue;
            }
            let value = Zeroizing::new(value.into_owned());
            if form.insert(name.into_owned(), value).is_some() {
                let text = "a parameter is sent twice; send each once";
                return Err(OAuthError::invalid_request(text));
            }
        }
        Ok(Self(form))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str())
    }

    pub(super) fn need(&self, name: &'static str) -> Result<&str, OAuthError> {
        self.get(name)
            .ok_or_else(|| OAuthError::invalid_request(format!("{name} is missing")))
    }

    /// Parameters that say which kind of token is wanted; there is one kind (seed L12356).
    pub(super) fn check_kind(&self) -> Result<(), OAuthError> {
        for (name, only) in [("token_format", "jwt"), ("response_type", "token")] {
            if self.get(name).is_some_and(|value| value != only) {
                let text = format!("{name} can be {only} only; leave it out");
                return Err(OAuthError::invalid_request(text));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_once_and_only_known_kinds() {
        let form = Form::parse(b"grant_type=password&username=a%40b&password=&x=1")
            .ok()
            .unwrap();
        assert_eq!((form.get("username"), form.get("password")), (Some("a@b"), None));
        assert!(form.need("password").is_err());
        assert!(Form::parse(b"a=1&a=2").is_err());
        for (text, good) in [
            ("token_format=jwt&response_type=token", true),
            ("", true),
            ("token_format=opaque", false),
            ("response_type=code", false),
        ] {
            let form = Form::parse(text.as_bytes()).ok().unwrap();
            assert_eq!(form.check_kind().is_ok(), good, "{text}");
        }
    }
}
