//! What serves the guest's disk: `freewheel serve`, or for comparison QEMU's own AHCI, on the image
//! itself or on nbdkit with its delay filter. Each knows the QEMU arguments that attach it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::control::{self, Watch};
use super::image::Image;
use super::stall::Stall;
use crate::children::Running;
use crate::lab::Lab;
use crate::{run, workspace};

/// How the disk reaches the guest.
#[derive(Clone, Debug)]
pub(crate) enum Device {
    /// Freewheel with this engine, and maybe a fault, or on storage that stalls by itself.
    Freewheel { engine: Engine, fault: Option<String>, stalls: bool },
    /// QEMU's AHCI, with this many seconds' delay of each TRIM.
    QemuAhci { trim_delay: Option<u64> },
}

/// How Freewheel's file backend does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engine {
    #[value(name = "io_uring")]
    IoUring,
    Threads,
}

impl Engine {
    pub(crate) const ALL: [Self; 2] = [Self::IoUring, Self::Threads];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Threads => "threads",
        }
    }
}

impl Device {
    pub(crate) fn title(&self) -> String {
        match self {
            Self::Freewheel { engine, .. } => format!("freewheel {}", engine.name()),
            Self::QemuAhci { .. } => "QEMU's AHCI".to_owned(),
        }
    }

    pub(crate) fn is_freewheel(&self) -> bool {
        matches!(self, Self::Freewheel { .. })
    }
}

/// A served disk.
pub(crate) struct Server {
    /// QEMU's arguments for it.
    pub(crate) qemu_args: Vec<String>,
    /// Before the process that hangs in it, which could not be ended otherwise.
    stall: Option<Stall>,
    process: Option<Running>,
    control: Option<PathBuf>,
    watch: Option<Watch>,
}

impl Server {
    pub(crate) fn start(
        lab: &Lab,
        device: &Device,
        image: &Image,
        sockets: &Path,
        log: &Path,
    ) -> Result<Self> {
        match device {
            Device::Freewheel { engine, fault, stalls } => {
                let stall = stalls.then(|| Stall::start(image, sockets)).transpose()?;
                freewheel(*engine, fault.as_deref(), stall, image, sockets, log)
            }
            Device::QemuAhci { trim_delay } => qemu_ahci(lab, *trim_delay, image, sockets, log),
        }
    }

    /// Let the storage stall, if it is of that kind; whether it is.
    pub(crate) fn hang(&mut self) -> bool {
        self.stall.as_mut().map(Stall::hang).is_some()
    }

    /// Requests that hang in the storage itself, if it is of that kind.
    pub(crate) fn pending(&mut self) -> Option<usize> {
        self.stall.as_mut().map(Stall::pending)
    }

    /// Let everything go that a fault holds, or the storage.
    pub(crate) fn release(&mut self) -> Result<()> {
        if let Some(stall) = &mut self.stall {
            stall.release();
            return Ok(());
        }
        self.call("fault.release", json!({}))
    }

    /// Call a method of the control socket.
    pub(crate) fn call(&self, method: &str, params: serde_json::Value) -> Result<()> {
        let control = self.control.as_ref().context("this disk has no control socket")?;
        control::call(control, method, params).map(drop)
    }

    /// What the process has open, runs and holds in memory, one `KEY VALUE` a line.
    pub(crate) fn usage(&mut self) -> Result<Vec<String>> {
        let process = self.process.as_mut().context("there is no process")?;
        let proc = PathBuf::from(format!("/proc/{}", process.child().id()));
        let entries =
            |dir: &str| Ok::<_, std::io::Error>(std::fs::read_dir(proc.join(dir))?.count());
        let status = std::fs::read_to_string(proc.join("status"))?;
        let rss = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let rss_kib = rss.and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
        Ok(vec![
            format!("descriptors {}", entries("fd")?),
            format!("threads {}", entries("task")?),
            format!("memory_kib {rss_kib}"),
        ])
    }

    /// The newest status seen, or null.
    pub(crate) fn status(&self) -> serde_json::Value {
        self.watch.as_ref().map_or(serde_json::Value::Null, Watch::newest)
    }

    /// Wait for `freewheel serve` to end by itself, as it must when QEMU has gone.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<()> {
        if self.control.is_none() {
            return Ok(());
        }
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        let status = process.wait(limit)?;
        if !status.success() {
            bail!("freewheel serve ended with {status}");
        }
        Ok(())
    }
}

fn freewheel(
    engine: Engine,
    fault: Option<&str>,
    stall: Option<Stall>,
    image: &Image,
    sockets: &Path,
    log: &Path,
) -> Result<Server> {
    let path = stall.as_ref().map_or(image.path().to_owned(), Stall::path);
    let mut disk = format!("path={},format=raw,engine={}", path.display(), engine.name());
    if let Some(fault) = fault {
        disk += &format!(",fault={fault}");
    }
    let server = serve(&["--disk".to_owned(), disk], sockets, log)?;
    Ok(Server { stall, ..server })
}

/// `freewheel serve` with these devices, as on its command line.
pub(crate) fn serve(devices: &[String], sockets: &Path, log: &Path) -> Result<Server> {
    let socket = sockets.join("vfio.sock");
    let control = sockets.join("control.sock");
    let mut cmd = Command::new(workspace::build_freewheel()?);
    cmd.arg("serve").arg("--socket").arg(&socket).arg("--control").arg(&control);
    cmd.args(devices);
    let mut process = spawn("freewheel serve", &mut cmd, log)?;
    await_ready(&mut process, "freewheel serve", log, || {
        socket.exists() && control::call(&control, "status", json!({})).is_ok()
    })?;
    let device = json!({
        "driver": "vfio-user-pci",
        "socket": {"path": socket.to_string_lossy(), "type": "unix"},
    });
    Ok(Server {
        qemu_args: vec!["-device".into(), device.to_string()],
        stall: None,
        process: Some(process),
        watch: Some(Watch::start(control.clone())),
        control: Some(control),
    })
}

fn qemu_ahci(
    lab: &Lab,
    trim_delay: Option<u64>,
    image: &Image,
    sockets: &Path,
    log: &Path,
) -> Result<Server> {
    let mut process = None;
    let storage = match trim_delay {
        None => json!({"driver": "file", "filename": image.path().to_string_lossy()}),
        Some(seconds) => {
            let socket = sockets.join("nbd.sock");
            let nbdkit = "usr/lib/x86_64-linux-gnu/nbdkit";
            let mut server = spawn(
                "nbdkit",
                lab.program("nbdkit")?
                    .args(["--foreground", "--exit-with-parent", "--unix"])
                    .arg(&socket)
                    .arg("--filter")
                    .arg(lab.file(&format!("{nbdkit}/filters/nbdkit-delay-filter.so"))?)
                    .arg(lab.file(&format!("{nbdkit}/plugins/nbdkit-file-plugin.so"))?)
                    .arg(format!("file={}", image.path().display()))
                    .arg(format!("delay-trim={seconds}")),
                log,
            )?;
            await_ready(&mut server, "nbdkit", log, || socket.exists())?;
            process = Some(server);
            json!({"driver": "nbd", "server": {"type": "unix", "path": socket.to_string_lossy()}})
        }
    };
    let node = json!({
        "driver": "raw", "node-name": "disk", "discard": "unmap", "file": storage,
    });
    Ok(Server {
        qemu_args: vec![
            "-blockdev".into(),
            node.to_string(),
            "-device".into(),
            "ich9-ahci,id=compared".into(),
            "-device".into(),
            "ide-hd,drive=disk,bus=compared.0".into(),
        ],
        stall: None,
        process,
        control: None,
        watch: None,
    })
}

fn spawn(name: &'static str, cmd: &mut Command, log: &Path) -> Result<Running> {
    let file =
        File::create(log).with_context(|| format!("can't write the log {}", log.display()))?;
    cmd.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    Running::spawn(name, cmd)
}

fn await_ready(
    process: &mut Running,
    name: &str,
    log: &Path,
    ready: impl Fn() -> bool,
) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(15);
    loop {
        let ended = process.ended()?;
        let late = Instant::now() > until;
        if ended.is_none() && !late {
            if ready() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let why = match ended {
            Some(status) => format!("ended with {status}"),
            None => "does not serve after 15 s".to_owned(),
        };
        bail!("{name} {why}:\n{}", run::tail(&text, 15));
    }
}
