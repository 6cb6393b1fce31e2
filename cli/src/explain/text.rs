//! An explanation as text.

use std::fmt::Write as _;

use landbridge_operator::explain::Explanation;

/// Everything there is to say, a line for each thing.
pub(super) fn of(explanation: &Explanation) -> String {
    let mut text = format!("{}/{}\n", explanation.namespace, explanation.name);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<12} {value}");
    };
    let instance = explanation
        .instance
        .as_ref()
        .map(|name| format!(" of the instance {name}"));
    line(
        "destination",
        &format!("{}{}", explanation.destination, instance.unwrap_or_default()),
    );
    match &explanation.resolved {
        Some(resolved) => line("resolves to", &format!("{} ({})", resolved.target, resolved.kind)),
        None if explanation.asked => line("resolves to", "nothing"),
        None => line(
            "resolves to",
            "not asked; name a service key with --destination-service",
        ),
    }
    if let Some(address) = &explanation.address {
        line("call it at", address);
    }
    line("callers", &explanation.callers);
    if let Some(service) = &explanation.service {
        let whose = if service.ours {
            ""
        } else {
            ", made by somebody else"
        };
        let behind = service
            .proxy_port
            .map(|port| format!(", port {port} of the proxies"));
        line(
            "Service",
            &format!(
                "{}:{}{}{whose}",
                service.cluster_ip,
                service.port,
                behind.unwrap_or_default()
            ),
        );
    }
    for proxy in &explanation.proxies {
        let state = if proxy.ready { "ready" } else { "not ready" };
        let node = proxy.node.as_ref().map(|node| format!(" on {node}"));
        line(
            "proxy",
            &format!(
                "{} at {}{}, {state}",
                proxy.pod,
                proxy.address,
                node.unwrap_or_default()
            ),
        );
    }
    for condition in &explanation.conditions {
        line(
            "condition",
            &format!(
                "{:<13} {:<8} {}",
                condition.type_, condition.status, condition.reason
            ),
        );
    }
    for problem in &explanation.problems {
        line("problem", problem);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use landbridge_operator::explain::{ProxyLine, Resolution};

    #[test]
    fn says_everything_in_order() {
        let explanation = Explanation {
            namespace: "shop".into(),
            name: "erp".into(),
            destination: "erp".into(),
            instance: None,
            asked: true,
            resolved: Some(Resolution {
                kind: "HTTP, Internet, NoAuthentication".into(),
                target: "https://erp.example.com/".into(),
            }),
            address: Some("http://erp.shop".into()),
            callers: "workloads of the namespace shop".into(),
            service: None,
            proxies: vec![ProxyLine {
                pod: "system/proxy-0".into(),
                address: "10.0.0.1:10001".into(),
                node: Some("n1".into()),
                ready: true,
            }],
            conditions: Vec::new(),
            problems: vec!["Failed: it rains".into()],
        };
        assert_eq!(
            of(&explanation),
            "shop/erp\n  destination  erp\n  resolves to  https://erp.example.com/ (HTTP, Internet, NoAuthentication)\n  \
             call it at   http://erp.shop\n  callers      workloads of the namespace shop\n  proxy        system/proxy-0 at \
             10.0.0.1:10001 on n1, ready\n  problem      Failed: it rains\n"
        );
    }
}
