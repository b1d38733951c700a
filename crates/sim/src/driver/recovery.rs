//! What a driver does after an error, as libata's error handler does it.

use freewheel_ahci::registers::*;
use freewheel_ata::fis::Status;

use super::{Command, Driver, DriverError, NcqError, ResetWay};
use crate::Machine;

/// NCQ command error log.
const LOG_NCQ_ERROR: u8 = 0x10;

impl Driver {
    /// Stops the port, clears its errors, resets the link if the device does not come to rest
    /// otherwise, and starts it again. Commands in flight are forgotten.
    pub fn recover(&mut self, machine: &mut Machine) -> bool {
        self.stop(machine);
        let serr = self.read(machine, PX_SERR);
        self.clear_errors(machine);
        let busy = u32::from((Status::BSY | Status::DRQ).bits());
        let link_error = serr & !(PxSerr::DIAG_N | PxSerr::DIAG_X).bits() != 0;
        if link_error || self.read(machine, PX_TFD) & busy != 0 {
            self.reset(machine, ResetWay::Comreset);
        }
        self.bring_up(machine)
    }

    /// Recovers after a failed queued command, and asks the device which one it was.
    pub fn recover_queue(
        &mut self,
        machine: &mut Machine,
        at_most_ns: u64,
    ) -> Result<Option<NcqError>, DriverError> {
        self.recover(machine);
        self.run(machine, 0, &Command::read_log(LOG_NCQ_ERROR), at_most_ns)?;
        Ok(NcqError::parse(&self.data(machine, 0, 512)))
    }
}
