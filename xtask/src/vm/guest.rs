//! A guest: QEMU with a kernel, a job and a disk, and what it says while it runs.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::job;
use super::qmp::Poller;
use super::serial::{self, Event, What};
use crate::children::Running;
use crate::lab::Lab;
use crate::run;

/// The kernel's command line, wherever it is loaded from.
pub(crate) const APPEND: &str = "console=ttyS0,115200 panic=-1";

/// What to boot.
pub(crate) struct Boot<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) accel: Accel,
    pub(crate) start: Start<'a>,
    /// QEMU's arguments for the disk, and those that the user gave.
    pub(crate) args: &'a [String],
    /// For sockets and the initramfs: short-lived, with a short path.
    pub(crate) scratch: &'a Path,
    pub(crate) logs: &'a Path,
}

/// What the guest starts from.
pub(crate) enum Start<'a> {
    /// QEMU loads this kernel, with these archives and a script behind them.
    Kernel {
        image: &'a Path,
        initramfs: &'a [PathBuf],
        /// What the guest does.
        script: &'a str,
        /// Settings for it: assignments, one a line.
        env: &'a str,
    },
    /// Firmware finds what to boot on the disk.
    Disk,
}

/// A running guest.
pub(crate) struct Guest {
    qemu: Running,
    events: Receiver<Event>,
    /// The monitor's answers.
    pub(crate) qmp: Poller,
    /// When QEMU was started.
    pub(crate) start: Instant,
    /// Where answers to the guest go, once its second serial port is connected.
    answers: Arc<Mutex<Option<UnixStream>>>,
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
            .args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"])
            .arg("-chardev")
            .arg(format!("socket,id=markers,path={}", markers.display()))
            .args(["-serial", "chardev:markers"])
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", monitor.display()))
            .args(boot.args);
        if let Start::Kernel { image, initramfs, script, env } = &boot.start {
            let file = boot.scratch.join("initramfs");
            job::initramfs(initramfs, script, env, &file)?;
            cmd.arg("-kernel").arg(image).arg("-initrd").arg(&file);
            cmd.args(["-append", APPEND]);
        }
        cmd.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);

        let start = Instant::now();
        let mut qemu = Running::spawn("QEMU", &mut cmd)?;
        let (sender, events) = channel();
        let console = qemu.child().stdout.take().context("QEMU has no console")?;
        let log = |name: &str| File::create(boot.logs.join(name)).context("can't write a log");
        serial::listen(console, true, start, log("console.log")?, sender.clone());
        let log = log("markers.log")?;
        let answers = Arc::new(Mutex::new(None));
        let back = answers.clone();
        std::thread::spawn(move || {
            if let Ok((port, _)) = listener.accept() {
                *back.lock().unwrap_or_else(PoisonError::into_inner) = port.try_clone().ok();
                serial::listen(port, false, start, log, sender);
            }
        });
        let (qmp, logs) = (Poller::start(monitor), boot.logs.to_owned());
        Ok(Self { qemu, events, qmp, start, answers, logs })
    }

    /// Answer a guest that waits for one: a line on its second serial port.
    pub(crate) fn answer(&self, text: &str) -> Result<()> {
        let mut port = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let port = port.as_mut().context("the guest's second serial port is not connected")?;
        port.write_all(format!("{text}\n").as_bytes()).context("can't answer the guest")
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
