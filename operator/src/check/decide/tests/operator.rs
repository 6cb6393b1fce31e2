use super::*;
use Outcome::{Failed, Skipped, Warning};

#[test]
fn what_can_be_wrong_with_the_operator() {
    all_differ(vec![
        (
            |f| f.operators = Ok(vec![]),
            "operator-works",
            Skipped,
            "there is no pod",
            "",
        ),
        (
            |f| f.cluster.namespace = Err(Trouble::Missing),
            "namespace",
            Failed,
            "system",
            "-n",
        ),
        (
            |f| f.deployment = Err(Trouble::Missing),
            "operator-ready",
            Failed,
            "no Deployment landbridge-operator",
            "helm install",
        ),
        (
            |f| {
                f.deployment.as_mut().unwrap().status = None;
                f.operators = Ok(vec![PodFact {
                    ready: false,
                    waiting: Some("ImagePullBackOff".into()),
                    ..pod("operator-0")
                }]);
            },
            "operator-ready",
            Failed,
            "0 of 2 replicas are ready; operator-0: ImagePullBackOff",
            "kubectl describe pod -n system",
        ),
        (
            |f| {
                f.deployment
                    .as_mut()
                    .unwrap()
                    .status
                    .as_mut()
                    .unwrap()
                    .ready_replicas = Some(1);
                f.operators.as_mut().unwrap()[1] = PodFact {
                    ready: false,
                    pending: Some("waiting for: list of Destination".into()),
                    ..pod("operator-1")
                };
            },
            "operator-ready",
            Warning,
            "1 of 2 replicas are ready; operator-1: waiting for: list of Destination",
            "describe",
        ),
        (
            |f| f.lease = Err(Trouble::Missing),
            "operator-lease",
            Failed,
            "no Lease",
            "kubectl logs -n system",
        ),
        (
            |f| f.lease.as_mut().unwrap().holder.clear(),
            "operator-lease",
            Failed,
            "nobody",
            "kubectl logs",
        ),
        (
            |f| f.lease.as_mut().unwrap().fresh = false,
            "operator-lease",
            Failed,
            "does not renew",
            "kubectl logs",
        ),
        (
            |f| f.lease = forbidden(),
            "operator-lease",
            Skipped,
            "bob",
            "more rights",
        ),
        (
            |f| f.status = timeout(),
            "operator-works",
            Failed,
            "no answer",
            "9494",
        ),
        (
            |f| f.status = timeout(),
            "operator-certificates",
            Skipped,
            "not reached",
            "",
        ),
        (
            |f| f.status = timeout(),
            "store-reachable",
            Skipped,
            "not reached",
            "",
        ),
        (
            |f| f.status = timeout(),
            "proxies-connected",
            Skipped,
            "not reached",
            "",
        ),
        (
            |f| f.status = forbidden(),
            "operator-works",
            Skipped,
            "bob",
            "more rights",
        ),
        (
            |f| f.status.as_mut().unwrap().components[0].1 = "stuck".into(),
            "operator-works",
            Failed,
            "stuck",
            "rollout restart",
        ),
        (
            |f| f.status.as_mut().unwrap().components[1].1 = "no file".into(),
            "operator-certificates",
            Failed,
            "no file",
            "message",
        ),
        (
            |f| f.status.as_mut().unwrap().components[2].1 = "refused".into(),
            "store-reachable",
            Failed,
            "default: refused",
            "kubectl logs",
        ),
    ]);
}
