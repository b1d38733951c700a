//! A guest: QEMU with a kernel, a job and a disk, and what it says while it runs.

use std::fs::{self, File};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::job::Job;
use super::qmp::Poller;
use super::serial::{self, Event, What};
use crate::children::Running;
use crate::lab::Lab;
use crate::run;

/// What to boot.
pub(crate) struct Boot<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) accel: Accel,
    pub(crate) image: &'a Path,
    pub(crate) initramfs: &'a [PathBuf],
    pub(crate) job: Job,
    /// QEMU's arguments for the disk, and those that the user gave.
    pub(crate) args: &'a [String],
    /// For sockets and the initramfs: short-lived, with a short path.
    pub(crate) scratch: &'a Path,
    pub(crate) logs: &'a Path,
}

/// A running guest.
pub(crate) struct Guest {
    qemu: Running,
    events: Receiver<Event>,
    /// The monitor's answers.
    pub(crate) qmp: Poller,
    /// When QEMU was started.
    pub(crate) start: Instant,
    logs: PathBuf,
}

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accel {
    Kvm,
    Tcg,
}

impl Accel {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

impl Guest {
    pub(crate) fn start(boot: &Boot) -> Result<Self> {
        fs::create_dir_all(boot.logs)?;
        let initramfs = boot.scratch.join("initramfs");
        boot.job.initramfs(boot.initramfs, &initramfs)?;
        let markers = boot.scratch.join("markers.sock");
        let listener = UnixListener::bind(&markers)
            .with_context(|| format!("can't listen on {}", markers.display()))?;
        let monitor = boot.scratch.join("qmp.sock");
        let errors = File::create(boot.logs.join("qemu.log"))?;

        let mut cmd = boot.lab.qemu()?;
        cmd.arg("-machine")
            .arg("q35,sata=off,memory-backend=mem")
            .args(["-accel", boot.accel.name()])
            .args(["-cpu", "max", "-smp", "2", "-m", "1G"])
            .args(["-nodefaults", "-display", "none", "-no-reboot", "-monitor", "none"])
            .args(["-object", "memory-backend-memfd,id=mem,size=1G,share=on"])
            .arg("-kernel")
            .arg(boot.image)
            .arg("-initrd")
            .arg(&initramfs)
            .args(["-append", "console=ttyS0,115200 panic=-1"])
            .args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"])
            .arg("-chardev")
            .arg(format!("socket,id=markers,path={}", markers.display()))
            .args(["-serial", "chardev:markers"])
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", monitor.display()))
            .args(boot.args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors);

        let start = Instant::now();
        let mut qemu = Running::spawn("QEMU", &mut cmd)?;
        let (sender, events) = channel();
        let console = qemu.child().stdout.take().context("QEMU has no console")?;
        let log = |name: &str| File::create(boot.logs.join(name)).context("can't write a log");
        serial::listen(console, true, start, log("console.log")?, sender.clone());
        let log = log("markers.log")?;
        std::thread::spawn(move || {
            if let Ok((port, _)) = listener.accept() {
                serial::listen(port, false, start, log, sender);
            }
        });
        Ok(Self { qemu, events, qmp: Poller::start(monitor), start, logs: boot.logs.to_owned() })
    }

    /// The next thing that the guest does, if it does any until then.
    pub(crate) fn next(&self, until: Instant) -> Option<Event> {
        let left = until.saturating_duration_since(Instant::now());
        match self.events.recv_timeout(left) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                Some(Event { at: Instant::now(), what: What::Closed })
            }
        }
    }

    /// QEMU's end, after the guest has powered off.
    pub(crate) fn wait(&mut self) -> Result<()> {
        let status = self.qemu.wait(Duration::from_secs(20))?;
        if !status.success() {
            bail!("QEMU ended with {status}");
        }
        Ok(())
    }

    /// How QEMU ended, if it did and shouldn't have.
    pub(crate) fn failure(&mut self) -> Option<String> {
        let status = self.qemu.wait(Duration::from_secs(2)).ok()?;
        (!status.success()).then(|| format!("QEMU ended with {status}"))
    }

    pub(crate) fn kill(&mut self) {
        self.qemu.kill();
    }

    /// The last that was heard of the guest, for a report of a failure.
    pub(crate) fn last_words(&self) -> String {
        last_words(&self.logs)
    }
}

/// The ends of the logs in a directory, and where they are.
pub(crate) fn last_words(logs: &Path) -> String {
    let mut text = String::new();
    for (name, lines) in [("console.log", 25), ("qemu.log", 8), ("disk.log", 12)] {
        let log = fs::read_to_string(logs.join(name)).unwrap_or_default();
        if !log.trim().is_empty() {
            text += &format!("  the end of {name}:\n{}", run::tail(&log, lines));
        }
    }
    text + &format!("  logs: {}", logs.display())
}
