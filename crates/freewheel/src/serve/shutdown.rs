//! The end (contract C7): cancel what is live, flush, wait for orphans up to a deadline with
//! progress shown, and name what is in doubt.
//!
//! The flush goes first: it makes durable what was completed to the guest, and does not wait for
//! orphans, whose data was promised to no one (C5). The poll loop goes on meanwhile, so that an
//! operator can look, and release what is stuck.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::mpsc;
use std::time::Duration;

use freewheel_block::{Client, Engine, GuestMemoryError, Nanos, OpError, OpToken, Request};

use super::DiskOnPort;
use super::controller::Controller;
use super::state_file::StateFiles;
use crate::exit;

const REPORT_INTERVAL_NS: u64 = 1_000_000_000;
/// How long the verdict waits for a reader of standard output.
const VERDICT_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers of the engine when there is no guest any more.
#[derive(Default)]
struct Flushes {
    outcomes: Vec<Result<(), OpError>>,
}

impl Client for Flushes {
    fn gather(&mut self, _: u32, _: u64, _: &mut [u8]) -> Result<(), GuestMemoryError> {
        Err(GuestMemoryError)
    }
    fn scatter(&mut self, _: u32, _: u64, _: &[u8]) -> Result<(), GuestMemoryError> {
        Err(GuestMemoryError)
    }
    fn answer(&mut self, _: OpToken, _: u32, result: Result<(), OpError>) {
        self.outcomes.push(result);
    }
}

/// How far the flush of one disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flush {
    Due,
    Submitted,
    Done,
    Failed,
}

/// A service on its way out.
pub(super) struct Ending {
    flushes: Vec<Flush>,
    deadline: Nanos,
    next_report: Nanos,
}

impl Ending {
    /// Cancels everything. The end comes `patience` from now at the latest.
    pub(super) fn begin(
        controller: &mut Controller,
        disks: &[DiskOnPort],
        patience: Duration,
    ) -> Self {
        controller.reset_function();
        let now = controller.clock.now();
        for disk in disks {
            if let Some(device) = disk.place.device(&mut controller.hba) {
                device.retire(now);
            }
        }
        Self {
            flushes: disks.iter().map(|_| Flush::Due).collect(),
            deadline: now.plus(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX)),
            next_report: now,
        }
    }

    /// When [`Ending::step`] is due even if nothing woke the loop.
    pub(super) fn next_wakeup(&self) -> Nanos {
        self.deadline.min(self.next_report)
    }

    /// Moves on; true once nothing is in doubt any more, or the deadline has passed.
    pub(super) fn step(
        &mut self,
        controller: &mut Controller,
        disks: &[DiskOnPort],
        state_files: &StateFiles,
    ) -> bool {
        let now = controller.clock.now();
        let mut busy = state_files.is_busy();
        for (disk, flush) in disks.iter().zip(&mut self.flushes) {
            if let Some(engine) = engine_of(controller, disk) {
                advance(engine, flush, now);
                busy |= *flush == Flush::Submitted || !engine.ranges_in_doubt().is_empty();
            }
        }
        if busy && now >= self.next_report {
            report(controller, disks, self.deadline.since(now), now);
            for doubt in state_files.doubts() {
                tracing::warn!("{doubt}");
            }
            self.next_report = now.plus(REPORT_INTERVAL_NS);
        }
        !busy || now >= self.deadline
    }

    /// What is in doubt, a line each, for people and scripts; empty if nothing is.
    fn doubts(
        &self,
        controller: &mut Controller,
        disks: &[DiskOnPort],
        state_files: &StateFiles,
    ) -> String {
        let mut text = String::new();
        for (disk, flush) in disks.iter().zip(&self.flushes) {
            let Some(engine) = engine_of(controller, disk) else {
                continue;
            };
            for range in engine.ranges_in_doubt() {
                let first = range.offset_bytes / disk.sector_bytes;
                let last = range.end_bytes().saturating_sub(1) / disk.sector_bytes;
                let _ = writeln!(text, "in doubt: {} LBA {first} to {last}", disk.path);
            }
            // On a read-only disk there is nothing to flush.
            if *flush != Flush::Done && !engine.info().read_only {
                let path = &disk.path;
                let _ = writeln!(
                    text,
                    "in doubt: {path} writes since the last flush may not be durable"
                );
            }
        }
        for doubt in state_files.doubts() {
            let _ = writeln!(text, "in doubt: {doubt}");
        }
        text
    }

    /// Prints what is in doubt and gives the exit code. A reader of standard output that has
    /// stopped or gone changes neither the code nor, for long, the time.
    pub(super) fn verdict(
        self,
        controller: &mut Controller,
        disks: &[DiskOnPort],
        state_files: &StateFiles,
    ) -> u8 {
        let text = self.doubts(controller, disks, state_files);
        if text.is_empty() {
            return 0;
        }
        for line in text.lines() {
            tracing::error!("{line}");
        }
        let (done, printed) = mpsc::channel();
        std::thread::spawn(move || {
            let mut stdout = std::io::stdout().lock();
            let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
            let _ = done.send(());
        });
        let _ = printed.recv_timeout(VERDICT_TIMEOUT);
        exit::IN_DOUBT
    }
}

fn engine_of<'a>(controller: &'a mut Controller, disk: &DiskOnPort) -> Option<&'a mut Engine> {
    disk.place.device(&mut controller.hba)?.engine_mut()
}

fn advance(engine: &mut Engine, flush: &mut Flush, now: Nanos) {
    let mut client = Flushes::default();
    if *flush == Flush::Due {
        *flush = match engine.submit(Request::flush(0), now, &mut client) {
            Ok(_) => Flush::Submitted,
            Err(_) => Flush::Failed,
        };
    }
    engine.poll(now, &mut client);
    match client.outcomes.first() {
        Some(Ok(())) => *flush = Flush::Done,
        Some(Err(error)) => {
            tracing::error!("the last flush failed: {error}");
            *flush = Flush::Failed;
        }
        None => {}
    }
}

fn report(controller: &mut Controller, disks: &[DiskOnPort], left_ns: u64, now: Nanos) {
    let left_s = left_ns / 1_000_000_000;
    for disk in disks {
        let Some(engine) = engine_of(controller, disk) else {
            continue;
        };
        let status = engine.status(now);
        let path = &disk.path;
        match status.orphans.iter().max_by_key(|orphan| orphan.age_ns) {
            Some(oldest) => tracing::warn!(
                "{path}: waiting for {} stuck request(s), the oldest a {} for {} s; {left_s} s left",
                status.orphans.len(),
                oldest.kind,
                oldest.age_ns / 1_000_000_000,
            ),
            None if !status.operations.is_empty() => {
                tracing::info!("{path}: waiting for the flush; {left_s} s left");
            }
            None => {}
        }
    }
}
