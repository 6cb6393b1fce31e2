//! README's tour, command by command.

#[tokio::test]
async fn every_command_of_readme_works() {
    landbridge_tests::tour::take(
        include_str!("../../README.md"),
        &["20100", "20101", "20080", "9494", "8042"],
        &[
            ("LANDBRIDGE_ADMIN_LISTEN", "127.0.0.1:9494"),
            ("LANDBRIDGE_STORE_LISTEN", "127.0.0.1:20080"),
            ("LANDBRIDGE_TUNNEL_LISTEN", "127.0.0.1:8042"),
        ],
    )
    .await;
}
