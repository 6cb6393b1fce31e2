//! Service channels: a client in the company reaches a service of the cluster, through real processes: proxy, connector,
//! store, and the operator's serve API.

mod world;

use std::time::Duration;

use landbridge_destination::channel::{Channel, ChannelKind, ConnectorSide};
use landbridge_tests::client;
use landbridge_tests::{PATIENCE, eventually, free_port, target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::timeout;

use world::{World, answers, at, channel, local, logs, open, refused, say, shop, start_proxy};

#[tokio::test]
async fn clients_of_the_company_reach_what_is_exposed_to_them_and_nothing_else() {
    let world = World::start().await;
    let (shop, echo) = (shop().await, target::echo().await);
    let elsewhere = |one: &mut Channel| one.location_ids = vec!["plant".into()];
    let theirs = |one: &mut Channel| one.subaccount = Some("another-subaccount".into());
    world.operator.hub.set_channels(vec![
        channel("shop", shop, |_| {}),
        channel("echo", echo, |one| one.kind = ChannelKind::Hana),
        channel("far", shop, elsewhere),
        channel("theirs", shop, theirs),
    ]);
    let ports = [free_port(), free_port(), free_port(), free_port()];
    let config = [
        local(ports[0], "TCP", "shop"),
        // Of any kind.
        local(ports[1], "K8S", "echo"),
        local(ports[2], "TCP", "far"),
        local(ports[3], "TCP", "theirs"),
    ];
    let connector = world.connector("company", "", &config.concat()).await;
    answers(ports[0], "the shop").await;
    world.held_at("shop", &[""]).await;
    world.held_at("echo", &[""]).await;
    world.held_at("far", &[]).await;
    world.held_at("theirs", &[]).await;

    // An independent client.
    let url = format!("http://127.0.0.1:{}/", ports[0]);
    let curl = Command::new("curl")
        .args(["-s", "-S", "-m", "60", &url])
        .output()
        .await
        .expect("curl");
    assert_eq!(String::from_utf8_lossy(&curl.stdout), "the shop", "{curl:?}");

    // Bytes there and back, and each direction ends alone.
    let data: Vec<u8> = (0..4_u32 << 20).map(|i| (i % 251) as u8).collect();
    let (mut reader, mut writer) = TcpStream::connect(at(ports[1])).await.unwrap().into_split();
    let sent = data.clone();
    let sending = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    timeout(PATIENCE, reader.read_to_end(&mut back))
        .await
        .unwrap()
        .unwrap();
    sending.await.unwrap();
    assert!(back == data);

    refused(ports[2]).await;
    logs(
        &connector,
        "not exposed to the default location; add that location to the locationIds of shop/far",
    )
    .await;
    refused(ports[3]).await;
    logs(&connector, "exposes no service \"theirs\"").await;
    for event in ["channel-opened", "channel-refused"] {
        logs(&connector, event).await;
    }
    let page = client::get(world.admin, "/channels").await.json();
    let names: Vec<_> = page["channels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].clone())
        .collect();
    assert_eq!(names, ["echo", "far", "shop", "theirs"]);
    assert_eq!(page["channels"][2]["heldAt"], serde_json::json!([""]));
    let metrics = client::get(world.admin, "/metrics").await.text();
    assert!(
        metrics.contains("service_channel_streams_total{result=\"Denied\"} 2"),
        "{metrics}"
    );
}

#[tokio::test]
async fn what_is_taken_away_is_closed_and_what_comes_back_works() {
    let world = World::start().await;
    let echo = target::echo().await;
    let (off, on) = (free_port(), free_port());
    let both = || vec![channel("one", echo, |_| {}), channel("two", echo, |_| {})];
    world.operator.hub.set_channels(both());
    let _connector = world
        .connector(
            "company",
            "",
            &[local(off, "TCP", "one"), local(on, "TCP", "two")].concat(),
        )
        .await;
    world.held_at("one", &[""]).await;
    world.held_at("two", &[""]).await;
    let (mut cut, mut stays) = (open(off).await, open(on).await);

    let switched_off = |one: &mut Channel| {
        one.connector = Some(ConnectorSide {
            local_port: 1,
            connections: 1,
            enabled: false,
        });
    };
    let (elsewhere, second) = (target::echo().await, channel("two", echo, |_| {}));
    for gone in [
        vec![second.clone()],
        vec![second.clone(), channel("one", echo, switched_off)],
        vec![
            second.clone(),
            channel("one", echo, |one| one.location_ids = vec!["hq".into()]),
        ],
        vec![second.clone(), channel("one", elsewhere, |_| {})],
    ] {
        world.operator.hub.set_channels(gone.clone());
        let mut rest = Vec::new();
        let ended = timeout(PATIENCE, cut.read_to_end(&mut rest))
            .await
            .expect("it is closed");
        assert!(ended.is_err(), "a cut must not look like a proper end: {gone:?}");
        say(&mut stays, "still there").await;
        world.operator.hub.set_channels(both());
        world.held_at("one", &[""]).await;
        cut = open(off).await;
    }
}

#[tokio::test]
async fn a_proxy_that_is_killed_is_found_again_with_its_table() {
    let mut world = World::start().await;
    let (shop, echo, ports) = (shop().await, target::echo().await, [free_port(), free_port()]);
    let table = vec![channel("shop", shop, |_| {}), channel("echo", echo, |_| {})];
    world.operator.hub.set_channels(table);
    let config = [local(ports[0], "TCP", "shop"), local(ports[1], "TCP", "echo")];
    let _connector = world.connector("company", "", &config.concat()).await;
    answers(ports[0], "the shop").await;
    eventually("the table is on disk", async || {
        let text = std::fs::read_to_string(world.path("state.json")).map_err(|error| error.to_string())?;
        if text.contains("\"serviceId\":\"shop\"") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    world.operator.shutdown.drain(Duration::from_secs(5)).await;
    answers(ports[0], "the shop").await;
    world.proxy.kill().await;
    // While the operator is away.
    (world.proxy, world.admin) = start_proxy(&world.folder, world.operator.address, world.tunnel).await;
    answers(ports[0], "the shop").await;

    // An orderly stop lets what runs finish.
    let mut running = open(ports[1]).await;
    world.proxy.terminate();
    say(&mut running, "the last words").await;
    running.shutdown().await.unwrap();
    let mut rest = Vec::new();
    timeout(PATIENCE, running.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(world.proxy.wait().await.success());
}

#[tokio::test]
async fn ports_that_the_cluster_asks_for_are_opened_only_where_that_is_allowed() {
    let world = World::start().await;
    let (shop, ports) = (shop().await, [free_port(), free_port()]);
    let offered = |enabled: bool| {
        vec![channel("shop", shop, move |one| {
            one.location_ids = vec![String::new(), "hq".into()];
            one.connector = Some(ConnectorSide {
                local_port: ports[0],
                connections: 1,
                enabled,
            });
        })]
    };
    world.operator.hub.set_channels(offered(true));
    let careful = world.connector("careful", "location_id = \"hq\"", "").await;
    logs(&careful, "accept_offered_channels = true").await;
    assert!(TcpStream::connect(at(ports[0])).await.is_err(), "it stays closed");
    world.held_at("shop", &[]).await;

    let trusting = world
        .connector("trusting", "accept_offered_channels = true", "")
        .await;
    answers(ports[0], "the shop").await;
    world.held_at("shop", &[""]).await;
    world.operator.hub.set_channels(offered(false));
    world.held_at("shop", &[]).await;
    eventually("the port is closed", async || {
        match TcpStream::connect(at(ports[0])).await {
            Ok(_) => Err("open"),
            Err(_) => Ok(()),
        }
        .map_err(str::to_owned)
    })
    .await;
    world.operator.hub.set_channels(offered(true));
    answers(ports[0], "the shop").await;
    drop(trusting);
    world.held_at("shop", &[]).await;

    // A port that is taken costs nobody else anything.
    let taken = TcpListener::bind(at(0)).await.unwrap();
    let config = [
        local(taken.local_addr().unwrap().port(), "TCP", "shop"),
        local(ports[1], "TCP", "shop"),
    ];
    let unlucky = world.connector("unlucky", "", &config.concat()).await;
    logs(&unlucky, "in use by another process").await;
    answers(ports[1], "the shop").await;
}

#[tokio::test]
async fn ten_thousand_opens_to_dead_services_leave_nothing_behind() {
    const OPENS: usize = 10_000;
    let world = World::start().await;
    // Nobody listens here.
    let dead = at(free_port());
    // Nobody accepts here: the queue is full, and further handshakes are dropped.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&at(0).into()).unwrap();
    full.listen(1).unwrap();
    let black_hole = full.local_addr().unwrap().as_socket().unwrap();
    let mut queue = Vec::new();
    while let Ok(Ok(stream)) = timeout(Duration::from_millis(300), TcpStream::connect(black_hole)).await {
        queue.push(stream);
    }
    let (ports, shop) = ([free_port(), free_port(), free_port()], shop().await);
    world.operator.hub.set_channels(vec![
        channel("dead", dead, |_| {}),
        channel("hole", black_hole, |_| {}),
        channel("shop", shop, |_| {}),
    ]);
    let config = [
        local(ports[0], "TCP", "dead"),
        local(ports[1], "TCP", "hole").replace("kind", "max_clients = 500\nkind"),
        local(ports[2], "TCP", "shop"),
    ];
    let connector = world
        .connector(
            "company",
            "",
            &format!("{}\n[limits]\nconnect_seconds = 2\n", config.concat()),
        )
        .await;
    answers(ports[2], "the shop").await;
    let warm = async |count: usize| {
        let clients = (0..50).map(|_| {
            tokio::spawn(async move {
                for turn in 0..count / 50 {
                    refused(ports[usize::from(turn % 20 == 0)]).await;
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            timeout(PATIENCE * 3, client)
                .await
                .expect("all are hung up on")
                .unwrap();
        }
    };
    warm(OPENS / 5).await;
    let before = (world.proxy.resident(), connector.resident());
    warm(OPENS).await;
    let after = (world.proxy.resident(), connector.resident());
    let growth = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    assert!(
        growth.0 < 24 << 20 && growth.1 < 24 << 20,
        "proxy {} and connector {} MiB more",
        growth.0 >> 20,
        growth.1 >> 20
    );
    let metrics = client::get(world.admin, "/metrics").await.text();
    for result in ["Unreachable", "Timeout"] {
        let counted = format!("service_channel_streams_total{{result=\"{result}\"}}");
        assert!(metrics.contains(&counted), "{metrics}");
    }
    logs(&connector, "left_out").await;
    assert!(connector.log().len() < 1 << 20, "few words for many refusals");
    eventually("no stream is left", async || {
        let metrics = client::get(world.admin, "/metrics").await.text();
        let zero = "service_channel_active_streams 0";
        if metrics.contains(zero) {
            Ok(())
        } else {
            Err(metrics)
        }
    })
    .await;
    answers(ports[2], "the shop").await;
}
