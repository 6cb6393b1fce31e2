//! Configuration mistakes, collected so that all of them are told in one run.

use std::fmt;

/// Collects mistakes while a configuration is checked.
#[derive(Debug, Default)]
pub struct Problems {
    list: Vec<Problem>,
}

/// One mistake: where it is and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting, as the user wrote it: a flag, a variable, or a path such as `mappings[2].virtual_port`.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// A configuration that cannot be used. Processes end with [`EXIT_CODE`](Self::EXIT_CODE).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidConfig {
    problems: Vec<Problem>,
}

impl Problems {
    /// No mistake so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a mistake.
    pub fn add(&mut self, field: impl Into<String>, message: impl fmt::Display) {
        self.list.push(Problem {
            field: field.into(),
            message: message.to_string(),
        });
    }

    /// Takes the value out of `result`, or notes its error and goes on.
    pub fn take<T, E: fmt::Display>(&mut self, field: impl Into<String>, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(field, error);
                None
            }
        }
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The value if it exists and nothing was noted.
    ///
    /// # Errors
    /// All mistakes, in the order they were found.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T, InvalidConfig> {
        match value {
            Some(value) if self.list.is_empty() => Ok(value),
            _ => {
                if self.list.is_empty() {
                    self.add("configuration", "incomplete");
                }
                Err(InvalidConfig { problems: self.list })
            }
        }
    }
}

impl InvalidConfig {
    /// `EX_USAGE` of sysexits.h: the command was used wrongly; restarting will not help.
    pub const EXIT_CODE: u8 = 64;

    /// The mistakes, in the order they were found.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(
            f,
            "{count} configuration mistake{}:",
            if count == 1 { "" } else { "s" }
        )?;
        for problem in &self.problems {
            write!(f, "\n  {}: {}", problem.field, problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidConfig {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_every_mistake_at_once() {
        let mut problems = Problems::new();
        let port = problems.take("--port", "x".parse::<u16>());
        problems.add("--store", "is missing; give a URL or 'embedded'");
        let error = problems.finish(port).unwrap_err();
        assert_eq!(error.problems().len(), 2);
        let text = error.to_string();
        assert!(text.starts_with("2 configuration mistakes:"), "{text}");
        assert!(
            text.contains("--port: invalid digit") && text.contains("--store: is missing"),
            "{text}"
        );
    }

    #[test]
    fn passes_a_value_without_mistakes() {
        assert_eq!(Problems::new().finish(Some(7)), Ok(7));
        assert!(Problems::new().finish(None::<u8>).is_err());
    }
}
