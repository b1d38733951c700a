//! Initialisation, and every way to stop or reset.

use freewheel_ahci::registers::*;
use freewheel_ata::fis::{CONTROL_SRST, Status};

use super::{Command, Driver, DriverError};
use crate::{Access, Machine};

/// How often a register is looked at before the driver gives up; resets end within the write, so
/// this is generous.
const PATIENCE: u32 = 64;

/// A way in which a guest, or a VMM, stops or resets a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResetWay {
    /// PxCMD.ST cleared (10.3.2).
    Stop,
    /// COMRESET through PxSCTL.DET, on a running port (10.4.2).
    Comreset,
    /// SRST by two FISes, after the port was stopped as 10.4.1 demands.
    SoftwareReset,
    /// SRST by two FISes into the running port. Not what the specification asks of software, but
    /// what a port has to survive.
    SoftwareResetRunning,
    /// GHC.HR (10.4.3).
    HbaReset,
    /// A reset of the PCI function.
    FunctionReset,
    /// All memory is unmapped, then the function is reset: a VMM that disconnects.
    Disconnect,
}

impl ResetWay {
    /// Every way.
    pub const ALL: [ResetWay; 7] = [
        ResetWay::Stop,
        ResetWay::Comreset,
        ResetWay::SoftwareReset,
        ResetWay::SoftwareResetRunning,
        ResetWay::HbaReset,
        ResetWay::FunctionReset,
        ResetWay::Disconnect,
    ];

    /// The name for people and reports.
    pub fn name(self) -> &'static str {
        match self {
            ResetWay::Stop => "PxCMD.ST=0",
            ResetWay::Comreset => "COMRESET",
            ResetWay::SoftwareReset => "SRST",
            ResetWay::SoftwareResetRunning => "SRST while running",
            ResetWay::HbaReset => "GHC.HR",
            ResetWay::FunctionReset => "function reset",
            ResetWay::Disconnect => "VMM disconnect",
        }
    }

    /// Whether it resets the whole HBA, other ports and GHC included.
    pub fn is_global(self) -> bool {
        matches!(self, ResetWay::HbaReset | ResetWay::FunctionReset | ResetWay::Disconnect)
    }
}

/// How a reset went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetOutcome {
    /// From before its first register write until PxCI, PxSACT and PxCMD.CR were seen to be 0, in
    /// nanoseconds.
    pub took_ns: u64,
    /// They were.
    pub ended: bool,
}

/// Resets the HBA (GHC.HR) and enables AHCI and interrupts, as a driver does first. Says whether
/// the reset ended.
pub fn reset_hba(machine: &mut Machine) -> bool {
    machine.write(GHC, (Ghc::AE | Ghc::HR).bits());
    let ended = poll_register(machine, GHC, Ghc::HR.bits(), 0);
    enable_hba(machine);
    ended
}

/// Enables AHCI and interrupts.
pub fn enable_hba(machine: &mut Machine) {
    machine.write(GHC, Ghc::AE.bits());
    machine.write(IS, u32::MAX);
    machine.write(GHC, (Ghc::AE | Ghc::IE).bits());
}

fn poll_register(machine: &mut Machine, register: u32, mask: u32, value: u32) -> bool {
    (0..PATIENCE).any(|_| machine.read(register) & mask == value)
}

impl Driver {
    pub(super) fn poll_port(
        &self,
        machine: &mut Machine,
        register: u32,
        mask: u32,
        value: u32,
    ) -> bool {
        (0..PATIENCE).any(|_| self.read(machine, register) & mask == value)
    }

    fn set_cmd(&self, machine: &mut Machine, set: PxCmd, clear: PxCmd) {
        let cmd = self.read(machine, PX_CMD);
        self.write(machine, PX_CMD, cmd & !clear.bits() | set.bits());
    }

    /// Stops the command list. Says whether it stands still.
    pub fn stop(&self, machine: &mut Machine) -> bool {
        self.set_cmd(machine, PxCmd::empty(), PxCmd::ST);
        self.poll_port(machine, PX_CMD, PxCmd::CR.bits(), 0)
    }

    /// Starts the command list, with a command list override first if the device is busy.
    pub fn start(&self, machine: &mut Machine) {
        let busy = (Status::BSY | Status::DRQ).bits();
        if self.read(machine, PX_TFD) & u32::from(busy) != 0 {
            self.set_cmd(machine, PxCmd::CLO, PxCmd::empty());
            self.poll_port(machine, PX_CMD, PxCmd::CLO.bits(), 0);
        }
        self.set_cmd(machine, PxCmd::ST, PxCmd::empty());
    }

    /// Brings the port from any state to one that takes commands. Says whether a device is ready.
    pub fn bring_up(&mut self, machine: &mut Machine) -> bool {
        self.forget(machine);
        self.stop(machine);
        let (list, area) = (self.layout.list(), self.fis_area_of(machine, 0));
        let key = self.key(0xff);
        machine.ram.revoke(key);
        machine.ram.allow(key, list..list + 0x400, Access::Read);
        // PRDBC; and the received FISes.
        machine.ram.allow(key, list..list + 0x400, Access::Write);
        let areas = if self.switches(machine) { 16 } else { 1 };
        machine.ram.allow(key, area..area + areas * FIS_AREA_STRIDE_BYTES, Access::Write);
        self.write(machine, PX_CLB, list as u32);
        self.write(machine, PX_CLBU, (list >> 32) as u32);
        self.write(machine, PX_FB, area as u32);
        self.write(machine, PX_FBU, (area >> 32) as u32);
        self.set_cmd(machine, PxCmd::FRE | PxCmd::SUD | PxCmd::POD, PxCmd::empty());
        self.clear_errors(machine);
        self.write(machine, PX_IE, u32::MAX);
        if self.read(machine, PX_SSTS) & 0xf != 3 {
            return false;
        }
        self.start(machine);
        let busy = u32::from((Status::BSY | Status::DRQ).bits());
        self.poll_port(machine, PX_TFD, busy, 0)
    }

    /// Clears PxSERR, PxIS and IS.
    pub fn clear_errors(&self, machine: &mut Machine) {
        self.write(machine, PX_SERR, u32::MAX);
        self.write(machine, PX_IS, u32::MAX);
        machine.write(IS, 1 << self.port);
    }

    /// Resets the port in one of all ways, and leaves it stopped. Waits for no storage.
    pub fn reset(&mut self, machine: &mut Machine, way: ResetWay) -> ResetOutcome {
        self.reset_with(machine, way, |_| {})
    }

    /// The same, with something happening in the middle: between the two FISes of SRST or the two
    /// writes to PxSCTL, or before the one write that there is. Its time does not count.
    pub fn reset_with(
        &mut self,
        machine: &mut Machine,
        way: ResetWay,
        in_the_middle: impl FnOnce(&mut Machine),
    ) -> ResetOutcome {
        let start = machine.now();
        let mut middle_ns = 0;
        let in_the_middle = |machine: &mut Machine| {
            let start = machine.now();
            in_the_middle(machine);
            middle_ns = machine.now().since(start);
        };
        match way {
            ResetWay::Stop => in_the_middle(machine),
            ResetWay::Comreset => {
                self.write(machine, PX_SCTL, DET_COMRESET);
                in_the_middle(machine);
                self.write(machine, PX_SCTL, 0);
            }
            ResetWay::SoftwareReset => {
                self.stop(machine);
                self.start(machine);
                self.software_reset(machine, in_the_middle);
            }
            ResetWay::SoftwareResetRunning => self.software_reset(machine, in_the_middle),
            ResetWay::HbaReset => {
                in_the_middle(machine);
                machine.write(GHC, (Ghc::AE | Ghc::HR).bits());
                poll_register(machine, GHC, Ghc::HR.bits(), 0);
            }
            ResetWay::FunctionReset => {
                in_the_middle(machine);
                machine.reset_function();
            }
            ResetWay::Disconnect => {
                machine.ram.unmap_all();
                in_the_middle(machine);
                machine.reset_function();
            }
        }
        // Those that leave the command list running have to have emptied it by themselves.
        let emptied = way == ResetWay::Stop || self.is_empty(machine);
        let stopped = self.stop(machine);
        let ended = emptied && stopped && self.is_empty(machine);
        let took_ns = machine.now().since(start) - middle_ns;
        self.forget(machine);
        ResetOutcome { took_ns, ended }
    }

    fn is_empty(&self, machine: &mut Machine) -> bool {
        self.read(machine, PX_CI) == 0 && self.read(machine, PX_SACT) == 0
    }

    fn software_reset(&mut self, machine: &mut Machine, in_the_middle: impl FnOnce(&mut Machine)) {
        let mut first = Command::control(CONTROL_SRST);
        (first.reset, first.clear_busy) = (true, true);
        self.issue_to(machine, 0, &first);
        in_the_middle(machine);
        self.issue_to(machine, 0, &Command::control(0));
        let busy = u32::from((Status::BSY | Status::DRQ).bits());
        self.poll_port(machine, PX_TFD, busy, 0);
    }

    /// After a reset: memory mapped, HBA enabled, port up. Says whether the device is ready.
    pub fn come_back(&mut self, machine: &mut Machine, way: ResetWay) -> bool {
        if way == ResetWay::Disconnect {
            machine.ram.map_all();
        }
        if way.is_global() {
            enable_hba(machine);
        }
        self.bring_up(machine)
    }

    /// A first look at the device after power-on: resets the HBA, brings the port up, identifies.
    pub fn power_on(
        &mut self,
        machine: &mut Machine,
        at_most_ns: u64,
    ) -> Result<super::Identity, DriverError> {
        reset_hba(machine);
        self.bring_up(machine);
        self.identify(machine, at_most_ns)
    }
}
