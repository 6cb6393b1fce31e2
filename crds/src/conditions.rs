//! Types and reasons of the conditions of all kinds. They are an interface: scripts and dashboards read them.

/// Types of conditions.
pub mod types {
    /// The published condition: can workloads use the destination? Carries the published reasons.
    pub const AVAILABLE: &str = "Available";
    /// The specification is valid and something Landbridge can do.
    pub const ACCEPTED: &str = "Accepted";
    /// What the specification refers to exists: destination, fragment.
    pub const RESOLVED_REFS: &str = "ResolvedRefs";
    /// The proxies serve it.
    pub const PROGRAMMED: &str = "Programmed";
    /// All of the above.
    pub const READY: &str = "Ready";
    /// Of a service channel: a connector of every location holds it. Says nothing of `Ready`, because a connector is
    /// switched on and off by somebody else.
    pub const REACHABLE: &str = "Reachable";
}

/// Values of `status`.
pub mod status {
    /// It holds.
    pub const TRUE: &str = "True";
    /// It does not hold, the message says why.
    pub const FALSE: &str = "False";
    /// It cannot be told at the moment, the message says why.
    pub const UNKNOWN: &str = "Unknown";
}

/// Reasons of `Available`, as published (seed L36866-37080 and later versions of the resource).
pub mod reasons {
    /// Everything is in place.
    pub const CONFIGURATION_SUCCESSFUL: &str = "ConfigurationSuccessful";
    /// The destination could not be worked on, for instance because the store does not answer.
    pub const CONFIGURATION_FAILED: &str = "ConfigurationFailed";
    /// The Service could not be created.
    pub const SERVICE_CREATION_FAILED: &str = "ServiceCreationFailed";
    /// The proxies could not put it into effect, wholly or in part.
    pub const FAILED_TO_APPLY_CONFIGURATION: &str = "FailedToApplyConfiguration";
    /// The store has no destination of this name.
    pub const DESTINATION_NOT_FOUND: &str = "ConfigurationError-ReferencedDestination-NotFound";
    /// The store has no fragment of this name, and it is not optional.
    pub const FRAGMENT_NOT_FOUND: &str = "ConfigurationError-ReferencedFragment-NotFound";
    /// `Type` of the destination is nothing that can be proxied.
    pub const TYPE_NOT_SUPPORTED: &str = "ConfigurationError-ReferencedDestination-TypeNotSupported";
    /// `ProxyType` is neither Internet nor OnPremise.
    pub const PROXY_TYPE_NOT_SUPPORTED: &str =
        "ConfigurationError-ReferencedDestination-ProxyTypeNotSupported";
    /// `ProxyType` is not supported once the fragment is merged over the destination.
    pub const PROXY_TYPE_WITH_FRAGMENT_NOT_SUPPORTED: &str =
        "ConfigurationError-ReferencedDestinationWithFragment-ProxyTypeNotSupported";
    /// `URL` is empty or of another scheme than the type wants.
    pub const URL_NOT_SUPPORTED: &str = "ConfigurationError-ReferencedDestination-UrlNotSupported";
    /// The address of a TCP destination is not host:port.
    pub const TCP_ADDRESS_NOT_SUPPORTED: &str =
        "ConfigurationError-ReferencedDestination-TcpAddressNotSupported";
    /// The target is the proxy's own machine: localhost, 127.0.0.1, ::1.
    pub const LOOPBACK_URL_NOT_SUPPORTED: &str =
        "ConfigurationError-ReferencedDestination-LoopbackUrlNotSupported";
    /// The key store cannot be used (p12, pfx, pem, der, cer, crt).
    pub const KEY_STORE_INVALID: &str = "ConfigurationError-ReferencedDestination-KeyStoreInvalid";
    /// The trust store cannot be used (p12, pfx, pem, der, cer, crt).
    pub const TRUST_STORE_INVALID: &str = "ConfigurationError-ReferencedDestination-TrustStoreInvalid";
    /// A plain http:// URL has no use for certificates.
    pub const HTTP_URL_WITH_STORES_NOT_SUPPORTED: &str =
        "ConfigurationError-ReferencedDestination-HttpUrlWithTrustStoreOrKeyStoreNotSupported";
    /// A gateway cannot have a fixed fragment, and a fragment cannot have a level when its destination has none.
    pub const FRAGMENT_SPECIFICATION_NOT_SUPPORTED: &str =
        "ConfigurationError-FragmentSpecification-NotSupported";
    /// Another resource declares the same name.
    pub const DUPLICATE: &str = "ConfigurationError-DuplicateDestinationCustomResource";
    /// Somebody else's object has the name that the Service would get.
    pub const NAME_ALREADY_PRESENT: &str = "ConfigurationError-K8sResourceWithNameAlreadyPresent";
    /// The resource and the proxies disagree about dedicated or shared tenancy.
    pub const PROXY_TENANT_MODE_MISMATCH: &str = "ConfigurationError-ProxyTenantModeMismatch";
    /// The annotation with the tenants is not a JSON list of strings.
    pub const MULTITENANCY_ANNOTATION_INVALID: &str = "ConfigurationError-MultitenancyAnnotation-Invalid";
}

/// Reasons of the conditions `Accepted`, `ResolvedRefs`, `Programmed` and `Ready`.
pub mod gateway_reasons {
    /// `Accepted`: valid.
    pub const ACCEPTED: &str = "Accepted";
    /// `Accepted`: the specification, or the destination behind it, is something Landbridge cannot do.
    pub const INVALID: &str = "Invalid";
    /// `Accepted`: `actions` is declared, and this version does not run them.
    pub const ACTIONS_NOT_SUPPORTED: &str = "ActionsNotSupported";
    /// `ResolvedRefs`: everything was found.
    pub const RESOLVED_REFS: &str = "ResolvedRefs";
    /// `ResolvedRefs`: not looked up, because the request decides (gateway).
    pub const NOT_NEEDED: &str = "NotNeeded";
    /// `ResolvedRefs`: the destination is not in the store.
    pub const REF_NOT_FOUND: &str = "RefNotFound";
    /// `ResolvedRefs`: the store did not answer.
    pub const STORE_UNAVAILABLE: &str = "StoreUnavailable";
    /// `Programmed`: the proxies serve it.
    pub const PROGRAMMED: &str = "Programmed";
    /// `Programmed`: on its way to the proxies.
    pub const PENDING: &str = "Pending";
    /// `Programmed`: no route was made, another condition says why.
    pub const NO_ROUTE: &str = "NoRoute";
    /// `Programmed`: no port could be given to it.
    pub const NO_PORT: &str = "NoPort";
    /// `Programmed`: the Service could not be made.
    pub const NO_SERVICE: &str = "NoService";
    /// `Programmed`: the proxies could not put it into effect.
    pub const FAILED: &str = "Failed";
    /// `Ready`: all conditions hold.
    pub const READY: &str = "Ready";
    /// `Ready`: at least one condition does not hold.
    pub const NOT_READY: &str = "NotReady";
}

/// Reasons that service channels have besides [`gateway_reasons`].
pub mod channel_reasons {
    /// `Accepted`: another one has the same type, subaccount and service id (seed L32709).
    pub const DUPLICATE: &str = "Duplicate";
    /// `Accepted`: the proxies serve many subaccounts, and none is named (seed L32672).
    pub const SUBACCOUNT_REQUIRED: &str = "SubaccountRequired";
    /// `Accepted`: a channel of a namespace may not lead there.
    pub const ADDRESS_NOT_ALLOWED: &str = "AddressNotAllowed";
    /// `Accepted`: the resource is of a form that this version cannot read.
    pub const UNREADABLE: &str = "Unreadable";
    /// `ResolvedRefs`: the Service exists and cannot be used.
    pub const SERVICE_NOT_SUPPORTED: &str = "ServiceNotSupported";
    /// `Programmed`: it is being deleted and not offered any more.
    pub const DELETING: &str = "Deleting";
    /// `Reachable`: a connector of every location holds it.
    pub const HELD: &str = "Held";
    /// `Reachable`: connectors of some locations hold it.
    pub const PARTLY_HELD: &str = "PartlyHeld";
    /// `Reachable`: no connector holds it.
    pub const NOT_HELD: &str = "NotHeld";
    /// `Reachable`: the connector's end is switched off in the resource.
    pub const DISABLED: &str = "Disabled";
}

#[cfg(test)]
mod tests {
    /// Every type and reason is explained to users, with what to do.
    #[test]
    fn the_reference_has_them_all() {
        let reference = include_str!("../../docs/reference/conditions.md");
        let (source, _) = include_str!("conditions.rs").split_once("#[cfg(test)]").unwrap();
        let declared: Vec<&str> = source
            .split("pub const ")
            .skip(1)
            .filter_map(|constant| constant.split('"').nth(1))
            .collect();
        assert!(declared.len() > 40, "{declared:?}");
        let values = ["True", "False", "Unknown"];
        for name in declared.iter().filter(|name| !values.contains(name)) {
            assert!(
                reference.contains(&format!("`{name}`")),
                "docs/reference/conditions.md says nothing of {name}"
            );
        }
    }
}
