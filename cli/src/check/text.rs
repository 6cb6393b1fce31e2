//! The result as text: a line for each check, below its category.

use std::fmt::Write as _;

use landbridge_operator::check::{Finding, Outcome, Report};

/// Everything that was found.
pub(super) fn of(report: &Report) -> String {
    let mut text = String::new();
    let mut category = "";
    for finding in &report.checks {
        if finding.category != category {
            let gap = if category.is_empty() { "" } else { "\n" };
            category = finding.category;
            let _ = writeln!(text, "{gap}{category}");
        }
        line(&mut text, finding);
    }
    let count = |outcome| report.count(outcome);
    let _ = write!(
        text,
        "\n{}: {} ok, {} warnings, {} failed, {} not checked",
        if report.success {
            "All is well"
        } else {
            "Something is wrong"
        },
        count(Outcome::Ok),
        count(Outcome::Warning),
        count(Outcome::Failed),
        count(Outcome::Skipped)
    );
    text
}

fn line(text: &mut String, finding: &Finding) {
    let mark = match finding.result {
        Outcome::Ok => "✓",
        Outcome::Warning => "!",
        Outcome::Failed => "✗",
        Outcome::Skipped => "-",
    };
    let _ = writeln!(text, "  {mark} {}: {}", finding.title, finding.message);
    if !finding.remedy.is_empty() {
        let _ = writeln!(text, "      {}", finding.remedy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landbridge_operator::check::catalogue::{API_SERVER, NETWORK_POLICIES, RIGHTS, VERSION};

    #[test]
    fn a_line_for_each_below_its_category() {
        let report = Report::of(vec![
            API_SERVER.ok("Kubernetes v1.36.3"),
            VERSION.failed("1.20 is too old", "update the cluster"),
            RIGHTS.warning("few", "ask for more"),
            NETWORK_POLICIES.skipped("cannot be seen"),
        ]);
        assert_eq!(
            of(&report),
            "kubernetes\n  ✓ the API server answers: Kubernetes v1.36.3\n  ✗ the version of Kubernetes is supported: 1.20 is \
             too old\n      update the cluster\n  ! you may create what the charts create: few\n      ask for more\n\n\
             surroundings\n  - network policies are enforced: cannot be seen\n\nSomething is wrong: 1 ok, 1 warnings, 1 \
             failed, 1 not checked"
        );
    }
}
