//! What a disk keeps beyond the end of the process (`state=`): a file of its own, read before the
//! device thread runs and written by a thread of its own, so that a folder that hangs stops nothing
//! (C1).
//!
//! What the disk says last is what is written: the mailbox holds one state, and a newer one takes
//! the place of one that nobody has begun to write. A write that fails is logged, counted and tried
//! again. Left out: a state that is on stable storage before the guest's command ends, which would
//! make the command wait for this file.

mod place;
mod writer;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use freewheel_ata::{Disk, SavedStateError};
use freewheel_block::Nanos;
use rustix::event::{EventfdFlags, eventfd};
use serde_json::{Value, json};

use super::controller::Controller;
use super::unit::Unit;
use crate::disk::{DiskSpec, StateKey};
use crate::exit::{self, UserError};
pub(super) use writer::Writer;

/// How often disks are asked, if nothing else wakes the loop.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// Finds the disk's state file, if it is to have one, and gives `device` what is in it. Blocks:
/// belongs before the device thread's work.
pub(super) fn restore(spec: &DiskSpec, device: &mut Disk) -> Result<Option<PathBuf>, UserError> {
    let asked = match &spec.state {
        StateKey::Off => return Ok(None),
        StateKey::Beside => place::beside(&spec.path)?,
        StateKey::At(path) => path.clone(),
    };
    let path = place::resolve(&asked)?;
    let Some(bytes) = place::read(&path)? else {
        return Ok(Some(path));
    };
    device.restore(&bytes).map_err(|error| {
        let cause = format!(
            "state file {} of disk {} cannot be used: {error}",
            path.display(),
            spec.path.display()
        );
        UserError::new(exit::DISK, cause, remedy(&error))
    })?;
    Ok(Some(path))
}

fn remedy(error: &SavedStateError) -> &'static str {
    match error {
        SavedStateError::Version(_) => {
            "use the version of freewheel that wrote it, or move it away to begin with a new state"
        }
        SavedStateError::OtherSerial { .. } | SavedStateError::OtherSize { .. } => {
            "give each disk a state file of its own, and the serial number that it had (serial=)"
        }
        SavedStateError::NotAState => "choose another path; the file is left alone",
        _ => "put a copy of it back, or move it away to begin with a new state",
    }
}

/// When the state files of one controller's disks are looked after. Each disk has its own writer.
pub(super) struct StateFiles {
    /// Readable when a writer has ended something.
    wake: Arc<OwnedFd>,
    next_look: Nanos,
}

impl StateFiles {
    pub(super) fn new() -> anyhow::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self { wake: Arc::new(eventfd(0, flags)?), next_look: Nanos(0) })
    }

    /// For writers.
    pub(super) fn wake(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.wake)
    }

    /// To be watched.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Takes note that a writer has woken the loop.
    pub(super) fn drain(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.wake, &mut count);
    }

    /// When [`StateFiles::collect`] is due.
    pub(super) fn next_wakeup(&self, units: &[Unit]) -> Option<Nanos> {
        units.iter().any(|unit| unit.state.is_some()).then_some(self.next_look)
    }

    /// Passes on what disks have to save.
    pub(super) fn collect(&mut self, controller: &mut Controller, units: &[Unit]) {
        let now = controller.clock.now();
        if now >= self.next_look {
            self.next_look = now.plus(LOOK_INTERVAL.as_nanos() as u64);
        }
        for unit in units {
            // What the writer has no time for is not encoded either: a guest could make this thread do
            // so, all of hundreds of KiB, with each of its commands. The writer's end wakes the loop.
            if let Some(writer) = &unit.state
                && !writer.is_busy()
                && let Some(device) = unit.place.device(&mut controller.hba)
                && let Some(state) = device.take_saved_state(now)
            {
                writer.post(state);
            }
        }
    }
}

/// Passes on what each disk has to say at its end.
pub(super) fn collect_last(controller: &mut Controller, units: &[Unit]) {
    let now = controller.clock.now();
    for unit in units {
        if let Some(writer) = &unit.state
            && let Some(device) = unit.place.device(&mut controller.hba)
            && let Some(state) = device.saved_state(now)
        {
            writer.post_last(state);
        }
    }
}

/// Why the file does not hold what its disk had to say last, if so; for the end.
pub(super) fn doubt(writer: &Writer) -> Option<String> {
    let report = writer.report();
    let reason = match &report.error {
        Some(error) => error.as_str(),
        None if report.is_busy() => "its storage does not answer",
        None => return None,
    };
    Some(format!("state file {} is not up to date: {reason}", writer.path().display()))
}

/// For the status.
pub(super) fn status(writer: Option<&Writer>) -> Value {
    let Some(writer) = writer else {
        return Value::Null;
    };
    let report = writer.report();
    json!({
        "path": writer.path().display().to_string(),
        "written_total": report.written_total,
        "failed_total": report.failed_total,
        "error": report.error,
        "writing_ms": report.writing_for.map(|age| age.as_millis() as u64),
    })
}
