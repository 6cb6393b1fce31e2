//! Rust files stay readable in one sitting: more than 500 lines fail the run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const MOST_LINES: usize = 500;
const SKIPPED_FOLDERS: &[&str] = &["target", "node_modules"];

/// Every Rust file above the limit, one sentence each, sorted.
pub(crate) fn violations(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder)? {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name.starts_with('.') || path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                if !SKIPPED_FOLDERS.contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
                let lines = text.iter().filter(|byte| **byte == b'\n').count();
                if lines > MOST_LINES {
                    let shown = path.strip_prefix(root).unwrap_or(&path).display();
                    found.push(format!(
                        "{shown} has {lines} lines, at most {MOST_LINES} are allowed: split it"
                    ));
                }
            }
        }
    }
    found.sort();
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    std::fs::read_dir(folder)
        .with_context(|| format!("list {}", folder.display()))?
        .map(|entry| {
            Ok(entry
                .with_context(|| format!("list {}", folder.display()))?
                .path())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_named_and_generated_folders_are_not_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, lines: usize| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "//\n".repeat(lines)).unwrap();
        };
        write("room/src/good.rs", MOST_LINES);
        write("room/src/long.rs", MOST_LINES + 1);
        write("room/src/long.txt", 900);
        write("target/debug/long.rs", 900);
        write(".hidden/long.rs", 900);
        assert_eq!(
            violations(folder.path()).unwrap(),
            ["room/src/long.rs has 501 lines, at most 500 are allowed: split it"]
        );
    }
}
