//! docs/how-to/run-the-operator.md, command by command, on a control plane of its own.

use landbridge_tests::control_plane::ControlPlane;

#[tokio::test]
async fn every_command_of_run_the_operator_works() {
    let plane = ControlPlane::start().await;
    let tools = plane.tools();
    let path = format!(
        "{}:{}",
        tools.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    landbridge_tests::tour::take(
        include_str!("../../docs/how-to/run-the-operator.md"),
        &["20080", "9495", "8443", "9496", "9443", "9497"],
        &[
            ("KUBECONFIG", plane.kubeconfig().to_str().unwrap()),
            ("PATH", &path),
        ],
    )
    .await;
}
