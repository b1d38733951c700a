//! Faults of the link: what the guest has to see of each, and what it does then.
//!
//! A drop and a missing signature are steps of their own, like a reset: the guest's memory is taken
//! back, the link fails, the storage goes on behind it, and the guest resets. The others wait in the
//! port for their occasion; the guest meets them as errors, or as silence, whenever that is. A cause in
//! PxIS that nothing was injected for is a violation.

use freewheel_ahci::registers::*;
use freewheel_block::fault::LinkFault;

use super::coverage::PortWrite;
use super::step::How;
use super::violation::Kind;
use super::world::World;
use crate::ResetWay;

/// What only an injected fault, or memory that is gone, can cause.
const CAUSES: u32 = PxIs::IFS.bits() | PxIs::HBDS.bits() | PxIs::INFS.bits() | PxIs::UFS.bits();

/// Faults of the link that were injected and have not been seen to happen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expected {
    pending: u8,
    /// The causes that were set when the port was last looked at.
    seen: u32,
    /// A command may have been swallowed.
    pub(super) stuck: bool,
}

fn index(fault: LinkFault) -> usize {
    match fault {
        LinkFault::Drop(_) => 0,
        LinkFault::Crc => 1,
        LinkFault::NoSignature => 2,
        LinkFault::UnknownFis => 3,
        LinkFault::BadFis => 4,
        LinkFault::Retry => 5,
        LinkFault::Stuck => 6,
        LinkFault::Poison => 7,
    }
}

impl Expected {
    pub(super) fn expect(&mut self, fault: LinkFault) {
        // The others happen within their step.
        if !matches!(fault, LinkFault::Drop(_) | LinkFault::NoSignature) {
            self.pending |= 1 << index(fault);
        }
        self.stuck |= fault == LinkFault::Stuck;
    }

    fn take(&mut self, fault: LinkFault) -> bool {
        let was = self.pending & 1 << index(fault) != 0;
        self.pending &= !(1 << index(fault));
        was
    }

    /// Whether something may happen to any command.
    pub(super) fn any(&self) -> bool {
        self.pending != 0
    }

    pub(super) fn clear(&mut self) {
        self.pending = 0;
    }

    /// The device has been pulled out, with all that waited on its link.
    pub(super) fn unplug(&mut self) {
        (self.pending, self.stuck) = (0, false);
    }
}

impl World {
    /// What PxIS shows has to have been injected, once.
    pub(super) fn check_causes(&mut self, port: usize, px_is: u32) {
        let new = px_is & CAUSES & !self.guests[port].link.seen;
        self.guests[port].link.seen = px_is & CAUSES;
        if new == 0 {
            return;
        }
        let serr = PxSerr::from_bits_truncate(self.read_port(port, PX_SERR));
        let mapped = self.memory.is_mapped();
        let expected = &mut self.guests[port].link;
        let mut happened = 0;
        let mut unexpected = PxIs::empty();
        for cause in PxIs::from_bits_truncate(new).iter() {
            let fault = match cause {
                PxIs::IFS if serr.contains(PxSerr::ERR_T) => LinkFault::Crc,
                PxIs::IFS => LinkFault::BadFis,
                PxIs::INFS => LinkFault::Retry,
                PxIs::UFS => LinkFault::UnknownFis,
                // Memory that the guest has taken away looks the same.
                _ if !mapped => continue,
                _ => LinkFault::Poison,
            };
            if expected.take(fault) {
                happened += 1;
            } else {
                unexpected |= cause;
            }
        }
        self.stats.faults.link_causes += happened;
        if !unexpected.is_empty() {
            self.fail(Kind::Register, || {
                format!("{unexpected:?} without a cause, PxSERR {serr:?}")
            });
        }
    }

    /// Injects a fault; a drop and a missing signature are played to their end.
    pub(super) fn link_fault(&mut self, port: usize, fault: LinkFault, which: u32) {
        let guest = &self.guests[port];
        if !guest.ready || guest.gone || !self.memory.is_mapped() {
            return;
        }
        if which >> 28 == 0 {
            // It happens while nobody drives the port.
            self.take_memory_back(port);
            self.stop(port);
            self.lose(port);
        }
        let state = self.port_state(port);
        self.coverage.link_fault(state, index(fault));
        self.stats.faults.link[index(fault)] += 1;
        match fault {
            LinkFault::Drop(_) => self.drop_link(port, fault, which),
            LinkFault::NoSignature => self.withhold_signature(port, which),
            fault => self.inject(port, fault),
        }
    }

    /// The link goes away and comes back. What was in flight is lost, and shows so.
    fn drop_link(&mut self, port: usize, fault: LinkFault, which: u32) {
        let before = (self.read_port(port, PX_CI), self.read_port(port, PX_SACT));
        let lost = before != (0, 0);
        self.note_cancelled(port);
        self.take_memory_back(port);
        let account = self.account(port);
        self.inject(port, fault);
        self.expect_port(port, "a dropped link", PX_SSTS, 0xf, 0);
        self.expect_port(port, "a dropped link", PX_TFD, 0xff, 0x7f);
        self.expect_port(port, "a dropped link", PX_IS, PxIs::PRCS.bits(), PxIs::PRCS.bits());
        self.check_nothing_live(port, "a dropped link");
        self.check_account(port, account, "a dropped link");
        self.guests[port].halted |= lost;
        self.storage_goes_on(port, which);
        let after = (self.read_port(port, PX_CI), self.read_port(port, PX_SACT));
        if after != before {
            self.fail(Kind::Answer, || format!("lost commands {before:x?} have become {after:x?}"));
        }
        let comreset = which & 8 != 0;
        if comreset {
            // Which nobody hears while the link is down.
            self.comreset(port);
            self.stop(port);
            self.lose(port);
        }
        match fault {
            LinkFault::Drop(ns) if which & 16 != 0 => {
                self.now = self.now.plus(ns);
                self.poll();
            }
            _ => {
                let _ = self.hba.release_link_faults(self.now, &self.memory);
                self.event();
            }
        }
        self.expect_port(port, "a link that is back", PX_SSTS, 0xf, 3);
        self.expect_port(port, "a link that is back", PX_TFD, 0x80, 0);
        self.expect_port(port, "a link that is back", PX_IS, PxIs::PCS.bits(), PxIs::PCS.bits());
        self.check_nothing_live(port, "a link that is back");
        if lost && !comreset {
            let after = (self.read_port(port, PX_CI), self.read_port(port, PX_SACT));
            if after != before {
                self.fail(Kind::Answer, || {
                    format!("lost commands {before:x?} come back {after:x?}")
                });
            }
        }
        self.start_again(port, which, &ResetWay::ALL);
    }

    /// COMRESET, after which the device keeps its signature to itself.
    fn withhold_signature(&mut self, port: usize, which: u32) {
        self.inject(port, LinkFault::NoSignature);
        self.note_cancelled(port);
        self.take_memory_back(port);
        let account = self.account(port);
        self.comreset(port);
        self.expect_port(port, "a silent device", PX_SSTS, 0xf, 3);
        self.expect_port(port, "a silent device", PX_TFD, 0xff, 0x80);
        self.expect_port(port, "a silent device", PX_SIG, u32::MAX, u32::MAX);
        self.expect_port(port, "a silent device", PX_CI, u32::MAX, 0);
        self.expect_port(port, "a silent device", PX_SACT, u32::MAX, 0);
        self.check_nothing_live(port, "a silent device");
        self.check_account(port, account, "a silent device");
        self.stop(port);
        self.lose(port);
        self.storage_goes_on(port, which);
        self.expect_port(port, "a silent device", PX_TFD, 0xff, 0x80);
        if which & 16 == 0 {
            let _ = self.hba.release_link_faults(self.now, &self.memory);
            self.event();
            self.expect_port(port, "a device that speaks again", PX_TFD, 0x80, 0);
            self.start_again(port, which, &ResetWay::ALL);
        } else {
            // SRST reaches nobody, and a stop mends nothing.
            let ways = [
                ResetWay::Comreset,
                ResetWay::HbaReset,
                ResetWay::FunctionReset,
                ResetWay::Disconnect,
            ];
            self.start_again(port, which | 32, &ways);
        }
    }

    /// The guest stops the port and starts it, or resets in one of `ways`.
    fn start_again(&mut self, port: usize, which: u32, ways: &[ResetWay]) {
        if which & 32 != 0 {
            self.reset(port, ways[(which >> 6) as usize % ways.len()], None);
        } else {
            self.stop(port);
            self.lose(port);
            self.bring_up(port);
        }
    }

    fn comreset(&mut self, port: usize) {
        self.write_port(port, PX_SCTL, DET_COMRESET, PortWrite::Comreset);
        self.guests[port].dark = true;
        self.link_on(port);
    }

    /// Behind a link that leads nowhere the storage ends things, and a neighbour goes on.
    fn storage_goes_on(&mut self, port: usize, which: u32) {
        for turn in 0..which & 7 {
            self.storage(port, (which >> 16) as u8 ^ turn as u8, How::Well);
        }
        if which & 7 == 7 {
            self.release(port);
        }
        self.poll();
        for other in (0..self.guests.len()).filter(|other| *other != port) {
            self.relieve(other, 2);
        }
    }

    fn expect_port(&mut self, port: usize, what: &str, register: u32, mask: u32, value: u32) {
        let is = self.read_port(port, register);
        if is & mask != value {
            self.fail(Kind::Register, || {
                format!("{what}: register {register:#x} is {is:#x}, not {value:#x} in {mask:#x}")
            });
        }
    }

    /// Calls and hints so far, and how many requests could be hinted at.
    pub(super) fn account(&self, port: usize) -> (u64, u64) {
        let state = self.disks[port].state();
        (state.calls, state.hints + state.outstanding() as u64)
    }

    pub(super) fn check_account(
        &mut self,
        port: usize,
        (calls, most_hints): (u64, u64),
        what: &str,
    ) {
        let (calls, hints) = {
            let state = self.disks[port].state();
            (state.calls - calls, state.hints)
        };
        if calls != 0 || hints > most_hints {
            self.fail(Kind::Reset, || format!("{what} made {calls} calls to the storage"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_injection_explains_one_cause() {
        let mut expected = Expected::default();
        assert!(!expected.take(LinkFault::Crc) && !expected.any());
        expected.expect(LinkFault::Crc);
        expected.expect(LinkFault::Drop(1));
        assert!(expected.any() && !expected.stuck);
        assert!(!expected.take(LinkFault::Poison), "another one explains nothing");
        assert!(expected.take(LinkFault::Crc));
        assert!(!expected.take(LinkFault::Crc) && !expected.any(), "once");
        expected.expect(LinkFault::Stuck);
        expected.clear();
        assert!(expected.stuck && !expected.any(), "what was swallowed before is still swallowed");
    }
}
