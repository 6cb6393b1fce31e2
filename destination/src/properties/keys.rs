//! Names of the properties that have a meaning, and which of them are secrets.

/// Name of the destination.
pub const NAME: &str = "Name";
/// Kind of the destination.
pub const TYPE: &str = "Type";
/// Target.
pub const URL: &str = "URL";
/// Target of a TCP destination, `host:port`.
pub const ADDRESS: &str = "Address";
/// Where the target is.
pub const PROXY_TYPE: &str = "ProxyType";
/// How to authenticate.
pub const AUTHENTICATION: &str = "Authentication";
/// Which connector.
pub const LOCATION_ID: &str = "CloudConnectorLocationId";
/// User of Basic and password flows.
pub const USER: &str = "User";
/// Its password.
pub const PASSWORD: &str = "Password";
/// OAuth client.
pub const CLIENT_ID: &str = "clientId";
/// Its secret.
pub const CLIENT_SECRET: &str = "clientSecret";
/// Where tokens come from.
pub const TOKEN_SERVICE_URL: &str = "tokenServiceURL";
/// `Dedicated` or `Common`.
pub const TOKEN_SERVICE_URL_TYPE: &str = "tokenServiceURLType";
/// Where the token service is, if elsewhere than the target.
pub const TOKEN_SERVICE_PROXY_TYPE: &str = "tokenServiceURL.ProxyType";
/// Basic user at the token service.
pub const TOKEN_SERVICE_USER: &str = "tokenServiceUser";
/// Its password.
pub const TOKEN_SERVICE_PASSWORD: &str = "tokenServicePassword";
/// Key store for mutual TLS with the token service.
pub const TOKEN_SERVICE_KEY_STORE: &str = "tokenService.KeyStoreLocation";
/// Whether client id and secret go into the body of the token request.
pub const CREDENTIALS_IN_BODY: &str = "tokenService.addClientCredentialsInBody";
/// Password of that key store.
pub const TOKEN_SERVICE_KEY_STORE_PASSWORD: &str = "tokenService.KeyStorePassword";
/// Destination that provides a client assertion.
pub const CLIENT_ASSERTION_DESTINATION: &str = "clientAssertion.destinationName";
/// Format of the client assertions a destination provides (seed L7554).
pub const CLIENT_ASSERTION_TYPE: &str = "clientAssertion.type";
/// OAuth client of SAML flows (seed L6944).
pub const CLIENT_KEY: &str = "clientKey";
/// Audience of SAML assertions (seed L6940).
pub const AUDIENCE: &str = "audience";
/// `AuthnContextClassRef` of SAML assertions (seed L7031).
pub const AUTHN_CONTEXT: &str = "authnContextClassRef";
/// Security domain of the user (seed L7037).
pub const NAME_QUALIFIER: &str = "nameQualifier";
/// Company of the user (seed L7040).
pub const COMPANY_ID: &str = "companyId";
/// API key that goes into SAML assertions (seed L7223).
pub const API_KEY: &str = "apiKey";
/// Issuer of SAML assertions (seed L7042).
pub const ASSERTION_ISSUER: &str = "assertionIssuer";
/// Recipient of SAML assertions (seed L7044).
pub const ASSERTION_RECIPIENT: &str = "assertionRecipient";
/// Format of the user id in SAML assertions (seed L7047).
pub const NAME_ID_FORMAT: &str = "nameIdFormat";
/// Where in the user's token the user id is (seed L7051).
pub const USER_ID_SOURCE: &str = "userIdSource";
/// Fixed user id; deprecated (seed L7006).
pub const SYSTEM_USER: &str = "SystemUser";
/// Whether user attributes keep their bare names in SAML assertions (seed L7205).
pub const SKIP_ATTRIBUTES_PREFIX: &str = "skipUserAttributesPrefixInSAMLAttributes";
/// Whether the user's id at the identity provider is left out of SAML assertions (later API).
pub const SKIP_USER_UUID: &str = "skipUserUuidInSAMLAttributes";
/// Whether SAML assertions carry the certificate of their signature (later API).
pub const INCLUDE_SIGNING_CERTIFICATE: &str = "includeSigningCertificateInSAMLAssertion";
/// `base64` or `base64url` (later API).
pub const SAML_ASSERTION_ENCODING: &str = "samlAssertionEncoding";
/// Who makes the SAML assertion: the store, or the client with each call (`ClientProvided`; later API).
pub const SAML_ASSERTION_PROVIDER: &str = "SAMLAssertionProvider";
/// Key set that user tokens are checked against, in base64 (seed L7186).
pub const USER_TOKEN_JWKS: &str = "x_user_token.jwks";
/// Address of that key set (seed L7192).
pub const USER_TOKEN_JWKS_URI: &str = "x_user_token.jwks_uri";
/// Scopes asked for.
pub const SCOPE: &str = "scope";
/// Custom roots of the target.
pub const TRUST_STORE_LOCATION: &str = "TrustStoreLocation";
/// No check of the target's certificate.
pub const TRUST_ALL: &str = "TrustAll";
/// Client certificate.
pub const KEY_STORE_LOCATION: &str = "KeyStoreLocation";
/// Password of that key store.
pub const KEY_STORE_PASSWORD: &str = "KeyStorePassword";
/// Who owns the client certificate.
pub const KEY_STORE_SOURCE: &str = "KeyStore.Source";
/// Target of an LDAP destination.
pub const LDAP_URL: &str = "ldap.url";
/// Where an LDAP target is.
pub const LDAP_PROXY_TYPE: &str = "ldap.proxyType";
/// How to authenticate at an LDAP target.
pub const LDAP_AUTHENTICATION: &str = "ldap.authentication";
/// Prefix of headers added to target requests.
pub const URL_HEADERS: &str = "URL.headers.";
/// Prefix of query parameters added to target requests.
pub const URL_QUERIES: &str = "URL.queries.";
/// Prefix of headers added to token requests.
pub const TOKEN_SERVICE_HEADERS: &str = "tokenServiceURL.headers.";
/// Prefix of query parameters added to token requests.
pub const TOKEN_SERVICE_QUERIES: &str = "tokenServiceURL.queries.";
/// Prefix of form parameters added to token requests.
pub const TOKEN_SERVICE_BODY: &str = "tokenService.body.";

/// Properties that are secrets whatever they look like.
const SECRETS: &[&str] = &[
    "password",
    "clientsecret",
    "clientkey",
    "apikey",
    "tokenservicepassword",
    "keystorepassword",
    "truststorepassword",
    "tokenservice.keystorepassword",
    "jco.client.passwd",
    "jco.client.mysapsso2",
    "jco.client.x509cert",
    "jco.destination.repository.passwd",
    "jco.client.tech_user_secret",
    "ldap.password",
    "mail.password",
];

/// Words that make any property a secret, wherever they stand in its name. Additional properties carry API keys under
/// names nobody can list (`URL.headers.apiKey`, `tokenService.body.client_assertion`); hiding one value too many in
/// a log costs nothing.
const SECRET_WORDS: &[&str] = &[
    "password", "passwd", "secret", "apikey", "api-key", "api_key", "private",
];

/// Words that mark an added header, query or form parameter as a credential.
const CREDENTIAL_WORDS: &[&str] = &[
    "auth",
    "token",
    "key",
    "cookie",
    "assertion",
    "credential",
    "session",
];

/// Prefixes of properties that are copied into requests.
const ADDITIONS: &[&str] = &[
    "url.headers.",
    "url.queries.",
    "tokenserviceurl.headers.",
    "tokenserviceurl.queries.",
    "tokenservice.body.",
];

/// Whether the value of a property must never be shown. This is the one place that knows.
pub fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    if SECRETS.contains(&key.as_str()) || SECRET_WORDS.iter().any(|word| key.contains(word)) {
        return true;
    }
    ADDITIONS
        .iter()
        .filter_map(|prefix| key.strip_prefix(prefix))
        .any(|rest| CREDENTIAL_WORDS.iter().any(|word| rest.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::is_secret_key;

    #[test]
    fn knows_secrets() {
        for key in [
            "Password",
            "clientSecret",
            "tokenServicePassword",
            "KeyStorePassword",
            "TrustStorePassword",
            "tokenService.KeyStorePassword",
            "jco.client.passwd",
            "jco.destination.repository.passwd",
            "apiKey",
            "clientKey",
            "mail.password",
            "URL.headers.apiKey",
            "URL.headers.Authorization",
            "URL.queries.access_token",
            "tokenService.body.client_assertion",
            "mySecretThing",
        ] {
            assert!(is_secret_key(key), "{key}");
        }
    }

    #[test]
    fn shows_the_rest() {
        for key in [
            "Name",
            "URL",
            "Authentication",
            "tokenServiceURL",
            "clientId",
            "User",
            "KeyStoreLocation",
            "URL.headers.x-tenant",
            "URL.queries.sap-client",
            "tokenService.addClientCredentialsInBody",
        ] {
            assert!(!is_secret_key(key), "{key}");
        }
    }
}
