use landbridge_destination::oauth::ClientAssertion;
use serde_json::json;

use super::super::given::GivenToken;
use super::super::saml::SamlSource;
use super::super::work::{Material, OwnedGrant, Proof, Work};
use super::*;

fn work(material: Material, proof: Proof) -> Work {
    Work {
        config: config(&[("Name", "d"), ("clientId", "c")]),
        subaccount_id: "sub-1".into(),
        owner: String::new(),
        subdomain: "home".into(),
        material,
        proof,
    }
}

fn plain() -> Work {
    work(Material::Grant(OwnedGrant::ClientCredentials), Proof::Properties)
}

fn grant(grant: OwnedGrant) -> Work {
    work(Material::Grant(grant), Proof::Properties)
}

fn provided(kind: &'static str, provider: Work) -> Work {
    let proof = Proof::Provider {
        kind,
        work: Arc::new(provider),
    };
    work(Material::Grant(OwnedGrant::ClientCredentials), proof)
}

fn exchange(subject: &str, actor: Option<&str>) -> Work {
    let typed = |token: &str| GivenToken {
        token: token.into(),
        kind: "urn:x".into(),
    };
    grant(OwnedGrant::Exchange {
        subject: typed(subject),
        actor: actor.map(typed),
    })
}

fn saml(signer: &Arc<SigningKey>, claims: Value) -> Work {
    let destination = config(&[("Name", "d"), ("Authentication", "SAMLAssertion")]);
    let source = SamlSource::new(&destination, &claims, Arc::clone(signer)).unwrap();
    work(Material::Saml(source), Proof::Properties)
}

/// Whatever decides the token makes another entry of the cache: no tenant, user, client or version of a destination ever
/// gets what was fetched for another (seed L16687).
#[test]
fn what_decides_a_token_is_in_its_key() {
    let caller = |kind: &str, assertion: &str| {
        let assertion = ClientAssertion {
            kind: kind.into(),
            assertion: assertion.into(),
        };
        work(
            Material::Grant(OwnedGrant::ClientCredentials),
            Proof::Caller(assertion),
        )
    };
    let certificate = |pair: &Pair| {
        work(
            Material::Grant(OwnedGrant::ClientCredentials),
            Proof::Certificate(pair.identity()),
        )
    };
    let changed = |change: fn(&mut Work)| {
        let mut work = plain();
        change(&mut work);
        work
    };
    let (one, other) = (Pair::ec("one").signing("x"), Pair::ec("other").signing("x"));
    let user = |attributes: Value| json!({"user_name": "jane", "user_attributes": attributes});
    let prefix = "user_attributes.b";
    let different = [
        saml(&one, user(json!({}))),
        saml(&other, user(json!({}))),
        saml(&one, user(json!({"a": ["1"], "b": ["2"]}))),
        saml(&one, user(json!({"a": ["1", prefix, "2"]}))),
        saml(&one, json!({"user_name": "john"})),
        plain(),
        changed(|work| work.subaccount_id = "sub-2".into()),
        changed(|work| work.owner = "instance".into()),
        changed(|work| work.subdomain = "other".into()),
        changed(|work| {
            work.config.set("clientId", "c2");
        }),
        changed(|work| {
            work.config.set("scope", "s");
        }),
        // A property more, named as what would follow the properties.
        changed(|work| {
            work.config.set("properties", "");
        }),
        grant(OwnedGrant::JwtBearer("jane".into())),
        grant(OwnedGrant::JwtBearer("john".into())),
        exchange("jane", None),
        exchange("john", None),
        exchange("jane", Some("john")),
        caller("urn:x", "a"),
        caller("urn:x", "b"),
        caller("urn:y", "a"),
        provided("urn:x", plain()),
        provided("urn:y", plain()),
        provided("urn:x", changed(|work| work.subdomain = "other".into())),
        certificate(&Pair::ec("one")),
        certificate(&Pair::ec("one")),
    ];
    let keys: Vec<_> = different.iter().map(Work::key).collect();
    for (index, key) in keys.iter().enumerate() {
        let same = keys.iter().position(|other| other == key);
        assert_eq!(same, Some(index));
    }
    assert_eq!(plain().key(), plain().key());
}

#[test]
fn what_is_good_for_one_use_is_not_kept() {
    let code = OwnedGrant::Code {
        code: "c".into(),
        redirect_uri: None,
        verifier: None,
    };
    assert!(!grant(code).is_kept());
    assert!(!grant(OwnedGrant::Refresh("r".into())).is_kept());
    assert!(plain().is_kept() && grant(OwnedGrant::JwtBearer("j".into())).is_kept());
}
