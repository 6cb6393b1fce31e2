//! What tokens permit: scopes, and the roles that stand for sets of them (seed L402-L590).

use super::verify::{Access, Area, At};

/// The scope of everything that reads: what proxies and applications need.
pub(crate) const READ: &str = "destination.read";

/// The scope of everything that writes.
pub(crate) const WRITE: &str = "destination.write";

/// The scope that every user token has, and no other (seed L13779).
pub(crate) const USER: &str = "uaa.user";

impl Area {
    const ALL: [Self; 3] = [Self::Configuration, Self::Certificate, Self::Trust];

    fn word(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Certificate => "certificate",
            Self::Trust => "trust",
        }
    }
}

impl At {
    const ALL: [Self; 2] = [Self::Subaccount, Self::Instance];

    fn word(self) -> &'static str {
        match self {
            Self::Subaccount => "subaccount",
            Self::Instance => "instance",
        }
    }
}

impl Access {
    const ALL: [Self; 2] = [Self::Read, Self::Write];

    fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// The narrow scope of one kind of work, such as `destination.configuration.instance.read`.
pub(crate) fn scope(area: Area, at: At, access: Access) -> String {
    format!("destination.{}.{}.{}", area.word(), at.word(), access.word())
}

/// Whether what a token holds permits this: the scope itself, or the one of all reading or writing.
pub(crate) fn permits(held: &[String], area: Area, at: At, access: Access) -> bool {
    let wide = match access {
        Access::Read => READ,
        Access::Write => WRITE,
    };
    // Nearly all keys have the wide ones; the text of the narrow one is made for the others only.
    if held.iter().any(|held| held == wide) {
        return true;
    }
    let narrow = scope(area, at, access);
    held.contains(&narrow)
}

/// All scopes that a service key may have.
pub(crate) fn all_scopes() -> Vec<String> {
    let mut all = vec![READ.to_owned(), WRITE.to_owned()];
    for area in Area::ALL {
        for at in At::ALL {
            // Trust belongs to the subaccount alone.
            if area == Area::Trust && at == At::Instance {
                continue;
            }
            all.extend(Access::ALL.map(|access| scope(area, at, access)));
        }
    }
    all
}

/// A role of the original service, to be given to a service key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// Its name, as in the seed (L402-L590).
    pub name: &'static str,
    areas: &'static [Area],
    levels: &'static [At],
    writes: bool,
}

const EVERYTHING: &[Area] = &Area::ALL;
const CONFIGURATION: &[Area] = &[Area::Configuration];
const CERTIFICATE: &[Area] = &[Area::Certificate];
const BOTH: &[Area] = &[Area::Configuration, Area::Certificate];
const TRUST: &[Area] = &[Area::Trust];
const SUBACCOUNT: &[At] = &[At::Subaccount];
const INSTANCE: &[At] = &[At::Instance];

const fn role(name: &'static str, areas: &'static [Area], levels: &'static [At], writes: bool) -> Role {
    Role {
        name,
        areas,
        levels,
        writes,
    }
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 14] = [
        role("Destination Administrator", EVERYTHING, SUBACCOUNT, true),
        role("Destination Viewer", EVERYTHING, SUBACCOUNT, false),
        role(
            "Destination Configuration Administrator",
            CONFIGURATION,
            SUBACCOUNT,
            true,
        ),
        role(
            "Destination Configuration Viewer",
            CONFIGURATION,
            SUBACCOUNT,
            false,
        ),
        role(
            "Destination Certificate Administrator",
            CERTIFICATE,
            SUBACCOUNT,
            true,
        ),
        role("Destination Certificate Viewer", CERTIFICATE, SUBACCOUNT, false),
        role(
            "Destination Subaccount Trust Administrator",
            TRUST,
            SUBACCOUNT,
            true,
        ),
        role("Destination Subaccount Trust Viewer", TRUST, SUBACCOUNT, false),
        role("Destination Administrator Instance", BOTH, INSTANCE, true),
        role("Destination Viewer Instance", BOTH, INSTANCE, false),
        role(
            "Destination Configuration Instance Administrator",
            CONFIGURATION,
            INSTANCE,
            true,
        ),
        role(
            "Destination Configuration Instance Viewer",
            CONFIGURATION,
            INSTANCE,
            false,
        ),
        role(
            "Destination Certificate Instance Administrator",
            CERTIFICATE,
            INSTANCE,
            true,
        ),
        role(
            "Destination Certificate Instance Viewer",
            CERTIFICATE,
            INSTANCE,
            false,
        ),
    ];

    /// The role of that name; upper and lower case are the same, and `-` does for a blank.
    pub fn named(name: &str) -> Option<Self> {
        let plain = name.replace('-', " ");
        Self::ALL
            .into_iter()
            .find(|role| role.name.eq_ignore_ascii_case(&plain))
    }

    /// Its scopes. Whoever may change something may read it.
    pub fn scopes(self) -> Vec<String> {
        let mut scopes = Vec::new();
        for area in self.areas {
            for at in self.levels {
                scopes.push(scope(*area, *at, Access::Read));
                if self.writes {
                    scopes.push(scope(*area, *at, Access::Write));
                }
            }
        }
        scopes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_scopes_permit_everything_and_narrow_ones_one_thing() {
        for area in Area::ALL {
            for at in At::ALL {
                let held = |text: &str| [text.to_owned()];
                assert!(permits(&held(READ), area, at, Access::Read));
                assert!(!permits(&held(READ), area, at, Access::Write));
                assert!(permits(&held(WRITE), area, at, Access::Write));
                assert!(!permits(&held(WRITE), area, at, Access::Read));
                assert!(!permits(&[], area, at, Access::Read));
            }
        }
        let held = ["destination.certificate.instance.read".to_owned()];
        assert!(permits(&held, Area::Certificate, At::Instance, Access::Read));
        assert!(!permits(&held, Area::Certificate, At::Instance, Access::Write));
        assert!(!permits(&held, Area::Certificate, At::Subaccount, Access::Read));
        assert!(!permits(&held, Area::Configuration, At::Instance, Access::Read));
        assert_eq!(all_scopes().len(), 12);
    }

    #[test]
    fn roles_are_known_by_name_and_have_scopes_that_exist() {
        let all = all_scopes();
        for role in Role::ALL {
            assert_eq!(Role::named(role.name), Some(role));
            assert!(!role.scopes().is_empty());
            assert!(
                role.scopes().iter().all(|scope| all.contains(scope)),
                "{}",
                role.name
            );
        }
        let viewer = Role::named("destination-configuration-instance-viewer").unwrap();
        assert_eq!(viewer.scopes(), ["destination.configuration.instance.read"]);
        assert_eq!(
            Role::named("Destination Subaccount Trust Administrator")
                .unwrap()
                .scopes()
                .len(),
            2
        );
        assert_eq!(Role::named("Root"), None);
    }
}
