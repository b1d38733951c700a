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

use freewheel_block::{
    ByteRange, Client, Engine, GuestMemoryError, Nanos, OpError, OpToken, Request,
};

use super::controller::Controller;
use super::custody::Custody;
use super::state_file;
use super::unit::Unit;
use crate::exit;
use crate::place::Place;

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
pub(super) enum Flush {
    Due,
    Submitted,
    Done,
    Failed,
}

/// A service on its way out.
pub(super) struct Ending {
    deadline: Nanos,
    next_report: Nanos,
}

impl Ending {
    /// Cancels everything. The end comes `patience` from now at the latest.
    pub(super) fn begin(controller: &mut Controller, units: &[Unit], patience: Duration) -> Self {
        controller.reset_function();
        let now = controller.clock.now();
        for unit in units {
            if let Some(device) = unit.place.device(&mut controller.hba) {
                device.retire(now);
            }
        }
        Self {
            deadline: now.plus(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX)),
            // Most ends are over before there is anything to report.
            next_report: now.plus(REPORT_INTERVAL_NS),
        }
    }

    /// When [`Ending::step`] is due even if nothing woke the loop.
    pub(super) fn next_wakeup(&self) -> Nanos {
        self.deadline.min(self.next_report)
    }

    /// Moves on; true once nothing is in doubt any more, or the deadline has passed. What is in
    /// `custody` has been moved on already.
    pub(super) fn step(
        &mut self,
        controller: &mut Controller,
        units: &mut [Unit],
        custody: &mut Custody,
    ) -> bool {
        let now = controller.clock.now();
        let mut busy = !custody.is_empty();
        for unit in &mut *units {
            busy |= unit.state.as_ref().is_some_and(|writer| writer.report().is_busy());
            if let Some(engine) = engine_of(controller, unit.place) {
                advance(engine, &mut unit.flush, now);
                busy |= unit.flush == Flush::Submitted || !engine.ranges_in_doubt().is_empty();
            }
        }
        if busy && now >= self.next_report {
            let left_s = self.deadline.since(now) / 1_000_000_000;
            for unit in &*units {
                if let Some(engine) = engine_of(controller, unit.place) {
                    report(engine, unit.name(), left_s, now);
                }
            }
            for case in custody.iter_mut() {
                let path = case.image.path.clone();
                if let Some(engine) = case.engine_mut() {
                    report(engine, &path, left_s, now);
                }
            }
            for doubt in state_file_doubts(units, custody) {
                tracing::warn!("{doubt}");
            }
            self.next_report = now.plus(REPORT_INTERVAL_NS);
        }
        !busy || now >= self.deadline
    }

    /// What is in doubt, a line each, for people and scripts; empty if nothing is.
    fn doubts(controller: &mut Controller, units: &[Unit], custody: &mut Custody) -> String {
        let mut text = String::new();
        for unit in units {
            if let Some(engine) = engine_of(controller, unit.place) {
                describe(&mut text, engine, unit.name(), unit.sector_bytes, unit.flush);
            }
        }
        for case in custody.iter_mut() {
            let (path, sector_bytes, flush) =
                (case.image.path.clone(), case.sector_bytes, case.flush);
            if let Some(engine) = case.engine_mut() {
                describe(&mut text, engine, &path, sector_bytes, flush);
            }
        }
        for doubt in state_file_doubts(units, custody) {
            let _ = writeln!(text, "in doubt: {doubt}");
        }
        text
    }

    /// Prints what is in doubt and gives the exit code. A reader of standard output that has
    /// stopped or gone changes neither the code nor, for long, the time.
    pub(super) fn verdict(
        self,
        controller: &mut Controller,
        units: &[Unit],
        custody: &mut Custody,
    ) -> u8 {
        let text = Self::doubts(controller, units, custody);
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

/// What is in doubt of one image.
fn describe(text: &mut String, engine: &Engine, path: &str, sector_bytes: u64, flush: Flush) {
    for range in engine.ranges_in_doubt() {
        let (first, last) = sectors(range, sector_bytes);
        let _ = writeln!(text, "in doubt: {path} LBA {first} to {last}");
    }
    // On a read-only disk there is nothing to flush.
    if flush != Flush::Done && !engine.info().read_only {
        let _ = writeln!(text, "in doubt: {path} writes since the last flush may not be durable");
    }
}

/// The first and the last sector of a range.
pub(super) fn sectors(range: ByteRange, sector_bytes: u64) -> (u64, u64) {
    let last = range.end_bytes().saturating_sub(1) / sector_bytes;
    (range.offset_bytes / sector_bytes, last)
}

fn state_file_doubts(units: &[Unit], custody: &Custody) -> Vec<String> {
    let of_units = units.iter().filter_map(|unit| unit.state.as_ref());
    of_units.chain(custody.writers()).filter_map(state_file::doubt).collect()
}

fn engine_of(controller: &mut Controller, place: Place) -> Option<&mut Engine> {
    place.device(&mut controller.hba)?.engine_mut()
}

/// Moves the last flush of an engine on, that has nothing else to do any more.
pub(super) fn advance(engine: &mut Engine, flush: &mut Flush, now: Nanos) {
    let mut client = Flushes::default();
    if *flush == Flush::Due {
        *flush = match engine.submit(Request::flush(0), now, &mut client) {
            Ok(_) => Flush::Submitted,
            Err(_) => Flush::Failed,
        };
    }
    engine.poll(now, &mut client);
    engine.kick(now);
    match client.outcomes.first() {
        Some(Ok(())) => *flush = Flush::Done,
        Some(Err(error)) => {
            tracing::error!("the last flush failed: {error}");
            *flush = Flush::Failed;
        }
        None => {}
    }
}

fn report(engine: &Engine, path: &str, left_s: u64, now: Nanos) {
    let status = engine.status(now);
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
