//! Peers of the tunnel port that are not ours: `openssl` as an independent TLS client.

use std::process::Stdio;
use std::time::Duration;

use landbridge_tests::standalone::Standalone;
use landbridge_tests::{PATIENCE, client, eventually};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// What `openssl s_client` says to the tunnel port. It is given a moment to hear the other side before its input ends.
async fn s_client(standalone: &Standalone, arguments: &[&str], input: &[u8]) -> String {
    let address = standalone.tunnel().to_string();
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-servername", "localhost"])
        .args(arguments)
        .current_dir(standalone.folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("openssl is installed");
    let mut stdin = child.stdin.take().expect("stdin");
    let _ = stdin.write_all(input).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(stdin);
    let output = timeout(PATIENCE, child.wait_with_output())
        .await
        .expect("it ends")
        .expect("its output");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// A certificate that claims to be the connector `first` of this store, signed by itself.
async fn forged_certificate(standalone: &Standalone) {
    let tenant = standalone.ready["tenant"].as_str().expect("a tenant");
    let name = format!("subjectAltName=URI:urn:landbridge:connector:{tenant}:first");
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-keyout",
            "forged.key",
            "-out",
            "forged.pem",
            "-subj",
            "/CN=first",
            "-addext",
            &name,
        ])
        .current_dir(standalone.folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
    assert!(made.expect("openssl is installed").success());
}

#[tokio::test]
async fn only_tls_1_3_and_only_our_protocols() {
    let standalone = Standalone::start(&[]).await;
    let old = s_client(&standalone, &["-tls1_2"], b"").await;
    assert!(old.contains("alert protocol version"), "{old}");
    let other = s_client(&standalone, &["-alpn", "http/1.1"], b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(
        other.contains("no application protocol") || !other.contains("HTTP/1.1 "),
        "{other}"
    );
    assert_eq!(standalone.sessions().await, Ok(0));
}

#[tokio::test]
async fn without_our_certificate_nobody_gets_a_session() {
    let standalone = Standalone::start(&[]).await;
    forged_certificate(&standalone).await;
    let hello = br#"{"version":1,"kind":"inbound","location":"","agent":"x","max_streams":1}"#;
    let mut frame = u16::try_from(hello.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(hello);
    for certificate in [&[][..], &["-cert", "forged.pem", "-key", "forged.key"]] {
        let arguments = [&["-alpn", "landbridge/1"], certificate].concat();
        let said = s_client(&standalone, &arguments, &frame).await;
        assert!(!said.contains("accepted"), "{said}");
        assert_eq!(standalone.sessions().await, Ok(0));
    }
    eventually("the refusals are logged", async || {
        let log = standalone.process.log();
        let told = log.matches("tunnel connection rejected").count();
        if told >= 2 { Ok(()) } else { Err(log) }
    })
    .await;
    // Strangers took nothing away from those who belong here.
    let erp = landbridge_tests::target::mirror().await;
    let mapping = super::on_premise::mapping(erp, super::on_premise::ALL);
    let _connector = standalone.connector("first", &mapping).await;
    let address = standalone.serve("erp", super::on_premise::destination()).await;
    assert_eq!(client::get(address, "/").await.status, 200);
}

#[tokio::test]
async fn garbage_on_the_tunnel_port_harms_nobody() {
    let standalone = Standalone::start(&[]).await;
    for garbage in [
        &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
        &[0; 4096],
        b"\x16\x03\x01\xff\xff",
    ] {
        client::raw(standalone.tunnel(), garbage).await;
    }
    s_client(&standalone, &["-alpn", "landbridge-enrol/1"], &[0xff; 4096]).await;
    // Enrolment and tunnel still work, on the same port.
    let mapping =
        super::on_premise::mapping(landbridge_tests::target::mirror().await, super::on_premise::ALL);
    let _connector = standalone.connector("company", &mapping).await;
    assert_eq!(client::get(standalone.admin(), "/readyz").await.status, 200);
}
