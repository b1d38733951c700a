//! How the guest stops, resets and starts a port, and how it recovers from an error.

use freewheel_ahci::registers::*;

use super::coverage::{PortWrite, SlotEvent, SlotState};
use super::step::How;
use super::violation::Kind;
use super::world::{BUSY, World};
use crate::ResetWay;

/// A control FIS: Register H2D without the C bit.
fn control_fis(control: u8) -> [u8; 20] {
    let mut fis = [0; 20];
    fis[0] = 0x27;
    fis[15] = control;
    fis
}

/// READ LOG EXT of the NCQ command error log.
fn error_log_fis() -> [u8; 20] {
    let mut fis = [0; 20];
    (fis[0], fis[1], fis[2], fis[4], fis[7], fis[12]) = (0x27, 0x80, 0x2f, 0x10, 0x40, 1);
    fis
}

impl World {
    /// The guest waits no longer.
    pub(super) fn time_out(&mut self, port: usize, extra: u32) {
        let parked = self.parked(port);
        // Storage of which nothing moves any more would end the run here.
        {
            let mut state = self.disks[port].state();
            let hung = state.waiting.iter().filter(|waiting| waiting.hangs).count();
            if (hung + parked) * 2 > usize::from(self.config.slots) {
                state.waiting.iter_mut().for_each(|waiting| waiting.hangs = false);
                drop(state);
                self.release(port);
            }
        }
        let way = ResetWay::ALL[extra as usize % ResetWay::ALL.len()];
        self.say(|| format!("  port {port}: time-out, {}", way.name()));
        self.reset(port, way, None);
    }

    /// Resets a port, or all of them, with a request of the storage ending in the middle.
    pub(super) fn reset(&mut self, port: usize, way: ResetWay, middle: Option<u8>) {
        let ports = if way.is_global() { 0..self.guests.len() } else { port..port + 1 };
        let mut in_flight = false;
        for port in ports.clone() {
            in_flight |= self.guests[port].busy != 0;
            self.note_cancelled(port);
            self.take_memory_back(port);
        }
        if way.is_global() {
            self.lose_drive();
        }
        self.stats.resets += 1;
        self.stats.resets_in_flight += u64::from(in_flight);
        let before: Vec<(u64, u64, u64)> = ports
            .clone()
            .map(|port| {
                let state = self.disks[port].state();
                (state.calls, state.hints, state.outstanding() as u64)
            })
            .collect();
        // Now and then another reset comes in the middle of this one.
        let nested = middle.filter(|which| which.is_multiple_of(5)).map(|which| which / 5 % 4);
        let middle = |world: &mut World| {
            if let Some(which) = middle {
                world.storage(port, which, How::Well);
            }
        };
        let way = self.possible(port, way);
        match way {
            ResetWay::Stop => middle(self),
            ResetWay::Comreset => {
                self.write_port(port, PX_SCTL, DET_COMRESET, PortWrite::Comreset);
                self.guests[port].dark = true;
                self.guests[port].in_reset = false;
                middle(self);
                match nested {
                    Some(0) => return self.reset(port, ResetWay::HbaReset, None),
                    Some(1) => return self.reset(port, ResetWay::FunctionReset, None),
                    Some(2) => self.stop(port),
                    _ => {}
                }
                self.link_on(port);
            }
            ResetWay::SoftwareReset => {
                self.stop(port);
                self.lose(port);
                self.start(port);
                if let Some(way) = self.software_reset(port, middle, nested) {
                    return self.reset(port, way, None);
                }
            }
            ResetWay::SoftwareResetRunning => {
                if let Some(way) = self.software_reset(port, middle, nested) {
                    return self.reset(port, way, None);
                }
            }
            ResetWay::HbaReset => {
                middle(self);
                for port in ports.clone() {
                    self.allow_fis_area(port, false);
                    let state = self.port_state(port);
                    self.coverage.port(state, PortWrite::HbaReset);
                    self.guests[port].running = false;
                    self.guests[port].ready = false;
                    self.guests[port].dark = false;
                    self.guests[port].in_reset = false;
                }
                self.enabled = false;
                self.write_global(GHC, (Ghc::AE | Ghc::HR).bits());
            }
            ResetWay::FunctionReset | ResetWay::Disconnect => {
                let was_mapped = self.memory.is_mapped();
                self.memory.set_mapped(was_mapped && way != ResetWay::Disconnect);
                middle(self);
                for port in ports.clone() {
                    self.allow_fis_area(port, false);
                    let state = self.port_state(port);
                    self.coverage.port(state, PortWrite::FunctionReset);
                    self.guests[port].running = false;
                    self.guests[port].ready = false;
                    self.guests[port].dark = false;
                    self.guests[port].in_reset = false;
                }
                self.enabled = false;
                self.hba.reset_function(self.now);
                self.event();
                self.memory.set_mapped(was_mapped);
            }
        }
        for (port, (calls, hints, held)) in ports.clone().zip(before) {
            // Those that leave the command list running have to have emptied it by themselves.
            if way != ResetWay::Stop {
                let left = self.read_port(port, PX_CI) | self.read_port(port, PX_SACT);
                if left != 0 {
                    self.fail(Kind::Register, || format!("{} leaves {left:#x}", way.name()));
                }
            }
            // SRST and COMRESET, too, must have cancelled by themselves, not by the stop that follows.
            if way != ResetWay::Stop {
                self.check_nothing_live(port, way.name());
            }
            self.stop(port);
            self.check_nothing_live(port, way.name());
            let (calls_after, hints_after) = {
                let state = self.disks[port].state();
                (state.calls, state.hints)
            };
            if calls_after != calls || hints_after - hints > held {
                let (calls, hints) = (calls_after - calls, hints_after - hints);
                self.fail(Kind::Reset, || {
                    format!("{} made {calls} calls and {hints} hints to the storage", way.name())
                });
            }
            self.lose(port);
        }
        for port in ports {
            self.bring_up(port);
        }
        if way.is_global() {
            self.renew_drive();
        }
    }

    /// Counts what is about to be cancelled before storage has it.
    pub(super) fn note_cancelled(&mut self, port: usize) {
        if let Some(engine) = self.engine(port) {
            let counters = engine.counters();
            let (queued, held) = (counters.queued_now, counters.held_now);
            self.coverage.slots_by(SlotState::Queued, SlotEvent::Cancelled, queued);
            self.coverage.slots_by(SlotState::Held, SlotEvent::Cancelled, held);
        }
    }

    pub(super) fn check_nothing_live(&mut self, port: usize, what: &str) {
        let Some(engine) = self.engine(port) else { return };
        let counters = engine.counters();
        if counters.queued_now + counters.held_now + counters.running_now != 0 {
            self.fail(Kind::Reset, || format!("{what} leaves {counters:?}"));
        }
    }

    /// From now on nothing in flight may touch memory any more.
    pub(super) fn take_memory_back(&mut self, port: usize) {
        for slot in 0..32 {
            if self.guests[port].live[usize::from(slot)].is_some_and(|live| !live.ended) {
                self.revoke(port, slot);
            }
            if let Some(live) = &mut self.guests[port].live[usize::from(slot)] {
                live.ended = true;
            }
        }
    }

    /// What can be done to the port as it is, in the spirit of `way`.
    fn possible(&mut self, port: usize, way: ResetWay) -> ResetWay {
        let status = self.read_port(port, PX_TFD);
        let is = self.read_port(port, PX_IS);
        let ci = self.read_port(port, PX_CI);
        let guest = &self.guests[port];
        let heard = guest.running && !guest.halted && is & 0x7800_0000 == 0 && status & BUSY == 0;
        match way {
            ResetWay::SoftwareReset | ResetWay::SoftwareResetRunning
                if !guest.ready || guest.gone || !self.memory.is_mapped() =>
            {
                ResetWay::Comreset
            }
            // A port that is busy or halted fetches nothing, so it has to be stopped first.
            ResetWay::SoftwareResetRunning if !heard || ci != 0 => ResetWay::SoftwareReset,
            way => way,
        }
    }

    /// Two control FISes; if `nested`, only the first, and then the way to go on with.
    fn software_reset(
        &mut self,
        port: usize,
        middle: impl FnOnce(&mut World),
        nested: Option<u8>,
    ) -> Option<ResetWay> {
        self.guests[port].live[0].take_if(|live| live.service);
        // Queued commands give their slots up with the reset; keep what they were for `lose`.
        let queued = self.guests[port].live;
        let busy = self.guests[port].busy;
        // R, and C: clear BSY once the FIS is sent.
        self.guests[port].in_reset = true;
        self.ring_service(port, 0, &control_fis(4), 1 << 8 | 1 << 10, 0);
        self.take_service(port);
        middle(self);
        if nested.is_none() {
            self.ring_service(port, 0, &control_fis(0), 0, 0);
            self.take_service(port);
            self.guests[port].in_reset = false;
        }
        let guest = &mut self.guests[port];
        guest.live = queued;
        guest.busy = busy;
        if let Some(nested) = nested {
            if nested == 3 {
                self.stop(port);
            }
            let ways = [ResetWay::HbaReset, ResetWay::FunctionReset];
            return Some(ways.get(usize::from(nested)).copied().unwrap_or(ResetWay::Comreset));
        }
        if self.read_port(port, PX_TFD) & BUSY != 0 {
            self.fail(Kind::Register, || "the device is busy after SRST".into());
        }
        None
    }

    fn take_service(&mut self, port: usize) {
        let active = self.read_port(port, PX_CI);
        let guest = &mut self.guests[port];
        if active & 1 == 0
            && let Some(live) = guest.live[0].take_if(|live| live.service)
        {
            guest.give_chunks(&live);
            guest.busy &= !1;
        }
    }

    pub(super) fn stop(&mut self, port: usize) {
        let cmd = self.read_port(port, PX_CMD);
        if cmd & PxCmd::ST.bits() != 0 {
            let value = cmd & !PxCmd::ST.bits();
            self.write_port(port, PX_CMD, value, PortWrite::Stop);
            self.guests[port].running = false;
            self.guests[port].halted = false;
            // Gone without another write.
            let left = self.read_port(port, PX_CI) | self.read_port(port, PX_SACT);
            let running = self.read_port(port, PX_CMD) & PxCmd::CR.bits();
            if left | running != 0 {
                self.fail(Kind::Register, || format!("a stop leaves {left:#x} in flight"));
            }
        }
        self.guests[port].running = false;
        self.guests[port].halted = false;
    }

    fn start(&mut self, port: usize) {
        let cmd = self.read_port(port, PX_CMD);
        if self.read_port(port, PX_TFD) & BUSY != 0 {
            self.write_port(port, PX_CMD, cmd | PxCmd::CLO.bits(), PortWrite::Override);
        }
        self.write_port(port, PX_CMD, cmd | PxCmd::ST.bits(), PortWrite::Start);
        self.guests[port].running = true;
    }

    pub(super) fn link_on(&mut self, port: usize) {
        self.write_port(port, PX_SCTL, 0, PortWrite::LinkOn);
        self.guests[port].dark = false;
    }

    /// Makes a stopped port take commands. Without memory it stays as it is.
    pub(super) fn bring_up(&mut self, port: usize) {
        if !self.memory.is_mapped() || self.guests[port].gone {
            return;
        }
        if !self.enabled {
            self.enabled = true;
            self.write_global(GHC, (Ghc::AE | Ghc::IE).bits());
        }
        self.guests[port].ready = true;
        let (list, area) = (self.guests[port].list(), self.guests[port].fis_area());
        self.write_port(port, PX_CLB, list as u32, PortWrite::Base);
        self.write_port(port, PX_CLBU, (list >> 32) as u32, PortWrite::Base);
        self.write_port(port, PX_FB, area as u32, PortWrite::Base);
        self.write_port(port, PX_FBU, (area >> 32) as u32, PortWrite::Base);
        self.allow_fis_area(port, true);
        let cmd = (PxCmd::FRE | PxCmd::SUD | PxCmd::POD).bits();
        self.write_port(port, PX_CMD, cmd, PortWrite::Clear);
        self.write_port(port, PX_IS, u32::MAX, PortWrite::Clear);
        let masked = self.guests[port].masked;
        self.mask(port, masked);
        if self.read_port(port, PX_SSTS) & 0xf != 3 {
            self.fail(Kind::Register, || "the link is not up".into());
        }
        self.start(port);
        if self.read_port(port, PX_TFD) & BUSY != 0 {
            self.fail(Kind::Register, || "the device is busy after a reset".into());
        }
    }

    /// Masks or unmasks a port's interrupts.
    pub(super) fn mask(&mut self, port: usize, masked: bool) {
        self.guests[port].masked = masked;
        let enabled = if masked { 0 } else { u32::MAX };
        self.write_port(port, PX_SERR, u32::MAX, PortWrite::ClearErrors);
        self.write_port(port, PX_IE, enabled, PortWrite::Mask);
    }

    /// After an error: the port is stopped, what is in flight is lost, and the device is asked what
    /// happened, or reset.
    pub(super) fn recover(&mut self, port: usize) {
        let queued = self.guests[port].any_queued();
        self.take_memory_back(port);
        self.stop(port);
        self.lose(port);
        if !self.memory.is_mapped() || self.guests[port].gone {
            return;
        }
        let asks = queued && self.moment.is_multiple_of(2);
        if !asks {
            self.write_port(port, PX_SCTL, DET_COMRESET, PortWrite::Comreset);
            self.guests[port].dark = true;
            self.link_on(port);
        }
        self.bring_up(port);
        if asks {
            let faulty = self.guests[port].link.any();
            self.ring_service(port, 0, &error_log_fis(), 0, 512);
            self.collect(port);
            if faulty && self.guests[port].busy != 0 {
                // A fault of the link was waiting for just this command.
                self.reset(port, ResetWay::Comreset, None);
            } else if self.guests[port].busy != 0 {
                self.fail(Kind::Answer, || "READ LOG EXT of the queue's error does not end".into());
            }
        }
    }
}
