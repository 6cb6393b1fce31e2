//! A company: a network of its own behind a firewall that lets nobody in.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::Result;
use landbridge_control_plane::Life;
use tokio::process::Command;

use crate::addresses;
use crate::cluster::Environment;
use crate::namespaces::{self, Namespaces};

/// The network of the company and its link to the first node.
#[derive(Debug)]
pub(crate) struct Uplink {
    namespaces: Namespaces,
}

impl Uplink {
    /// Makes the company, linked to the node that process `first` is in.
    pub(crate) fn start(folder: &Path, first: u32, life: Life) -> Result<Self> {
        let namespaces = Namespaces::company(folder, life)?;
        namespaces.network(&[
            "company",
            &first.to_string(),
            &addresses::COMPANY.to_string(),
            &addresses::COMPANY_GATEWAY.to_string(),
            &addresses::INSIDE.to_string(),
        ])?;
        namespaces::network(first, &["link_company", &addresses::COMPANY_GATEWAY.to_string()])?;
        Ok(Self { namespaces })
    }

    pub(crate) fn holder(&self) -> u32 {
        self.namespaces.holder()
    }

    pub(crate) fn words(&self) -> Vec<String> {
        namespaces::network_words(self.namespaces.init())
    }
}

/// The company, as a test sees it.
#[derive(Debug, Clone)]
pub struct Company {
    pub(crate) words: Vec<String>,
    pub(crate) environment: Environment,
}

impl Company {
    /// A program in the company: it reaches the first node (its address and its NodePorts) and the company's systems.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::from(namespaces::command(&self.words, program));
        self.environment.mark(&mut command);
        command
    }

    /// The words before a program that is to run in the company.
    pub fn enter(&self) -> Vec<String> {
        self.words.clone()
    }

    /// Where the systems of the company listen; nobody outside has a way to it.
    pub fn address(&self) -> IpAddr {
        addresses::INSIDE.into()
    }

    /// The company's side of the link, which the first node can name, and whose firewall refuses everything new.
    pub fn uplink(&self) -> Ipv4Addr {
        addresses::COMPANY
    }
}
