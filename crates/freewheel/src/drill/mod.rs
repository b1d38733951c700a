//! `freewheel drill`: the stuck-storage drill on a real backend, for people and for scripts.
//!
//! The drill itself is in [`freewheel_sim::drill`]; here are the disks it runs on, real time, and
//! the telling.

mod faults;
mod host;
mod json;
mod program;
mod style;
mod summary;
mod timeline;

use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use anyhow::Context;
use freewheel_ata::Device;
use freewheel_sim::drill::{self, DrillConfig, DrillError, Event};

use crate::cli::DrillArgs;
use crate::disk::{self, DiskSpec, StateKey};
use crate::exit::{self, UserError};
use host::Host;
use program::Program;
use style::Style;
use timeline::Timeline;

/// Size of the temporary file, sparse.
const STUCK_BYTES: u64 = 64 << 20;
/// Size of the second disk's.
const NEIGHBOUR_BYTES: u64 = 16 << 20;

/// Runs the drill, and tells how it went.
pub(crate) fn run(args: &DrillArgs) -> anyhow::Result<ExitCode> {
    // The timeline is the log, unless somebody asks for more.
    let _log = std::env::var_os("FREEWHEEL_LOG").map(|_| crate::log::start());
    let faults = args.disk.as_ref().map_or(&[][..], |spec| &spec.faults);
    faults::admit(faults)?;
    if args.stall_with.is_some() && !faults.is_empty() {
        let cause = "storage that stalls by itself and faults in front of it are two drills";
        return Err(UserError::new(exit::USAGE, cause, "leave out --stall-with or `fault=`").into());
    }
    if args.disk.as_ref().is_some_and(|spec| spec.state != StateKey::Off) {
        let remedy = "leave `state=` out of --disk";
        return Err(UserError::new(exit::USAGE, "the drill keeps no state", remedy).into());
    }
    let program = args.stall_with.as_deref().map(Program::start).transpose()?;
    let directory = tempfile::Builder::new()
        .prefix("freewheel-drill-")
        .tempdir()
        .context("a directory for temporary files cannot be created")?;
    let temporary = |name: &str, size_bytes: u64| -> anyhow::Result<DiskSpec> {
        let path = directory.path().join(name);
        let file = std::fs::File::create_new(&path).context("creating a temporary file")?;
        file.set_len(size_bytes).context("creating a temporary file")?;
        let mut spec = DiskSpec::raw(path);
        spec.engine = args.engine.unwrap_or(spec.engine);
        Ok(spec)
    };
    let spec = match &args.disk {
        Some(spec) => spec.clone(),
        None => temporary("stuck.img", STUCK_BYTES)?,
    };
    let (stuck, wake) = open(&spec)?;
    let (neighbour, neighbour_wake) = open(&temporary("neighbour.img", NEIGHBOUR_BYTES)?)?;

    // Open is enough: whatever happens from here on, nothing is left behind.
    drop(directory);

    let host = Host::new(vec![wake, neighbour_wake]);
    let config = DrillConfig { rounds: args.rounds, ..DrillConfig::default() };
    let style = Style::of_stdout();
    let stdout = std::io::stdout();
    let mut timeline = Timeline::new(stdout.lock(), style);
    let mut tell = |event: &Event| {
        if !args.json {
            timeline.tell(event);
        }
    };
    let host = Box::new(host);
    let report = match program {
        None => drill::run(stuck, neighbour, host, config, &mut tell),
        Some(program) => {
            let stall = Box::new(program);
            drill::run_on_storage_that_stalls(stuck, neighbour, stall, host, config, &mut tell)
        }
    }
    .map_err(|error| cannot_drill(&spec, &error))?;
    drop(timeline);

    let text = if args.json {
        json::of(&report, faults.len())
    } else {
        summary::of(&report, faults.len(), style)
    };
    let mut out = stdout.lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("printing the report")?;
    Ok(if report.ok() { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILURE) })
}

fn open(spec: &DiskSpec) -> anyhow::Result<(Box<dyn Device>, OwnedFd)> {
    let opened = match spec.faults.is_empty() {
        true => disk::open(spec)?,
        false => disk::open_with_lasting_faults(spec)?,
    };
    Ok((Box::new(opened.device), opened.wake))
}

fn cannot_drill(spec: &DiskSpec, error: &DrillError) -> UserError {
    let remedy = match error {
        DrillError::TooSmall { .. } => "use a larger image, or none for a temporary file",
        DrillError::ReadOnly => "leave out `readonly=on`: the drill writes",
        DrillError::ShortQueue { .. } => "use queue=4 or more",
        _ => "look at the storage, or run the drill without --disk",
    };
    UserError::new(exit::DISK, format!("{}: {error}", spec.path.display()), remedy)
}
