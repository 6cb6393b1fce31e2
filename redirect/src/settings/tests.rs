use super::*;

#[test]
fn networks_are_read_and_wrong_ones_explained() {
    for (text, expected) in [
        ("10.96.0.0/12", Ok("10.96.0.0/12")),
        ("10.1.2.3/32", Ok("10.1.2.3/32")),
        ("0.0.0.0/0", Ok("0.0.0.0/0")),
        ("::/0", Ok("::/0")),
        ("fd00::/8", Ok("fd00::/8")),
        ("10.96.0.0", Err("write 10.96.0.0/12")),
        ("10.96.0.0/33", Err("is no network")),
        ("fd00::/129", Err("is no network")),
        ("10.96.0.0/-1", Err("is no network")),
        ("erp.shop/24", Err("is no network")),
        ("10.96.1.2/16", Err("write 10.96.0.0/16")),
        ("127.0.0.0/8", Err("this machine itself")),
        ("::1/128", Err("this machine itself")),
        ("224.0.0.0/4", Err("multicast")),
        ("0.0.0.0/8", Err("this machine itself")),
    ] {
        match (text.parse::<Network>(), expected) {
            (Ok(network), Ok(expected)) => assert_eq!(network.to_string(), expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text}: {error}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }
}

#[test]
fn ranges_are_joined_where_they_touch() {
    let networks: Vec<Network> = [
        "10.1.0.0/16",
        "10.0.0.0/16",
        "10.1.2.0/24",
        "10.3.0.0/16",
        "fd00::/8",
    ]
    .map(|text| text.parse().unwrap())
    .to_vec();
    let number = |text: &str| u128::from(u32::from(text.parse::<Ipv4Addr>().unwrap()));
    assert_eq!(
        merged(&networks, Family::V4),
        [
            (number("10.0.0.0"), number("10.1.255.255")),
            (number("10.3.0.0"), number("10.3.255.255"))
        ]
    );
    assert_eq!(
        merged(
            &["::/0".parse().unwrap(), "fd00::/8".parse().unwrap()],
            Family::V6
        ),
        [(0, u128::MAX)]
    );
    assert_eq!(
        merged(&["0.0.0.0/0".parse().unwrap()], Family::V4),
        [(0, u128::from(u32::MAX))]
    );
}

#[test]
fn destinations_are_read_and_wrong_ones_explained() {
    let text = "# frontends\n10.96.0.1:80\n\n[fd00::1]:443 # erp\n10.96.0.1:80\n";
    let read = parse_destinations(text).unwrap();
    assert_eq!(read.len(), 2);
    let wrong = parse_destinations("10.96.0.1\n10.96.0.1:80\nerp:80\n127.0.0.1:80\n10.0.0.1:0").unwrap_err();
    assert_eq!(wrong.len(), 4, "{wrong:?}");
    for (problem, parts) in wrong.iter().zip([
        ["line 1", "10.96.1.2:80"],
        ["line 3", "names are not looked up"],
        ["line 4", "this machine itself"],
        ["line 5", "port 0"],
    ]) {
        assert!(parts.iter().all(|part| problem.contains(part)), "{problem}");
    }
    // IPv4 in IPv6 is IPv4 on the wire.
    assert_eq!(
        parse_destination("[::ffff:10.0.0.1]:80"),
        Ok("10.0.0.1:80".parse().unwrap())
    );
    for wrong in [
        "[::ffff:127.0.0.1]:80",
        "0.0.0.0:80",
        "[::]:80",
        "239.1.1.1:80",
        "255.255.255.255:80",
    ] {
        assert!(parse_destination(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn one_wrong_destination_costs_no_other() {
    let wanted: Destinations = ["127.0.0.1:80", "10.0.0.1:80", "[::ffff:10.0.0.2]:80"]
        .map(|text| text.parse().unwrap())
        .into();
    let (found, problem) = usable(&wanted);
    let expected: Destinations = ["10.0.0.1:80", "10.0.0.2:80"]
        .map(|text| text.parse().unwrap())
        .into();
    assert_eq!(found, expected);
    assert!(
        matches!(problem, Some(SettingsError::Destination { .. })),
        "{problem:?}"
    );

    let too_many: Destinations = (0..=u32::try_from(MAX_DESTINATIONS).unwrap())
        .map(|number| SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number)), 80))
        .collect();
    let (found, problem) = usable(&too_many);
    assert_eq!(found.len(), MAX_DESTINATIONS);
    assert_eq!(
        problem,
        Some(SettingsError::TooManyDestinations(MAX_DESTINATIONS + 1))
    );
    assert_eq!(check_destinations(&too_many), problem.map_or(Ok(()), Err));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let mut no_port = Settings::node();
    no_port.port = 0;
    assert_eq!(no_port.check(), Err(SettingsError::Port));
    assert_eq!(
        Settings::sidecar(Some(0), Vec::new()).check(),
        Err(SettingsError::Root)
    );
    let network: Network = "10.0.0.0/8".parse().unwrap();
    let many = Settings::sidecar(None, vec![network; MAX_NETWORKS + 1]);
    assert_eq!(
        many.check(),
        Err(SettingsError::TooManyNetworks(MAX_NETWORKS + 1))
    );
    assert_eq!(Settings::sidecar(Some(2102), vec![network]).check(), Ok(()));
    assert_eq!(Settings::node().check(), Ok(()));
}
