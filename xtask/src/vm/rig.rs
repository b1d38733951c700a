//! Everything that one guest run needs, put together: image, server, guest, scratch and logs; and
//! following the guest while noting what it does.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::guest::{Accel, Boot, Guest, Start};
use super::image::Image;
use super::job::Job;
use super::kernel::Kernel;
use super::serial::What;
use super::server::{Device, Server};
use crate::children::Scratch;
use crate::lab::Lab;
use crate::workspace;

/// What all runs of one command share.
pub(crate) struct Setting<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) accel: Accel,
    pub(crate) kernel: &'a Kernel,
    /// Arguments for QEMU that the user gave.
    pub(crate) args: &'a [String],
    /// Repeat the console on standard error.
    pub(crate) show: bool,
}

/// A guest with its disk. The order of the fields is the order in which they end.
pub(crate) struct Rig {
    pub(crate) guest: Guest,
    pub(crate) server: Server,
    pub(crate) image: Image,
    pub(crate) logs: PathBuf,
    show: bool,
    _scratch: Scratch,
}

const IMAGE_BYTES: u64 = 512 << 20;

impl Rig {
    /// Serve an image (with a file system on it, if wanted) and boot a guest on it. `name` is the
    /// run's, for the directory of its logs.
    pub(crate) fn start(
        setting: &Setting,
        name: &str,
        device: &Device,
        job: Job,
        formatted: bool,
    ) -> Result<Self> {
        let logs = logs(&format!("{name}-{}-{}", device.title(), setting.kernel.name))?;
        let scratch = Scratch::new()?;
        let image = Image::create(scratch.path().join("disk.img"), IMAGE_BYTES)?;
        if formatted {
            image.mkfs(setting.lab)?;
        }
        let server =
            Server::start(setting.lab, device, &image, scratch.path(), &logs.join("disk.log"))?;
        let args = [&server.qemu_args[..], setting.args].concat();
        let guest = Guest::start(&Boot {
            lab: setting.lab,
            accel: setting.accel,
            start: Start::Kernel {
                image: &setting.kernel.image,
                initramfs: &setting.kernel.initramfs,
                script: job.script(),
                env: "",
            },
            args: &args,
            scratch: scratch.path(),
            logs: &logs,
        })?;
        Ok(Self { guest, server, image, logs, show: setting.show, _scratch: scratch })
    }

    /// Follow the guest until its console closes, time is up, or `tick` (called after each event,
    /// and a few times a second) has seen enough.
    pub(crate) fn follow(
        &mut self,
        limit: Duration,
        mut tick: impl FnMut(&mut Self, &Seen) -> Result<Flow>,
    ) -> Result<Seen> {
        let mut seen = Seen::default();
        let until = self.guest.start + limit;
        loop {
            let now = Instant::now();
            if now > until {
                seen.late = Some(limit);
                return Ok(seen);
            }
            if let Some(event) = self.guest.next(until.min(now + Duration::from_millis(100))) {
                if let (true, What::Console(line)) = (self.show, &event.what) {
                    eprintln!("    | {line}");
                }
                if !seen.note(event.at, event.what, &self.image)? {
                    return Ok(seen);
                }
            }
            if matches!(tick(self, &seen)?, Flow::Enough) {
                return Ok(seen);
            }
        }
    }
}

/// A fresh directory for a run's logs.
pub(crate) fn logs(name: &str) -> Result<PathBuf> {
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let logs = workspace::target_dir()?.join("vm").join(name);
    // A run that is still writing there keeps its own, now nameless files.
    let _ = fs::remove_dir_all(&logs);
    fs::create_dir_all(&logs).with_context(|| format!("can't create {}", logs.display()))?;
    Ok(logs)
}

/// Whether to go on following.
pub(crate) enum Flow {
    GoOn,
    Enough,
}

/// What a guest has done so far.
#[derive(Default)]
pub(crate) struct Seen {
    /// The job's script began.
    pub(crate) boot: Option<Instant>,
    /// Name and result of each step, in order.
    pub(crate) steps: Vec<(String, i32)>,
    /// Name, and the image's allocated bytes at that moment.
    pub(crate) measures: Vec<(String, u64)>,
    pub(crate) beats: Vec<Instant>,
    pub(crate) drill_begin: Option<Instant>,
    pub(crate) drill_end: Option<Instant>,
    pub(crate) fstrim: Option<(i32, Instant)>,
    pub(crate) passes: u32,
    pub(crate) pass_failed: bool,
    /// Linux noticed that a command doesn't come back.
    pub(crate) timeout: Option<Instant>,
    /// libata reset the port after that.
    pub(crate) reset: Option<Instant>,
    pub(crate) resets: u32,
    /// libata's error handling was through.
    pub(crate) recovered: Option<Instant>,
    /// The job's own result.
    pub(crate) end: Option<i32>,
    /// Time was up before the guest was.
    pub(crate) late: Option<Duration>,
}

impl Seen {
    /// Note an event; false when it was the last.
    fn note(&mut self, at: Instant, what: What, image: &Image) -> Result<bool> {
        match what {
            What::Closed => return Ok(false),
            What::Output { .. } => {}
            What::Console(line) => self.console(at, &line),
            What::Marker(marker) => {
                let rc = marker.rc();
                if marker.get("hb").is_some() {
                    self.beats.push(at);
                } else if let (Some(step), Some(rc)) = (marker.get("step"), rc) {
                    self.steps.push((step.to_owned(), rc));
                } else if let Some(name) = marker.get("measure") {
                    self.measures.push((name.to_owned(), image.allocated()?));
                } else if marker.get("pass").is_some() {
                    self.passes += 1;
                    self.pass_failed |= rc != Some(0);
                } else if marker.is("drill", "begin") {
                    self.drill_begin = Some(at);
                } else if marker.is("drill", "end") {
                    self.drill_end = Some(at);
                } else if let (Some(_), Some(rc)) = (marker.get("fstrim"), rc) {
                    self.fstrim = Some((rc, at));
                } else if marker.get("boot").is_some() {
                    self.boot = Some(at);
                } else if let (Some(_), Some(rc)) = (marker.get("end"), rc) {
                    self.end = Some(rc);
                }
            }
        }
        Ok(true)
    }

    /// What libata says on its way through a reset.
    fn console(&mut self, at: Instant, line: &str) {
        if line.contains("exception Emask") || line.contains("qc timeout") {
            self.timeout.get_or_insert(at);
        }
        if self.timeout.is_some() {
            if line.contains("resetting link") {
                self.reset.get_or_insert(at);
                self.resets += 1;
            }
            if line.contains("EH complete") {
                self.recovered.get_or_insert(at);
            }
        }
    }

    /// The step that failed, if one did.
    pub(crate) fn failed_step(&self) -> Option<&(String, i32)> {
        self.steps.iter().find(|(_, rc)| *rc != 0)
    }

    /// What is wrong with how the guest ended; the last step says how far it came.
    pub(crate) fn unfinished(&self) -> Option<String> {
        let last = match self.steps.last() {
            Some((step, _)) => format!("after step {step}"),
            None if self.boot.is_some() => "before its first step".to_owned(),
            None => "before its job began".to_owned(),
        };
        if let Some((step, rc)) = self.failed_step() {
            Some(format!("step {step} failed with {rc}"))
        } else if let Some(limit) = self.late {
            Some(format!("the guest was not through after {} s, {last}", limit.as_secs()))
        } else if self.end.is_none() {
            Some(format!("the guest stopped {last}"))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libata_is_understood() {
        let mut seen = Seen::default();
        let at = Instant::now();
        seen.console(at, "ata1: EH complete");
        seen.console(at, "ata1: hard resetting link");
        assert_eq!((seen.resets, seen.recovered), (0, None), "at boot nothing counts");
        seen.console(at, "ata1.00: exception Emask 0x0 SAct 0x1 SErr 0x0 action 0x6 frozen");
        seen.console(at, "[   40.1] ata1: hard resetting link");
        seen.console(at, "ata1: EH complete");
        assert_eq!((seen.resets, seen.recovered), (1, Some(at)));
    }

    #[test]
    fn endings() {
        let mut seen = Seen::default();
        assert_eq!(seen.unfinished().unwrap(), "the guest stopped before its job began");
        seen.steps.push(("mkfs".into(), 0));
        assert_eq!(seen.unfinished().unwrap(), "the guest stopped after step mkfs");
        seen.steps.push(("mount".into(), 2));
        assert_eq!(seen.unfinished().unwrap(), "step mount failed with 2");
        seen.steps.pop();
        seen.end = Some(0);
        assert_eq!(seen.unfinished(), None);
    }
}
