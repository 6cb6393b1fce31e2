//! The calls of the demo: what a pod would do, and what must come of it. Pure.

use serde::Serialize;

/// What the application does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask {
    /// Sends a request in plain HTTP, without credentials.
    Http {
        /// Method.
        method: &'static str,
        /// Path.
        path: &'static str,
        /// Body, may be empty.
        body: &'static str,
        /// A header of its own.
        header: Option<(&'static str, &'static str)>,
    },
    /// Opens a plain TCP connection and sends this; the same must come back.
    Tcp {
        /// The bytes.
        bytes: &'static str,
    },
}

/// What must come of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expect {
    /// Status, for HTTP.
    pub status: u16,
    /// Part of the answer.
    pub answer: &'static str,
    /// Part of the request as the target received it; `None`: the target must not have received it.
    pub received: Option<&'static str>,
    /// Scheme of the credential the target received.
    pub credential: Option<&'static str>,
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// What it shows.
    pub shows: &'static str,
    /// The `Destination` called.
    pub destination: &'static str,
    /// What the application does.
    pub ask: Ask,
    /// What must come of it.
    pub expect: Expect,
}

/// How a call went.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    /// What it shows.
    pub shows: String,
    /// What the application sent.
    pub sent: String,
    /// What the target received, the credential redacted.
    pub received: String,
    /// Status, or what became of the TCP connection.
    pub result: String,
    /// From sending to the last byte, in milliseconds.
    pub ms: f64,
    /// Whether it went as it must.
    pub ok: bool,
    /// What was wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

const fn get(path: &'static str) -> Ask {
    Ask::Http {
        method: "GET",
        path,
        body: "",
        header: None,
    }
}

const fn expect(
    status: u16,
    answer: &'static str,
    received: Option<&'static str>,
    credential: Option<&'static str>,
) -> Expect {
    Expect {
        status,
        answer,
        received,
        credential,
    }
}

/// All calls, in the order they are made.
pub(super) const CALLS: [Call; 10] = [
    Call {
        shows: "Internet, no authentication",
        destination: "weather",
        ask: get("/weather?city=lisbon"),
        expect: expect(200, "Lisbon", Some("GET /weather?city=lisbon&units=metric"), None),
    },
    Call {
        shows: "Internet, Basic",
        destination: "billing",
        ask: get("/invoices"),
        expect: expect(200, "4711", Some("GET /invoices"), Some("Basic")),
    },
    Call {
        shows: "Internet, OAuth 2.0 client credentials",
        destination: "orders",
        ask: get("/orders"),
        expect: expect(200, "A-1", Some("GET /orders"), Some("Bearer")),
    },
    Call {
        shows: "the same, with the token kept",
        destination: "orders",
        ask: get("/orders"),
        expect: expect(200, "A-2", Some("GET /orders"), Some("Bearer")),
    },
    Call {
        shows: "on-premise HTTP",
        destination: "erp",
        ask: get("/stock"),
        expect: expect(200, "bolt M8", Some("GET /stock"), None),
    },
    Call {
        shows: "on-premise HTTP with a body",
        destination: "erp",
        ask: Ask::Http {
            method: "POST",
            path: "/stock",
            body: "200 bolts more",
            header: None,
        },
        expect: expect(200, "200 bolts more", Some("POST /stock"), None),
    },
    Call {
        shows: "on-premise TCP",
        destination: "erp-events",
        ask: Ask::Tcp {
            bytes: "hello, company network",
        },
        expect: expect(0, "hello, company network", None, None),
    },
    Call {
        shows: "on-premise path that is not exposed",
        destination: "erp",
        ask: get("/admin/users"),
        expect: expect(403, "Access denied to resource /admin/users", None, None),
    },
    Call {
        shows: "destination named by the request",
        destination: "any",
        ask: Ask::Http {
            method: "GET",
            path: "/invoices",
            body: "",
            header: Some(("x-destination-name", "billing-api")),
        },
        expect: expect(200, "4712", Some("GET /invoices"), Some("Basic")),
    },
    Call {
        shows: "destination that does not exist",
        destination: "any",
        ask: Ask::Http {
            method: "GET",
            path: "/",
            body: "",
            header: Some(("x-destination-name", "nowhere")),
        },
        expect: expect(404, "nowhere", None, None),
    },
];

/// What was seen of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    /// Status; 0 for TCP.
    pub status: u16,
    /// The answer.
    pub answer: String,
    /// Request line at the target.
    pub line: Option<String>,
    /// Redacted credential at the target.
    pub credential: Option<String>,
}

impl Expect {
    /// What is wrong with what was seen, if anything.
    pub(super) fn problem(&self, observed: &Observed) -> Option<String> {
        if observed.status != self.status {
            return Some(format!(
                "status {} instead of {}: {}",
                observed.status,
                self.status,
                observed.answer.trim()
            ));
        }
        if !observed.answer.contains(self.answer) {
            return Some(format!(
                "the answer does not have '{}': {}",
                self.answer,
                observed.answer.trim()
            ));
        }
        match (self.received, &observed.line) {
            (None, Some(line)) if self.status != 0 => return Some(format!("the target received {line}")),
            (Some(expected), None) => return Some(format!("the target did not receive {expected}")),
            (Some(expected), Some(line)) if line != expected => {
                return Some(format!("the target received {line} instead of {expected}"));
            }
            _ => {}
        }
        let scheme = observed
            .credential
            .as_deref()
            .and_then(|credential| credential.split(' ').next());
        (scheme != self.credential).then(|| format!("credential {scheme:?} instead of {:?}", self.credential))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expectation_notices_every_difference() {
        let expected = expect(200, "4711", Some("GET /invoices"), Some("Basic"));
        let good = Observed {
            status: 200,
            answer: "[4711]".into(),
            line: Some("GET /invoices".into()),
            credential: Some("Basic ...abcd".into()),
        };
        assert_eq!(expected.problem(&good), None);
        for bad in [
            Observed {
                status: 401,
                ..good.clone()
            },
            Observed {
                answer: "[]".into(),
                ..good.clone()
            },
            Observed {
                line: None,
                ..good.clone()
            },
            Observed {
                line: Some("GET /other".into()),
                ..good.clone()
            },
            Observed {
                credential: None,
                ..good.clone()
            },
            Observed {
                credential: Some("Bearer ...abcd".into()),
                ..good.clone()
            },
        ] {
            assert!(expected.problem(&bad).is_some(), "{bad:?}");
        }
        let denied = expect(403, "denied", None, None);
        let leaked = Observed {
            status: 403,
            answer: "denied".into(),
            line: Some("GET /admin".into()),
            credential: None,
        };
        assert!(
            denied.problem(&leaked).is_some(),
            "a denied request must not reach the target"
        );
    }
}
