//! The disk that stalls.

use std::process::Command;
use std::time::Duration;

use freewheel_hangfs::{HangFs, Options};
use tempfile::TempDir;

use crate::common::Server;

/// Only what begins below hangs, in sectors.
pub(crate) const HANG_BELOW_LBA: u64 = (32 << 20) / 512;
/// No test takes this long.
const LIFE: Duration = Duration::from_secs(40);
/// All that can hang in a test: closing a file would make ending a process hang.
const KINDS: &str = "read write fsync fallocate";

/// See the module's description.
pub(crate) struct Storage {
    pub(crate) fs: HangFs,
    // Last: nothing is mounted there by then.
    _dir: TempDir,
}

impl Storage {
    /// Mounts it. The reason, if this machine doesn't let us.
    pub(crate) fn new() -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|error| format!("no directory: {error}"))?;
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let options = Options {
            hang_below_bytes: HANG_BELOW_LBA * 512,
            life: LIFE,
            ..Options::new(dir.path())
        };
        let fs = HangFs::start(Command::new(program).arg(super::SERVE), &options)?;
        Ok(Self { fs, _dir: dir })
    }

    /// `freewheel serve` on it.
    pub(crate) fn serve(&self, keys: &str, options: &[&str]) -> Server {
        let dir = tempfile::tempdir().expect("a directory");
        Server::start_on(dir, &format!("path={},{keys}", self.fs.image().display()), options)
    }

    /// From now on, everything hangs.
    pub(crate) fn hang(&mut self) {
        self.fs.hang(KINDS);
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        // A server with threads that hang could not be killed.
        self.fs.release();
    }
}
