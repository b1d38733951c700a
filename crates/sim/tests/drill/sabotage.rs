//! Stacks that break one clause each, and the verdict that has to see it.

use std::collections::HashMap;

use freewheel_ata::fis::{DeviceFis, Error, RegisterH2D, Status};
use freewheel_ata::{Device, Link};
use freewheel_block::fault::FaultLayer;
use freewheel_block::{
    Backend, BackendInfo, Done, Engine, EngineStatus, Io, IoBuf, IoError, IoId, Nanos, OpKind,
};
use freewheel_sim::drill::Clause;
use freewheel_sim::{Environment, MemoryDisk, VirtualClock};

use crate::support::*;

/// A device that does as the one inside does, but for what a hook changes.
struct Wrapped {
    inner: Box<dyn Device>,
    clock: VirtualClock,
    hook: Hook,
    /// A reset has happened at some time.
    has_been_reset: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hook {
    /// Waits for the storage before it cancels.
    SlowAbort,
    /// Does not cancel at all.
    NoAbort,
    /// Reports every tag as done at each poll, once there was a reset.
    InventsCompletions,
    /// Writes to memory that it was given to read, and that was another command's before.
    WritesWhatIsToBeRead,
    /// Reads memory that it was given to write.
    ReadsWhatIsToBeWritten,
    /// Hides orphans from whoever asks.
    HidesOrphans,
    /// Says that nothing was cancelled.
    MiscountsCancelled,
    /// Panics when a command fails.
    Panics,
}

fn wrap(inner: Box<dyn Device>, clock: &VirtualClock, hook: Hook) -> Box<dyn Device> {
    Box::new(Wrapped { inner, clock: clock.clone(), hook, has_been_reset: false })
}

impl Device for Wrapped {
    fn execute(
        &mut self,
        slot: u8,
        command: &RegisterH2D,
        packet: &[u8; 16],
        now: Nanos,
        link: &mut dyn Link,
    ) {
        let spoiled = match (self.hook, command.command) {
            (Hook::WritesWhatIsToBeRead, 0x61) => link.data_in(slot, 0, &[0x5a; 16]),
            (Hook::ReadsWhatIsToBeWritten, 0x60) => link.data_out(slot, 0, &mut [0; 16]),
            _ => Ok(()),
        };
        spoiled.expect("memory of the slot");
        if self.hook == Hook::Panics && command.command == 0x2f {
            panic!("sabotage: the error log is asked for");
        }
        self.inner.execute(slot, command, packet, now, link);
    }

    fn control(&mut self, control: u8, now: Nanos, link: &mut dyn Link) {
        self.inner.control(control, now, link);
    }

    fn comreset(&mut self, now: Nanos, link: &mut dyn Link) {
        self.inner.comreset(now, link);
    }

    fn abort_all(&mut self, now: Nanos) -> usize {
        self.has_been_reset = true;
        match self.hook {
            Hook::SlowAbort => self.clock.wait(35_000_000_000),
            Hook::NoAbort => return 0,
            Hook::MiscountsCancelled => {
                self.inner.abort_all(now);
                return 0;
            }
            _ => {}
        }
        self.inner.abort_all(now)
    }

    fn poll(&mut self, now: Nanos, link: &mut dyn Link) {
        if self.hook == Hook::InventsCompletions && self.has_been_reset {
            link.fis(
                None,
                DeviceFis::SetDeviceBits {
                    interrupt: true,
                    notification: false,
                    status: Status::DRDY,
                    error: Error::empty(),
                    active: u32::MAX,
                },
            );
        }
        self.inner.poll(now, link);
    }

    fn next_wakeup(&self) -> Option<Nanos> {
        self.inner.next_wakeup()
    }

    fn engine_status(&self, now: Nanos) -> Option<EngineStatus> {
        let mut status = self.inner.engine_status(now)?;
        if self.hook == Hook::HidesOrphans {
            status.orphans.clear();
        }
        Some(status)
    }

    fn engine_mut(&mut self) -> Option<&mut Engine> {
        self.inner.engine_mut()
    }
}

/// What a backend does wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Vice {
    /// Says that it has let go of what is cancelled, and executes it later all the same: what a
    /// stack without fences looks like.
    LetsGoEarly,
    /// Answers a flush without doing it.
    LiesAboutFlushes,
    /// Waits with a flush until nothing else is under way.
    FlushesLast,
    /// Forgets the first cancelled write for ever.
    KeepsOrphans,
    /// Never completes what failed.
    LosesErrors,
    /// Completes each read before it has read.
    ReadsNothing,
}

/// A vicious layer over an honest backend.
struct Vicious {
    inner: Box<dyn Backend>,
    vice: Vice,
    with_inner: HashMap<IoId, (OpKind, freewheel_block::ByteRange)>,
    done: Vec<Done>,
    waiting_flushes: Vec<Io>,
    cancelled: Vec<IoId>,
    kept: bool,
}

fn vicious(disk: &MemoryDisk, vice: Vice) -> Box<dyn Backend> {
    Box::new(Vicious {
        inner: honest(disk),
        vice,
        with_inner: HashMap::new(),
        done: Vec::new(),
        waiting_flushes: Vec::new(),
        cancelled: Vec::new(),
        kept: false,
    })
}

impl Backend for Vicious {
    fn info(&self) -> &BackendInfo {
        self.inner.info()
    }

    fn submit(&mut self, mut io: Io, now: Nanos) {
        match (self.vice, io.kind) {
            (Vice::LiesAboutFlushes, OpKind::Flush) => return self.done.push(io.done(Ok(0))),
            (Vice::FlushesLast, OpKind::Flush) if !self.with_inner.is_empty() => {
                return self.waiting_flushes.push(io);
            }
            (Vice::ReadsNothing, OpKind::Read) if self.cancelled.len() > 64 => {
                io.data_mut().fill(0x77);
                let len_bytes = io.range.len_bytes;
                return self.done.push(io.done(Ok(len_bytes)));
            }
            _ => {}
        }
        self.with_inner.insert(io.id, (io.kind, io.range));
        self.inner.submit(io, now);
    }

    fn kick(&mut self, now: Nanos) {
        self.inner.kick(now);
    }

    fn poll(&mut self, now: Nanos, done: &mut Vec<Done>) {
        done.append(&mut self.done);
        let mut completed = Vec::new();
        self.inner.poll(now, &mut completed);
        for completion in completed {
            let id = completion.io.id;
            self.with_inner.remove(&id);
            let is_kept = self.vice == Vice::KeepsOrphans
                && !self.kept
                && completion.io.kind == OpKind::Write
                && self.cancelled.contains(&id);
            let is_lost = self.vice == Vice::LosesErrors && completion.result.is_err();
            self.kept |= is_kept;
            if !is_kept && !is_lost {
                done.push(completion);
            }
        }
        if self.with_inner.is_empty() {
            for flush in std::mem::take(&mut self.waiting_flushes) {
                self.inner.submit(flush, now);
            }
        }
    }

    fn cancel_hint(&mut self, id: IoId) {
        self.cancelled.push(id);
        if self.vice == Vice::LetsGoEarly
            && let Some((kind, range)) = self.with_inner.get(&id).copied()
        {
            let buf = kind.has_data().then(|| IoBuf::new(id.slot, 128 << 10));
            let io = Io { id, kind, range, fua: false, buf, buf_offset_bytes: 0 };
            self.done.push(io.done(Err(IoError::Os(125))));
        }
    }

    fn next_wakeup(&self) -> Option<Nanos> {
        if self.done.is_empty() { self.inner.next_wakeup() } else { Some(Nanos(0)) }
    }

    fn fault_layer(&mut self) -> Option<&mut FaultLayer> {
        self.inner.fault_layer()
    }
}

#[track_caller]
fn goes_red(stack: &Stack, clauses: &[Clause]) {
    let report = stack.drill(2);
    assert!(!report.ok());
    for clause in clauses {
        let verdict = report.verdicts.of(*clause);
        assert!(verdict.violations_total > 0, "{clause:?} did not notice: {:#?}", report.verdicts);
        assert!(!verdict.violations.is_empty());
    }
}

#[test]
fn c1_sees_a_reset_that_waits_for_the_storage() {
    let device = |inner, clock: &VirtualClock| wrap(inner, clock, Hook::SlowAbort);
    goes_red(&Stack { device, ..Stack::new() }, &[Clause::C1]);
}

#[test]
fn c2_sees_a_reset_that_cancels_nothing() {
    let device = |inner, clock: &VirtualClock| wrap(inner, clock, Hook::NoAbort);
    goes_red(&Stack { device, ..Stack::new() }, &[Clause::C2, Clause::C7, Clause::C9]);
}

#[test]
fn c2_sees_commands_that_end_by_invention() {
    let device = |inner, clock: &VirtualClock| wrap(inner, clock, Hook::InventsCompletions);
    goes_red(&Stack { device, ..Stack::new() }, &[Clause::C2]);
}

#[test]
fn c2_sees_data_of_another() {
    let backend = |disk: &MemoryDisk| vicious(disk, Vice::ReadsNothing);
    goes_red(&Stack { backend, ..Stack::new() }, &[Clause::C2, Clause::C4]);
}

#[test]
fn c3_sees_a_write_to_memory_that_was_not_given_for_it() {
    let device = |inner, clock: &VirtualClock| wrap(inner, clock, Hook::WritesWhatIsToBeRead);
    goes_red(&Stack { device, ..Stack::new() }, &[Clause::C3]);
}

#[test]
fn c3_sees_a_read_of_memory_that_was_not_given_for_it() {
    let device = |inner, clock: &VirtualClock| wrap(inner, clock, Hook::ReadsWhatIsToBeWritten);
    goes_red(&Stack { device, ..Stack::new() }, &[Clause::C3]);
}

#[test]
fn c4_sees_a_fence_that_falls_too_early() {
    let backend = |disk: &MemoryDisk| vicious(disk, Vice::LetsGoEarly);
    goes_red(&Stack { backend, ..Stack::new() }, &[Clause::C4]);
}

#[test]
fn c5_sees_a_flush_that_was_answered_and_not_done() {
    let backend = |disk: &MemoryDisk| vicious(disk, Vice::LiesAboutFlushes);
    goes_red(&Stack { backend, ..Stack::new() }, &[Clause::C5]);
}

#[test]
fn c5_sees_a_flush_that_waits_for_orphans() {
    let backend = |disk: &MemoryDisk| vicious(disk, Vice::FlushesLast);
    goes_red(&Stack { backend, ..Stack::new() }, &[Clause::C5]);
}

#[test]
fn c6_and_c7_see_a_slot_that_never_comes_back() {
    let backend = |disk: &MemoryDisk| vicious(disk, Vice::KeepsOrphans);
    goes_red(&Stack { backend, ..Stack::new() }, &[Clause::C6, Clause::C7]);
}

#[test]
fn c8_sees_errors_that_are_lost() {
    let backend = |disk: &MemoryDisk| vicious(disk, Vice::LosesErrors);
    goes_red(&Stack { backend, ..Stack::new() }, &[Clause::C8]);
}

#[test]
fn c8_sees_a_panic() {
    let device = |inner, clock: &VirtualClock| wrap(inner, clock, Hook::Panics);
    goes_red(&Stack { device, ..Stack::new() }, &[Clause::C8]);
}

#[test]
fn c9_sees_orphans_that_are_not_shown() {
    let device = |inner, clock: &VirtualClock| wrap(inner, clock, Hook::HidesOrphans);
    goes_red(&Stack { device, ..Stack::new() }, &[Clause::C9]);
}

#[test]
fn c9_sees_cancels_that_are_not_counted() {
    let device = |inner, clock: &VirtualClock| wrap(inner, clock, Hook::MiscountsCancelled);
    goes_red(&Stack { device, ..Stack::new() }, &[Clause::C9]);
}
