//! What is written is what nft(8) lists, and what nft(8) would have written.

use landbridge_redirect::kernel::{Claim, Outcome, apply, read, remove};
use landbridge_redirect::plan::{Features, plan};
use landbridge_redirect::settings::Family;
use landbridge_redirect::{Destinations, Settings};

use crate::namespace::{alone, sh, with_input};
use crate::tool::{FOREIGN, applied, destinations, listed, many, nft, others, routing};

/// Every kind of settings.
fn all_settings() -> Vec<Settings> {
    let networks = ["10.96.0.0/12", "10.112.0.0/12", "192.168.7.9/32", "fd00::/8"];
    let networks = networks.map(|text| text.parse().unwrap()).to_vec();
    vec![
        Settings::node(),
        Settings::sidecar(None, Vec::new()),
        Settings::sidecar(Some(2102), networks),
        Settings::sidecar(None, vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]),
    ]
}

fn some() -> Destinations {
    destinations(&[
        "10.96.0.1:80",
        "10.96.0.1:443",
        "10.97.3.4:8080",
        "[fd00::1]:80",
        "[fd00::ffff]:65535",
    ])
}

#[test]
fn the_kernel_has_what_nft_would_have_written() {
    alone("rules::the_kernel_has_what_nft_would_have_written", || async {
        for settings in all_settings() {
            for to in [some(), Destinations::new()] {
                let text = plan(&settings, "abc", &to, Features::default()).to_string();
                assert_eq!(
                    with_input("nft", &["-c", "-f", "-"], &text).as_deref(),
                    Ok(""),
                    "{text}"
                );
                nft(&text);
                let by_nft = listed();
                let read_from_nft = read().await.unwrap().unwrap().table;
                nft("delete table inet landbridge");
                applied(&settings, "abc", &to).await;
                assert_eq!(listed(), by_nft, "{settings:?}");
                let ours = read().await.unwrap().unwrap().table;
                assert_eq!(ours, read_from_nft, "{settings:?}");
                assert_eq!(ours, plan(&settings, "abc", &to, Features::default()));
                assert_eq!(ours.destinations(), to);
                // Again: nothing to do.
                assert!(!applied(&settings, "abc", &to).await, "{settings:?}");
                nft("delete table inet landbridge");
            }
        }
    });
}

#[test]
fn a_kernel_without_nft_socket_gets_other_rules() {
    alone("rules::a_kernel_without_nft_socket_gets_other_rules", || async {
        let features = Features {
            socket: false,
            bridge_filter: true,
            ..Features::default()
        };
        let text = plan(&Settings::node(), "abc", &some(), features).to_string();
        nft(&text);
        // Read back as what they are, so that they could be compared.
        let there = read().await.unwrap().unwrap().table;
        assert_eq!(there, plan(&Settings::node(), "abc", &some(), features), "{text}");
    });
}

#[test]
fn tables_of_others_are_left_alone() {
    alone("rules::tables_of_others_are_left_alone", || async {
        nft(FOREIGN);
        let before = others();
        for settings in all_settings() {
            applied(&settings, "abc", &some()).await;
            applied(&settings, "abc", &destinations(&["10.1.1.1:1"])).await;
        }
        remove(None).await.unwrap();
        assert_eq!(others(), before);
        assert_eq!(sh("nft list tables"), "table ip landbridge\ntable inet other\n");
        assert_eq!(read().await, Ok(None));
        // Twice is fine.
        let unchanged = remove(None).await;
        assert!(
            matches!(unchanged, Ok(Outcome::Done { changed: false, .. })),
            "{unchanged:?}"
        );
    });
}

#[test]
fn five_thousand_destinations_change_as_a_difference() {
    alone(
        "rules::five_thousand_destinations_change_as_a_difference",
        || async {
            let (settings, all) = (Settings::node(), many(5000));
            applied(&settings, "abc", &all).await;
            let there = read().await.unwrap().unwrap().table;
            assert_eq!(there.destinations(), all);
            let handle = sh("nft -a list chain inet landbridge prerouting");
            // Half of them go, others come; the rules are the same objects as before.
            let other: Destinations = many(6000).into_iter().skip(1500).collect();
            applied(&settings, "abc", &other).await;
            assert_eq!(read().await.unwrap().unwrap().table.destinations(), other);
            assert_eq!(sh("nft -a list chain inet landbridge prerouting"), handle);
            applied(&settings, "abc", &Destinations::new()).await;
            assert!(read().await.unwrap().unwrap().table.destinations().is_empty());
        },
    );
}

#[test]
fn as_many_destinations_as_a_table_takes() {
    alone("rules::as_many_destinations_as_a_table_takes", || async {
        let all = many(u16::MAX);
        applied(&Settings::node(), "abc", &all).await;
        assert_eq!(read().await.unwrap().unwrap().table.destinations(), all);
    });
}

#[test]
fn a_node_has_policy_routing_for_both_families() {
    alone("rules::a_node_has_policy_routing_for_both_families", || async {
        let before = routing();
        applied(&Settings::node(), "abc", &some()).await;
        let there = read().await.unwrap().unwrap();
        assert_eq!(there.routed, Family::ALL);
        let now = routing();
        for line in [
            "90:\tfrom all fwmark 0x1b2 lookup 20411",
            "local default dev lo proto static scope host",
            "local default dev lo proto static metric",
        ] {
            assert!(now.contains(line), "{line} in {now}");
        }
        remove(None).await.unwrap();
        assert_eq!(routing(), before);
    });
}

#[test]
fn a_node_without_ipv6_goes_on_without() {
    alone("rules::a_node_without_ipv6_goes_on_without", || async {
        sh(
            "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6",
        );
        let done = apply(
            &Settings::node(),
            "abc",
            &some(),
            Features::default(),
            Claim::Take,
        )
        .await;
        let Ok(Outcome::Done { features, .. }) = done else {
            panic!("{done:?}")
        };
        assert!(!features.ipv6);
        let there = read().await.unwrap().unwrap();
        assert_eq!(there.routed, [Family::V4]);
        assert!(
            there
                .table
                .destinations()
                .iter()
                .all(std::net::SocketAddr::is_ipv4)
        );
        // A pod's rules need no route: they may name IPv6 on any kernel that knows it.
        applied(&Settings::sidecar(None, Vec::new()), "abc", &some()).await;
    });
}

#[test]
fn without_the_capability_it_says_what_to_do() {
    alone("rules::without_the_capability_it_says_what_to_do", || async {
        // A thread without capabilities; those of the process stay.
        let none = rustix::thread::CapabilitySets {
            effective: rustix::thread::CapabilitySet::empty(),
            permitted: rustix::thread::CapabilitySet::empty(),
            inheritable: rustix::thread::CapabilitySet::empty(),
        };
        let refused = std::thread::spawn(move || {
            rustix::thread::set_capabilities(None, none).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let settings = Settings::sidecar(None, Vec::new());
                apply(&settings, "abc", &some(), Features::default(), Claim::Take).await
            })
        });
        let text = refused.join().unwrap().unwrap_err().to_string();
        assert!(
            text.contains("NET_ADMIN") && text.contains("gateway mode"),
            "{text}"
        );
    });
}
