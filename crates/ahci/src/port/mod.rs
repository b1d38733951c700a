//! One port: its registers (3.3), the fetching of commands (5.3), and what it does with the FISes
//! that its device sends (5.5).
//!
//! A port *halts* on a fatal error (6.2.2): nothing is fetched any more until software clears
//! PxCMD.ST or resets the HBA.

mod attached;
mod bad_fis;
mod fbs;
mod hot_plug;
mod link;
pub mod pmp;
mod power;
mod receive;
mod wire;

use alloc::boxed::Box;

use freewheel_ata::Device;
use freewheel_ata::fis::{CONTROL_SRST, RegisterH2D, Status};
use freewheel_block::{EngineStatus, Nanos};

pub use attached::Attachment;
pub use link::{LinkFaultError, LinkState};
use pmp::{DevicePortStatus, PlugError};
pub use power::LinkPower;
use power::Power;
use receive::Plugged;
use wire::Wire;

use crate::hba::{HbaConfig, Leds};
use crate::memory::GuestMemory;
use crate::registers::*;

/// How many resets a port remembers for its status.
const RESETS_KEPT: usize = 32;

/// A way in which a port is stopped or reset, by software but for the last two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetKind {
    /// PxCMD.ST was cleared (10.3.2).
    Stop,
    /// COMRESET through PxSCTL.DET, or the interface was switched off (10.4.2).
    Comreset,
    /// SRST in a control FIS (10.4.1).
    SoftwareReset,
    /// GHC.HR (10.4.3).
    HbaReset,
    /// A reset of the PCI function, or the VMM went away.
    FunctionReset,
    /// An injected fault took the link away.
    LinkDrop,
    /// One device behind a port multiplier was reset or switched off, through SControl of its port.
    DevicePort,
    /// One device behind a port multiplier was pulled out.
    Unplugged,
    /// PxFBS.DEC: one device behind a port multiplier had failed (9.3.6).
    DeviceErrorClear,
    /// The device was taken away.
    Detach,
}

impl ResetKind {
    /// The name as status and timelines show it.
    pub fn name(self) -> &'static str {
        match self {
            ResetKind::Stop => "PxCMD.ST=0",
            ResetKind::Comreset => "COMRESET",
            ResetKind::SoftwareReset => "SRST",
            ResetKind::HbaReset => "GHC.HR",
            ResetKind::FunctionReset => "function reset",
            ResetKind::LinkDrop => "link drop",
            ResetKind::DevicePort => "PM port COMRESET",
            ResetKind::Unplugged => "PM port unplugged",
            ResetKind::DeviceErrorClear => "PxFBS.DEC",
            ResetKind::Detach => "detach",
        }
    }
}

/// One stop or reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetEvent {
    /// When.
    pub at: Nanos,
    /// In which way.
    pub kind: ResetKind,
    /// Commands that it cancelled.
    pub cancelled: usize,
}

/// Totals of a port since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Commands fetched from command lists.
    pub commands_total: u64,
    /// Commands that have ended well.
    pub completed_total: u64,
    /// Fatal errors that halted the port.
    pub fatal_total: u64,
    /// Commands cancelled by a stop or reset.
    pub cancelled_total: u64,
    /// Stops and resets.
    pub resets_total: u64,
}

/// What can be seen of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortStatus {
    /// Its number.
    pub port: usize,
    /// PxCI.
    pub command_issue: u32,
    /// PxSACT.
    pub sata_active: u32,
    /// PxTFD.
    pub task_file_data: u32,
    /// It is halted by a fatal error, or because the link dropped with commands in flight.
    pub halted: bool,
    /// The link to the device.
    pub link: LinkState,
    /// The power state of the link, if it is up.
    pub link_power: LinkPower,
    /// Its LEDs.
    pub leds: Leds,
    /// The totals.
    pub counters: PortCounters,
    /// The latest stops and resets, oldest first.
    pub resets: alloc::vec::Vec<ResetEvent>,
    /// The device's engine; `None` without a device, and with a port multiplier.
    pub engine: Option<EngineStatus>,
    /// The device ports of the port multiplier, if there is one.
    pub behind: alloc::vec::Vec<DevicePortStatus>,
}

/// A port and what hangs on it.
pub(crate) struct Port {
    wire: Wire,
    device: Option<Attachment>,
}

/// PxSCTL.DET holds the interface in reset or offline.
fn is_down(det: u32) -> bool {
    matches!(det, DET_COMRESET | DET_OFFLINE)
}

/// Memory for a reset in which the HBA may not touch any.
struct NoMemory;

impl GuestMemory for NoMemory {
    fn read(&self, address: u64, _buf: &mut [u8]) -> Result<(), crate::BusError> {
        Err(crate::BusError { address })
    }
    fn write(&self, address: u64, _data: &[u8]) -> Result<(), crate::BusError> {
        Err(crate::BusError { address })
    }
}

impl Port {
    pub(crate) fn new(device: Option<Attachment>, config: &HbaConfig, now: Nanos) -> Self {
        let power = Power::new(config.staggered_spin_up, config.hot_plug, device.is_some());
        let wire = Wire::new(config.command_slots, power);
        let mut port = Self { wire, device };
        port.power_on(now);
        port
    }

    /// The link comes up (or there is nothing): registers at their reset values, then the
    /// device's signature.
    fn power_on(&mut self, now: Nanos) {
        let wire = &mut self.wire;
        wire.is = PxIs::empty();
        wire.ie = PxIs::empty();
        wire.reset_power();
        wire.sctl = 0;
        wire.serr = PxSerr::empty();
        wire.notifications = 0;
        wire.fbs.power_on();
        wire.drop_commands();
        wire.link.power_on();
        self.connect(now, &NoMemory);
    }

    /// COMRESET's second half: the device answers with its signature, unless a fault of the link
    /// keeps it from that.
    fn connect(&mut self, now: Nanos, memory: &dyn GuestMemory) {
        let wire = &mut self.wire;
        wire.status = Status::from_bits_retain(0x7f);
        wire.error = 0;
        wire.signature = 0xffff_ffff;
        wire.unposted = None;
        if wire.link.is_down() || wire.is_switched_off() {
            return;
        }
        if let Some(device) = &mut self.device {
            wire.serr |= PxSerr::DIAG_X | PxSerr::DIAG_N;
            wire.negotiate();
            // The device is there (COMINIT), and busy until it says otherwise (10.4.2): at once, if
            // it is no port multiplier that has nothing on device port 0.
            wire.status = Status::BSY;
            wire.awaits_signature = !wire.link.is_silent();
            if wire.link.is_silent() {
                device.comreset(now, None);
            } else {
                device.comreset(now, Some(&mut Plugged { wire, memory, from: 0 }));
            }
        }
    }

    /// Whether an interrupt of this port is pending and enabled.
    pub(crate) fn interrupts(&self) -> bool {
        self.wire.effective_is().intersects(self.wire.ie)
    }

    /// Whether commands are in PxCI or PxSACT.
    pub(crate) fn has_outstanding(&self) -> bool {
        self.wire.ci | self.wire.sact != 0
    }

    pub(crate) fn counters(&self) -> PortCounters {
        self.wire.counters
    }

    pub(crate) fn next_wakeup(&self) -> Option<Nanos> {
        let device = self.device.as_ref().and_then(|device| device.next_wakeup());
        [device, self.link_wakeup(), self.wire.power_wakeup()].into_iter().flatten().min()
    }

    pub(crate) fn device_mut(&mut self) -> Option<&mut dyn Device> {
        self.device.as_mut()?.device_mut()
    }

    /// The device on device port `pm_port` of the port multiplier.
    pub(crate) fn device_behind_mut(&mut self, pm_port: u8) -> Option<&mut dyn Device> {
        self.device.as_mut()?.multiplier_mut()?.device_mut(pm_port)
    }

    /// Plugs `device` into device port `pm_port` of the port multiplier; `None` if there is none.
    pub(crate) fn plug_behind(
        &mut self,
        pm_port: u8,
        device: Box<dyn Device>,
        now: Nanos,
        memory: &dyn GuestMemory,
    ) -> Option<Result<(), PlugError>> {
        let multiplier = self.device.as_mut()?.multiplier_mut()?;
        let link = &mut Plugged { wire: &mut self.wire, memory, from: pm_port };
        let plugged = multiplier.plug(pm_port, device, now, link);
        self.wire.rest(now);
        Some(plugged)
    }

    /// Pulls the device out of device port `pm_port` of the port multiplier.
    pub(crate) fn unplug_behind(
        &mut self,
        pm_port: u8,
        now: Nanos,
        memory: &dyn GuestMemory,
    ) -> Option<Box<dyn Device>> {
        let multiplier = self.device.as_mut()?.multiplier_mut()?;
        let link = &mut Plugged { wire: &mut self.wire, memory, from: pm_port };
        let device = multiplier.unplug(pm_port, now, link);
        self.wire.rest(now);
        device
    }

    fn status_behind(&self, now: Nanos) -> alloc::vec::Vec<DevicePortStatus> {
        let multiplier = self.device.as_ref().and_then(Attachment::multiplier);
        let mut behind = multiplier.map_or_else(Default::default, |it| it.status(now));
        for status in &mut behind {
            status.slots = self.wire.slots_of(status.pm_port);
            status.task_file_data = self.wire.tfd_of(status.pm_port);
        }
        behind
    }

    pub(crate) fn status(&self, port: usize, now: Nanos) -> PortStatus {
        PortStatus {
            port,
            command_issue: self.wire.ci,
            sata_active: self.wire.sact,
            task_file_data: self.wire.tfd(),
            halted: self.wire.halted,
            link: self.link_state(),
            link_power: self.wire.link_power(),
            leds: Leds::default(),
            counters: self.wire.counters,
            resets: self.wire.resets.iter().copied().collect(),
            engine: self
                .device
                .as_ref()
                .and_then(Attachment::device)
                .and_then(|device| device.engine_status(now)),
            behind: self.status_behind(now),
        }
    }

    pub(crate) fn read(&self, offset: u32) -> u32 {
        let wire = &self.wire;
        match offset {
            PX_CLB => wire.clb as u32,
            PX_CLBU => (wire.clb >> 32) as u32,
            PX_FB => wire.fb as u32,
            PX_FBU => (wire.fb >> 32) as u32,
            PX_IS => wire.effective_is().bits(),
            PX_IE => wire.ie.bits(),
            PX_CMD => wire.read_cmd(),
            PX_TFD => wire.tfd(),
            PX_SIG => wire.signature,
            PX_SSTS => self.read_ssts(),
            PX_SCTL => wire.sctl,
            PX_SERR => wire.serr.bits(),
            PX_SACT => wire.sact,
            PX_CI => wire.ci,
            PX_SNTF => u32::from(wire.notifications),
            PX_FBS => wire.read_fbs(),
            PX_DEVSLP => wire.read_devslp(),
            _ => 0,
        }
    }

    fn read_ssts(&self) -> u32 {
        match self.wire.sctl & 0xf {
            DET_OFFLINE => DET_OFFLINE,
            DET_COMRESET => 0,
            _ if self.wire.link.is_down() || self.wire.is_switched_off() => 0,
            _ if self.device.is_some() => self.wire.power.ssts(),
            _ => 0,
        }
    }

    /// Writes the bits of `value` that `mask` has set.
    pub(crate) fn write(
        &mut self,
        offset: u32,
        value: u32,
        mask: u32,
        now: Nanos,
        memory: &dyn GuestMemory,
    ) {
        let merged = self.read(offset) & !mask | value & mask;
        let bits = value & mask;
        let wire = &mut self.wire;
        match offset {
            // The list is aligned to 1 KiB, the FIS area to 256 bytes.
            PX_CLB => wire.clb = wire.clb & !0xffff_ffff | u64::from(merged & !0x3ff),
            PX_CLBU => wire.clb = wire.clb & 0xffff_ffff | u64::from(merged) << 32,
            PX_FB => wire.fb = wire.fb & !0xffff_ffff | u64::from(merged & !0xff),
            PX_FBU => wire.fb = wire.fb & 0xffff_ffff | u64::from(merged) << 32,
            PX_IS => wire.is.remove(PxIs::from_bits_truncate(bits) - PxIs::FOLLOW_SERR),
            PX_IE => wire.ie = PxIs::from_bits_truncate(merged),
            PX_CMD => self.write_cmd(merged, now, memory),
            PX_SCTL => self.write_sctl(merged, now, memory),
            PX_SERR => wire.clear_serr(PxSerr::from_bits_truncate(bits)),
            PX_SACT if wire.running() => {
                wire.disown(bits & !wire.sact);
                wire.sact |= bits & wire.slots_mask();
            }
            PX_CI if wire.running() => {
                wire.own_new(bits);
                wire.ci |= bits & wire.slots_mask();
                self.issue(now, memory);
            }
            PX_SNTF => wire.notifications &= !(bits as u16),
            PX_FBS => self.write_fbs(merged, now, memory),
            PX_DEVSLP => wire.write_devslp(merged),
            _ => {}
        }
        self.wire.rest(now);
    }

    fn write_cmd(&mut self, value: u32, now: Nanos, memory: &dyn GuestMemory) {
        let new = PxCmd::from_bits_truncate(value);
        let was_running = self.wire.running();
        if new.contains(PxCmd::CLO) && !was_running {
            self.wire.status.remove(Status::BSY | Status::DRQ);
            self.wire.fbs.rest();
        }
        let kept = PxCmd::ST | PxCmd::FRE | PxCmd::PMA | PxCmd::ATAPI | PxCmd::DLAE;
        let was_up = self.wire.is_spun_up();
        let power_bits = self.wire.power_bits(new);
        self.wire.cmd = new & kept | power_bits;
        if was_running && !new.contains(PxCmd::ST) {
            self.stop(ResetKind::Stop, now);
        }
        if new.contains(PxCmd::FRE)
            && let Some((from, fis)) = self.wire.unposted.take()
        {
            Plugged { wire: &mut self.wire, memory, from }.post(&fis, FIS_AREA_RFIS);
        }
        self.spin(was_up, now, memory);
        self.wire.request_power(value >> PX_CMD_ICC_SHIFT);
        if !was_running && self.wire.running() {
            self.wire.halted = false;
            self.issue(now, memory);
        }
    }

    fn write_sctl(&mut self, value: u32, now: Nanos, memory: &dyn GuestMemory) {
        let was_off = self.wire.is_switched_off();
        let old_det = self.wire.sctl & 0xf;
        let new_det = value & 0xf;
        self.wire.sctl = value & 0xfff;
        if is_down(new_det) && new_det != old_det {
            // Everything in flight ends here, not when the link comes back.
            self.stop(ResetKind::Comreset, now);
            self.wire.go_dark();
            if self.device.is_some() && !was_off && !self.wire.link.is_down() {
                self.wire.serr |= PxSerr::DIAG_N;
            }
        } else if is_down(old_det) && !is_down(new_det) {
            self.wire.link.comreset();
            self.connect(now, memory);
        }
    }

    /// Forgets every command, and has the device forget them. Never waits.
    fn stop(&mut self, kind: ResetKind, now: Nanos) {
        let in_device = match &mut self.device {
            Some(device) if !freewheel_block::sabotaged!(ResetForgetsDevice) => {
                device.abort_all(now)
            }
            _ => 0,
        };
        let waiting = (self.wire.ci & !self.wire.issued).count_ones() as usize;
        self.wire.drop_commands();
        self.wire.note_reset(kind, in_device + waiting, now);
    }

    /// GHC.HR or a function reset (10.4.3). The bases survive the former only.
    pub(crate) fn reset(&mut self, kind: ResetKind, now: Nanos) {
        self.stop(kind, now);
        if kind == ResetKind::FunctionReset {
            self.wire.clb = 0;
            self.wire.fb = 0;
        }
        self.power_on(now);
    }

    /// Lets what the device has finished reach memory and registers, then issues what can be.
    pub(crate) fn poll(&mut self, now: Nanos, memory: &dyn GuestMemory) {
        self.poll_link(now, memory);
        if let Some(device) = &mut self.device {
            device.poll(now, &mut Plugged { wire: &mut self.wire, memory, from: 0 });
        }
        self.issue(now, memory);
        self.wire.rest(now);
    }

    /// Fetches and executes commands for as long as the device takes them.
    fn issue(&mut self, now: Nanos, memory: &dyn GuestMemory) {
        while let Some(slot) = self.wire.next_slot() {
            let wire = &mut self.wire;
            wire.wake();
            wire.current_slot = slot;
            wire.next_first = (slot + 1) % 32;
            wire.issued |= 1 << slot;
            wire.counters.commands_total += 1;
            let Some(device) = &mut self.device else {
                // Nobody acknowledges the FIS.
                wire.fatal(PxIs::IFS);
                return;
            };
            // A tag that is used while it is active must not re-aim the data of its command.
            let command = &mut wire.incoming;
            if command.fetch(wire.clb, slot, memory).is_err() {
                wire.fatal(PxIs::HBFS);
                return;
            }
            let fis_bytes: &[u8; 20] = command.fis.first_chunk().unwrap_or(&[0; 20]);
            let (Some(fis), true) =
                (RegisterH2D::parse(fis_bytes), (8..=64).contains(&command.fis_len_bytes))
            else {
                // The device would not acknowledge it (R_ERR): a handshake error (6.1.2).
                wire.serr |= PxSerr::ERR_P | PxSerr::DIAG_H;
                wire.fatal(PxIs::IFS);
                return;
            };
            let (acmd, clear_busy) = (command.acmd, command.clear_busy);
            let header_port = command.pm_port;
            let to = device.route(fis.pm_port);
            if !wire.claim(slot, header_port, fis.pm_port, to) {
                // Whatever came back would be from a port that the command does not name (3.3.5).
                // Nothing is done to a device that software has not named clearly.
                wire.is |= PxIs::IPMS;
                wire.set_busy(slot);
                continue;
            }
            wire.set_status(to, wire.status_of(to) | Status::BSY);
            if fis.is_command && wire.link.fises.swallows_command() {
                // Busy until it is reset.
            } else if fis.is_command {
                core::mem::swap(&mut wire.incoming, &mut wire.commands[usize::from(slot)]);
                let link = &mut Plugged { wire, memory, from: to };
                if !device.execute(slot, &fis, &acmd, now, link) {
                    self.unheard(to);
                }
            } else {
                self.control(slot, &fis, clear_busy, now, memory);
            }
        }
    }

    /// A port multiplier has found nobody to give a FIS to: nobody acknowledges it.
    fn unheard(&mut self, device: u8) {
        self.wire.serr |= PxSerr::ERR_P | PxSerr::DIAG_H;
        self.wire.device_error(device, PxIs::IFS);
    }

    fn control(
        &mut self,
        slot: u8,
        fis: &RegisterH2D,
        clear_busy: bool,
        now: Nanos,
        memory: &dyn GuestMemory,
    ) {
        let Some(device) = &mut self.device else {
            return;
        };
        let wire = &mut self.wire;
        let to = device.route(fis.pm_port);
        if !device.control(fis, now, &mut Plugged { wire, memory, from: to }) {
            return self.unheard(to);
        }
        if fis.control & CONTROL_SRST != 0 {
            let mine = if device.multiplier().is_some() { wire.slots_of(to) } else { u32::MAX };
            let cancelled = mine & (wire.issued & !(1 << slot) | wire.sact);
            wire.note_reset(ResetKind::SoftwareReset, cancelled.count_ones() as usize, now);
            // What the device had in flight is gone; only the reset itself remains in the list.
            wire.sact &= !mine;
            wire.ci &= !(wire.issued & mine) | 1 << slot;
            wire.issued = wire.issued & !mine | 1 << slot;
            wire.awaits_signature = true;
        }
        let status = wire.status_of(to);
        if clear_busy {
            wire.set_status(to, status - Status::BSY);
            wire.end_command(slot);
        } else if !status.contains(Status::BSY) {
            // The signature, or any other register FIS, ended it.
            wire.end_command(slot);
        }
    }
}
