//! What a program needs beside itself: its shared libraries and the loader, as this machine resolves them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use elf::ElfStream;
use elf::abi::{EM_AARCH64, EM_X86_64, PT_INTERP};
use elf::endian::AnyEndian;

/// A file that belongs beside a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Library {
    /// Its place in the image.
    pub(crate) path: String,
    /// Its place on this machine, where it may be a link.
    pub(crate) source: PathBuf,
}

/// What the header of an ELF file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) machine: u16,
    /// Whether a loader must start it; a static program names none.
    pub(crate) dynamic: bool,
}

impl Header {
    pub(crate) fn read(program: &Path) -> Result<Self> {
        let file = File::open(program).with_context(|| format!("open {}", program.display()))?;
        let elf = ElfStream::<AnyEndian, _>::open_stream(file).map_err(|error| {
            anyhow::anyhow!(
                "{} is no ELF program ({error}): scripts and wrappers cannot run in an image without an interpreter; \
                 name the program behind it",
                program.display()
            )
        })?;
        Ok(Self {
            machine: elf.ehdr.e_machine,
            dynamic: elf.segments().iter().any(|segment| segment.p_type == PT_INTERP),
        })
    }

    /// The architecture in the words of OCI (those of Go).
    pub(crate) fn architecture(self) -> Result<&'static str> {
        match self.machine {
            EM_X86_64 => Ok("amd64"),
            EM_AARCH64 => Ok("arm64"),
            other => bail!("ELF machine {other} is not known here: only x86_64 and aarch64 are"),
        }
    }
}

/// The libraries and the loader of `program`; nothing for a static one.
pub(crate) fn of(program: &Path) -> Result<Vec<Library>> {
    if !Header::read(program)?.dynamic {
        return Ok(Vec::new());
    }
    // ldd lets the loader itself answer, so that rpaths and the cache count as they do at run time.
    let output = Command::new("ldd")
        .arg(program)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .context("start ldd (package libc-bin)")?;
    if !output.status.success() {
        bail!(
            "ldd cannot read {}: {} (a program of another architecture can only be packaged when it is static)",
            program.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    parse(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("find the libraries of {}", program.display()))
}

/// Lines of ldd: `name => path (address)`, `loader (address)`, and the vDSO, which is the kernel's and no file.
fn parse(lines: &str) -> Result<Vec<Library>> {
    let mut found = Vec::new();
    let mut loader = None;
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let before = line.rsplit_once(" (0x").map_or(line, |(before, _)| before);
        match before.split_once(" => ") {
            Some((name, "not found")) => bail!("{name} is not installed on this machine"),
            Some((name, path)) => found.push((name, PathBuf::from(path))),
            None if before.starts_with('/') => loader = Some(before),
            None => {}
        }
    }
    let loader = loader.context("ldd names no loader")?;
    // There will be no ld.so.cache and no environment in the image: everything goes where the C library is, which is
    // a folder that the loader always searches.
    let folder = found
        .iter()
        .find(|(name, _)| name.starts_with("libc.so"))
        .and_then(|(_, path)| path.parent())
        .context("ldd names no C library")?
        .to_string_lossy()
        .into_owned();
    let mut libraries = vec![Library {
        path: loader.to_owned(),
        source: loader.into(),
    }];
    libraries.extend(found.into_iter().map(|(name, source)| {
        let file = name.rsplit('/').next().unwrap_or(name);
        Library {
            path: format!("{folder}/{file}"),
            source,
        }
    }));
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_go_where_the_loader_looks() {
        let lines = "\tlinux-vdso.so.1 (0x00007f5c8cc9a000)\n\
                     \tlibpq.so.5 => /opt/pq/lib/libpq.so.5 (0x00007f5c8cc69000)\n\
                     \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f5c8781e000)\n\
                     \t/lib64/ld-linux-x86-64.so.2 (0x00007f5c8cc9c000)\n";
        let found: Vec<_> = parse(lines)
            .unwrap()
            .into_iter()
            .map(|library| (library.path, library.source.to_string_lossy().into_owned()))
            .collect();
        let expected = [
            ("/lib64/ld-linux-x86-64.so.2", "/lib64/ld-linux-x86-64.so.2"),
            ("/lib/x86_64-linux-gnu/libpq.so.5", "/opt/pq/lib/libpq.so.5"),
            (
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib/x86_64-linux-gnu/libc.so.6",
            ),
        ];
        assert_eq!(found, expected.map(|(to, from)| (to.to_owned(), from.to_owned())));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = parse("\tlibgone.so.1 => not found\n\t/lib64/ld.so (0x1)\n").unwrap_err();
        assert!(error.to_string().contains("libgone.so.1"), "{error}");
        assert!(
            parse("\tlibc.so.6 => /lib/libc.so.6 (0x1)\n").is_err(),
            "no loader"
        );
    }

    #[test]
    fn this_very_test_is_a_dynamic_program_with_a_c_library() {
        let program = std::env::current_exe().unwrap();
        let header = Header::read(&program).unwrap();
        assert!(["amd64", "arm64"].contains(&header.architecture().unwrap()));
        assert!(header.dynamic);
        let found = of(&program).unwrap();
        assert!(
            found.iter().any(|library| library.path.ends_with("/libc.so.6")),
            "{found:?}"
        );
        assert!(found.iter().all(|library| library.source.is_file()), "{found:?}");
    }

    #[test]
    fn a_script_is_refused_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("wrapper");
        std::fs::write(&script, "#!/usr/bin/perl\nexit 0;\n").unwrap();
        let error = of(&script).unwrap_err().to_string();
        assert!(
            error.contains("wrapper") && error.contains("the program behind it"),
            "{error}"
        );
    }
}
