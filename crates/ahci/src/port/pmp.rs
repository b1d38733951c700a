//! A port multiplier: up to 15 devices behind one port (SATA 3.x, chapter 16).
//!
//! Every FIS names a port multiplier port. 0 to 14 are the *device ports*; 15 is the *control port*,
//! where the multiplier itself answers: READ and WRITE PORT MULTIPLIER reach its own registers
//! (GSCRs) and those of each device port (PSCRs: SStatus, SError, SControl), through which software
//! resets one device and leaves the others alone.
//!
//! A host that knows nothing of port multipliers sends to port 0, which is connected from the start;
//! the other device ports are offline until software enables them through SControl.
//!
//! A device that is plugged in, or loses its link, shows in SError of its port; software that has
//! asked for it (GSCR 96) is told by a Set Device Bits FIS with N from the control port. A device
//! that is plugged in neither says nor hears anything before software has reset its port, as
//! SError.X demands.
//!
//! Left out, and not claimed in GSCR 64: BIST, power management requests from the host, spread
//! spectrum, event counters of the physical layer; the enclosure's port.

use alloc::boxed::Box;
use alloc::vec::Vec;

use freewheel_ata::Device;
use freewheel_ata::fis::{CONTROL_SRST, DeviceFis, Error, RegisterH2D, Registers, Status};
use freewheel_block::{EngineStatus, Nanos};

use super::link::{LinkState, Muted};
use super::receive::Plugged;
use super::{ResetKind, is_down};
use crate::registers::*;

/// Device ports that a port multiplier can have.
pub const DEVICE_PORTS_MAX: usize = 15;
/// The port at which the multiplier itself answers.
pub const CONTROL_PORT: u8 = 15;

/// READ PORT MULTIPLIER.
pub const READ_PORT_MULTIPLIER: u8 = 0xe4;
/// WRITE PORT MULTIPLIER.
pub const WRITE_PORT_MULTIPLIER: u8 = 0xe8;
/// PxSIG of a port multiplier.
pub const SIGNATURE: u32 = 0x9669_0101;

/// Product and vendor.
pub const GSCR_PRODUCT: u16 = 0;
/// Revision, and the revisions of the specification that it keeps to.
pub const GSCR_REVISION: u16 = 1;
/// Number of device ports.
pub const GSCR_PORTS: u16 = 2;
/// Device ports with a bit of SError set that [`GSCR_ERROR_ENABLE`] selects.
pub const GSCR_ERROR: u16 = 32;
/// Bits of SError that count.
pub const GSCR_ERROR_ENABLE: u16 = 33;
/// Optional features that there are.
pub const GSCR_FEATURES: u16 = 64;
/// Optional features that are enabled.
pub const GSCR_FEATURES_ENABLE: u16 = 96;
/// In both: asynchronous notification.
pub const FEATURE_NOTIFY: u32 = 1 << 3;

/// SStatus of a device port.
pub const PSCR_STATUS: u16 = 0;
/// SError of a device port; a bit that is written as 1 is cleared.
pub const PSCR_ERROR: u16 = 1;
/// SControl of a device port.
pub const PSCR_CONTROL: u16 = 2;

/// The vendor is that of the HBA, the product made up: no driver knows quirks of it.
const PRODUCT: u32 = 0x4657_8086;
/// Revision 1; specifications 1.0, 1.1 and 1.2.
const REVISION: u32 = 1 << 8 | 0b1110;
/// Reset value of GSCR 33.
const ERROR_ENABLE: u32 = 0x0400_ffff;

/// Error register of READ and WRITE PORT MULTIPLIER: there is no such port.
const NO_PORT: Error = Error::from_bits_retain(0x01).union(Error::ABRT);
/// There is no such register.
const NO_REGISTER: Error = Error::from_bits_retain(0x02).union(Error::ABRT);

const READY: Status = Status::DRDY.union(Status::DSC);

/// A device port that cannot be plugged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlugError {
    /// The port has no port multiplier.
    #[error("there is no port multiplier on port {0}")]
    NoMultiplier(usize),
    /// The port multiplier has no such device port.
    #[error("the port multiplier has no device port {0}")]
    NoPort(u8),
    /// A device is there already.
    #[error("there is a device on device port {0} already")]
    Occupied(u8),
}

/// What can be seen of a device port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePortStatus {
    /// Its number.
    pub pm_port: u8,
    /// The link to its device.
    pub link: LinkState,
    /// SError (PSCR 1).
    pub serror: u32,
    /// The command slots of the HBA port that are in use for it. Without FIS-based switching, whose
    /// a command is shows only once it has been fetched.
    pub slots: u32,
    /// The task file, as far as the HBA port tells devices apart.
    pub task_file_data: u32,
    /// The device's engine; `None` without a device.
    pub engine: Option<EngineStatus>,
}

struct DevicePort {
    device: Option<Box<dyn Device>>,
    control: u32,
    error: PxSerr,
    /// The device has been plugged in, and nobody has reset it yet: what is sent to the port is
    /// meant for another one.
    strange: bool,
}

impl DevicePort {
    fn is_off(&self) -> bool {
        is_down(self.control & 0xf)
    }

    /// FISes pass.
    fn is_open(&self) -> bool {
        !self.is_off() && !self.strange
    }

    fn status(&self) -> u32 {
        match self.control & 0xf {
            DET_OFFLINE => DET_OFFLINE,
            DET_COMRESET => 0,
            _ if self.device.is_some() => SSTS_UP_GEN3,
            _ => 0,
        }
    }

    /// The link comes up, if there is a device.
    fn link_up(&mut self) {
        if self.device.is_some() {
            self.error |= PxSerr::DIAG_X | PxSerr::DIAG_N;
        }
    }

    fn abort(&mut self, now: Nanos) -> usize {
        self.device.as_mut().map_or(0, |device| device.abort_all(now))
    }
}

/// A port multiplier and the devices behind it.
pub struct PortMultiplier {
    ports: Vec<DevicePort>,
    /// GSCR 33.
    error_enable: u32,
    /// GSCR 96.
    features: u32,
    /// SRST is set at the control port.
    held_in_reset: bool,
}

impl PortMultiplier {
    /// A port multiplier with a device port for each entry of `devices`, 1 to 15.
    ///
    /// # Panics
    /// If there are none or more: belongs to start-up.
    pub fn new(devices: Vec<Option<Box<dyn Device>>>) -> Self {
        assert!((1..=DEVICE_PORTS_MAX).contains(&devices.len()), "1 to 15 device ports");
        let port =
            |device| DevicePort { device, control: 0, error: PxSerr::empty(), strange: false };
        Self {
            ports: devices.into_iter().map(port).collect(),
            error_enable: ERROR_ENABLE,
            features: 0,
            held_in_reset: false,
        }
    }

    fn port(&mut self, pm_port: u8) -> Option<&mut DevicePort> {
        self.ports.get_mut(usize::from(pm_port))
    }

    pub(super) fn device_mut(&mut self, pm_port: u8) -> Option<&mut dyn Device> {
        match &mut self.port(pm_port)?.device {
            Some(device) => Some(device.as_mut()),
            None => None,
        }
    }

    /// The device that a FIS to `pm_port` reaches.
    fn reach(&mut self, pm_port: u8) -> Option<&mut dyn Device> {
        if !self.port(pm_port)?.is_open() {
            return None;
        }
        self.device_mut(pm_port)
    }

    // --- from the host -----------------------------------------------------------------------

    pub(super) fn execute(
        &mut self,
        slot: u8,
        fis: &RegisterH2D,
        packet: &[u8; 16],
        now: Nanos,
        link: &mut Plugged<'_>,
    ) -> bool {
        if fis.pm_port == CONTROL_PORT {
            self.command(slot, fis, now, link);
            return true;
        }
        let device = self.reach(fis.pm_port);
        device.map(|device| device.execute(slot, fis, packet, now, link)).is_some()
    }

    pub(super) fn control(
        &mut self,
        fis: &RegisterH2D,
        now: Nanos,
        link: &mut Plugged<'_>,
    ) -> bool {
        if fis.pm_port != CONTROL_PORT {
            let device = self.reach(fis.pm_port);
            return device.map(|device| device.control(fis.control, now, link)).is_some();
        }
        // The control port alone is reset: neither registers nor devices notice.
        let srst = fis.control & CONTROL_SRST != 0;
        if core::mem::replace(&mut self.held_in_reset, srst) && !srst {
            let [count, low, mid, high] = SIGNATURE.to_le_bytes();
            let registers = Registers {
                status: READY,
                error: Error::from_bits_retain(1),
                lba: u64::from(u32::from_le_bytes([low, mid, high, 0])),
                device: 0,
                count: u16::from(count),
            };
            link.send(CONTROL_PORT, None, DeviceFis::RegisterD2H { interrupt: true, registers });
        }
        true
    }

    /// COMRESET from the host: everything is reset, and device port 0 answers if there is a device.
    pub(super) fn comreset(&mut self, now: Nanos, link: Option<&mut Plugged<'_>>) {
        self.error_enable = ERROR_ENABLE;
        self.features = 0;
        self.held_in_reset = false;
        self.abort_all(now);
        for (pm_port, port) in self.ports.iter_mut().enumerate() {
            port.control = if pm_port == 0 { 0 } else { DET_OFFLINE };
            port.error = PxSerr::empty();
            port.strange = false;
        }
        let Some(first) = self.ports.first_mut() else { return };
        first.link_up();
        match (&mut first.device, link) {
            (Some(device), Some(link)) => {
                link.from = 0;
                device.comreset(now, link);
            }
            (Some(device), None) => device.comreset(now, &mut Muted),
            (None, _) => {}
        }
    }

    pub(super) fn abort_all(&mut self, now: Nanos) -> usize {
        self.ports.iter_mut().map(|port| port.abort(now)).sum()
    }

    pub(super) fn abort(&mut self, pm_port: u8, now: Nanos) -> usize {
        self.port(pm_port).map_or(0, |port| port.abort(now))
    }

    pub(super) fn poll(&mut self, now: Nanos, link: &mut Plugged<'_>) {
        for (port, pm_port) in self.ports.iter_mut().zip(0..) {
            let is_open = port.is_open();
            if let Some(device) = &mut port.device {
                link.from = pm_port;
                if is_open { device.poll(now, link) } else { device.poll(now, &mut Muted) }
            }
        }
    }

    pub(super) fn next_wakeup(&self) -> Option<Nanos> {
        let devices = self.ports.iter().filter_map(|port| port.device.as_ref());
        devices.filter_map(|device| device.next_wakeup()).min()
    }

    // --- the control port --------------------------------------------------------------------

    fn command(&mut self, slot: u8, fis: &RegisterH2D, now: Nanos, link: &mut Plugged<'_>) {
        if self.held_in_reset {
            return;
        }
        let errors_before = self.errors();
        let (port, register) = (fis.device & 0xf, fis.features);
        let result = match fis.command {
            READ_PORT_MULTIPLIER => self.read(port, register),
            WRITE_PORT_MULTIPLIER => {
                let value = u32::from(fis.count as u8) | (fis.lba as u32) << 8;
                self.write(port, register, value, now, link).map(|()| 0)
            }
            _ => Err(Error::ABRT),
        };
        let (status, error, value) = match result {
            Ok(value) => (READY, Error::empty(), value),
            Err(error) => (READY | Status::ERR, error, 0),
        };
        let (count, lba) = (value as u8, value >> 8);
        let (count, lba) = (u16::from(count), u64::from(lba));
        let registers = Registers { status, error, lba, device: 0, count };
        let answer = DeviceFis::RegisterD2H { interrupt: true, registers };
        link.send(CONTROL_PORT, Some(slot), answer);
        self.notify(errors_before, link);
    }

    fn read(&self, port: u8, register: u16) -> Result<u32, Error> {
        if port == CONTROL_PORT {
            return Ok(match register {
                GSCR_PRODUCT => PRODUCT,
                GSCR_REVISION => REVISION,
                GSCR_PORTS => self.ports.len() as u32,
                GSCR_ERROR => self.errors(),
                GSCR_ERROR_ENABLE => self.error_enable,
                GSCR_FEATURES => FEATURE_NOTIFY,
                GSCR_FEATURES_ENABLE => self.features,
                _ => return Err(NO_REGISTER),
            });
        }
        let port = self.ports.get(usize::from(port)).ok_or(NO_PORT)?;
        match register {
            PSCR_STATUS => Ok(port.status()),
            PSCR_ERROR => Ok(port.error.bits()),
            PSCR_CONTROL => Ok(port.control),
            _ => Err(NO_REGISTER),
        }
    }

    /// Writes to registers that only say something have no effect.
    fn write(
        &mut self,
        port: u8,
        register: u16,
        value: u32,
        now: Nanos,
        link: &mut Plugged<'_>,
    ) -> Result<(), Error> {
        self.read(port, register)?;
        match (port, register) {
            (CONTROL_PORT, GSCR_ERROR_ENABLE) => self.error_enable = value,
            (CONTROL_PORT, GSCR_FEATURES_ENABLE) => self.features = value & FEATURE_NOTIFY,
            (CONTROL_PORT, _) => {}
            (_, PSCR_ERROR) => {
                let port = self.port(port).ok_or(NO_PORT)?;
                port.error.remove(PxSerr::from_bits_truncate(value));
            }
            (_, PSCR_CONTROL) => self.write_control(port, value, now, link),
            _ => {}
        }
        Ok(())
    }

    /// SControl of a device port, by the rules of PxSCTL: its device's commands end here, whatever
    /// its storage does, and no other device's (C1, C6).
    fn write_control(&mut self, pm_port: u8, value: u32, now: Nanos, link: &mut Plugged<'_>) {
        let Some(port) = self.port(pm_port) else { return };
        let (old_det, new_det) = (port.control & 0xf, value & 0xf);
        port.control = value & 0xfff;
        if is_down(new_det) && new_det != old_det {
            let cancelled = port.abort(now);
            if port.device.is_some() && !is_down(old_det) {
                port.error |= PxSerr::DIAG_N;
            }
            link.wire.strand(pm_port);
            link.wire.note_reset(ResetKind::DevicePort, cancelled, now);
        } else if is_down(old_det) && !is_down(new_det) {
            port.link_up();
            port.strange = false;
            if let Some(device) = &mut port.device {
                link.from = pm_port;
                device.comreset(now, link);
            }
        }
    }

    /// GSCR 32.
    fn errors(&self) -> u32 {
        let shown = |port: &DevicePort| port.error.bits() & self.error_enable != 0;
        self.ports.iter().zip(0..).map(|(port, at)| u32::from(shown(port)) << at).sum()
    }

    /// Tells the host of bits of GSCR 32 that have come up, if it wants to know.
    fn notify(&mut self, before: u32, link: &mut Plugged<'_>) {
        if self.features & FEATURE_NOTIFY == 0 || self.errors() & !before == 0 {
            return;
        }
        let notice = DeviceFis::SetDeviceBits {
            interrupt: true,
            notification: true,
            status: READY,
            error: Error::empty(),
            active: 0,
        };
        link.send(CONTROL_PORT, None, notice);
    }

    // --- plugging ----------------------------------------------------------------------------

    /// A device is plugged in. If that is refused, it is dropped.
    pub(super) fn plug(
        &mut self,
        pm_port: u8,
        mut device: Box<dyn Device>,
        now: Nanos,
        link: &mut Plugged<'_>,
    ) -> Result<(), PlugError> {
        let before = self.errors();
        let port = self.port(pm_port).ok_or(PlugError::NoPort(pm_port))?;
        if port.device.is_some() {
            return Err(PlugError::Occupied(pm_port));
        }
        device.comreset(now, &mut Muted);
        port.device = Some(device);
        port.strange = true;
        link.wire.strand(pm_port);
        if !port.is_off() {
            port.link_up();
        }
        self.notify(before, link);
        Ok(())
    }

    /// A device is pulled out. Its commands end at once; what the port has in flight for it stays
    /// so until software notices.
    pub(super) fn unplug(
        &mut self,
        pm_port: u8,
        now: Nanos,
        link: &mut Plugged<'_>,
    ) -> Option<Box<dyn Device>> {
        let before = self.errors();
        let port = self.port(pm_port)?;
        let mut device = port.device.take()?;
        let cancelled = device.abort_all(now);
        if !port.is_off() {
            port.error |= PxSerr::DIAG_N;
        }
        link.wire.strand(pm_port);
        link.wire.note_reset(ResetKind::Unplugged, cancelled, now);
        self.notify(before, link);
        Some(device)
    }

    /// The state of each device port; slots and task file are the HBA port's to say.
    pub(super) fn status(&self, now: Nanos) -> Vec<DevicePortStatus> {
        let ports = self.ports.iter().zip(0..);
        let status = |(port, pm_port): (&DevicePort, u8)| DevicePortStatus {
            pm_port,
            link: match &port.device {
                None => LinkState::Absent,
                Some(_) if port.is_off() => LinkState::Off,
                Some(_) => LinkState::Up,
            },
            serror: port.error.bits(),
            slots: 0,
            task_file_data: 0,
            engine: port.device.as_ref().and_then(|device| device.engine_status(now)),
        };
        ports.map(status).collect()
    }
}
