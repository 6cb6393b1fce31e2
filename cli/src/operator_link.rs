//! How those who call the operator know it, and show who they are.

use std::path::PathBuf;

use clap::Args;
use landbridge_proxy::control::{self, Authority};
use landbridge_runtime::problems::Problems;
use url::Url;

/// Options of every command that calls the operator's serve API.
#[derive(Debug, Args)]
pub(crate) struct OperatorLinkArgs {
    /// PEM file with the authority of the operator's certificate; read again at each connection.
    #[arg(long, env = "LANDBRIDGE_OPERATOR_CA", value_name = "FILE")]
    pub operator_ca: Option<PathBuf>,
    /// The authority itself (PEM), for pods that cannot mount it. The file wins.
    #[arg(
        long,
        env = "LANDBRIDGE_OPERATOR_CA_PEM",
        hide_env_values = true,
        value_name = "PEM"
    )]
    pub operator_ca_pem: Option<String>,
    /// This pod's projected service-account token of the audience "landbridge"; read again at each call.
    #[arg(
        long,
        env = "LANDBRIDGE_TOKEN_FILE",
        default_value = "/var/run/secrets/landbridge/token",
        value_name = "FILE"
    )]
    pub token_file: PathBuf,
}

impl OperatorLinkArgs {
    /// Settings for calling the operator at `url`; `state_file` is where the proxy keeps what it hears.
    pub(crate) fn settings(
        &self,
        url: &str,
        state_file: Option<PathBuf>,
        problems: &mut Problems,
    ) -> Option<control::Settings> {
        let address = problems.take("--operator", address(url));
        let authority = self.authority(problems);
        let (host, port) = address?;
        Some(control::Settings {
            host,
            port,
            authority: authority?,
            learned: control::Learned::default(),
            token_file: self.token_file.clone(),
            state_file,
        })
    }

    fn authority(&self, problems: &mut Problems) -> Option<Authority> {
        match (&self.operator_ca, &self.operator_ca_pem) {
            (Some(file), _) => Some(Authority::File(file.clone())),
            (None, Some(pem)) => Some(Authority::Pem(pem.as_str().into())),
            (None, None) => {
                problems.add(
                    "--operator-ca",
                    "is missing; without it anybody could be the operator. Name the file, or set LANDBRIDGE_OPERATOR_CA_PEM",
                );
                None
            }
        }
    }
}

/// Host and port of the operator.
///
/// # Errors
/// It is no such address; the text says how to write it.
pub(crate) fn address(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("\"{text}\" is no https://HOST:PORT; write it so, without a path");
    let url = Url::parse(text).map_err(|_| wrong())?;
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    let anonymous = url.username().is_empty() && url.password().is_none();
    match (url.scheme(), url.host_str(), url.port_or_known_default()) {
        ("https", Some(host), Some(port)) if bare && anonymous => Ok((host.to_owned(), port)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_addresses_without_a_path() {
        for (text, expected) in [
            (
                "https://operator.system.svc:8443",
                Some(("operator.system.svc", 8443)),
            ),
            ("https://10.0.0.1", Some(("10.0.0.1", 443))),
            ("https://[fd00::1]:8443/", Some(("[fd00::1]", 8443))),
            ("http://operator:8443", None),
            ("operator:8443", None),
            ("https://operator:8443/v1", None),
            ("https://me@operator:8443", None),
        ] {
            let found = address(text).ok();
            assert_eq!(
                found,
                expected.map(|(host, port)| (host.to_owned(), port)),
                "{text}"
            );
        }
    }
}
