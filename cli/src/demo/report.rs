//! What the demo shows: a table for people, JSON for programs.

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets::UTF8_BORDERS_ONLY};
use serde_json::json;

use super::calls::Outcome;

/// The calls as a table.
pub(super) fn table(outcomes: &[Outcome]) -> String {
    let mut table = Table::new();
    table
        .load_style(UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header([
            "",
            "call",
            "the application sent",
            "the target received",
            "result",
            "ms",
        ]);
    for outcome in outcomes {
        let (mark, color) = if outcome.ok {
            ("ok", Color::Green)
        } else {
            ("FAILED", Color::Red)
        };
        table.add_row([
            Cell::new(mark).fg(color).add_attribute(Attribute::Bold),
            Cell::new(&outcome.shows),
            Cell::new(&outcome.sent),
            Cell::new(&outcome.received),
            Cell::new(outcome.problem.as_ref().unwrap_or(&outcome.result)),
            Cell::new(format!("{:.1}", outcome.ms)),
        ]);
    }
    table.to_string()
}

/// The calls as one JSON object.
pub(super) fn json(outcomes: &[Outcome]) -> String {
    json!({ "calls": outcomes, "total": outcomes.len(), "ok": count_ok(outcomes) }).to_string()
}

/// The last line: `demo: N calls, N ok`.
pub(super) fn summary(outcomes: &[Outcome]) -> String {
    format!("demo: {} calls, {} ok", outcomes.len(), count_ok(outcomes))
}

/// How many went as they must.
pub(super) fn count_ok(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| outcome.ok).count()
}
