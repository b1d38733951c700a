//! Programs that run beside us (QEMU, `freewheel serve`, nbdkit, cargo) and directories that are
//! only for the time being: none outlives us. Each program has a process group of its own, which
//! is killed when its handle is dropped (that covers errors and panics) and on SIGINT, SIGTERM and
//! SIGHUP. Leaves out SIGKILL to ourselves: QEMU's peers then end as their sockets close.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());
static SCRATCH: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill_group(leader: i32) {
    if let Some(pid) = Pid::from_raw(leader) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// A running program; dropped, it is killed and waited for.
pub(crate) struct Running {
    name: &'static str,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Running {
    pub(crate) fn spawn(name: &'static str, cmd: &mut Command) -> Result<Self> {
        // Held over the spawn, so that no signal arrives between it and the registration.
        let mut running = lock(&RUNNING);
        let child = cmd.process_group(0).spawn().with_context(|| {
            format!("can't start {name} ({})", cmd.get_program().to_string_lossy())
        })?;
        running.insert(child.id().cast_signed());
        Ok(Self { name, child, ended: None })
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            let mut running = lock(&RUNNING);
            self.ended = self.child.try_wait()?;
            if self.ended.is_some() {
                running.remove(&self.child.id().cast_signed());
            }
        }
        Ok(self.ended)
    }

    /// Wait for its end, at most so long.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > until {
                bail!("{} is still running after {limit:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kill it now (SIGKILL: a frozen QEMU ignores everything else).
    pub(crate) fn kill(&mut self) {
        if matches!(self.ended(), Ok(None)) {
            kill_group(self.child.id().cast_signed());
            let _ = self.wait(Duration::from_secs(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A directory that goes when its handle does.
pub(crate) struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    /// In the system's place for such things.
    pub(crate) fn new() -> Result<Self> {
        Self::within(&std::env::temp_dir())
    }

    pub(crate) fn within(parent: &Path) -> Result<Self> {
        let mut scratch = lock(&SCRATCH);
        let dir = tempfile::Builder::new()
            .prefix(".freewheel-")
            .tempdir_in(parent)
            .with_context(|| format!("can't create a directory in {}", parent.display()))?;
        scratch.insert(dir.path().to_owned());
        Ok(Self { dir })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        lock(&SCRATCH).remove(self.dir.path());
    }
}

/// From now on a signal that ends us ends our children first.
pub(crate) fn kill_on_signals() -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
        .context("can't install signal handlers")?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let running = lock(&RUNNING);
            running.iter().copied().for_each(kill_group);
            for dir in lock(&SCRATCH).iter() {
                let _ = std::fs::remove_dir_all(dir);
            }
            eprintln!("interrupted by signal {signal}: everything started has been ended");
            std::process::exit(130);
        }
    });
    Ok(())
}
