//! Programs of a prefix, run through the prefix's own loader, so that neither the host's C library
//! nor its versions matter. Which libraries a program needs is asked of the same loader.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;

/// Where Debian keeps an amd64 system's libraries.
pub(crate) const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// Libraries that packages keep below it and find by an absolute path, which a prefix breaks.
const PRIVATE: &[&str] = &["ceph", "pulseaudio"];
/// The loader, by its path from the root.
pub(crate) const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";

/// A directory with unpacked packages.
pub(crate) struct Prefix {
    root: PathBuf,
}

impl Prefix {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// The directories with programs, from the root.
    pub(crate) const PROGRAMS: [&str; 2] = ["usr/bin", "usr/sbin"];

    fn find(&self, name: &str) -> Result<PathBuf> {
        Self::PROGRAMS
            .iter()
            .map(|dir| self.root.join(dir).join(name))
            .find(|p| p.exists())
            .with_context(|| {
                format!("the lab has no program {name}: run `cargo xtask lab --force`")
            })
    }

    fn loader(&self) -> Command {
        let mut cmd = Command::new(self.root.join(LOADER));
        let base = self.root.join(LIBRARIES);
        let mut path = OsString::from(&base);
        for dir in PRIVATE.iter().map(|d| base.join(d)).filter(|d| d.is_dir()) {
            path.push(":");
            path.push(dir);
        }
        cmd.arg("--library-path").arg(path);
        cmd
    }

    /// A command that runs a program of the prefix under its own name.
    pub(crate) fn command(&self, name: &str) -> Result<Command> {
        let program = self.find(name)?;
        let mut cmd = self.loader();
        cmd.arg("--argv0").arg(name).arg(program);
        Ok(cmd)
    }

    /// The libraries that a program needs: the name to install it under, and the file.
    pub(crate) fn libraries(&self, program: &Path) -> Result<Vec<(OsString, PathBuf)>> {
        let text = run::output(self.loader().arg("--list").arg(program))
            .with_context(|| format!("can't list the libraries of {}", program.display()))?;
        parse_list(&text, &program.to_string_lossy())
    }
}

/// `name => /path (0xaddress)`, one a line; the loader itself and the vDSO have no arrow or path.
fn parse_list(text: &str, program: &str) -> Result<Vec<(OsString, PathBuf)>> {
    let mut found = Vec::new();
    for line in text.lines() {
        let Some((name, rest)) = line.trim().split_once(" => ") else {
            continue;
        };
        if rest.starts_with("not found") {
            bail!("{program} needs {name}, which the lab's packages don't bring");
        }
        let path = rest.rsplit_once(" (").map_or(rest, |(path, _)| path);
        if name.contains("ld-linux") || path.is_empty() {
            continue;
        }
        found.push((OsString::from(name), PathBuf::from(path)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::parse_list;

    #[test]
    fn lists() {
        let text = "\tlinux-vdso.so.1 (0x7ff)\n\tlibm.so.6 => /p/libm.so.6 (0x7f1)\n\
            \t/p/ld-linux-x86-64.so.2 => /q/ld-linux-x86-64.so.2 (0x7f2)\n";
        let got = parse_list(text, "x").unwrap();
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].0, "libm.so.6");
        assert!(parse_list("\tliby.so => not found\n", "x").is_err());
    }
}
