//! Runs every conformance case on every way to open a file or a block device.
//!
//! What this machine can't run (loop devices need root) is listed as *ignored*, and said once more
//! at the end; with `FREEWHEEL_REQUIRE_ALL=1` it fails instead.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use freewheel_backends::conformance::{CASES, Fixture, MEDIUM_BYTES, Subject, open_again};
use freewheel_backends::file::{Cache, EngineChoice, FileOptions, OpenError, open};
use libtest_mimic::{Arguments, Failed, Trial};
use tempfile::TempDir;

const ENGINES: [(&str, EngineChoice); 2] =
    [("io_uring", EngineChoice::IoUring), ("threads", EngineChoice::Threads)];
const CACHES: [(&str, Cache); 3] =
    [("writeback", Cache::Writeback), ("none", Cache::None), ("writethrough", Cache::Writethrough)];

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let require_all = std::env::var_os("FREEWHEEL_REQUIRE_ALL").is_some_and(|value| value == "1");
    let mut trials = Vec::new();
    let mut not_run = Vec::new();
    for (medium, attach) in [("file", false), ("loop", true)] {
        for (engine_name, engine) in ENGINES {
            for (cache_name, cache) in CACHES {
                let setting = Setting { attach, engine, cache };
                let group = format!("{medium}::{engine_name}::{cache_name}");
                let obstacle = setting.obstacle();
                if let Some(reason) = &obstacle {
                    not_run.push(format!("{group}: {reason}"));
                }
                for case in CASES {
                    let run = case.run;
                    let trial = Trial::test(format!("{group}::{}", case.name), move || {
                        let medium = Medium::new(setting).map_err(Failed::from)?;
                        run(&medium);
                        Ok(())
                    });
                    trials.push(trial.with_ignored_flag(obstacle.is_some() && !require_all));
                }
            }
        }
    }
    let conclusion = libtest_mimic::run(&args, trials);
    for line in &not_run {
        eprintln!("NOT RUN: {line}");
    }
    conclusion.exit_code()
}

#[derive(Clone, Copy)]
struct Setting {
    attach: bool,
    engine: EngineChoice,
    cache: Cache,
}

impl Setting {
    /// Why it can't be run here.
    fn obstacle(self) -> Option<String> {
        let medium = match Medium::new(self) {
            Ok(medium) => medium,
            Err(reason) => return Some(reason),
        };
        match open(medium.path(), &self.options(false)) {
            Err(error @ (OpenError::NoDirectIo { .. } | OpenError::NoIoUring { .. })) => {
                Some(error.to_string())
            }
            // Any other failure is for the cases to report.
            _ => None,
        }
    }

    fn options(self, read_only: bool) -> FileOptions {
        FileOptions {
            read_only,
            cache: self.cache,
            engine: self.engine,
            discard: true,
            sector_bytes: 512,
            queue_depth: 64,
        }
    }
}

/// A file of its own, possibly behind a loop device.
struct Medium {
    setting: Setting,
    file: PathBuf,
    device: Option<PathBuf>,
    _dir: Arc<TempDir>,
}

impl Medium {
    fn new(setting: Setting) -> Result<Self, String> {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .map_err(|error| format!("no temporary directory: {error}"))?;
        let file = dir.path().join("disk.img");
        std::fs::File::create(&file)
            .and_then(|created| created.set_len(MEDIUM_BYTES))
            .map_err(|error| format!("no image: {error}"))?;
        let device = if setting.attach { Some(attach(&file)?) } else { None };
        Ok(Self { setting, file, device, _dir: Arc::new(dir) })
    }

    fn path(&self) -> &Path {
        self.device.as_deref().unwrap_or(&self.file)
    }
}

fn attach(file: &Path) -> Result<PathBuf, String> {
    let output = Command::new("losetup")
        .args(["--find", "--show"])
        .arg(file)
        .output()
        .map_err(|error| format!("no loop device: losetup: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("no loop device (needs root): {}", text.trim()));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim().to_owned()))
}

impl Drop for Medium {
    fn drop(&mut self) {
        if let Some(device) = &self.device {
            let _ = Command::new("losetup").arg("--detach").arg(device).status();
        }
    }
}

impl Fixture for Medium {
    fn open(&self, read_only: bool) -> Subject {
        let opened = open_again(self.path(), &self.setting.options(read_only))
            .unwrap_or_else(|error| panic!("{error}"));
        Subject { backend: opened.backend, wake: Some(opened.wake) }
    }
}
