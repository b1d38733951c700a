//! Disks that are pulled out with commands in flight, and come back: the same device with its
//! engine, whose fences still stand, or another one over the same medium, once nothing of it is in
//! doubt.
//!
//! A device that was pulled out is in custody: its owner polls it until its storage has let go of
//! everything. Whatever it says meanwhile is a violation, since there is nobody on the cable.

use freewheel_ahci::Attachment;
use freewheel_ahci::registers::*;
use freewheel_ata::fis::DeviceFis;
use freewheel_ata::{Device, Link, LinkError};
use freewheel_block::sabotaged;

use super::coverage::PortWrite;
use super::step::How;
use super::violation::{Kind, Violation};
use super::world::{World, new_device};

/// The device was exchanged; the link has come up or gone down. PxIS shows both.
const EXCHANGED: u32 = PxSerr::DIAG_X.bits();
const PHY_CHANGED: u32 = PxSerr::DIAG_N.bits();

/// The end of a cable that nobody holds.
#[derive(Default)]
pub(super) struct LooseEnd(Option<Violation>);

impl LooseEnd {
    fn object(&mut self, what: String) {
        self.0.get_or_insert(Violation::new(Kind::Answer, what));
    }

    pub(super) fn verdict(self) -> Result<(), Violation> {
        self.0.map_or(Ok(()), Err)
    }
}

impl Link for LooseEnd {
    fn data_in(&mut self, slot: u8, _offset: u64, data: &[u8]) -> Result<(), LinkError> {
        let what = format!("a device without a link has {} bytes for slot {slot}", data.len());
        self.0.get_or_insert(Violation::new(Kind::Memory, what));
        Err(LinkError::HostBus)
    }

    fn data_out(&mut self, slot: u8, _offset: u64, _data: &mut [u8]) -> Result<(), LinkError> {
        self.object(format!("a device without a link asks for data of slot {slot}"));
        Err(LinkError::HostBus)
    }

    fn fis(&mut self, slot: Option<u8>, fis: DeviceFis) {
        self.object(format!("a device without a link says {fis:?} of {slot:?}"));
    }
}

impl World {
    /// Surprise removal.
    pub(super) fn detach(&mut self, port: usize, before: Option<u8>) {
        if self.guests[port].gone {
            return;
        }
        if let Some(which) = before {
            self.storage(port, which, How::Well);
        }
        self.note_cancelled(port);
        let state = self.port_state(port);
        self.coverage.port(state, PortWrite::Detach);
        self.take_memory_back(port);
        self.allow_fis_area(port, false);
        let (ci, sact) = (self.read_port(port, PX_CI), self.read_port(port, PX_SACT));
        let account = self.account(port);
        let device = match self.hba.detach(port, self.now) {
            Some(Attachment::Device(device)) => device,
            _ => return self.fail(Kind::Register, || format!("port {port} gives no device")),
        };
        self.custody[port] = Some(device);
        self.guests[port].gone = true;
        self.guests[port].halted = false;
        // Faults of the link go with it.
        self.guests[port].link.unplug();
        self.check_account(port, account, "a detach");
        self.check_nothing_live(port, "a detach");
        let link = (self.read_port(port, PX_SSTS), self.read_port(port, PX_TFD) & 0xff);
        let serr = self.read_port(port, PX_SERR);
        let told = serr & PHY_CHANGED != 0 && self.read_port(port, PX_IS) & PxIs::PRCS.bits() != 0;
        if link != (0, 0x7f) || !told {
            self.fail(Kind::Register, || {
                format!("after a detach: (SSTS, TFD) {link:x?}, SERR {serr:#x}")
            });
        }
        // A bit that fell would say that its command is complete.
        let after = (self.read_port(port, PX_CI), self.read_port(port, PX_SACT));
        if after != (ci, sact) {
            self.fail(Kind::Register, || {
                format!("a detach changes CI and SACT from {ci:#x}, {sact:#x} to {after:x?}")
            });
        }
        self.event();
    }

    /// The guest's interrupt handler finds the link down.
    pub(super) fn miss(&mut self, port: usize) {
        self.stop(port);
        self.lose(port);
        self.write_port(port, PX_SERR, u32::MAX, PortWrite::ClearErrors);
        self.write_port(port, PX_IS, u32::MAX, PortWrite::Clear);
        self.write_global(IS, 1 << port);
    }

    /// A device is plugged in: the one that was pulled out, or another over the same medium.
    pub(super) fn attach(&mut self, port: usize, new: bool) {
        let Some(mut device) = self.custody[port].take() else { return };
        let state = self.port_state(port);
        let kind = match self.succeed(port, device.as_mut(), new) {
            Some(successor) => {
                device = successor;
                PortWrite::AttachNew
            }
            None if new => {
                self.coverage.port(state, PortWrite::AttachRefused);
                PortWrite::Attach
            }
            None => PortWrite::Attach,
        };
        self.coverage.port(state, kind);
        // The port may post the signature, if it was started and not reset since.
        let posts = self.guests[port].ready;
        self.allow_fis_area(port, posts);
        let (ci, sact) = (self.read_port(port, PX_CI), self.read_port(port, PX_SACT));
        if self.hba.attach(port, device.into(), self.now, &self.memory).is_err() {
            return self.fail(Kind::Register, || format!("port {port} takes no device"));
        }
        self.guests[port].gone = false;
        let (ssts, serr) = (self.read_port(port, PX_SSTS), self.read_port(port, PX_SERR));
        let told = serr & EXCHANGED != 0 && self.read_port(port, PX_IS) & PxIs::PCS.bits() != 0;
        if ssts & 0xf != 3 || !told {
            self.fail(Kind::Register, || {
                format!("after an attach: SSTS {ssts:#x}, SERR {serr:#x}")
            });
        }
        // What was meant for a device that has gone reaches none that comes.
        let after = (self.read_port(port, PX_CI), self.read_port(port, PX_SACT));
        if after != (ci, sact) {
            self.fail(Kind::Register, || {
                format!("an attach changes CI and SACT from {ci:#x}, {sact:#x} to {after:x?}")
            });
        }
        self.check_nothing_live(port, "an attach");
        self.event();
        // The guest sees that the device has been exchanged.
        self.stop(port);
        self.lose(port);
        self.bring_up(port);
    }

    /// Another device over the medium of `port`, if one is wanted and nothing of what the former
    /// one has left behind is in doubt.
    fn succeed(
        &mut self,
        port: usize,
        former: &mut dyn Device,
        wanted: bool,
    ) -> Option<Box<dyn Device>> {
        let engine = former.engine_mut().filter(|_| wanted)?;
        let (doubt, counters) = (engine.ranges_in_doubt(), engine.counters());
        let in_doubt = !doubt.is_empty() || counters.orphans_now > 0;
        if in_doubt && (doubt.is_empty() || !sabotaged!(AttachInDoubt)) {
            self.say(|| {
                format!(
                    "  port {port}: no other device: {} orphans, {doubt:?} in doubt",
                    counters.orphans_now
                )
            });
            return None;
        }
        let status = engine.status(self.now);
        if !in_doubt && status.free_slots != status.slots {
            self.fail(Kind::Leftover, || {
                let (free, all) = (status.free_slots, status.slots);
                format!("a device that has settled has {free} of {all} slots free: {counters:?}")
            });
        }
        self.stats.fences += counters.fences_total;
        self.stats.holds += counters.held_total;
        self.stats.orphans += counters.orphans_total;
        self.disks[port].state().renew();
        let guest = &mut self.guests[port];
        guest.write_cache = self.config.write_cache;
        guest.holds = (0, 0);
        Some(new_device(&self.config, &self.disks[port]))
    }

    /// The owner of what was pulled out lets it come to rest.
    pub(super) fn poll_custody(&mut self) {
        for port in 0..self.custody.len() {
            if let Some(device) = &mut self.custody[port] {
                let mut end = LooseEnd::default();
                device.poll(self.now, &mut end);
                self.note(end.verdict());
            }
        }
    }
}
