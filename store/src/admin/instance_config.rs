//! What an instance is created or updated with: settings, and destinations to begin with (seed L11639-L11754).

use landbridge_destination::DestinationConfig;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{Admin, Instance};
use crate::config::Limits;
use crate::db::{InstanceRow, Place, SubaccountRow, Written};
use crate::error::Error;
use crate::records::{New, Records};

/// Configuration of a service instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct InstanceConfig {
    /// Whether destinations are for the HTML5 runtime too; a Boolean, or the text of one (seed L11714).
    #[serde(
        default,
        rename = "HTML5Runtime_enabled",
        deserialize_with = "flag",
        skip_serializing_if = "Option::is_none"
    )]
    pub html5_runtime: Option<bool>,
    /// What is made at once; nothing is ever deleted by it (seed L6599).
    #[serde(default, skip_serializing)]
    pub init_data: InitData,
    /// Settings of the original service that mean nothing here; kept.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What is made with an instance.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitData {
    /// On the level of the instance's subaccount.
    #[serde(default)]
    pub subaccount: LevelData,
    /// On the level of the instance.
    #[serde(default)]
    pub instance: LevelData,
}

/// What is made on one level.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelData {
    /// What becomes of destinations that exist.
    #[serde(default)]
    pub existing_destinations_policy: Policy,
    /// What becomes of certificates that exist.
    #[serde(default)]
    pub existing_certificates_policy: Policy,
    /// Destinations.
    #[serde(default)]
    pub destinations: Vec<DestinationConfig>,
    /// Certificates.
    #[serde(default)]
    pub certificates: Vec<Value>,
}

/// What becomes of something that exists (seed L6376).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// It is replaced.
    Update,
    /// Everything fails.
    #[default]
    Fail,
    /// It stays as it is.
    Ignore,
}

fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Bool(flag) => Ok(Some(flag)),
        Value::String(text) if text == "true" => Ok(Some(true)),
        Value::String(text) if text == "false" => Ok(Some(false)),
        _ => Err(serde::de::Error::custom(
            "must be true or false, or the text of one of them",
        )),
    }
}

impl InstanceConfig {
    /// Reads the JSON of a configuration.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the place of the mistake.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        serde_json::from_str(text)
            .map_err(|error| Error::Invalid(format!("the instance configuration cannot be used: {error}")))
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (level, data) in [
            ("subaccount", &self.init_data.subaccount),
            ("instance", &self.init_data.instance),
        ] {
            for (index, destination) in data.destinations.iter().enumerate() {
                if let Err(invalid) = destination.validate() {
                    problems.push(format!("init_data.{level}.destinations[{index}]: {invalid}"));
                }
            }
            if !data.certificates.is_empty() {
                problems.push(format!(
                    "init_data.{level}.certificates: this version makes no certificates; upload them through the REST API"
                ));
            }
        }
        problems
    }
}

/// What was done on the instance level, to be undone.
enum Done {
    Made(String),
    Replaced(Box<DestinationConfig>),
}

impl Admin {
    /// Makes a service instance and what its configuration says; when that fails, neither the instance nor what it had is
    /// left. What was made on the subaccount level stays (seed L11653).
    ///
    /// # Errors
    /// [`Error::NotConfigured`], and as [`create_instance`](Self::create_instance).
    pub async fn create_configured_instance(
        &self,
        subaccount: &str,
        name: &str,
        config: &InstanceConfig,
    ) -> Result<Instance, Error> {
        let made = self.create_instance(subaccount, name).await?;
        match self.configure_instance(subaccount, &made.id, config).await {
            Ok(instance) => Ok(instance),
            Err(error) => {
                self.delete_instance(subaccount, &made.id, true).await?;
                Err(error)
            }
        }
    }

    /// Does what a configuration says to an instance that exists. When that fails, what was done on the instance level is
    /// undone.
    ///
    /// # Errors
    /// [`Error::NotConfigured`] with all causes, [`Error::NotFound`] or the database.
    pub async fn configure_instance(
        &self,
        subaccount: &str,
        instance: &str,
        config: &InstanceConfig,
    ) -> Result<Instance, Error> {
        let tenant = self.tenant(subaccount).await?;
        let row = self.known_instance(&tenant, instance).await?;
        let mut causes = config.problems();
        if causes.is_empty() {
            self.make(&tenant, &row, &config.init_data, &mut causes).await?;
        }
        if !causes.is_empty() {
            return Err(Error::NotConfigured(causes.join("; ")));
        }
        let properties = serde_json::to_string(config).map_err(|error| Error::Invalid(error.to_string()))?;
        self.storage
            .database
            .replace_instance_properties(&row.id, &properties)
            .await?;
        Ok(InstanceRow { properties, ..row }.into())
    }

    async fn make(
        &self,
        tenant: &SubaccountRow,
        instance: &InstanceRow,
        data: &InitData,
        causes: &mut Vec<String>,
    ) -> Result<(), Error> {
        let shared = Place::subaccount(tenant.id.clone());
        let own = Place {
            subaccount_id: tenant.id.clone(),
            owner: instance.id.clone(),
        };
        let mut done = Vec::new();
        for (place, data, level) in [
            (&shared, &data.subaccount, "subaccount"),
            (&own, &data.instance, "instance"),
        ] {
            for destination in &data.destinations {
                let policy = data.existing_destinations_policy;
                let undo = match self.put_by_policy(place, destination, policy).await {
                    Ok(undo) => undo,
                    Err(Error::Invalid(cause)) => {
                        causes.push(format!("{cause} on {level} level"));
                        continue;
                    }
                    Err(error) => {
                        // An internal error: the causes are told by it, what can be undone is.
                        self.undo(&own, done).await?;
                        return Err(error);
                    }
                };
                if level == "instance" {
                    done.extend(undo);
                }
            }
        }
        if causes.is_empty() {
            return Ok(());
        }
        self.undo(&own, done).await
    }

    async fn put_by_policy(
        &self,
        place: &Place,
        destination: &DestinationConfig,
        policy: Policy,
    ) -> Result<Option<Done>, Error> {
        let records = self.destination_records();
        let name = destination.name();
        let created = records
            .create(place, vec![New::from(destination.clone())])
            .await?;
        match created.first().map(|(written, _)| *written) {
            Some(Written::Done) => return Ok(Some(Done::Made(name.to_owned()))),
            Some(Written::Duplicate) => {}
            _ => return Err(Error::Invalid(format!("there is no room for destination {name}"))),
        }
        match policy {
            Policy::Fail => Err(Error::Invalid(format!("destination {name} exists already"))),
            Policy::Ignore => Ok(None),
            Policy::Update => {
                let before = records.get(place, name).await?;
                records
                    .replace(place, vec![New::from(destination.clone())], None)
                    .await?;
                Ok(before.map(|record| Done::Replaced(Box::new(record.value.clone()))))
            }
        }
    }

    async fn undo(&self, place: &Place, done: Vec<Done>) -> Result<(), Error> {
        let records = self.destination_records();
        for done in done.into_iter().rev() {
            match done {
                Done::Made(name) => {
                    records.delete(place, &name, None).await?;
                }
                Done::Replaced(before) => {
                    records.replace(place, vec![New::from(*before)], None).await?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn destination_records(&self) -> Records<DestinationConfig> {
        let limit = Limits::default().max_destinations;
        Records::new(std::sync::Arc::clone(&self.storage), limit, 0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::Home;

    fn destination(name: &str, url: &str) -> Value {
        json!({"Name": name, "Type": "HTTP", "URL": url, "ProxyType": "Internet",
               "Authentication": "NoAuthentication"})
    }

    async fn url(admin: &Admin, place: &Place, name: &str) -> Option<String> {
        let record = admin.destination_records().get(place, name).await.unwrap();
        record.map(|record| record.value.url().unwrap_or_default().to_owned())
    }

    /// Case D19: each policy with what is new and what exists, on each level (seed L11653-L11754).
    #[tokio::test]
    async fn policies_say_what_becomes_of_what_exists_d19() {
        for level in ["subaccount", "instance"] {
            for (policy, works, kept) in [
                (Some("update"), true, "http://new"),
                (Some("ignore"), true, "http://old"),
                (Some("fail"), false, "http://old"),
                (None, false, "http://old"),
            ] {
                let home = Home::new();
                let admin = Admin::open(&home.config()).await.unwrap();
                let tenant = admin.create_subaccount(None, "shop").await.unwrap();
                let instance = admin.create_instance("shop", "main").await.unwrap();
                let owner = if level == "instance" {
                    instance.id.clone()
                } else {
                    String::new()
                };
                let place = Place {
                    subaccount_id: tenant.id.clone(),
                    owner,
                };
                let old: DestinationConfig =
                    serde_json::from_value(destination("old", "http://old")).unwrap();
                admin
                    .destination_records()
                    .create(&place, vec![old.into()])
                    .await
                    .unwrap();

                let mut data = json!({"destinations": [destination("fresh", "http://new"), destination("old", "http://new")]});
                if let Some(policy) = policy {
                    data["existing_destinations_policy"] = policy.into();
                }
                let config = json!({"HTML5Runtime_enabled": "true", "init_data": {level: data}});
                let config = InstanceConfig::from_json(&config.to_string()).unwrap();
                let result = admin.configure_instance("shop", "main", &config).await;
                let case = format!("{level} {policy:?}: {result:?}");
                assert_eq!(result.is_ok(), works, "{case}");
                assert_eq!(url(&admin, &place, "old").await.as_deref(), Some(kept), "{case}");
                // What was made on the instance level is rolled back; on the subaccount level it stays.
                let fresh = url(&admin, &place, "fresh").await.is_some();
                assert_eq!(fresh, works || level == "subaccount", "{case}");
                match result {
                    Ok(instance) => {
                        assert_eq!(instance.properties, json!({"HTML5Runtime_enabled": true}));
                    }
                    Err(error) => {
                        let told = error.to_string();
                        let text = "Failed to create all provided configurations. Will delete all on instance level, for \
                                    configurations on subaccount level you can set policies to handle duplicates: \
                                    \"existing_destinations_policy\" with value \"update|fail|ignore\" and \
                                    \"existing_certificates_policy\" with value \"fail|ignore\".";
                        assert!(told.starts_with(text), "{told}");
                        let cause = format!("destination old exists already on {level} level");
                        assert!(told.ends_with(&cause), "{told}");
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn a_failed_update_is_undone_on_the_instance_level() {
        let home = Home::new();
        let admin = Admin::open(&home.config()).await.unwrap();
        let tenant = admin.create_subaccount(None, "shop").await.unwrap();
        let taken =
            json!({"init_data": {"subaccount": {"destinations": [destination("both", "http://shared")]}}});
        let taken = InstanceConfig::from_json(&taken.to_string()).unwrap();
        admin
            .create_configured_instance("shop", "first", &taken)
            .await
            .unwrap();
        // The name is taken on the subaccount level, so nothing of the second instance is left.
        let config = json!({"init_data": {
            "subaccount": {"destinations": [destination("both", "http://other")]},
            "instance": {"destinations": [destination("own", "http://own")]}}});
        let config = InstanceConfig::from_json(&config.to_string()).unwrap();
        let refused = admin.create_configured_instance("shop", "second", &config).await;
        assert!(matches!(refused, Err(Error::NotConfigured(_))), "{refused:?}");
        let left: Vec<_> = admin.instances("shop").await.unwrap();
        assert_eq!(left.len(), 1);
        let place = Place::subaccount(tenant.id);
        assert_eq!(
            url(&admin, &place, "both").await.as_deref(),
            Some("http://shared")
        );
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, place) in [
            (r#"{"init_data": {"subaccont": {}}}"#, "subaccont"),
            (
                r#"{"init_data": {"instance": {"existing_destinations_policy": "replace"}}}"#,
                "replace",
            ),
            (r#"{"HTML5Runtime_enabled": "yes"}"#, "true or false"),
        ] {
            let error = InstanceConfig::from_json(text).unwrap_err().to_string();
            assert!(error.contains(place) && error.contains("line 1"), "{error}");
        }
        let config = json!({"HTML5Runtime_enabled": false, "init_data": {"instance": {"destinations": [{"Name": "a b"}]}}});
        let config = InstanceConfig::from_json(&config.to_string()).unwrap();
        assert_eq!(config.html5_runtime, Some(false));
        let problems = config.problems();
        assert!(
            problems[0].starts_with("init_data.instance.destinations[0]"),
            "{problems:?}"
        );
    }
}
