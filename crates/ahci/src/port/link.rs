//! Faults of the link, injected: it drops for a time, damages data, or the device keeps its
//! signature to itself.
//!
//! A drop cancels what the device has exactly as COMRESET does (contract C1 to C4): at once,
//! whatever the storage does. The bits of lost commands stay in PxCI and PxSACT, and the port halts,
//! until software stops it: a bit that fell would tell the driver that its command is complete.
//! While the link is down or the device is silent, no command is fetched.
//!
//! Each kind of fault is one field here, so that no number of injections takes more room. What FISes
//! meet on their way is in `bad_fis`.

use core::mem;

use freewheel_ata::fis::DeviceFis;
use freewheel_ata::{Link, LinkError};
use freewheel_block::Nanos;
use freewheel_block::fault::LinkFault;

use super::bad_fis::FisFaults;
use super::wire::Wire;
use super::{Port, ResetKind, is_down};
use crate::memory::GuestMemory;
use crate::registers::*;

/// The link between a port and its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// No device is on the port.
    Absent,
    /// Software holds the interface in COMRESET, has switched it off or does not spin up the device.
    Off,
    /// An injected fault keeps it down.
    Dropped {
        /// Until then; a release ends it sooner.
        until: Nanos,
    },
    /// It is up, but the device has not sent the signature that it owes.
    Silent,
    /// Up.
    Up,
}

/// A fault that cannot be injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkFaultError {
    /// The controller has no such port.
    #[error("there is no port {0}")]
    NoPort(usize),
    /// Without a device there is no link.
    #[error("there is no device on port {0}")]
    NoDevice(usize),
}

/// What is to happen to a link, and what is happening.
#[derive(Debug, Default)]
pub(super) struct LinkFaults {
    down_until: Option<Nanos>,
    /// The next data transfer is damaged.
    crc: bool,
    /// The device keeps its signature to itself after the next COMRESET.
    withhold_signature: bool,
    /// It does so now.
    silent: bool,
    pub(super) fises: FisFaults,
}

impl LinkFaults {
    pub(super) fn is_down(&self) -> bool {
        self.down_until.is_some()
    }

    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// Software has sent a COMRESET: whether the device will answer is decided now. Without a link
    /// nobody has heard it.
    pub(super) fn comreset(&mut self) {
        if !self.is_down() {
            self.silent = mem::take(&mut self.withhold_signature);
        }
    }

    /// Whatever else brings the link up, the device speaks.
    pub(super) fn power_on(&mut self) {
        self.silent = false;
    }
}

impl Wire {
    /// Whether the port can send a FIS and a device reads it.
    pub(super) fn is_heard(&self) -> bool {
        !self.is_switched_off() && !self.link.is_down() && !self.link.silent
    }

    /// PxSCTL.DET holds the interface in reset or offline, or the device is not spun up.
    pub(super) fn is_switched_off(&self) -> bool {
        !self.is_spun_up() || is_down(self.sctl & 0xf)
    }

    /// Whether this transfer is the one to be damaged; if so, it is noted where software looks: a
    /// data FIS that fails is a fatal error (6.1.2). The receiver of the data sees the checksum, the
    /// sender only that the FIS was refused.
    pub(super) fn damages(&mut self, to_host: bool) -> Result<(), LinkError> {
        if mem::take(&mut self.link.crc) {
            self.serr |= PxSerr::ERR_T | if to_host { PxSerr::DIAG_C } else { PxSerr::DIAG_H };
            self.fatal(PxIs::IFS);
            return Err(LinkError::Crc);
        }
        self.meets_poison()
    }
}

/// The link to a device that hears what is asked of it and says nothing.
pub(super) struct Muted;

impl Link for Muted {
    fn data_in(&mut self, _slot: u8, _offset: u64, _data: &[u8]) -> Result<(), LinkError> {
        Err(LinkError::HostBus)
    }
    fn data_out(&mut self, _slot: u8, _offset: u64, _data: &mut [u8]) -> Result<(), LinkError> {
        Err(LinkError::HostBus)
    }
    fn fis(&mut self, _slot: Option<u8>, _fis: DeviceFis) {}
}

impl Port {
    pub(crate) fn has_device(&self) -> bool {
        self.device.is_some()
    }

    pub(crate) fn link_state(&self) -> LinkState {
        let wire = &self.wire;
        match wire.link.down_until {
            _ if self.device.is_none() => LinkState::Absent,
            Some(until) => LinkState::Dropped { until },
            None if wire.is_switched_off() => LinkState::Off,
            None if wire.link.silent => LinkState::Silent,
            None => LinkState::Up,
        }
    }

    /// Makes `fault` happen, now or at its next occasion.
    pub(crate) fn inject(&mut self, fault: LinkFault, now: Nanos) {
        match fault {
            LinkFault::Drop(ns) => self.drop_link(now.plus(ns), now),
            LinkFault::Crc => self.wire.link.crc = true,
            LinkFault::NoSignature => self.wire.link.withhold_signature = true,
            fault => self.wire.link.fises.inject(fault),
        }
    }

    fn drop_link(&mut self, until: Nanos, now: Nanos) {
        let was_down = self.wire.link.is_down();
        self.wire.link.down_until = self.wire.link.down_until.max(Some(until));
        if was_down {
            return;
        }
        let lost = self.device.as_mut().map_or(0, |device| device.abort_all(now));
        let wire = &mut self.wire;
        wire.halted |= lost > 0 || wire.issued != 0;
        wire.note_reset(ResetKind::LinkDrop, lost, now);
        wire.go_dark();
        if !wire.is_switched_off() {
            wire.serr |= PxSerr::DIAG_N;
        }
    }

    /// Takes back the faults that have not happened yet. A link that is down stays down for its
    /// time.
    pub(crate) fn clear_link_faults(&mut self) {
        self.wire.link.crc = false;
        self.wire.link.withhold_signature = false;
        self.wire.link.fises = FisFaults::default();
    }

    /// Ends the fault that is happening, if there is one: the link comes up, the device speaks.
    pub(crate) fn release_link(&mut self, now: Nanos, memory: &dyn GuestMemory) -> bool {
        let was_down = self.wire.link.down_until.take().is_some();
        let was_silent = mem::take(&mut self.wire.link.silent);
        if (was_down || was_silent) && !self.wire.is_switched_off() {
            self.connect(now, memory);
            self.issue(now, memory);
        }
        was_down || was_silent
    }

    /// Brings the link up again once its time has come.
    pub(super) fn poll_link(&mut self, now: Nanos, memory: &dyn GuestMemory) {
        if self.wire.link.down_until.is_some_and(|until| until <= now) {
            self.wire.link.down_until = None;
            self.wire.link.power_on();
            if !self.wire.is_switched_off() {
                self.connect(now, memory);
            }
        }
        if self.has_unknown_fis() {
            self.send_unknown_fis(memory);
        }
    }

    pub(super) fn link_wakeup(&self) -> Option<Nanos> {
        let unknown_fis = self.has_unknown_fis().then_some(Nanos(0));
        [self.wire.link.down_until, unknown_fis].into_iter().flatten().min()
    }
}
