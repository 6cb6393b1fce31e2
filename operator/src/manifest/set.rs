//! All files of a folder taken together: one table of destinations, and every mistake.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use landbridge_destination::RouteKey;

use super::{Declared, ManifestProblem, Parsed, Skipped};

/// Most destinations of a folder. Each needs a port of its own, of which a machine has 65535.
pub const MAX_DESTINATIONS: usize = 10_000;

/// Most mistakes and skipped resources that are listed; the rest is counted.
const MAX_LISTED: usize = 1_000;

/// The state of a folder at one point in time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ManifestSet {
    /// By namespace and name. `metadata.generation` counts the changes of the specification, as in a cluster.
    pub destinations: BTreeMap<RouteKey, Arc<Declared>>,
    /// What is wrong, in the order of the files.
    pub problems: Vec<ManifestProblem>,
    /// Resources of other kinds.
    pub skipped: Vec<Skipped>,
}

impl ManifestSet {
    /// Puts files together; they come in the order of their names. `previous` gives the generations to count on.
    pub fn merge<'a>(previous: &Self, files: impl IntoIterator<Item = &'a Parsed>) -> Self {
        let mut set = Self::default();
        let mut unlisted = 0;
        for file in files {
            for problem in &file.problems {
                set.note(problem.clone(), &mut unlisted);
            }
            let room = MAX_LISTED.saturating_sub(set.skipped.len());
            set.skipped.extend(file.skipped.iter().take(room).cloned());
            for declared in &file.destinations {
                if let Some(problem) = set.add(declared, previous) {
                    set.note(problem, &mut unlisted);
                }
            }
        }
        if unlisted > 0 {
            let message = format!("{unlisted} more mistakes are not listed: correct the ones above first");
            let file = set
                .problems
                .last()
                .map(|last| last.file.clone())
                .unwrap_or_default();
            set.problems.push(ManifestProblem {
                file,
                line: None,
                field: String::new(),
                message,
            });
        }
        set
    }

    fn note(&mut self, problem: ManifestProblem, unlisted: &mut usize) {
        if self.problems.len() < MAX_LISTED {
            self.problems.push(problem);
        } else {
            *unlisted += 1;
        }
    }

    fn add(&mut self, declared: &Declared, previous: &Self) -> Option<ManifestProblem> {
        let full = self.destinations.len() >= MAX_DESTINATIONS;
        let problem = |message| {
            let (file, line) = (declared.file.to_string(), Some(declared.line));
            Some(ManifestProblem {
                file,
                line,
                field: "metadata.name".to_owned(),
                message,
            })
        };
        match self.destinations.entry(declared.key.clone()) {
            Entry::Occupied(first) => {
                let first = first.get();
                problem(format!(
                    "{} is declared at {}:{} and again at {}:{}; the first one is used: remove or rename one",
                    declared.key, first.file, first.line, declared.file, declared.line
                ))
            }
            Entry::Vacant(_) if full => problem(format!(
                "is not used: a folder may declare at most {MAX_DESTINATIONS} destinations"
            )),
            Entry::Vacant(place) => {
                let mut declared = declared.clone();
                let before = previous
                    .destinations
                    .get(&declared.key)
                    .map(|before| &before.resource);
                declared.resource.metadata.generation = Some(match before {
                    Some(before) => {
                        let changed = before.spec != declared.resource.spec;
                        before
                            .metadata
                            .generation
                            .unwrap_or(1)
                            .saturating_add(i64::from(changed))
                    }
                    None => 1,
                });
                place.insert(Arc::new(declared));
                None
            }
        }
    }
}
