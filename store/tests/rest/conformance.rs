//! docs/conformance.md: the tests it names exist, and tests that are named after a case are in its row.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where tests of cases are.
const FOLDERS: [&str; 4] = ["store/src", "store/tests", "destination/src", "cli/src"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The tests of each case, as `file::name`.
fn rows() -> BTreeMap<String, Vec<String>> {
    let page = fs::read_to_string(root().join("docs/conformance.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [case, _, _, tests] = cells[..] else { continue };
        if case == "Case" {
            continue;
        }
        let tests: Vec<String> = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        assert!(
            !tests.is_empty() || cells[3] == "open",
            "{case}: name its tests, or say open"
        );
        for case in cases_of(&case.to_lowercase().replace('-', "_to_")) {
            assert!(
                rows.insert(case.clone(), tests.clone()).is_none(),
                "{case} is there twice"
            );
        }
    }
    rows
}

/// The cases in a name: `find_d1_t01` has `d1` and `t01`, `urls_t11_to_t13` the three from `t11`.
fn cases_of(name: &str) -> Vec<String> {
    let number = |word: &str| {
        let (kind, digits) = word.split_at_checked(1)?;
        let known = matches!(kind, "c" | "d" | "t") && !digits.is_empty();
        (known && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| (kind.to_owned(), digits.to_owned()))
    };
    let words: Vec<&str> = name.split('_').collect();
    let mut found = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let Some((kind, digits)) = number(word) else {
            continue;
        };
        let width = digits.len();
        let last: usize = digits.parse().unwrap();
        let first = match index
            .checked_sub(2)
            .map(|before| (words[before], words[index - 1]))
        {
            Some((before, "to")) => {
                number(before).map_or(last, |(_, digits)| digits.parse::<usize>().unwrap() + 1)
            }
            _ => last,
        };
        found.extend((first..=last).map(|number| format!("{kind}{number:0width$}")));
    }
    found
}

#[test]
fn every_test_that_is_named_exists() {
    let rows = rows();
    assert!(rows.len() > 60, "{}", rows.len());
    for (case, tests) in &rows {
        for test in tests {
            let (file, name) = test.split_once("::").unwrap();
            let text = fs::read_to_string(root().join(file))
                .unwrap_or_else(|error| panic!("{case}: {file}: {error}"));
            let there = if file.ends_with(".js") {
                text.contains(&format!("test('{name}'"))
            } else {
                text.contains(&format!("fn {name}("))
            };
            assert!(there, "{case}: {file} has no test {name}");
        }
    }
}

#[test]
fn every_test_of_a_case_is_in_its_row() {
    let rows = rows();
    let mut files = Vec::new();
    for folder in FOLDERS {
        rust_files(&root().join(folder), &mut files);
    }
    let mut seen = 0;
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let file = path.strip_prefix(root()).unwrap().display().to_string();
        for (index, _) in text
            .match_indices("#[test]")
            .chain(text.match_indices("#[tokio::test"))
        {
            let Some((_, rest)) = text[index..].split_once("fn ") else {
                continue;
            };
            let name = rest.split('(').next().unwrap();
            for case in cases_of(name) {
                seen += 1;
                let listed = rows
                    .get(&case)
                    .is_some_and(|tests| tests.contains(&format!("{file}::{name}")));
                assert!(
                    listed,
                    "add `{file}::{name}` to the row of {case} in docs/conformance.md"
                );
            }
        }
    }
    assert!(seen > 30, "{seen}");
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn names_have_cases() {
    for (name, expected) in [
        ("basic_d2_t04", vec!["d2", "t04"]),
        ("urls_t11_to_t13", vec!["t11", "t12", "t13"]),
        ("a_d_to_c_test_t2x", vec![]),
        ("t99", vec!["t99"]),
    ] {
        assert_eq!(cases_of(name), expected, "{name}");
    }
}
