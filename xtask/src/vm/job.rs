//! What a guest is to do: a script, packed behind the lab's archives into one initramfs.

use std::fs::File;
use std::io::{BufWriter, copy};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::lab::Archive;

const INIT: &str = include_str!("../../guest/init.sh");

/// The scripts of the main job and the drills; those of the jobs with checks are in `jobs`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// Power off at once.
    Probe,
    /// The main job.
    Plain,
    /// fstrim on a disk that takes its time.
    Trim,
    /// A read or write that hangs.
    Hang,
}

impl Job {
    pub(crate) fn script(self) -> &'static str {
        match self {
            Self::Probe => include_str!("../../guest/probe.sh"),
            Self::Plain => include_str!("../../guest/plain.sh"),
            Self::Trim => include_str!("../../guest/trim.sh"),
            Self::Hang => include_str!("../../guest/hang.sh"),
        }
    }
}

/// Write the initramfs: the lab's archives, and behind them the job's own script and settings.
pub(crate) fn initramfs(base: &[PathBuf], script: &str, env: &str, to: &Path) -> Result<()> {
    let mut out = File::create(to).with_context(|| format!("can't write {}", to.display()))?;
    for part in base {
        let mut part =
            File::open(part).with_context(|| format!("can't read {}", part.display()))?;
        copy(&mut part, &mut out)?;
    }
    let mut archive = Archive::new(BufWriter::new(out));
    archive.file("init", INIT.as_bytes(), 0o755)?;
    archive.file("job.sh", script.as_bytes(), 0o644)?;
    archive.file("job.env", env.as_bytes(), 0o644)?;
    archive.finish()?;
    Ok(())
}
