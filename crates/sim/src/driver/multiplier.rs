//! Port multipliers, as libata's `sata_pmp` and libahci drive them: found by a software reset of the
//! control port, read and steered by READ and WRITE PORT MULTIPLIER, switched by commands or by FIS.

use freewheel_ahci::pmp::*;
use freewheel_ahci::registers::*;
use freewheel_ata::fis::{CONTROL_SRST, Status};

use super::{Command, Driver, DriverError, Identity};
use crate::{Access, Machine};

/// The slot of this driver's own commands to the control port.
const SLOT: u8 = 31;
/// Time in which the control port answers; it does so at once.
const AT_MOST_NS: u64 = 1_000_000;
/// SControl: no power management, and COMRESET or nothing.
const SCONTROL: u32 = 0x300;

impl Driver {
    /// Software reset of one PM port, and of nothing else: the port is stopped first, as 10.4.1
    /// demands. Returns the signature that PxSIG shows then.
    pub fn software_reset_of(&mut self, machine: &mut Machine, pm_port: u8) -> u32 {
        self.stop(machine);
        self.forget(machine);
        let cmd = self.read(machine, PX_CMD);
        // A port multiplier without a device on port 0 leaves BSY set (9.2).
        self.write(machine, PX_CMD, cmd | PxCmd::CLO.bits());
        self.start(machine);
        let mut first = Command::control(CONTROL_SRST).to_port(pm_port);
        (first.reset, first.clear_busy) = (true, true);
        self.issue_to(machine, 0, &first);
        self.issue_to(machine, 0, &Command::control(0).to_port(pm_port));
        let busy = u32::from((Status::BSY | Status::DRQ).bits());
        self.poll_port(machine, PX_TFD, busy, 0);
        self.collect(machine);
        self.read(machine, PX_SIG)
    }

    /// Looks for a port multiplier. If there is one, tells the port (PxCMD.PMA) and returns the
    /// number of its device ports.
    pub fn attach_multiplier(&mut self, machine: &mut Machine) -> Option<u8> {
        if self.software_reset_of(machine, CONTROL_PORT) != SIGNATURE {
            return None;
        }
        let cmd = self.read(machine, PX_CMD);
        self.write(machine, PX_CMD, cmd | PxCmd::PMA.bits());
        let ports = self.read_multiplier(machine, CONTROL_PORT, GSCR_PORTS).ok()?;
        Some((ports & 0xf) as u8)
    }

    /// Changes over to FIS-based switching. Says whether the port does.
    pub fn enable_switching(&mut self, machine: &mut Machine) -> bool {
        self.stop(machine);
        let area = self.layout.switched_fis_area();
        machine.ram.allow(self.key(0xff), area..area + 0x1000, Access::Write);
        let cmd = self.read(machine, PX_CMD) & !PxCmd::FRE.bits();
        self.write(machine, PX_CMD, cmd);
        self.write(machine, PX_FB, area as u32);
        self.write(machine, PX_CMD, cmd | PxCmd::FRE.bits());
        let fbs = self.read(machine, PX_FBS);
        self.write(machine, PX_FBS, fbs | PxFbs::EN.bits());
        let enabled = self.switches(machine);
        self.start(machine);
        enabled
    }

    /// Issues one command to the PM port that it names, in the order in which libahci does: PxSACT,
    /// PxFBS.DEV, PxCI.
    pub fn issue_to(&mut self, machine: &mut Machine, slot: u8, command: &Command) {
        self.prepare(machine, slot, command);
        self.in_flight |= 1 << slot;
        if command.queued {
            self.write(machine, PX_SACT, 1 << slot);
        }
        self.select(machine, command.pm_port);
        self.write(machine, PX_CI, 1 << slot);
    }

    /// PxFBS.EN is set.
    pub(super) fn switches(&self, machine: &mut Machine) -> bool {
        self.read(machine, PX_FBS) & PxFbs::EN.bits() != 0
    }

    /// Writes PxFBS.DEV, if FISes are switched.
    pub fn select(&self, machine: &mut Machine, pm_port: u8) {
        let fbs = self.read(machine, PX_FBS);
        if fbs & PxFbs::EN.bits() != 0 {
            let kept = fbs & !(0xf << PX_FBS_DEV_SHIFT | PxFbs::DEC.bits());
            self.write(machine, PX_FBS, kept | u32::from(pm_port) << PX_FBS_DEV_SHIFT);
        }
    }

    /// The device whose error PxFBS shows.
    pub fn device_with_error(&self, machine: &mut Machine) -> Option<u8> {
        let fbs = self.read(machine, PX_FBS);
        let shown = fbs & PxFbs::SDE.bits() != 0;
        shown.then_some((fbs >> PX_FBS_DWE_SHIFT & 0xf) as u8)
    }

    /// PxFBS.DEC. Returns the slots that were emptied by it.
    pub fn clear_device_error(&mut self, machine: &mut Machine) -> u32 {
        let fbs = self.read(machine, PX_FBS);
        self.write(machine, PX_FBS, fbs | PxFbs::DEC.bits());
        self.collect(machine).ended
    }

    /// Where FISes of `pm_port` are found now.
    pub fn fis_area_of(&self, machine: &mut Machine, pm_port: u8) -> u64 {
        if !self.switches(machine) {
            return self.layout.fis_area();
        }
        self.layout.switched_fis_area() + u64::from(pm_port) * FIS_AREA_STRIDE_BYTES
    }

    fn run_at_control_port(
        &mut self,
        machine: &mut Machine,
        command: Command,
    ) -> Result<u32, DriverError> {
        self.issue_to(machine, SLOT, &command.to_port(CONTROL_PORT));
        self.wait_for(machine, 1 << SLOT, AT_MOST_NS)?;
        let area = self.fis_area_of(machine, CONTROL_PORT) + FIS_AREA_RFIS;
        let fis = machine.ram.peek(area, 20);
        Ok(u32::from_le_bytes([fis[12], fis[4], fis[5], fis[6]]))
    }

    /// READ PORT MULTIPLIER: a register of a device port, or of the multiplier itself.
    pub fn read_multiplier(
        &mut self,
        machine: &mut Machine,
        pm_port: u8,
        register: u16,
    ) -> Result<u32, DriverError> {
        let mut command = Command::without_data(READ_PORT_MULTIPLIER);
        (command.fis.device, command.fis.features) = (pm_port, register);
        self.run_at_control_port(machine, command)
    }

    /// WRITE PORT MULTIPLIER.
    pub fn write_multiplier(
        &mut self,
        machine: &mut Machine,
        pm_port: u8,
        register: u16,
        value: u32,
    ) -> Result<(), DriverError> {
        let mut command = Command::without_data(WRITE_PORT_MULTIPLIER);
        (command.fis.device, command.fis.features) = (pm_port, register);
        (command.fis.count, command.fis.lba) = ((value & 0xff) as u16, u64::from(value >> 8));
        self.run_at_control_port(machine, command).map(|_| ())
    }

    /// COMRESET of one device, through SControl of its port. Says whether a device is there.
    pub fn comreset_of(&mut self, machine: &mut Machine, pm_port: u8) -> Result<bool, DriverError> {
        self.write_multiplier(machine, pm_port, PSCR_CONTROL, SCONTROL | DET_COMRESET)?;
        self.write_multiplier(machine, pm_port, PSCR_CONTROL, SCONTROL)?;
        let status = self.read_multiplier(machine, pm_port, PSCR_STATUS)?;
        self.write_multiplier(machine, pm_port, PSCR_ERROR, u32::MAX)?;
        Ok(status & 0xf == 3)
    }

    /// IDENTIFY DEVICE, of the device on a PM port.
    pub fn identify_at(
        &mut self,
        machine: &mut Machine,
        pm_port: u8,
        at_most_ns: u64,
    ) -> Result<Identity, DriverError> {
        self.issue_to(machine, 0, &Command::identify().to_port(pm_port));
        self.wait_for(machine, 1, at_most_ns)?;
        Ok(Identity::parse(&self.data(machine, 0, 512)))
    }
}
