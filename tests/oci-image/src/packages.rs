//! Which package of the distribution a file comes from: whoever scans an image, or passes it on, has to know.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// A Debian package that files of an image come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its name, such as `libc6`.
    pub name: String,
    /// Its version, such as `2.36-9+deb12u14`.
    pub version: String,
    /// `amd64`, `all` ...
    pub architecture: String,
    /// The source package, such as `glibc`: advisories are about these.
    pub source: String,
}

/// The packages that `files` of this machine come from, sorted, and the files that no package has.
///
/// # Errors
/// When `dpkg-query` is there but cannot answer. On a system without it all files are of no package.
pub fn of<'a>(files: impl IntoIterator<Item = &'a Path>) -> Result<(Vec<Package>, Vec<PathBuf>)> {
    let (mut names, mut unknown) = (Vec::new(), Vec::new());
    for file in files {
        match owner(file)? {
            Some(name) => names.push(name),
            None => unknown.push(file.to_path_buf()),
        }
    }
    names.sort();
    names.dedup();
    let mut packages = names
        .iter()
        .map(|name| describe(name))
        .collect::<Result<Vec<_>>>()?;
    packages.sort();
    Ok((packages, unknown))
}

impl Package {
    /// What `dpkg -s` says about it: scanners look for this in `/var/lib/dpkg/status.d`.
    ///
    /// # Errors
    /// When `dpkg-query` cannot answer.
    pub fn status(&self) -> Result<Vec<u8>> {
        let text = query(&["-s", &self.name])?;
        text.map(String::into_bytes)
            .with_context(|| format!("the package {} is gone", self.name))
    }

    /// The file with its licences.
    pub fn copyright(&self) -> PathBuf {
        Path::new("/usr/share/doc").join(&self.name).join("copyright")
    }
}

/// With /usr merged into the root, dpkg knows a file by the one or by the other of its two paths.
fn owner(file: &Path) -> Result<Option<String>> {
    let path = file.to_string_lossy();
    let other = match path.strip_prefix("/usr/") {
        Some(rest) => format!("/{rest}"),
        None => format!("/usr{path}"),
    };
    for candidate in [path.as_ref(), other.as_str()] {
        // No glob: a path is matched literally when it begins with a slash and has no *, ? or [.
        if let Some(name) = query(&["-S", candidate])?.as_deref().and_then(first_owner) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// `libc6:amd64: /lib/...`; of several owners the first.
fn first_owner(lines: &str) -> Option<String> {
    let line = lines.lines().find(|line| !line.starts_with("diversion "))?;
    let (owners, _) = line.split_once(": ")?;
    let first = owners.split(", ").next()?;
    Some(first.split(':').next().unwrap_or(first).to_owned())
}

fn describe(name: &str) -> Result<Package> {
    let text = query(&[
        "-W",
        "-f",
        "${Version}\\n${Architecture}\\n${source:Package}\\n",
        name,
    ])?
    .with_context(|| format!("the package {name} is gone"))?;
    let mut lines = text.lines().map(str::to_owned);
    let mut next = || {
        lines
            .next()
            .with_context(|| format!("dpkg-query says too little about {name}"))
    };
    Ok(Package {
        name: name.to_owned(),
        version: next()?,
        architecture: next()?,
        source: next()?,
    })
}

/// None when dpkg-query is not installed, or knows nothing about what is asked.
fn query(arguments: &[&str]) -> Result<Option<String>> {
    let output = Command::new("dpkg-query")
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
        }
        // 1 is "no such file or package"; everything above is trouble.
        Ok(output) if output.status.code() == Some(1) => Ok(None),
        Ok(output) => anyhow::bail!(
            "dpkg-query {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("start dpkg-query"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_read_without_their_architecture() {
        for (lines, expected) in [
            ("libc6:amd64: /lib/x86_64-linux-gnu/libc.so.6\n", Some("libc6")),
            ("dash: /bin/sh\n", Some("dash")),
            ("diversion by dash from: /bin/sh\ndash: /bin/sh\n", Some("dash")),
            ("a, b: /usr\n", Some("a")),
            ("", None),
        ] {
            assert_eq!(first_owner(lines).as_deref(), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_file_of_no_package_is_told_apart() {
        let own = std::env::current_exe().unwrap();
        let (packages, unknown) = of([own.as_path()]).unwrap();
        assert_eq!((packages, unknown), (Vec::new(), vec![own]));
    }

    /// Says nothing on a system without dpkg, where there is nothing to say.
    #[test]
    fn the_c_library_has_a_package_and_a_licence() {
        let own = std::env::current_exe().unwrap();
        let libraries = crate::libraries::of(&own).unwrap();
        let sources: Vec<_> = libraries
            .iter()
            .map(|library| library.source.canonicalize().unwrap())
            .collect();
        let (packages, unknown) = of(sources.iter().map(PathBuf::as_path)).unwrap();
        if query(&["--version"]).unwrap().is_none() {
            crate::skipped("no dpkg-query");
            return;
        }
        assert_eq!(unknown, Vec::<PathBuf>::new());
        let libc = packages.iter().find(|package| package.source == "glibc").unwrap();
        assert!(libc.copyright().is_file());
        let status = String::from_utf8(libc.status().unwrap()).unwrap();
        assert!(status.contains(&format!("Version: {}", libc.version)), "{status}");
    }
}
