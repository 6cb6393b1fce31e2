//! What is put into pods, and what a pod's annotations may change of it.

use std::collections::BTreeMap;

use super::quantity::{NotAQuantity, Quantity};

/// What both injected containers ask for and may use. A kind that is not named is not asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    amounts: BTreeMap<Amount, Quantity>,
}

/// One of the amounts, in the order they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Amount {
    /// Processor time that is reserved.
    CpuRequest,
    /// Processor time at most.
    CpuLimit,
    /// Memory that is reserved.
    MemoryRequest,
    /// Memory at most.
    MemoryLimit,
    /// Disk that is reserved.
    StorageRequest,
    /// Disk at most, logs included.
    StorageLimit,
}

/// Every amount with the word that options and annotations have for it.
pub const AMOUNTS: [(Amount, &str); 6] = [
    (Amount::CpuRequest, "cpu-request"),
    (Amount::CpuLimit, "cpu-limit"),
    (Amount::MemoryRequest, "memory-request"),
    (Amount::MemoryLimit, "memory-limit"),
    (Amount::StorageRequest, "ephemeral-storage-request"),
    (Amount::StorageLimit, "ephemeral-storage-limit"),
];

/// Least memory, in thousandths of a byte: the program alone takes about 12 MB. Somebody who writes 64m means 64Mi.
const LEAST_MEMORY: u128 = (16 << 20) * 1_000;

/// Request and limit of one kind, and the kind's name in a pod.
const PAIRS: [(Amount, Amount, &str); 3] = [
    (Amount::CpuRequest, Amount::CpuLimit, "cpu"),
    (Amount::MemoryRequest, Amount::MemoryLimit, "memory"),
    (Amount::StorageRequest, Amount::StorageLimit, "ephemeral-storage"),
];

/// Resources that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourcesError {
    /// Not `KEY=QUANTITY`.
    #[error("\"{0}\" is no KEY=QUANTITY; write it so, as in cpu-request=10m")]
    Form(String),
    /// A key nobody knows.
    #[error(
        "\"{0}\" is none of cpu-request, cpu-limit, memory-request, memory-limit, ephemeral-storage-request, ephemeral-storage-limit"
    )]
    Key(String),
    /// A value that is none.
    #[error("{0}: {1}")]
    Value(String, NotAQuantity),
    /// The containers would never run.
    #[error("a memory limit of {0} is too little to start with: write at least 16Mi")]
    Memory(String),
    /// The API server would refuse the pod.
    #[error("the {kind} request {request} is more than the limit {limit}: lower the one or raise the other")]
    Order {
        /// `cpu` and the like.
        kind: &'static str,
        /// The request.
        request: String,
        /// The limit.
        limit: String,
    },
}

impl Resources {
    /// Reads `KEY=QUANTITY` pairs; keys are those of [`AMOUNTS`].
    ///
    /// # Errors
    /// The first mistake, with what to write.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = &'a str>) -> Result<Self, ResourcesError> {
        let mut amounts = BTreeMap::new();
        for pair in pairs {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| ResourcesError::Form(pair.to_owned()))?;
            let known = AMOUNTS.iter().find(|(_, word)| *word == key.trim());
            let (amount, word) = known.ok_or_else(|| ResourcesError::Key(key.to_owned()))?;
            let value = value
                .parse()
                .map_err(|error| ResourcesError::Value((*word).to_owned(), error))?;
            amounts.insert(*amount, value);
        }
        let this = Self { amounts };
        this.check()?;
        Ok(this)
    }

    /// The same with some amounts of a pod's own.
    ///
    /// # Errors
    /// [`ResourcesError::Order`] or [`ResourcesError::Memory`].
    pub fn with(&self, own: impl IntoIterator<Item = (Amount, Quantity)>) -> Result<Self, ResourcesError> {
        let mut changed = self.clone();
        changed.amounts.extend(own);
        changed.check()?;
        Ok(changed)
    }

    fn check(&self) -> Result<(), ResourcesError> {
        if let Some(memory) = self.amounts.get(&Amount::MemoryLimit)
            && memory.thousandths() < LEAST_MEMORY
        {
            return Err(ResourcesError::Memory(memory.to_string()));
        }
        for (request, limit, kind) in PAIRS {
            if let (Some(request), Some(limit)) = (self.amounts.get(&request), self.amounts.get(&limit))
                && request.thousandths() > limit.thousandths()
            {
                return Err(ResourcesError::Order {
                    kind,
                    request: request.to_string(),
                    limit: limit.to_string(),
                });
            }
        }
        Ok(())
    }

    /// Requests, then limits: kind and amount, as a pod has them.
    pub fn shown(&self) -> [BTreeMap<&'static str, String>; 2] {
        let of = |pick: fn(&(Amount, Amount, &'static str)) -> Amount| {
            let named = PAIRS.iter().filter_map(|pair| {
                let amount = self.amounts.get(&pick(pair))?;
                Some((pair.2, amount.to_string()))
            });
            named.collect()
        };
        [of(|pair| pair.0), of(|pair| pair.1)]
    }
}

/// What is put into pods. One for all; annotations of a pod change parts of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarOptions {
    /// Namespace of the installation that puts it in.
    pub installation: String,
    /// Image of both containers.
    pub image: String,
    /// `Always`, `IfNotPresent`, `Never`.
    pub pull_policy: String,
    /// Secret, in the pod's namespace, with which the image is pulled; added to what the pod has.
    pub pull_secret: Option<String>,
    /// Uid of the sidecar, whose own connections are left alone by the redirection. No other container of the pod may
    /// have it.
    pub uid: i64,
    /// What they ask for.
    pub resources: Resources,
    /// Where the operator's serve API is: `https://host:port`.
    pub operator: String,
    /// Where gateways answer for stores: `host:port`.
    pub gateway: String,
    /// Port on loopback that connections are redirected to.
    pub intercept_port: u16,
    /// Where the sidecar's probes and figures are, as `--admin-listen` takes it: `0.0.0.0:20412`.
    pub admin: std::net::SocketAddr,
    /// Log filter.
    pub log: String,
    /// `text` or `json`.
    pub log_format: String,
    /// Seconds that the sidecar waits for connections in use when the pod ends.
    pub drain: u64,
    /// Level of Pod Security that the API server enforces where a namespace names none: `privileged`, `baseline`,
    /// `restricted`.
    pub pod_security: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_read_and_shown_as_pods_have_them() {
        let read = Resources::parse(["cpu-request=10m", "memory-limit=64Mi", "memory-request=24Mi"]).unwrap();
        let [requests, limits] = read.shown();
        assert_eq!(
            requests,
            [("cpu", "10m".to_owned()), ("memory", "24Mi".to_owned())].into()
        );
        assert_eq!(limits, [("memory", "64Mi".to_owned())].into());
        let own = read
            .with([(Amount::MemoryLimit, "1Gi".parse().unwrap())])
            .unwrap();
        assert_eq!(own.shown()[1]["memory"], "1Gi");
    }

    #[test]
    fn what_the_api_server_would_refuse_is_a_mistake() {
        for (pairs, part) in [
            (vec!["cpu-request"], "KEY=QUANTITY"),
            (vec!["gpu=1"], "\"gpu\""),
            (vec!["memory-limit=64m"], "at least 16Mi"),
            (vec!["cpu-limit=lots"], "cpu-limit: \"lots\""),
            (
                vec!["memory-request=1Gi", "memory-limit=512Mi"],
                "memory request 1Gi is more than the limit 512Mi",
            ),
        ] {
            let error = Resources::parse(pairs).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
