//! What hangs on a port: a device, or a port multiplier with devices of its own.

use alloc::boxed::Box;

use freewheel_ata::Device;
use freewheel_ata::fis::RegisterH2D;
use freewheel_block::Nanos;

use super::link::Muted;
use super::pmp::PortMultiplier;
use super::receive::Plugged;

/// What hangs on a port.
pub enum Attachment {
    /// A device.
    Device(Box<dyn Device>),
    /// A port multiplier.
    Multiplier(PortMultiplier),
}

impl From<Box<dyn Device>> for Attachment {
    fn from(device: Box<dyn Device>) -> Self {
        Self::Device(device)
    }
}

impl From<PortMultiplier> for Attachment {
    fn from(multiplier: PortMultiplier) -> Self {
        Self::Multiplier(multiplier)
    }
}

impl Attachment {
    /// The port multiplier port that answers FISes to `pm_port`. A device that is attached directly
    /// ignores that field, and answers as port 0 (SATA 3.x, 10.5.1).
    pub(super) fn route(&self, pm_port: u8) -> u8 {
        match self {
            Self::Device(_) => 0,
            Self::Multiplier(_) => pm_port,
        }
    }

    /// Says whether somebody has taken the FIS.
    pub(super) fn execute(
        &mut self,
        slot: u8,
        fis: &RegisterH2D,
        packet: &[u8; 16],
        now: Nanos,
        link: &mut Plugged<'_>,
    ) -> bool {
        match self {
            Self::Device(device) => {
                device.execute(slot, fis, packet, now, link);
                true
            }
            Self::Multiplier(multiplier) => multiplier.execute(slot, fis, packet, now, link),
        }
    }

    /// Says whether somebody has taken the FIS.
    pub(super) fn control(
        &mut self,
        fis: &RegisterH2D,
        now: Nanos,
        link: &mut Plugged<'_>,
    ) -> bool {
        match self {
            Self::Device(device) => {
                device.control(fis.control, now, link);
                true
            }
            Self::Multiplier(multiplier) => multiplier.control(fis, now, link),
        }
    }

    /// COMRESET. Without a link, nothing of what is said in answer arrives.
    pub(super) fn comreset(&mut self, now: Nanos, link: Option<&mut Plugged<'_>>) {
        match (self, link) {
            (Self::Device(device), Some(link)) => device.comreset(now, link),
            (Self::Device(device), None) => device.comreset(now, &mut Muted),
            (Self::Multiplier(multiplier), link) => multiplier.comreset(now, link),
        }
    }

    /// The controller has forgotten every command.
    pub(super) fn abort_all(&mut self, now: Nanos) -> usize {
        match self {
            Self::Device(device) => device.abort_all(now),
            Self::Multiplier(multiplier) => multiplier.abort_all(now),
        }
    }

    /// The controller has forgotten every command for `pm_port`.
    pub(super) fn abort(&mut self, pm_port: u8, now: Nanos) -> usize {
        match self {
            Self::Device(device) => device.abort_all(now),
            Self::Multiplier(multiplier) => multiplier.abort(pm_port, now),
        }
    }

    pub(super) fn poll(&mut self, now: Nanos, link: &mut Plugged<'_>) {
        match self {
            Self::Device(device) => device.poll(now, link),
            Self::Multiplier(multiplier) => multiplier.poll(now, link),
        }
    }

    pub(super) fn next_wakeup(&self) -> Option<Nanos> {
        match self {
            Self::Device(device) => device.next_wakeup(),
            Self::Multiplier(multiplier) => multiplier.next_wakeup(),
        }
    }

    /// The device itself, if there is no port multiplier.
    pub(super) fn device(&self) -> Option<&dyn Device> {
        match self {
            Self::Device(device) => Some(device.as_ref()),
            Self::Multiplier(_) => None,
        }
    }

    pub(super) fn device_mut(&mut self) -> Option<&mut dyn Device> {
        match self {
            Self::Device(device) => Some(device.as_mut()),
            Self::Multiplier(_) => None,
        }
    }

    pub(super) fn multiplier(&self) -> Option<&PortMultiplier> {
        match self {
            Self::Device(_) => None,
            Self::Multiplier(multiplier) => Some(multiplier),
        }
    }

    pub(super) fn multiplier_mut(&mut self) -> Option<&mut PortMultiplier> {
        match self {
            Self::Device(_) => None,
            Self::Multiplier(multiplier) => Some(multiplier),
        }
    }
}
