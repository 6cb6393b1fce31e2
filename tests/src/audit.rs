//! What an API server has been asked, from its audit log.

use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u64);

/// One answered request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Who asked, as in `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    /// The `User-Agent` header.
    pub agent: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Plural, as in `destinations`; empty for paths that are no resource.
    pub resource: String,
    /// As in `status`; mostly empty.
    pub subresource: String,
    /// Empty for what is not in one.
    pub namespace: String,
    /// Empty for lists.
    pub name: String,
    /// HTTP status of the answer.
    pub code: u64,
    /// When it was answered.
    pub at: Timestamp,
}

impl Event {
    /// Whether it asked for a change.
    pub fn is_write(&self) -> bool {
        matches!(
            self.verb.as_str(),
            "create" | "update" | "patch" | "delete" | "deletecollection"
        )
    }

    fn read(line: &str) -> Self {
        let event: Value = serde_json::from_str(line).expect("a line of the audit log is JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &event["objectRef"];
        Self {
            user: text(&event["user"]["username"]),
            agent: text(&event["userAgent"]),
            verb: text(&event["verb"]),
            resource: text(&object["resource"]),
            subresource: text(&object["subresource"]),
            namespace: text(&object["namespace"]),
            name: text(&object["name"]),
            code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
            at: text(&event["stageTimestamp"]).parse().expect("a time"),
        }
    }
}

/// The end of `log` as it is now.
pub fn mark(log: &Path) -> Mark {
    Mark(std::fs::metadata(log).map_or(0, |metadata| metadata.len()))
}

/// Everything that was answered since `mark`. A request appears about when its answer does, so poll for it; a watch when
/// it ends.
pub fn since(log: &Path, mark: Mark) -> Vec<Event> {
    let mut file = std::fs::File::open(log).expect("the audit log is there");
    file.seek(SeekFrom::Start(mark.0)).expect("a place in it");
    let mut reader = BufReader::new(file);
    let mut events = Vec::new();
    let mut line = String::new();
    // A line that has no end yet is being written, and belongs to the next reader.
    while reader.read_line(&mut line).expect("it can be read") > 0 && line.ends_with('\n') {
        events.push(Event::read(&line));
        line.clear();
    }
    events
}
