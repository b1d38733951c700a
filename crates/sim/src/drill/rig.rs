//! What all parts of the drill share: the machine, the account of checks, and the steps that they
//! have in common.

use freewheel_ahci::{Hba, HbaConfig};
use freewheel_ata::Device;
use freewheel_block::fault::{FaultAction, OpMatch};
use freewheel_block::{ByteRange, EngineStatus, Nanos, OpState};

use super::medium::Medium;
use super::stall::{self, Stall, Staller};
use super::{Clause, DrillConfig, DrillError, Event, EventKind, Phase, Report, Times, Verdicts};
use crate::{
    Command, Driver, DriverError, Environment, GuestRam, Identity, Layout, Machine, ResetWay,
    reset_hba,
};

/// The port of the disk that hangs.
pub(super) const STUCK: usize = 0;
/// The port of the other one.
pub(super) const NEIGHBOUR: usize = 1;
/// What the memory of cancelled commands is painted with.
pub(super) const CANARY: u8 = 0xc5;
/// What buffers hold before a read.
pub(super) const BLANK: u8 = 0xee;
/// How long the drill waits between two looks at what has arrived in the storage.
const ARRIVAL_STEP_NS: u64 = 100_000;
/// Waits that ran out before the drill gives up.
const HOPELESS_TIMEOUTS: u32 = 3;

/// A command of the drill, and what it has to do with the medium.
#[derive(Clone, Copy, Debug)]
pub(super) enum Task {
    /// Reads a chunk.
    Read { chunk: usize },
    /// Writes a version of a chunk.
    Write { chunk: usize, version: u32 },
}

/// Everything about a drill that is under way.
pub(super) struct Rig<'a> {
    pub(super) machine: Machine,
    pub(super) stall: Staller,
    pub(super) driver: Driver,
    pub(super) neighbour: Driver,
    pub(super) identity: Identity,
    pub(super) medium: Medium,
    pub(super) config: DrillConfig,
    /// Commands that fill the queue.
    pub(super) tags: u8,
    pub(super) neighbour_longest_ns: u64,
    /// Commands of the stuck disk that went to the engine and that the guest has seen to end well.
    pub(super) answered_total: u64,
    backend: String,
    slots: usize,
    verdicts: Verdicts,
    ways: Vec<(ResetWay, Times)>,
    resets: Times,
    resets_cpu: Times,
    detailed: bool,
    timeouts: u32,
    on_event: &'a mut dyn FnMut(&Event),
}

impl<'a> Rig<'a> {
    pub(super) fn new(
        stuck: Box<dyn Device>,
        neighbour: Box<dyn Device>,
        stall: Option<Box<dyn Stall>>,
        env: Box<dyn Environment>,
        config: DrillConfig,
        on_event: &'a mut dyn FnMut(&Event),
    ) -> Result<Self, DrillError> {
        let ram = GuestRam::new(Layout::memory_bytes(2));
        let hba = Hba::new(HbaConfig::default(), vec![Some(stuck), Some(neighbour)], Nanos(0));
        let mut machine = Machine::new(hba, ram, env);
        let (mut driver, mut other) = (Driver::new(STUCK), Driver::new(NEIGHBOUR));
        let fails = |port| move |error| DrillError::DoesNotWork { port, error };
        reset_hba(&mut machine);
        other.bring_up(&mut machine);
        other.identify(&mut machine, config.patience_ns).map_err(fails(NEIGHBOUR))?;
        driver.bring_up(&mut machine);
        let identity = driver.identify(&mut machine, config.patience_ns).map_err(fails(STUCK))?;

        let engine = machine.engine(STUCK).ok_or(DrillError::NoFaultLayer)?;
        let info = engine.info().clone();
        let slots = engine.status(Nanos(0)).slots;
        engine.backend_mut().fault_layer().ok_or(DrillError::NoFaultLayer)?.clear();
        if info.read_only {
            return Err(DrillError::ReadOnly);
        }
        let tags = identity.queue_depth.min(32);
        if tags < 4 {
            return Err(DrillError::ShortQueue { depth: tags });
        }
        let medium = Medium::new(identity.sector_bytes, 2 * usize::from(tags));
        let needed_bytes = medium.range(medium.chunk_count()).offset_bytes;
        if info.size_bytes < needed_bytes {
            return Err(DrillError::TooSmall { has_bytes: info.size_bytes, needed_bytes });
        }
        let mut rig = Self {
            machine,
            stall: stall.map_or(Staller::Faults, Staller::Storage),
            driver,
            neighbour: other,
            identity,
            medium,
            config,
            tags,
            neighbour_longest_ns: 0,
            answered_total: 0,
            backend: info.engine_name,
            slots,
            verdicts: Verdicts::default(),
            ways: Vec::new(),
            resets: Times::default(),
            resets_cpu: Times::default(),
            detailed: true,
            timeouts: 0,
            on_event,
        };
        rig.begin(Phase::StartUp);
        rig.tell(EventKind::Identified {
            identity: rig.identity.clone(),
            backend: rig.backend.clone(),
            slots,
        });
        rig.first_data()?;
        Ok(rig)
    }

    /// Gives every chunk a content that is known.
    fn first_data(&mut self) -> Result<(), DrillError> {
        let version = self.medium.next_version();
        let chunks: Vec<usize> = (0..self.medium.chunk_count()).collect();
        for chunks in chunks.chunks(usize::from(self.tags)) {
            let tasks: Vec<_> =
                chunks.iter().map(|chunk| Task::Write { chunk: *chunk, version }).collect();
            let slots = self.issue(&numbered(&tasks));
            self.driver
                .wait_for(&mut self.machine, slots, self.config.patience_ns)
                .map_err(|error| DrillError::DoesNotWork { port: STUCK, error })?;
            for chunk in chunks {
                self.medium.set(*chunk, version);
            }
        }
        Ok(())
    }

    pub(super) fn into_report(mut self, survived: bool) -> Report {
        let now = self.machine.now();
        let measured = self.machine.usage();
        // After a panic the device is not to be trusted with anything.
        let counters = if survived { self.status_at(now).counters } else { Default::default() };
        Report {
            real_stall: matches!(self.stall, Staller::Storage(_)),
            backend: self.backend,
            identity: self.identity,
            commands_hung: usize::from(self.tags),
            rounds: self.config.rounds,
            slots: self.slots,
            ways: self.ways,
            resets: self.resets,
            resets_cpu: self.resets_cpu,
            longest_call_cpu_ns: self.machine.longest_call_cpu_ns(),
            blocked_calls: measured.map(|_| self.machine.blocked_calls_total()),
            longest_blocked_call_ns: self.machine.longest_blocked_call_ns(),
            calls: self.machine.calls_total(),
            longest_call_ns: self.machine.longest_call_ns(),
            neighbour_longest_ns: self.neighbour_longest_ns,
            orphans_total: counters.orphans_total,
            fences_total: counters.fences_total,
            held_total: counters.held_total,
            verdicts: self.verdicts,
        }
    }

    // --- telling and judging ---

    pub(super) fn tell(&mut self, kind: EventKind) {
        let is_detail = !matches!(
            kind,
            EventKind::Phase(_) | EventKind::Violation { .. } | EventKind::Round { .. }
        );
        if self.detailed || !is_detail {
            let at = self.machine.now();
            (self.on_event)(&Event { at, kind });
        }
    }

    pub(super) fn begin(&mut self, phase: Phase) {
        self.detailed = true;
        self.tell(EventKind::Phase(phase));
    }

    /// The first round is told in detail.
    pub(super) fn begin_round(&mut self, round: u32) {
        self.detailed = round == 0;
        self.tell(EventKind::Round { round });
    }

    pub(super) fn check(&mut self, clause: Clause, good: bool, words: impl FnOnce() -> String) {
        if good {
            self.verdicts.check(clause, true, String::new);
            return;
        }
        let words = words();
        self.verdicts.check(clause, false, || words.clone());
        let words = format!("{}: {words}", clause.name());
        self.tell(EventKind::Violation { words });
    }

    /// Violations so far.
    pub(super) fn violations(&self) -> u64 {
        self.verdicts.violations_total()
    }

    /// Whether going on would only add to the time.
    pub(super) fn is_hopeless(&self) -> bool {
        self.timeouts >= HOPELESS_TIMEOUTS || self.verdicts.violations_total() > 500
    }

    // --- steering the storage ---

    /// Whether it is the storage itself that hangs, not a fault in front of it.
    pub(super) fn is_real(&self) -> bool {
        matches!(self.stall, Staller::Storage(_))
    }

    /// Everything that arrives from now on hangs.
    pub(super) fn hang(&mut self) {
        self.hang_quietly();
        let kind = match self.stall {
            Staller::Faults => EventKind::Fault { spec: "any:hang" },
            Staller::Storage(_) => EventKind::Stalled,
        };
        self.tell(kind);
    }

    /// The same without telling.
    pub(super) fn hang_quietly(&mut self) {
        self.stall.hang(&mut self.machine);
    }

    pub(super) fn inject(&mut self, matching: OpMatch, action: FaultAction) {
        stall::inject(&mut self.machine, matching, action);
    }

    /// Nothing new hangs; what hangs already goes on hanging.
    pub(super) fn heal(&mut self) {
        self.stall.clear(&mut self.machine);
    }

    /// Requests that hang.
    pub(super) fn parked(&mut self) -> usize {
        self.stall.parked(&mut self.machine)
    }

    /// Lets what was handed over arrive where it hangs: `count` requests at least. At the fault
    /// layer it is already. If they don't come, this round proves less than it should.
    pub(super) fn arrive(&mut self, count: usize) {
        let deadline = self.machine.now().plus(self.config.patience_ns);
        let Staller::Storage(stall) = &mut self.stall else { return };
        let mut pending = stall.pending();
        while pending < count && self.machine.now() < deadline {
            self.machine.run_for(ARRIVAL_STEP_NS);
            pending = stall.pending();
        }
        self.check(Clause::C1, pending >= count, || {
            format!("only {pending} of {count} requests hang in the storage itself")
        });
    }

    /// Lets what hangs go on. Nothing is polled.
    pub(super) fn release(&mut self) -> usize {
        let now = self.machine.now();
        let requests = self.stall.release(&mut self.machine, now);
        self.tell(EventKind::Released { requests });
        requests
    }

    // --- what can be seen ---

    fn status_at(&mut self, now: Nanos) -> EngineStatus {
        self.machine
            .hba
            .device_mut(STUCK)
            .and_then(|device| device.engine_status(now))
            .expect("a disk with an engine, which it had at the start")
    }

    pub(super) fn status(&mut self) -> EngineStatus {
        let now = self.machine.now();
        self.status_at(now)
    }

    pub(super) fn in_doubt(&mut self) -> Vec<ByteRange> {
        self.machine.engine(STUCK).map_or(Vec::new(), |engine| engine.ranges_in_doubt())
    }

    /// The engine's tables agree with one another; it panics if not.
    pub(super) fn assert_consistent(&mut self) {
        if let Some(engine) = self.machine.engine(STUCK) {
            engine.assert_consistent();
        }
    }

    // --- commands ---

    /// Puts data and headers in place, and rings the doorbell once.
    pub(super) fn issue(&mut self, tasks: &[(u8, Task)]) -> u32 {
        let sector_bytes = self.identity.sector_bytes;
        let sectors = self.medium.sectors();
        let mut commands = Vec::with_capacity(tasks.len());
        for (slot, task) in tasks {
            let (chunk, data) = match *task {
                Task::Read { chunk } => (chunk, None),
                Task::Write { chunk, version } => {
                    (chunk, Some(self.medium.content(chunk, version)))
                }
            };
            let lba = self.medium.lba(chunk);
            let len = usize::from(sectors) * sector_bytes as usize;
            let command = match &data {
                Some(_) => Command::write_queued(lba, sectors, sector_bytes),
                None => Command::read_queued(lba, sectors, sector_bytes),
            };
            self.driver.fill(&self.machine, *slot, &data.unwrap_or_else(|| vec![BLANK; len]));
            commands.push((*slot, command));
        }
        self.driver.issue_all(&mut self.machine, &commands);
        commands.iter().fold(0, |slots, (slot, _)| slots | 1 << slot)
    }

    /// Waits for `slots`; an end that is not good, or none, violates `clause`.
    pub(super) fn await_slots(&mut self, slots: u32, clause: Clause, what: &str) -> bool {
        let result = self.driver.wait_for(&mut self.machine, slots, self.config.patience_ns);
        self.timeouts += u32::from(matches!(result, Err(DriverError::Timeout { .. })));
        if result.is_ok() {
            self.answered_total += u64::from(slots.count_ones());
            let status = self.status();
            let early = status.operations.iter().find(|operation| slots & 1 << operation.tag != 0);
            self.check(Clause::C2, early.is_none(), || {
                format!("{what}: the guest saw a command end that is still under way: {early:?}")
            });
        }
        self.check(clause, result.is_ok(), || match result {
            Err(error) => format!("{what}: {error}"),
            Ok(()) => String::new(),
        });
        result.is_ok()
    }

    /// Takes note of what tasks that ended well have done; data that may not be there violates
    /// `clause`.
    pub(super) fn settle_tasks(&mut self, tasks: &[(u8, Task)], clause: Clause, what: &str) {
        let len = usize::from(self.medium.sectors()) * self.identity.sector_bytes as usize;
        for (slot, task) in tasks {
            match *task {
                Task::Write { chunk, version } => self.medium.set(chunk, version),
                Task::Read { chunk } => {
                    let data = self.driver.data(&self.machine, *slot, len);
                    let good = self.medium.observe(chunk, &data);
                    let lba = self.medium.lba(chunk);
                    self.check(clause, good, || {
                        format!("{what}: tag {slot} read something else than LBA {lba} holds")
                    });
                }
            }
        }
    }

    /// Runs tasks to their end.
    pub(super) fn run_tasks(&mut self, tasks: &[(u8, Task)], clause: Clause, what: &'static str) {
        let start = self.machine.now();
        let slots = self.issue(tasks);
        self.tell(EventKind::Doorbell { slots, what });
        if self.await_slots(slots, clause, what) {
            let took_ns = self.machine.now().since(start);
            self.settle_tasks(tasks, clause, what);
            self.tell(EventKind::Ended { slots, what, took_ns });
        }
    }

    /// Reads every chunk back.
    pub(super) fn read_back(&mut self, clause: Clause) -> usize {
        let count = self.medium.chunk_count();
        let tasks: Vec<_> = (0..count).map(|chunk| Task::Read { chunk }).collect();
        for tasks in tasks.chunks(usize::from(self.tags)) {
            let tasks = numbered(tasks);
            let slots = self.issue(&tasks);
            if self.await_slots(slots, clause, "reading back") {
                self.settle_tasks(&tasks, clause, "reading back");
            }
        }
        count
    }

    // --- resets ---

    /// Resets, measures, and judges C1 and what the controller says of it (C9).
    pub(super) fn reset(&mut self, way: ResetWay, commands: u64) {
        let stuck = self.parked();
        let cancelled = |rig: &mut Self| {
            let now = rig.machine.now();
            rig.machine.hba.status(now)[STUCK].counters.cancelled_total
        };
        let before = cancelled(self);
        let usage = self.machine.usage();
        let outcome = self.driver.reset(&mut self.machine, way);
        if let (Some(before), Some(after)) = (usage, self.machine.usage()) {
            self.resets_cpu.add(after.cpu_ns - before.cpu_ns);
        }
        let took_ns = outcome.took_ns;
        let still_stuck = self.parked();
        let name = way.name();
        self.check(Clause::C1, outcome.ended, || {
            format!("{name}: PxCI, PxSACT and PxCMD.CR are not all 0 after it")
        });
        let limit_ns = self.config.limit_ns;
        self.check(Clause::C1, took_ns <= limit_ns, || {
            format!("{name}: took {} us", took_ns / 1000)
        });
        self.check(Clause::C1, still_stuck == stuck, || {
            format!("{name}: the storage let go of {} requests meanwhile", stuck - still_stuck)
        });
        let counted = cancelled(self) - before;
        self.check(Clause::C9, counted == commands, || {
            format!("{name}: cancelled {commands} commands, and {counted} were counted")
        });
        self.note_reset(way, took_ns);
        self.tell(EventKind::Reset { way, ended: outcome.ended, took_ns, still_stuck });
    }

    pub(super) fn note_reset(&mut self, way: ResetWay, took_ns: u64) {
        self.resets.add(took_ns);
        match self.ways.iter_mut().find(|(other, _)| *other == way) {
            Some((_, times)) => times.add(took_ns),
            None => {
                let mut times = Times::default();
                times.add(took_ns);
                self.ways.push((way, times));
            }
        }
    }

    /// Brings the port back, and the other one where the whole HBA was reset.
    pub(super) fn come_back(&mut self, way: ResetWay) {
        let ready = self.driver.come_back(&mut self.machine, way);
        self.check(Clause::C1, ready, || {
            format!("{}: the device was not ready afterwards", way.name())
        });
        if way.is_global() {
            self.neighbour.bring_up(&mut self.machine);
        }
    }

    /// What the engine says of orphans and fences agrees with what the guest has done: `all` are
    /// the ranges of what was cancelled in the storage, `changing` of those that may change it.
    pub(super) fn account(&mut self, all: &[ByteRange], changing: &[ByteRange]) {
        let status = self.status();
        let counters = status.counters;
        let shown: Vec<ByteRange> = sorted(status.orphans.iter().map(|orphan| orphan.range));
        let expected = sorted(all.iter().copied());
        self.check(Clause::C9, shown == expected, || {
            format!("{} orphans are shown; {} there should be", shown.len(), expected.len())
        });
        let fenced =
            sorted(status.orphans.iter().filter(|orphan| orphan.fenced).map(|orphan| orphan.range));
        let expected = sorted(changing.iter().copied());
        self.check(Clause::C9, fenced == expected, || {
            format!("{} fences are shown; {} there should be", fenced.len(), expected.len())
        });
        let aged = status
            .orphans
            .iter()
            .all(|orphan| orphan.orphaned_ns > 0 && orphan.age_ns >= orphan.orphaned_ns);
        self.check(Clause::C9, aged, || "an orphan has no age".into());
        let agrees = counters.orphans_now == all.len() as u64
            && counters.fences_now == changing.len() as u64
            && status.operations.is_empty();
        self.check(Clause::C9, agrees, || {
            format!(
                "counted {} orphans, {} fences, {} operations",
                counters.orphans_now,
                counters.fences_now,
                status.operations.len()
            )
        });
        let in_doubt = self.in_doubt();
        self.check(Clause::C7, in_doubt == expected, || {
            format!("in doubt are {in_doubt:?}; orphans can change {expected:?}")
        });
        self.tell(EventKind::Orphans {
            orphans: status.orphans.len(),
            fences: fenced.len(),
            in_doubt,
            free_slots: status.free_slots,
            slots: status.slots,
        });
    }

    /// Operations that are held, as the engine shows them.
    pub(super) fn held(&mut self) -> usize {
        let status = self.status();
        status.operations.iter().filter(|operation| operation.state == OpState::Held).count()
    }

    /// Waits until every orphan has ended and every slot is free; if not, that violates `clause`.
    pub(super) fn drain(&mut self, clause: Clause) {
        let patience_ns = self.config.patience_ns;
        let all_free = self.machine.run_until(patience_ns, |machine| {
            machine.engine(STUCK).is_none_or(|engine| {
                let counters = engine.counters();
                counters.orphans_now + counters.running_now + counters.queued_now == 0
            })
        });
        self.timeouts += u32::from(!all_free);
        let status = self.status();
        let free = status.free_slots == status.slots && status.orphans.is_empty();
        self.check(clause, all_free && free, || {
            format!("{} of {} slots came back", status.free_slots, status.slots)
        });
        let in_doubt = self.in_doubt();
        self.check(Clause::C7, in_doubt.is_empty(), || {
            format!("nothing hangs, and {} ranges are in doubt", in_doubt.len())
        });
        let counters = status.counters;
        let ended = counters.completed_total + counters.failed_total + counters.cancelled_total;
        let live = status.operations.len() as u64;
        self.check(Clause::C9, counters.submitted_total == ended + live, || {
            format!("{} operations were submitted, {ended} have ended", counters.submitted_total)
        });
    }
}

/// Tasks with slots from 0 on.
pub(super) fn numbered(tasks: &[Task]) -> Vec<(u8, Task)> {
    (0..).zip(tasks.iter().copied()).collect()
}

fn sorted(ranges: impl Iterator<Item = ByteRange>) -> Vec<ByteRange> {
    let mut ranges: Vec<_> = ranges.collect();
    ranges.sort_unstable();
    ranges
}
