//! One run: controller, guest and storage, driven step by step and judged after every event.

use freewheel_ahci::registers::*;
use freewheel_ahci::{Hba, HbaConfig};
use freewheel_ata::{Device, Disk, DiskConfig, Drive, DriveConfig};
use freewheel_block::{Engine, EngineConfig, Nanos};

use super::config::{SECTORS, WorldConfig};
use super::coverage::{Coverage, PortState, PortWrite, SlotEvent, SlotState};
use super::disk::FaultyDisk;
use super::drive::{DRIVE_BYTES, DriveGuest};
use super::guest::{Guest, PORT_BYTES};
use super::memory::{Memory, WRITE};
use super::oracle::sectors;
use super::step::{How, Op, Step};
use super::violation::{Kind, Violation};
use super::{Run, Stats, guest};

/// What the world's clock moves on by at each event.
const TICK_NS: u64 = 1000;
/// BSY and DRQ of PxTFD.
pub(super) const BUSY: u32 = 0x88;

/// A run in progress.
pub(super) struct World {
    pub(super) config: WorldConfig,
    pub(super) hba: Hba,
    pub(super) memory: Memory,
    pub(super) disks: Vec<FaultyDisk>,
    pub(super) guests: Vec<Guest>,
    /// Devices that were pulled out, until they or their successors are attached.
    pub(super) custody: Vec<Option<Box<dyn Device>>>,
    pub(super) drive: Option<DriveGuest>,
    pub(super) now: Nanos,
    /// Counts commands issued and ended, for the oracle.
    pub(super) moment: u32,
    pub(super) enabled: bool,
    pub(super) violation: Option<Violation>,
    pub(super) stats: Stats,
    pub(super) coverage: Coverage,
    trace: Option<Vec<String>>,
    /// Checks everything after every event.
    strict: bool,
    guest_only: bool,
}

impl World {
    pub(super) fn new(run: &Run, traced: bool, strict: bool) -> Self {
        let config = &run.config;
        let disks: Vec<FaultyDisk> = (0..config.disks).map(|_| FaultyDisk::new(config)).collect();
        let devices = disks.iter().map(|disk| Some(new_device(config, disk)));
        let drive = || Some(Box::new(Drive::new(DriveConfig::default())) as Box<dyn Device>);
        let devices = devices.chain(config.drive.then(drive)).collect();
        let hba = Hba::new(
            HbaConfig { command_slots: config.tags, ..HbaConfig::default() },
            devices,
            Nanos(1),
        );
        let mut world = Self {
            config: config.clone(),
            hba,
            memory: Memory::new(config.disks * PORT_BYTES as usize + DRIVE_BYTES as usize),
            disks,
            custody: (0..config.disks).map(|_| None).collect(),
            guests: (0..config.disks).map(|port| Guest::new(port, config.write_cache)).collect(),
            drive: config.drive.then(|| DriveGuest::new(config.disks)),
            now: Nanos(1),
            moment: 1,
            enabled: false,
            violation: None,
            stats: Stats::default(),
            coverage: Coverage::default(),
            trace: traced.then(Vec::new),
            strict,
            guest_only: run.guest_only,
        };
        world.stats.faults.runs = u64::from(config.faults.is_some());
        for port in 0..world.guests.len() {
            world.bring_up(port);
        }
        world.bring_drive_up();
        world
    }

    /// Carries out one step.
    pub(super) fn step(&mut self, step: &Step) {
        self.say(|| format!("{step:?}"));
        let ports = self.guests.len();
        match *step {
            Step::Issue { disk, op, queued, lba, extra } => {
                self.issue_new(usize::from(disk) % ports, op, queued, usize::from(lba), extra);
            }
            Step::Retry { disk, how, queued, extra } => {
                self.retry(usize::from(disk) % ports, how, queued, extra);
            }
            Step::Storage { disk, which, how } => {
                self.storage(usize::from(disk) % ports, which, how);
            }
            Step::Batch { disk, count, order } => {
                for turn in 0..count {
                    let which = match order % 3 {
                        0 => 0,
                        1 => u8::MAX - turn,
                        _ => order.wrapping_mul(turn | 1),
                    };
                    self.storage(usize::from(disk) % ports, which, How::Well);
                }
            }
            Step::Repeat { disk, which } => {
                self.disks[usize::from(disk) % ports].state().repeat(which % 8);
            }
            Step::Hang { disk, which } => {
                let mut state = self.disks[usize::from(disk) % ports].state();
                if let Some(index) = state.choose(which) {
                    state.hang(index);
                }
            }
            Step::Release { disk, all } => {
                let mut state = self.disks[usize::from(disk) % ports].state();
                let mut turn = 0;
                for waiting in &mut state.waiting {
                    turn += u32::from(waiting.hangs);
                    waiting.hangs &= !all && turn % 4 != 1;
                }
            }
            Step::WriteBack { disk, which } => {
                self.disks[usize::from(disk) % ports].state().write_back(which);
            }
            Step::Poll => self.poll(),
            Step::Interrupt { disk } => self.interrupt(usize::from(disk) % ports),
            Step::Reset { disk, way, middle } => {
                self.reset(usize::from(disk) % ports, way, middle);
            }
            Step::Packet { op, extra } => self.packet(op, extra),
            Step::Insert => self.insert(),
            Step::Eject { force } => self.eject(force),
            Step::Disc { which, how } => self.disc(which, how),
            Step::ResetDrive { comreset } => self.reset_drive(comreset),
            Step::Detach { disk, before } => self.detach(usize::from(disk) % ports, before),
            Step::Attach { disk, new } => self.attach(usize::from(disk) % ports, new),
            Step::Mask { disk, masked } => self.mask(usize::from(disk) % ports, masked),
            Step::Unmap => self.memory.set_mapped(false),
            Step::Map => self.memory.set_mapped(true),
            Step::Fault { disk, fault } => self.fault(usize::from(disk) % ports, fault),
            Step::Probe => self.probe(),
            Step::Inspect => self.inspect(),
            Step::Drain { disk } => {
                self.drain(usize::from(disk) % ports);
            }
        }
    }

    /// Everything is released and ends; nothing may be left over.
    pub(super) fn finish(&mut self) {
        self.say(|| "the end: storage lets go of everything".into());
        self.memory.set_mapped(true);
        for disk in &self.disks {
            disk.state().waiting.iter_mut().for_each(|waiting| waiting.hangs = false);
        }
        self.heal();
        for port in 0..self.guests.len() {
            self.attach(port, false);
            if !self.guests[port].running {
                self.recover(port);
            }
            if !self.drain(port) && std::mem::take(&mut self.guests[port].link.stuck) {
                // A command that the device has swallowed needs a reset.
                self.reset(port, crate::ResetWay::Comreset, None);
            }
            if !self.drain(port) {
                let busy = self.guests[port].busy;
                self.fail(Kind::Answer, || format!("commands {busy:#x} never end"));
                return;
            }
            // And whatever nobody waits for any more.
            for _ in 0..64 {
                if self.disks[port].state().outstanding() == 0 {
                    break;
                }
                self.storage(port, 0, How::Well);
                self.poll();
            }
            self.issue_new(port, Op::Flush, false, 0, 0);
            self.drain(port);
        }
        self.finish_drive();
        self.poll();
        self.inspect();
        for port in 0..self.guests.len() {
            self.check_end(port);
        }
    }

    fn check_end(&mut self, port: usize) {
        let now = self.now;
        let Some(engine) = self.engine(port) else { return };
        let (counters, wakeup) = (engine.counters(), engine.next_wakeup());
        let (status, doubt) = (engine.status(now), engine.ranges_in_doubt());
        self.stats.fences += counters.fences_total;
        self.stats.holds += counters.held_total;
        self.stats.orphans += counters.orphans_total;
        let left = counters.orphans_now
            + counters.fences_now
            + counters.held_now
            + counters.queued_now
            + counters.running_now;
        if left != 0 || status.free_slots != status.slots || !doubt.is_empty() || wakeup.is_some() {
            self.fail(Kind::Leftover, || {
                format!(
                    "at the end: {counters:?}, {}/{} slots free",
                    status.free_slots, status.slots
                )
            });
        }
        let ended = counters.completed_total + counters.failed_total + counters.cancelled_total;
        let (hints, repeats) = {
            let state = self.disks[port].state();
            (state.hints, state.repeats)
        };
        if counters.submitted_total != ended
            || counters.orphans_total != hints
            || counters.spurious_total != repeats
            || counters.released_total > counters.held_total
        {
            self.fail(Kind::Counters, || {
                format!("counters do not add up ({hints} orphans, {repeats} repeats): {counters:?}")
            });
        }
        let state = self.disks[port].state();
        let mut found = Ok(());
        for (sector, word) in state.medium().iter().enumerate().take(SECTORS) {
            found = found.and_then(|()| self.guests[port].oracle.read(sector, *word));
        }
        let found = found.and_then(|()| self.guests[port].oracle.check_durable(state.durable()));
        drop(state);
        self.note(found);
    }

    // --- the storage ---------------------------------------------------------------------------

    pub(super) fn storage(&mut self, port: usize, which: u8, how: How) {
        let mut state = self.disks[port].state();
        let Some(index) = state.choose(which) else { return };
        let (kind, range) = (state.waiting[index].io.kind, state.waiting[index].io.range);
        let orphan = state.waiting[index].cancelled;
        state.end(index, how);
        drop(state);
        self.say(|| {
            let whose = if orphan { " (orphan)" } else { "" };
            format!("  disk {port}: {kind} {range:?}{whose} ends: {how:?}")
        });
    }

    // --- events --------------------------------------------------------------------------------

    pub(super) fn engine(&mut self, port: usize) -> Option<&mut Engine> {
        engine_of(&mut self.hba, &mut self.custody, port)
    }

    pub(super) fn read(&mut self, register: u32) -> u32 {
        let mut bytes = [0; 4];
        self.hba.mmio_read(u64::from(register), &mut bytes);
        u32::from_le_bytes(bytes)
    }

    pub(super) fn read_port(&mut self, port: usize, register: u32) -> u32 {
        self.read(PORTS + port as u32 * PORT_STRIDE + register)
    }

    pub(super) fn write_port(&mut self, port: usize, register: u32, value: u32, what: PortWrite) {
        let state = self.port_state(port);
        self.write_port_in(state, port, register, value, what);
    }

    pub(super) fn write_port_in(
        &mut self,
        state: PortState,
        port: usize,
        register: u32,
        value: u32,
        what: PortWrite,
    ) {
        self.coverage.port(state, what);
        let offset = u64::from(PORTS + port as u32 * PORT_STRIDE + register);
        self.hba.mmio_write(offset, &value.to_le_bytes(), self.now, &self.memory);
        self.event();
    }

    pub(super) fn write_global(&mut self, register: u32, value: u32) {
        self.hba.mmio_write(u64::from(register), &value.to_le_bytes(), self.now, &self.memory);
        self.event();
    }

    pub(super) fn port_state(&mut self, port: usize) -> PortState {
        let errors = self.read_port(port, PX_IS) & super::commands::ERRORS;
        let guest = &self.guests[port];
        match guest {
            Guest { dark: true, .. } => PortState::Dark,
            Guest { gone: true, .. } => PortState::Gone,
            Guest { in_reset: true, .. } => PortState::InReset,
            Guest { running: false, .. } => PortState::Stopped,
            Guest { halted: true, .. } => PortState::Halted,
            _ if errors != 0 => PortState::Halted,
            Guest { busy: 0, .. } => PortState::Idle,
            _ if guest.any_queued() => PortState::Queue,
            _ => PortState::Busy,
        }
    }

    pub(super) fn poll(&mut self) {
        self.hba.poll(self.now, &self.memory);
        self.poll_custody();
        self.event();
        self.poll_ejected();
    }

    /// After every call into the controller.
    pub(super) fn event(&mut self) {
        self.now = self.now.plus(TICK_NS);
        self.stats.events += 1;
        let interrupt = self.hba.take_interrupt();
        let is = self.read(IS);
        if interrupt.level != (self.enabled && is != 0) {
            self.fail(Kind::Register, || format!("level {} with IS {is:#x}", interrupt.level));
        }
        for port in 0..self.guests.len() {
            self.check_port(port, is);
            self.check_counters(port);
        }
        self.check_drive();
        if self.strict {
            self.inspect();
        }
    }

    fn check_port(&mut self, port: usize, is: u32) {
        let ci = self.read_port(port, PX_CI);
        let sact = self.read_port(port, PX_SACT);
        let cmd = PxCmd::from_bits_truncate(self.read_port(port, PX_CMD));
        let px_is = self.read_port(port, PX_IS);
        let px_ie = self.read_port(port, PX_IE);
        let guest = &mut self.guests[port];
        let active = ci | sact;
        let mut ended = 0;
        let mut broken = None;
        if active & !guest.busy != 0 {
            broken = Some("PxCI or PxSACT has a command that the guest did not issue");
        }
        if cmd.contains(PxCmd::ST) != cmd.contains(PxCmd::CR) {
            broken = Some("PxCMD.CR does not follow ST");
        }
        if !cmd.contains(PxCmd::ST) && active != 0 {
            broken = Some("PxCI or PxSACT is not 0 on a stopped port");
        }
        if px_is & px_ie != 0 && is & 1 << port == 0 {
            broken = Some("IS does not show the port's interrupt");
        }
        let mut left = guest.busy & !active;
        while left != 0 {
            let slot = left.trailing_zeros() as u8;
            left &= left - 1;
            if let Some(live) = &mut guest.live[usize::from(slot)]
                && !live.ended
            {
                live.ended = true;
                ended |= 1 << slot;
            }
        }
        if ended != 0 {
            for slot in (0..32).filter(|slot| ended & 1 << slot != 0) {
                self.revoke(port, slot);
            }
            let control = self.guests[port].in_reset;
            if px_is & 0x7800_000b == 0 && !control && cmd.contains(PxCmd::ST) {
                broken = Some("a command has ended without a cause for an interrupt");
            }
        }
        if let Some(what) = broken {
            let busy = self.guests[port].busy;
            self.fail(Kind::Register, || {
                format!("{what} (CI {ci:#x}, SACT {sact:#x}, issued {busy:#x}, CMD {cmd:?}, IS {px_is:#x})")
            });
        }
        self.check_causes(port, px_is);
        if let Some(violation) = self.memory.take_violation() {
            self.note(Err(violation));
        }
    }

    fn check_counters(&mut self, port: usize) {
        let engine = engine_of(&mut self.hba, &mut self.custody, port);
        let Some(engine) = engine else { return };
        let counters = engine.counters();
        let seen = &mut self.guests[port].holds;
        let (held, released) = (counters.held_total - seen.0, counters.released_total - seen.1);
        *seen = (counters.held_total, counters.released_total);
        self.coverage.slots_by(SlotState::Queued, SlotEvent::Hold, held);
        self.coverage.slots_by(SlotState::Held, SlotEvent::Release, released);
        let mut state = self.disks[port].state();
        let truth = state.outstanding() as u64;
        let found = match state.violation.take() {
            Some(violation) => Err(violation),
            None if counters.running_now + counters.orphans_now != truth => {
                let what = format!("storage has {truth} requests, but {counters:?}");
                Err(Violation::new(Kind::Counters, what))
            }
            None => Ok(()),
        };
        drop(state);
        self.note(found);
    }

    /// Takes the memory of a command away from the controller.
    pub(super) fn revoke(&mut self, port: usize, slot: u8) {
        let guest = &self.guests[port];
        let Some(live) = &guest.live[usize::from(slot)] else { return };
        for chunk in &live.chunks[..live.chunk_count] {
            self.memory.set(guest.chunk(*chunk), guest::CHUNK, 0);
        }
        self.memory.set(guest.header(slot), 32, 0);
        self.memory.set(guest.table(slot), 0x200, 0);
    }

    pub(super) fn allow_fis_area(&mut self, port: usize, allowed: bool) {
        let rights = if allowed { WRITE } else { 0 };
        self.memory.set(self.guests[port].fis_area(), 0x100, rights);
    }

    // --- checks --------------------------------------------------------------------------------

    fn probe(&mut self) {
        self.stats.crashes += 1;
        for port in 0..self.guests.len() {
            let found = self.guests[port].oracle.check_durable(self.disks[port].state().durable());
            self.note(found);
        }
    }

    /// What the engine says of itself against what the storage knows.
    fn inspect(&mut self) {
        let now = self.now;
        for port in 0..self.guests.len() {
            let engine = engine_of(&mut self.hba, &mut self.custody, port);
            let Some(engine) = engine else { continue };
            engine.assert_consistent();
            let doubt = engine.ranges_in_doubt();
            let status = engine.status(now);
            let state = self.disks[port].state();
            let orphans = state.lent.iter().filter(|lent| lent.cancelled);
            let forgotten =
                orphans.clone().filter(|orphan| orphan.kind.changes_medium()).find(|orphan| {
                    let range = orphan.range;
                    range.len_bytes > 0
                        && !doubt.iter().any(|doubt| {
                            doubt.offset_bytes <= range.offset_bytes
                                && range.end_bytes() <= doubt.end_bytes()
                        })
                });
            let mut found = Ok(());
            if let Some(orphan) = forgotten {
                let what = format!("{:?} is in doubt, but only {doubt:?} are named", orphan.range);
                found = Err(Violation::new(Kind::Doubt, what));
            }
            let all = orphans.clone().count();
            let fenced = orphans.filter(|orphan| orphan.kind.changes_medium()).count();
            let counters = status.counters;
            if (all as u64, fenced as u64) != (counters.orphans_now, counters.fences_now)
                || status.orphans.len() != all
            {
                let what = format!("{all} orphans, {fenced} with fences, but {counters:?}");
                found = Err(Violation::new(Kind::Counters, what));
            }
            drop(state);
            self.note(found);
        }
    }

    /// What the guest reads out of its memory.
    pub(super) fn check_data(&mut self, port: usize, live: &guest::Live) {
        let size = u64::from(self.config.sector_bytes);
        let mut found = Ok(());
        for (index, sector) in sectors(&live.mask).enumerate() {
            let address = self.guests[port].data(live, index as u64 * size);
            let word = self.memory.word(address, size);
            found = match word.or_else(|| self.word_but_for_damage(port, address, size)) {
                Some(word) => self.guests[port].oracle.read(sector, word),
                None => {
                    let what = format!("sector {sector} arrives torn");
                    Err(Violation::new(Kind::Data, what))
                }
            };
            if found.is_err() {
                break;
            }
        }
        self.note(found);
    }

    pub(super) fn check_durable(&mut self, port: usize) {
        let found = self.guests[port].oracle.check_durable(self.disks[port].state().durable());
        self.note(found);
    }

    pub(super) fn fail(&mut self, kind: Kind, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.note(Err(Violation::new(kind, what())));
        }
    }

    pub(super) fn note(&mut self, found: Result<(), Violation>) {
        if let Err(violation) = found
            && self.violation.is_none()
            && (violation.kind.guest_notices() || !self.guest_only)
        {
            self.say(|| format!("VIOLATION {violation}"));
            self.violation = Some(violation);
        }
    }

    pub(super) fn say(&mut self, line: impl FnOnce() -> String) {
        // What the rest of a step does after a violation is not part of the story.
        if let (Some(trace), None) = (&mut self.trace, &self.violation) {
            trace.push(format!("{:>9} {}", self.now.0 / TICK_NS, line()));
        }
    }

    pub(super) fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }

    /// The coverage of the run, the disks' part included.
    pub(super) fn coverage(&self) -> Coverage {
        let mut coverage = self.coverage.clone();
        for disk in &self.disks {
            coverage.add(&disk.state().coverage);
        }
        coverage
    }
}

/// A disk over `medium`, with an engine of its own.
pub(super) fn new_device(config: &WorldConfig, medium: &FaultyDisk) -> Box<dyn Device> {
    let engine = Engine::new(
        super::faults::storage(config, medium),
        EngineConfig {
            slots: config.slots,
            buf_bytes: config.buf_bytes,
            // One for each tag, and room for what the disks do on their own account.
            max_operations: 40,
            window: config.window,
            write_through: false,
        },
    );
    let disk_config = DiskConfig {
        logical_sector_bytes: config.sector_bytes,
        queue_depth: config.tags,
        write_cache: config.write_cache,
        ..DiskConfig::default()
    };
    Box::new(Disk::new(disk_config, engine).expect("a configuration that is valid"))
}

/// The engine of the disk of `port`, which may have been pulled out.
fn engine_of<'a>(
    hba: &'a mut Hba,
    custody: &'a mut [Option<Box<dyn Device>>],
    port: usize,
) -> Option<&'a mut Engine> {
    match &mut custody[port] {
        Some(device) => device.engine_mut(),
        None => hba.device_mut(port)?.engine_mut(),
    }
}

impl super::disk::DiskState {
    fn hang(&mut self, index: usize) {
        let waiting = &mut self.waiting[index];
        waiting.hangs = true;
        let state = waiting.state();
        self.coverage.slot(state, SlotEvent::Hung);
        debug_assert_ne!(state, SlotState::Free);
    }
}
