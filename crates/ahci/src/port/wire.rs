//! The port's half of the cable: its registers (3.3) and the commands that it has fetched, without
//! the device.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use freewheel_ata::fis::{DeviceFis, Status};
use freewheel_block::Nanos;

use super::fbs::Fbs;
use super::link::LinkFaults;
use super::power::Power;
use super::{PortCounters, RESETS_KEPT, ResetEvent, ResetKind};
use crate::command::Command;
use crate::registers::*;

/// The port's half of the cable: registers and commands, without the device.
pub(super) struct Wire {
    pub(super) clb: u64,
    pub(super) fb: u64,
    pub(super) is: PxIs,
    pub(super) ie: PxIs,
    /// What software has set, and SUD and POD where they cannot be switched off; the rest is
    /// derived.
    pub(super) cmd: PxCmd,
    pub(super) current_slot: u8,
    /// The slot with the highest priority to be fetched next.
    pub(super) next_first: u8,
    pub(super) status: Status,
    pub(super) error: u8,
    pub(super) signature: u32,
    pub(super) sctl: u32,
    pub(super) serr: PxSerr,
    pub(super) sact: u32,
    pub(super) ci: u32,
    /// Bits of CI that have been fetched and not ended.
    pub(super) issued: u32,
    pub(super) halted: bool,
    /// PxSNTF.
    pub(super) notifications: u16,
    pub(super) fbs: Fbs,
    /// The signature arrived while FIS receive was off; and from which PM port.
    pub(super) unposted: Option<(u8, DeviceFis)>,
    pub(super) awaits_signature: bool,
    pub(super) link: LinkFaults,
    pub(super) power: Power,
    pub(super) commands: Box<[Command; 32]>,
    /// Where a command is fetched to, until it is known that the device gets it.
    pub(super) incoming: Command,
    pub(super) slot_count: u8,
    pub(super) counters: PortCounters,
    pub(super) resets: VecDeque<ResetEvent>,
}

impl Wire {
    /// Everything at zero; [`Port`](super::Port) brings the link up.
    pub(super) fn new(slot_count: u8, power: Power) -> Self {
        Self {
            clb: 0,
            fb: 0,
            is: PxIs::empty(),
            ie: PxIs::empty(),
            cmd: PxCmd::empty(),
            current_slot: 0,
            next_first: 0,
            status: Status::empty(),
            error: 0,
            signature: 0,
            sctl: 0,
            serr: PxSerr::empty(),
            sact: 0,
            ci: 0,
            issued: 0,
            halted: false,
            notifications: 0,
            fbs: Fbs::default(),
            unposted: None,
            awaits_signature: false,
            link: LinkFaults::default(),
            power,
            commands: Box::new(core::array::from_fn(|_| Command::new())),
            incoming: Command::new(),
            slot_count,
            counters: PortCounters::default(),
            resets: VecDeque::with_capacity(RESETS_KEPT),
        }
    }

    pub(super) fn running(&self) -> bool {
        self.cmd.contains(PxCmd::ST)
    }

    pub(super) fn slots_mask(&self) -> u32 {
        u32::MAX >> (32 - u32::from(self.slot_count))
    }

    pub(super) fn read_cmd(&self) -> u32 {
        let mut cmd = self.cmd | self.power.hardware_bits() | PxCmd::FBSCP;
        cmd.set(PxCmd::FR, self.cmd.contains(PxCmd::FRE));
        cmd.set(PxCmd::CR, self.running());
        let ccs = if self.running() { u32::from(self.current_slot) } else { 0 };
        cmd.bits() | ccs << PX_CMD_CCS_SHIFT
    }

    pub(super) fn effective_is(&self) -> PxIs {
        let mut is = self.is;
        is.set(PxIs::PCS, self.serr.contains(PxSerr::DIAG_X));
        is.set(PxIs::PRCS, self.serr.contains(PxSerr::DIAG_N));
        is
    }

    /// The next slot to fetch: round robin, from slot 0 after a start (3.3.7, CCS).
    pub(super) fn next_slot(&self) -> Option<u8> {
        let mut waiting = self.ci & !self.issued;
        if self.fbs.enabled {
            waiting = self.fbs.ready(waiting);
        }
        let busy = !self.fbs.enabled && self.status.intersects(Status::BSY | Status::DRQ);
        if waiting == 0 || busy || self.halted || !self.running() || !self.is_heard() {
            return None;
        }
        let first = u32::from(self.next_first);
        let distance = waiting.rotate_right(first).trailing_zeros();
        Some(((first + distance) % 32) as u8)
    }

    pub(super) fn fatal(&mut self, cause: PxIs) {
        self.is |= cause;
        self.halted = true;
        self.counters.fatal_total += 1;
    }

    /// The link goes down: nothing is known of a device any more.
    pub(super) fn go_dark(&mut self) {
        self.status = Status::from_bits_retain(0x7f);
        self.error = 0;
        self.awaits_signature = false;
        self.unposted = None;
        self.fbs.rest();
    }

    pub(super) fn drop_commands(&mut self) {
        self.ci = 0;
        if !freewheel_block::sabotaged!(StopKeepsActive) {
            self.sact = 0;
        }
        self.issued = 0;
        self.current_slot = 0;
        self.next_first = 0;
        self.halted = false;
        self.fbs.stop();
        for command in self.commands.iter_mut() {
            command.forget();
        }
    }

    pub(super) fn note_reset(&mut self, kind: ResetKind, cancelled: usize, at: Nanos) {
        self.counters.resets_total += 1;
        self.counters.cancelled_total += cancelled as u64;
        if self.resets.len() == RESETS_KEPT {
            self.resets.pop_front();
        }
        self.resets.push_back(ResetEvent { at, kind, cancelled });
    }

    pub(super) fn end_command(&mut self, slot: u8) {
        self.ci &= !(1 << slot);
        self.issued &= !(1 << slot);
        if self.sact & 1 << slot == 0 {
            self.counters.completed_total += 1;
            self.commands[usize::from(slot)].forget();
        }
    }

    /// Queued commands have ended (Set Device Bits).
    pub(super) fn end_queued(&mut self, slots: u32) {
        for slot in 0..32 {
            if self.sact & slots & 1 << slot != 0 {
                self.commands[slot].forget();
            }
        }
        self.counters.completed_total += u64::from((self.sact & slots).count_ones());
        self.sact &= !slots;
    }
}
