//! The company network: systems that nothing outside of it can reach, and the connector that lets some of them be used.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use landbridge_test_node::Cluster;
use landbridge_tests::eventually;
use landbridge_tests::process::binary;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::images;
use crate::world::{SYSTEM, TUNNEL_PORT, World};

/// Port of the HTTP system.
pub const ERP: u16 = 8000;
/// Port of the database.
pub const DATABASE: u16 = 5432;
/// Port of the directory.
pub const DIRECTORY: u16 = 3389;
/// Port on which the connector offers a service of the cluster.
pub const CHANNEL: u16 = 7777;

/// The name that the directory answers with.
pub const SURNAME: &str = "Lovelace";

/// HTTP, PostgreSQL and LDAP on the inside address of the company, and its connectors.
pub struct Backends {
    folder: TempDir,
    processes: Mutex<Vec<Child>>,
}

impl Backends {
    pub async fn start(cluster: &Cluster) -> Self {
        let backends = Self {
            folder: TempDir::new().expect("a folder"),
            processes: Mutex::default(),
        };
        // The servers do not run as root.
        open_to_all(backends.folder.path());
        let address = cluster.company().address().to_string();
        backends.erp(cluster, &address);
        backends.database(cluster, &address).await;
        backends.directory(cluster, &address).await;
        backends
    }

    fn spawn(&self, name: &str, mut command: Command) {
        let log = std::fs::File::create(self.folder.path().join(format!("{name}.log"))).expect("a log");
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .kill_on_drop(true);
        self.processes.lock().push(command.spawn().expect("it starts"));
    }

    fn erp(&self, cluster: &Cluster, address: &str) {
        let mut command = cluster.company().command(images::probe_program());
        command.args(["serve", &format!("{address}:{ERP}"), "--name", "erp"]);
        self.spawn("erp", command);
    }

    async fn database(&self, cluster: &Cluster, address: &str) {
        let data = self.folder.path().join("database");
        std::fs::create_dir(&data).expect("a folder");
        own(&data, "postgres").await;
        let bin = postgres();
        let password = self.folder.path().join("password");
        std::fs::write(&password, "s3cret").expect("a file");
        let data_text = data.display().to_string();
        let mut init = as_user("postgres", Command::new("runuser"), &bin.join("initdb"));
        init.args([
            "-D",
            &data_text,
            "-A",
            "scram-sha-256",
            "-U",
            "app",
            "--no-sync",
            "--pwfile",
        ])
        .arg(&password);
        let output = init.output().await.expect("initdb starts");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let access = data.join("pg_hba.conf");
        std::fs::write(&access, "host all all 0.0.0.0/0 scram-sha-256\n").expect("a file");
        let mut server = as_user(
            "postgres",
            cluster.company().command(Path::new("runuser")),
            &bin.join("postgres"),
        );
        server.args([
            "-D",
            &data_text,
            "-h",
            address,
            "-p",
            &DATABASE.to_string(),
            "-k",
            &data_text,
            "-F",
        ]);
        self.spawn("database", server);
    }

    async fn directory(&self, cluster: &Cluster, address: &str) {
        let folder = self.folder.path().join("directory");
        std::fs::create_dir(&folder).expect("a folder");
        let config = folder.join("slapd.conf");
        let text = format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\nmoduleload back_mdb\nmodulepath /usr/lib/ldap\n\
             pidfile {0}/pid\ndatabase mdb\nsuffix \"dc=company\"\nrootdn \"cn=admin,dc=company\"\nrootpw s3cret\n\
             directory {0}\nmaxsize 16777216\n",
            folder.display()
        );
        std::fs::write(&config, text).expect("a file");
        let entries = folder.join("entries.ldif");
        let ldif = format!(
            "dn: dc=company\nobjectClass: dcObject\nobjectClass: organization\no: company\ndc: company\n\n\
             dn: cn=ada,dc=company\nobjectClass: inetOrgPerson\ncn: ada\nsn: {SURNAME}\n"
        );
        std::fs::write(&entries, ldif).expect("a file");
        let loaded = Command::new("/usr/sbin/slapadd")
            .arg("-f")
            .arg(&config)
            .arg("-l")
            .arg(&entries)
            .output()
            .await;
        let loaded = loaded.expect("slapadd (package slapd)");
        assert!(
            loaded.status.success(),
            "{}",
            String::from_utf8_lossy(&loaded.stderr)
        );
        let mut server = cluster.company().command(Path::new("/usr/sbin/slapd"));
        server
            .args(["-d", "0", "-h", &format!("ldap://{address}:{DIRECTORY}"), "-f"])
            .arg(&config);
        self.spawn("directory", server);
    }

    /// Enrols a connector, starts it, and waits until it is connected.
    pub async fn connect(&self, world: &World, name: &str) {
        let token = [
            "exec",
            "-n",
            SYSTEM,
            "landbridge-connectivity-0",
            "--",
            "landbridge",
            "tunnel",
            "create-token",
            "--connector",
            name,
        ];
        let token = world.kubectl(&token).await.success();
        let token_file = self.folder.path().join(format!("{name}.token"));
        std::fs::write(&token_file, token).expect("a file");
        let config = self.folder.path().join(format!("{name}.toml"));
        std::fs::write(&config, self.configuration(world, name, &token_file)).expect("a file");
        let mut command = world.cluster.company().command(binary());
        command.args(["connector", "run", "--config"]).arg(&config);
        self.spawn(name, command);
        let tunnels =
            format!("/api/v1/namespaces/{SYSTEM}/pods/landbridge-connectivity-0:9494/proxy/tunnels");
        eventually("the connector is connected", async || {
            let answer = world.kubectl(&["get", "--raw", &tunnels]).await;
            if answer.stdout.contains(name) {
                Ok(())
            } else {
                Err(format!("{}{}\n{}", answer.stdout, answer.stderr, self.log(name)))
            }
        })
        .await;
    }

    fn configuration(&self, world: &World, name: &str, token: &Path) -> String {
        let (node, inside) = (world.cluster.node_address(), world.cluster.company().address());
        let mapping = |host: &str, port: u16, internal: u16, protocol: &str| {
            format!(
                "[[mappings]]\nvirtual_host = \"{host}\"\nvirtual_port = {port}\ninternal_host = \"{inside}\"\n\
                 internal_port = {internal}\nprotocol = \"{protocol}\"\n"
            )
        };
        format!(
            "[[tunnels]]\nserver = \"{node}:{TUNNEL_PORT}\"\nidentity_dir = \"{}\"\nenrolment_token_file = \"{}\"\n\
             [[tunnels.service_channels]]\nservice_id = \"echo\"\nkind = \"TCP\"\nlocal_port = {CHANNEL}\n\
             {}[[mappings.resources]]\npath = \"/stock\"\n{}{}",
            self.folder.path().join(name).display(),
            token.display(),
            mapping("erp.company", 44_300, ERP, "HTTP"),
            mapping("db.company", 5432, DATABASE, "TCP"),
            mapping("ldap.company", 389, DIRECTORY, "TCP"),
        )
    }

    /// What one of the processes has said.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(format!("{name}.log"))).unwrap_or_default()
    }
}

/// The newest PostgreSQL of this machine.
fn postgres() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("the package postgresql");
    let mut versions: Vec<PathBuf> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").is_file())
        .collect();
    versions.sort();
    versions.pop().expect("the package postgresql")
}

/// PostgreSQL refuses to run as root.
fn as_user(user: &str, mut runuser: Command, program: &Path) -> Command {
    runuser.args(["-u", user, "--"]).arg(program);
    runuser
}

async fn own(path: &Path, user: &str) {
    let status = Command::new("chown").arg(user).arg(path).status().await;
    assert!(status.expect("chown starts").success(), "{user}");
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
}
