//! The custom resource definitions as YAML text, ready for `kubectl apply -f -`.

use crate::schema::definition;

/// Why the text could not be made.
#[derive(Debug, thiserror::Error)]
#[error(
    "the custom resource definition {name} cannot be written as YAML (a defect of this build, please report it): {source}"
)]
pub struct YamlError {
    name: &'static str,
    source: serde_saphyr::ser::Error,
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
    let body = serde_saphyr::to_string(&definition()).map_err(|source| YamlError {
        name: "Destination",
        source,
    })?;
    Ok(vec![("destination.yaml", format!("{HEAD}{body}"))])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// `cargo xtask crds` sets the variable.
    #[test]
    fn committed_files_are_up_to_date() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml");
        for (name, text) in files().unwrap() {
            let path = folder.join(name);
            if std::env::var_os("LANDBRIDGE_WRITE_YAML").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                committed == text,
                "{} is out of date: run `cargo xtask crds`",
                path.display()
            );
        }
    }

    #[test]
    fn names_and_columns_are_the_published_ones() {
        let crd = definition();
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

    #[test]
    fn the_text_is_yaml_that_reads_back() {
        let text = crd_yaml().unwrap();
        let read: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition =
            serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read, definition());
    }
}
