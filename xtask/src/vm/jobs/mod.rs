//! Jobs with checks: a guest with the disks of a table's row runs a script and hands its commands'
//! outputs to the host, which judges them field by field. The script leads: where it needs a fault,
//! it asks the host for it and waits.

mod boot;
mod cd;
mod check;
mod errors;
mod heard;
mod hot_plug;
mod many;
mod media;
mod power;
mod tools;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use super::guest::{Boot, Guest, Start};
use super::image::Image;
use super::rig::{self, Setting};
use super::serial::What;
use super::server::{self, Server};
use crate::children::Scratch;
use crate::say;
use check::{Check, Checks};
use heard::{Heard, Wish};

/// A row of the table.
pub(crate) struct Job {
    /// As `--job` calls it.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) about: &'static str,
    /// What the guest does.
    script: &'static str,
    /// What the next guest does, on the same disks, served anew.
    after_power_cycle: Option<&'static str>,
    /// Settings for the script: assignments, one a line.
    env: &'static str,
    disks: &'static [Disk],
    /// What `freewheel serve` is told beside the disks.
    beside: &'static [&'static str],
    /// Makes what the job needs beside its disks.
    prepare: Option<Prepare>,
    from: From,
    /// What `cargo xtask test` runs it on.
    pub(crate) kernels: &'static [&'static str],
    /// It needs a kernel with port multipliers.
    port_multiplier: bool,
    /// For all of it.
    limit: Duration,
    judge: fn(&mut Checks),
}

/// Puts files into a directory that `@/` stands for: in `beside`, and in what the guest asks for.
type Prepare = fn(&Setting, &Job, &Path) -> Result<()>;

/// A disk of a job.
struct Disk {
    mib: u64,
    /// Keys of `--disk` beside its path.
    keys: &'static str,
}

/// How the guest starts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Kernel,
    /// From the first disk, or the CD drive if there is none, by SeaBIOS.
    Bios,
    /// The same by OVMF.
    Uefi,
}

/// Every job.
pub(crate) const JOBS: &[Job] = &[
    boot::BIOS,
    boot::UEFI,
    cd::BIOS,
    cd::UEFI,
    errors::JOB,
    hot_plug::JOB,
    hot_plug::FIFTY,
    many::JOB,
    media::JOB,
    power::JOB,
    tools::T512,
    tools::T4096,
];

/// The job of that name.
pub(crate) fn find(name: &str) -> Result<&'static Job> {
    match JOBS.iter().find(|job| job.name == name) {
        Some(job) => Ok(job),
        None => {
            let names: Vec<&str> = JOBS.iter().map(|job| job.name).collect();
            bail!("there is no job {name:?}: there are {}", names.join(", "))
        }
    }
}

impl Job {
    /// The kernel for this job, where a release is asked for: not all have port multipliers.
    pub(crate) fn kernel<'a>(&self, wanted: &'a str) -> &'a str {
        match wanted {
            "6.12" if self.port_multiplier => "6.12-full",
            "7" if self.port_multiplier => "7-full",
            other => other,
        }
    }
}

/// Run a job and print its checks; whether all passed.
pub(crate) fn run(setting: &Setting, job: &Job) -> Result<bool> {
    let began = Instant::now();
    say::step(format_args!(
        "job {}: {}; kernel {}, {}",
        job.name,
        job.about,
        setting.kernel.title,
        setting.accel.name()
    ));
    let logs = rig::logs(&format!("{}-{}", job.name, setting.kernel.name))?;
    let scratch = Scratch::new()?;
    let files = Files(scratch.path().to_owned());
    let mut devices: Vec<String> = job.beside.iter().map(|word| files.named(word)).collect();
    for (number, disk) in job.disks.iter().enumerate() {
        let path = scratch.path().join(format!("disk{number}.img"));
        let image = Image::create(path, disk.mib << 20)?;
        if number == 0 && job.from != From::Kernel {
            boot::install(setting, job, &image, scratch.path())?;
        }
        let comma = if disk.keys.is_empty() { "" } else { "," };
        devices.push("--disk".to_owned());
        devices.push(format!("path={}{comma}{}", image.path().display(), disk.keys));
    }
    if let Some(prepare) = job.prepare {
        prepare(setting, job, scratch.path())?;
    }
    let mut heard = Heard::default();
    let mut endings = Vec::new();
    let mut last_words = String::new();
    let scripts = [Some(job.script), job.after_power_cycle];
    for (cycle, script) in scripts.into_iter().flatten().enumerate() {
        let logs = if cycle == 0 { logs.clone() } else { logs.join("after-power-cycle") };
        std::fs::create_dir_all(&logs)?;
        // The sockets have a directory of their own, as each cycle has its own processes.
        let sockets = Scratch::new()?;
        let (mut guest, mut server) = start(setting, job, script, &devices, sockets.path(), &logs)?;
        heard.begin();
        follow(&guest, &mut server, &files, &mut heard, job.limit, setting.show)?;
        let status = server.status();
        let _ = std::fs::write(logs.join("status.json"), format!("{status:#}\n"));
        let through = heard.unfinished(job.limit).is_none();
        if through {
            let ended = guest.wait().and_then(|()| server.wait(Duration::from_secs(15)));
            endings.push(ended.err().map(|err| format!("{err:#}")));
        }
        guest.kill();
        last_words = guest.last_words();
        if !through {
            break;
        }
    }

    let mut checks = Checks::new(&heard);
    for (step, rc) in &heard.steps {
        checks.same(&format!("step {step}: exit code"), 0, rc);
    }
    checks.note("the guest ends well", heard.unfinished(job.limit));
    if heard.end.is_some() {
        (job.judge)(&mut checks);
    }
    for ending in endings {
        checks.note("QEMU and freewheel end well", ending);
    }
    let list = checks.into_list();
    Ok(report(job, setting, &list, began, &last_words))
}

/// The directory of a run's files.
struct Files(PathBuf);

impl Files {
    /// A text in which `@/` stands for the directory.
    fn named(&self, text: &str) -> String {
        text.replace("@/", &format!("{}/", self.0.display()))
    }
}

/// `freewheel serve` with these devices, and a guest that runs this script.
fn start(
    setting: &Setting,
    job: &Job,
    script: &str,
    devices: &[String],
    scratch: &Path,
    logs: &Path,
) -> Result<(Guest, Server)> {
    let server = server::serve(devices, scratch, &logs.join("disk.log"))?;
    let mut args = [&server.qemu_args[..], setting.args].concat();
    if job.from == From::Uefi {
        args.extend(boot::uefi(setting.lab, scratch)?);
    }
    let guest = Guest::start(&Boot {
        lab: setting.lab,
        accel: setting.accel,
        start: match job.from {
            From::Kernel => Start::Kernel {
                image: &setting.kernel.image,
                initramfs: &setting.kernel.initramfs,
                script,
                env: job.env,
            },
            From::Bios | From::Uefi => Start::Disk,
        },
        args: &args,
        scratch,
        logs,
    })?;
    Ok((guest, server))
}

/// Listen to the guest until it is gone or its time is up, and do what it asks for.
fn follow(
    guest: &Guest,
    server: &mut Server,
    files: &Files,
    heard: &mut Heard,
    limit: Duration,
    show: bool,
) -> Result<()> {
    let until = guest.start + limit;
    let mut told = heard.steps.len();
    while !heard.closed && Instant::now() < until {
        let Some(event) = guest.next(until) else {
            break;
        };
        if let (true, What::Console(line)) = (show, &event.what) {
            eprintln!("    | {line}");
        }
        if let Some(wish) = heard.note(event.at, event.what) {
            fulfil(guest, server, files, heard, &wish)?;
        }
        for (step, rc) in &heard.steps[told..] {
            say::step(format_args!("  {step}{}", if *rc == 0 { "" } else { ": FAILED" }));
        }
        told = heard.steps.len();
    }
    Ok(())
}

/// The guest is told how it went.
fn fulfil(
    guest: &Guest,
    server: &mut Server,
    files: &Files,
    heard: &mut Heard,
    wish: &Wish,
) -> Result<()> {
    say::step(format_args!("  the guest asks for {} {}", wish.method, wish.params));
    let mut params = wish.params.clone();
    for value in params.as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
        if let Value::String(text) = value {
            *text = files.named(text);
        }
    }
    // No method of the control socket: what the process itself takes up.
    if wish.method == "usage" {
        let name = params["name"].as_str().unwrap_or("usage");
        heard.add(name, server.usage()?);
        return guest.answer("ok");
    }
    match server.call(&wish.method, params) {
        Ok(()) => guest.answer("ok"),
        Err(err) => guest.answer(&format!("{err:#}").replace('\n', " ")),
    }
}

/// One line a check; whether all passed.
fn report(job: &Job, setting: &Setting, list: &[Check], began: Instant, last_words: &str) -> bool {
    println!("job {}    kernel {}, {}", job.name, setting.kernel.title, setting.accel.name());
    let mut failed = 0;
    for check in list {
        match &check.wrong {
            None => println!("ok      {}", check.what),
            Some(wrong) => {
                failed += 1;
                println!("FAILED  {}: {wrong}", check.what);
            }
        }
    }
    let verdict = if failed == 0 { "passed" } else { "FAILED" };
    let took = began.elapsed().as_secs_f64();
    println!("{verdict} job {}: {} checks, {failed} failed, in {took:.1} s", job.name, list.len());
    if failed > 0 {
        eprintln!("{last_words}");
    }
    failed == 0
}
