//! Storage that really stalls: the image behind `hangfs`, whose requests hang in the host's kernel.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use freewheel_hangfs::{HangFs, Options};

use super::image::Image;
use crate::workspace;

/// What the drills name it; it stands where a fault does otherwise.
pub(crate) const REAL_STALL: &str = "real-stall:hang";
/// Longer than a run takes. Whatever still hangs then fails.
const LIFE: Duration = Duration::from_secs(300);
/// What hangs. Closing doesn't: QEMU's end is another matter.
const KINDS: &str = "read write fsync fallocate";

/// Why this machine can't do it, if it can't.
pub(crate) fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("mounting a FUSE file system needs root".into());
    }
    let fuse = std::fs::File::options().read(true).write(true).open("/dev/fuse");
    fuse.err().map(|error| format!("/dev/fuse: {error}"))
}

/// A mounted file system with the image in it.
pub(crate) struct Stall {
    fs: HangFs,
}

impl Stall {
    /// Mounts it in a new directory in `scratch`; the content stays in the image.
    pub(crate) fn start(image: &Image, scratch: &Path) -> Result<Self> {
        if let Some(obstacle) = obstacle() {
            bail!("{obstacle}: run as root on a kernel with FUSE, or leave out --real-stall");
        }
        let mountpoint = scratch.join("fuse");
        std::fs::create_dir(&mountpoint)?;
        let options = Options {
            content: Some(image.path().to_owned()),
            life: LIFE,
            ..Options::new(mountpoint)
        };
        let program = workspace::build_hangfs()?;
        let fs = HangFs::start(&mut Command::new(program), &options).map_err(|why| anyhow!(why))?;
        Ok(Self { fs })
    }

    /// The file to serve.
    pub(crate) fn path(&self) -> PathBuf {
        self.fs.image().to_owned()
    }

    /// From now on nothing is answered.
    pub(crate) fn hang(&mut self) {
        self.fs.hang(KINDS);
    }

    /// Requests that hang.
    pub(crate) fn pending(&mut self) -> usize {
        self.fs.pending()
    }

    /// Everything goes on; how many requests hung.
    pub(crate) fn release(&mut self) -> usize {
        self.fs.release()
    }
}
