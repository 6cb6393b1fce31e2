//! What happened: tests passed, failed, ignored, read from the lines that `cargo test` prints.

use std::ops::AddAssign;

/// A sum over test binaries and steps.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Counts {
    /// A step without tests of its own counts as one.
    pub(crate) fn step(ok: bool) -> Self {
        Self {
            passed: u64::from(ok),
            failed: u64::from(!ok),
            ignored: 0,
        }
    }

    /// Reads `test result: ok. 3 passed; 1 failed; 2 ignored; 0 measured; ...`; any other line is none.
    /// A line that starts like a result and cannot be read is counted as a failure, never dropped.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let rest = line.trim_end().strip_prefix("test result:")?;
        Some(Self::numbers(rest).unwrap_or(Self {
            passed: 0,
            failed: 1,
            ignored: 0,
        }))
    }

    fn numbers(rest: &str) -> Option<Self> {
        let (_verdict, numbers) = rest.split_once(". ")?;
        let (mut passed, mut failed, mut ignored) = (None, None, None);
        for part in numbers.split(';') {
            match part.trim().split_once(' ') {
                Some((number, "passed")) => passed = number.parse().ok(),
                Some((number, "failed")) => failed = number.parse().ok(),
                Some((number, "ignored")) => ignored = number.parse().ok(),
                _ => {}
            }
        }
        Some(Self {
            passed: passed?,
            failed: failed?,
            ignored: ignored?,
        })
    }

    /// The verdict over one run of `cargo test`: a run that ended badly without a failed test (it did not
    /// compile, a test binary was killed) or that ran no test at all is a failure too.
    pub(crate) fn of_test_run(self, success: bool) -> Self {
        let nothing_ran = self.passed + self.failed == 0;
        if self.failed == 0 && (!success || nothing_ran) {
            Self { failed: 1, ..self }
        } else {
            self
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(passed: u64, failed: u64, ignored: u64) -> Counts {
        Counts {
            passed,
            failed,
            ignored,
        }
    }

    #[test]
    fn result_lines_are_read() {
        let cases = [
            (
                "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 7 filtered out; finished in 0.31s",
                Some(counts(12, 0, 3)),
            ),
            (
                "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
                Some(counts(1, 2, 0)),
            ),
            (
                "test result: ok. 0 passed; 0 failed; 0 ignored\r\n",
                Some(counts(0, 0, 0)),
            ),
            (
                "test result: ok. lots passed; 0 failed; 0 ignored",
                Some(counts(0, 1, 0)),
            ),
            ("test result: ", Some(counts(0, 1, 0))),
            ("test proxy::accepts ... ok", None),
            ("   test result: ok. 1 passed; 0 failed; 0 ignored", None),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(Counts::parse(line), expected, "{line:?}");
        }
    }

    #[test]
    fn a_run_without_tests_or_with_a_bad_end_fails() {
        let cases = [
            (counts(4, 0, 1), true, counts(4, 0, 1)),
            (counts(4, 2, 0), false, counts(4, 2, 0)),
            (counts(4, 0, 0), false, counts(4, 1, 0)),
            (counts(0, 0, 0), true, counts(0, 1, 0)),
            (counts(0, 0, 5), true, counts(0, 1, 5)),
        ];
        for (sum, success, expected) in cases {
            assert_eq!(sum.of_test_run(success), expected, "{sum:?} {success}");
        }
    }

    #[test]
    fn sums_add_up() {
        let mut sum = Counts::step(true);
        sum += Counts::step(false);
        sum += counts(5, 1, 2);
        assert_eq!(sum, counts(6, 2, 2));
    }
}
