//! The custom resource definitions as YAML text, ready for `kubectl apply -f -`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use crate::destination::Destination;
use crate::schema::definition;
use crate::service_channel::ServiceChannel;
use crate::service_mapping::ServiceMapping;

/// Why the text could not be made.
#[derive(Debug, thiserror::Error)]
#[error(
    "the custom resource definition {name} cannot be written as YAML (a defect of this build, please report it): {source}"
)]
pub struct YamlError {
    name: &'static str,
    source: serde_saphyr::ser::Error,
}

/// All definitions.
pub fn definitions() -> [CustomResourceDefinition; 3] {
    [
        definition::<Destination>(),
        definition::<ServiceChannel>(),
        definition::<ServiceMapping>(),
    ]
}

/// All definitions as one multi-document YAML text.
///
/// # Errors
/// Never for a build whose tests passed: the same text is compared with `crds/yaml`.
pub fn crd_yaml() -> Result<String, YamlError> {
    Ok(files()?.into_iter().map(|(_, text)| text).collect())
}

/// File name in `crds/yaml`, and its text.
///
/// # Errors
/// As for [`crd_yaml`].
pub fn files() -> Result<Vec<(&'static str, String)>, YamlError> {
    const HEAD: &str =
        "# Written from the types in crds/src by `cargo xtask crds`; `landbridge crds` prints it.\n---\n";
    let text = |name, definition: &CustomResourceDefinition| {
        serde_saphyr::to_string(definition)
            .map(|body| format!("{HEAD}{body}"))
            .map_err(|source| YamlError { name, source })
    };
    Ok(vec![
        (
            "destination.yaml",
            text("Destination", &definition::<Destination>())?,
        ),
        (
            "service-channel.yaml",
            text("ServiceChannel", &definition::<ServiceChannel>())?,
        ),
        (
            "service-mapping.yaml",
            text("ServiceMapping", &definition::<ServiceMapping>())?,
        ),
    ])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// `cargo xtask crds` sets the variable. A chart can contain only what lies in its own folder.
    #[test]
    fn committed_files_are_up_to_date() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folders = ["yaml", "../charts/landbridge-crds/files"].map(|folder| root.join(folder));
        let files = files().unwrap();
        for (folder, (name, text)) in folders
            .iter()
            .flat_map(|folder| files.iter().map(move |file| (folder, file)))
        {
            let path = folder.join(name);
            if std::env::var_os("LANDBRIDGE_WRITE_YAML").is_some() {
                std::fs::write(&path, text).unwrap();
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                committed == *text,
                "{} is out of date: run `cargo xtask crds`",
                path.display()
            );
        }
    }

    #[test]
    fn names_and_columns_are_the_published_ones() {
        let crd = definition::<Destination>();
        assert_eq!(
            crd.metadata.name.as_deref(),
            Some("destinations.destination.connectivity.api.sap")
        );
        assert_eq!(crd.spec.scope, "Namespaced");
        assert_eq!(
            crd.spec.names.short_names.as_deref(),
            Some(&["dst".to_owned()][..])
        );
        let version = &crd.spec.versions[0];
        assert!(version.served && version.storage && version.name == "v1");
        assert!(
            version
                .subresources
                .as_ref()
                .is_some_and(|parts| parts.status.is_some())
        );
        let columns: Vec<_> = version
            .additional_printer_columns
            .iter()
            .flatten()
            .map(|column| column.name.as_str())
            .collect();
        assert_eq!(
            columns,
            [
                "Age",
                "DestinationRef",
                "FragmentRef",
                "DestinationServiceInstanceName",
                "ServicePort",
                "AccessControlScope",
                "ChainRef",
                "Status",
                "Ready"
            ]
        );
    }

    /// The published resource is cluster-scoped (seed L32713); ours belongs to a namespace.
    #[test]
    fn the_kinds_of_channels_have_their_names() {
        let (channel, mapping) = (definition::<ServiceChannel>(), definition::<ServiceMapping>());
        let names = |crd: &CustomResourceDefinition| {
            let version = &crd.spec.versions[0];
            assert!(version.subresources.as_ref().unwrap().status.is_some());
            let name = crd.metadata.name.clone().unwrap();
            format!(
                "{name} {} {} {:?}",
                version.name, crd.spec.scope, crd.spec.names.short_names
            )
        };
        assert_eq!(
            names(&channel),
            "servicechannels.connectivity.landbridge.dev v1alpha1 Namespaced Some([\"sch\"])"
        );
        assert_eq!(
            names(&mapping),
            "servicemappings.connectivityproxy.sap.com v1 Cluster None"
        );
    }

    #[test]
    fn the_text_is_yaml_that_reads_back() {
        let text = crd_yaml().unwrap();
        let read: Vec<CustomResourceDefinition> = serde_saphyr::from_multiple(&text).unwrap();
        assert_eq!(
            read,
            [
                definition::<Destination>(),
                definition::<ServiceChannel>(),
                definition::<ServiceMapping>()
            ]
        );
    }
}
