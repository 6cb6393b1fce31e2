//! What a change in a store means for what is kept of it. Pure.

use std::collections::HashSet;

use landbridge_destination::selector::DestinationSelector;

/// Something in a store is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Name of the destination service instance; `None`: any of them.
    instance: Option<String>,
    /// Names of destinations, fragments and certificates; `None`: any.
    names: Option<HashSet<String>>,
}

impl Change {
    /// These destinations, fragments or certificates of one instance have changed, or any of them.
    pub fn of(instance: impl Into<String>, names: Option<Vec<String>>) -> Self {
        Self {
            instance: Some(instance.into()),
            names: names.map(|names| names.into_iter().collect()),
        }
    }

    /// The same, where it is not known which instance is the default one: `None` may be any.
    pub fn heard(instance: Option<String>, names: Option<Vec<String>>) -> Self {
        Self {
            instance,
            names: names.map(|names| names.into_iter().collect()),
        }
    }

    /// Changes may have been missed, of every store.
    pub fn unknown() -> Self {
        Self {
            instance: None,
            names: None,
        }
    }

    /// Whether it says what has changed.
    pub fn is_named(&self) -> bool {
        self.names.is_some()
    }

    /// Whether what is kept for `selector` of the instance `instance` (none: it is not known which) may have another
    /// answer now. `certificates` are those that the kept answer depends on. What a chain depends on only the store knows.
    pub fn concerns(
        &self,
        selector: &DestinationSelector,
        instance: Option<&str>,
        certificates: &[String],
    ) -> bool {
        if let (Some(changed), Some(instance)) = (&self.instance, instance)
            && changed != instance
        {
            return false;
        }
        let Some(names) = &self.names else {
            return true;
        };
        selector.chain.is_some()
            || names.contains(&selector.name)
            || selector
                .fragment
                .as_ref()
                .is_some_and(|fragment| names.contains(&fragment.name))
            || certificates.iter().any(|name| names.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landbridge_destination::selector::{ChainSelector, FragmentSelector};

    #[test]
    fn a_change_concerns_what_names_it() {
        let plain = DestinationSelector::named("erp");
        let fragment = DestinationSelector {
            fragment: Some(FragmentSelector {
                name: "blue".into(),
                level: None,
                optional: true,
            }),
            ..plain.clone()
        };
        let chain = DestinationSelector {
            chain: Some(ChainSelector {
                name: "c".into(),
                variables: Vec::new(),
            }),
            ..plain.clone()
        };
        let named =
            |names: &[&str]| Change::of("one", Some(names.iter().map(|name| (*name).into()).collect()));
        let certificates = ["roots.pem".to_owned()];
        for (change, selector, instance, expected) in [
            (named(&["erp"]), &plain, "one", true),
            (named(&["erp"]), &plain, "two", false),
            (named(&["erp"]), &plain, "", true),
            (named(&["crm"]), &plain, "", false),
            (Change::heard(None, Some(vec!["erp".into()])), &plain, "two", true),
            (Change::heard(Some("one".into()), None), &plain, "two", false),
            (named(&["crm"]), &plain, "one", false),
            (named(&["crm", "erp"]), &plain, "one", true),
            (named(&["blue"]), &plain, "one", false),
            (named(&["blue"]), &fragment, "one", true),
            (named(&["anything"]), &chain, "one", true),
            (named(&["anything"]), &chain, "two", false),
            (named(&["roots.pem"]), &plain, "one", true),
            (Change::of("one", None), &plain, "one", true),
            (Change::of("one", None), &plain, "two", false),
            (Change::unknown(), &plain, "two", true),
        ] {
            let known = Some(instance).filter(|instance| !instance.is_empty());
            let found = change.concerns(selector, known, &certificates);
            assert_eq!(found, expected, "{change:?} {selector:?} {instance}");
        }
    }
}
