//! Devices that come and go while the HBA runs, and how a port notices.

use freewheel_block::Nanos;

use super::Hba;
use crate::memory::GuestMemory;
use crate::port::Attachment;

/// What the ports have beyond the link itself to tell whether a device is there. The link tells in
/// any case (PxIS.PCS, PRCS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HotPlug {
    /// Nothing: the connectors are inside. Devices may come and go all the same.
    #[default]
    None,
    /// Connectors that people can reach (PxCMD.HPCP).
    Connector,
    /// And a switch that a device closes (CAP.SMPS, PxCMD.MPSP, PxIS.DMPS).
    PresenceSwitch,
    /// And detection of devices without power (PxCMD.CPD, PxIS.CPDS), which comes with a switch for
    /// the power (PxCMD.POD).
    ColdPresence,
}

impl Hba {
    /// Takes the device, or port multiplier with all of its devices, off `port`, as if it had been pulled out: all that it had in flight is
    /// cancelled at once, whatever the storage does (contract C1), and software is told. `None` if
    /// there is none. May cause an interrupt.
    ///
    /// What the storage still has of the device is orphaned; it is in the device's engine, which is
    /// the caller's now.
    pub fn detach(&mut self, port: usize, now: Nanos) -> Option<Attachment> {
        let device = self.ports.get_mut(port)?.detach(now);
        self.update_interrupt(now);
        device
    }

    /// Plugs a device or port multiplier into `port`, and software is told. Gives the device back if there is no such
    /// port, or if a device is on it already. May cause an interrupt.
    pub fn attach(
        &mut self,
        port: usize,
        device: Attachment,
        now: Nanos,
        memory: &dyn GuestMemory,
    ) -> Result<(), Attachment> {
        match self.ports.get_mut(port) {
            Some(target) if !target.has_device() => target.attach(device, now, memory),
            _ => return Err(device),
        }
        self.update_interrupt(now);
        Ok(())
    }
}
