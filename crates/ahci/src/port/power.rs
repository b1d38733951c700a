//! Power of the link and of the device: spin-up (10.1.1), interface power states (8.3), device sleep
//! (8.5), negotiated speed (3.3.11).
//!
//! Every transition is over within the register write that asks for it. A link in a lower state wakes
//! by itself when a FIS is to be sent in either direction, so power states cost a guest nothing, and
//! nothing that it does here can make it lose a command. The device takes whatever the host proposes.
//! PxSERR.DIAG.N is left alone by these transitions: it is for links that come and go.
//!
//! Left out: states that the device proposes (DIPM), and the automatic step from partial to slumber
//! (CAP2.APST).

use core::mem;

use freewheel_block::Nanos;

use super::wire::Wire;
use super::{Port, ResetKind};
use crate::hba::HotPlug;
use crate::memory::GuestMemory;
use crate::registers::*;

const MILLISECOND_NS: u64 = 1_000_000;
/// PxSCTL.IPM: no partial, no slumber, no device sleep.
const NO_PARTIAL: u32 = 1 << 8;
const NO_SLUMBER: u32 = 1 << 9;
const NO_DEVSLEEP: u32 = 1 << 10;
/// Generation 3, the highest that the HBA has.
const FASTEST: u32 = 3;

/// The power state of a link that is up (3.3.10, PxSSTS.IPM).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkPower {
    /// Active.
    #[default]
    Active = 1,
    /// Partial.
    Partial = 2,
    /// Slumber.
    Slumber = 6,
    /// Device sleep.
    DevSleep = 8,
}

/// What a port knows of power, speed and presence.
#[derive(Debug)]
pub(super) struct Power {
    staggered_spin_up: bool,
    hot_plug: HotPlug,
    /// A device is plugged in.
    present: bool,
    state: LinkPower,
    speed: u32,
    /// PxDEVSLP without its read-only bits.
    devslp: u32,
    /// The link was in use since the last look: what comes next is the beginning of a rest.
    used: bool,
    /// When the rest has been long enough for device sleep.
    sleep_at: Option<Nanos>,
}

impl Power {
    pub(super) fn new(staggered_spin_up: bool, hot_plug: HotPlug, present: bool) -> Self {
        Self {
            staggered_spin_up,
            hot_plug,
            present,
            state: LinkPower::Active,
            speed: FASTEST,
            devslp: 0,
            used: false,
            sleep_at: None,
        }
    }

    /// The bits of PxCMD that software may write here.
    fn writable(&self) -> PxCmd {
        let mut bits = PxCmd::ALPE | PxCmd::ASP;
        bits.set(PxCmd::SUD, self.staggered_spin_up);
        bits.set(PxCmd::POD, self.hot_plug == HotPlug::ColdPresence);
        bits
    }

    /// The bits of PxCMD that are not software's: what the port's hardware is.
    pub(super) fn hardware_bits(&self) -> PxCmd {
        match self.hot_plug {
            HotPlug::None => PxCmd::empty(),
            HotPlug::Connector => PxCmd::HPCP,
            // MPSS says that the switch is open.
            HotPlug::PresenceSwitch if self.present => PxCmd::HPCP | PxCmd::MPSP,
            HotPlug::PresenceSwitch => PxCmd::HPCP | PxCmd::MPSP | PxCmd::MPSS,
            HotPlug::ColdPresence if self.present => PxCmd::HPCP | PxCmd::CPD | PxCmd::CPS,
            HotPlug::ColdPresence => PxCmd::HPCP | PxCmd::CPD,
        }
    }

    /// The bits of PxCMD that cannot be switched off.
    fn fixed_bits(&self) -> PxCmd {
        (PxCmd::SUD | PxCmd::POD) - self.writable()
    }

    /// PxSSTS of a link that is up.
    pub(super) fn ssts(&self) -> u32 {
        3 | self.speed << 4 | (self.state as u32) << 8
    }
}

impl Wire {
    pub(super) fn link_power(&self) -> LinkPower {
        self.power.state
    }

    /// The device has power and may spin; otherwise the link is down.
    pub(super) fn is_spun_up(&self) -> bool {
        self.cmd.contains(PxCmd::SUD | PxCmd::POD)
    }

    /// What of a write to PxCMD is about power, merged with what software cannot change.
    pub(super) fn power_bits(&mut self, value: PxCmd) -> PxCmd {
        // A link that is idle already rests as soon as it may.
        self.power.used |= (value - self.cmd).contains(PxCmd::ALPE);
        value & self.power.writable() | self.power.fixed_bits()
    }

    /// The link has come up: at full power, as fast as PxSCTL.SPD allows (10.4.2). Reserved values
    /// allow everything.
    pub(super) fn negotiate(&mut self) {
        self.power.state = LinkPower::Active;
        self.power.sleep_at = None;
        self.power.used = true;
        self.power.speed = match self.sctl >> 4 & 0xf {
            limit @ 1..FASTEST => limit,
            _ => FASTEST,
        };
    }

    /// The link carries something.
    pub(super) fn wake(&mut self) {
        self.power.state = LinkPower::Active;
        self.power.sleep_at = None;
        self.power.used = true;
    }

    /// PxCMD.ICC (3.3.7). A state that PxSCTL.IPM forbids, that is reserved, or that cannot be
    /// entered from the present one is as good as no request.
    pub(super) fn request_power(&mut self, icc: u32) {
        let target = match icc {
            1 => LinkPower::Active,
            2 => LinkPower::Partial,
            6 => LinkPower::Slumber,
            8 => LinkPower::DevSleep,
            _ => return,
        };
        if target == LinkPower::Active {
            self.power.state = target;
        } else {
            self.enter(target);
        }
    }

    fn enter(&mut self, target: LinkPower) {
        let idle = self.ci | self.sact == 0;
        let allowed = match target {
            LinkPower::Active => true,
            LinkPower::Partial => self.sctl & NO_PARTIAL == 0,
            LinkPower::Slumber => self.sctl & NO_SLUMBER == 0,
            LinkPower::DevSleep => self.sctl & NO_DEVSLEEP == 0 && idle,
        };
        // A link moves between two lower states by way of the active one, but the device's sleep
        // signal is no matter of the link.
        let reachable = self.power.state == LinkPower::Active || target == LinkPower::DevSleep;
        if allowed && reachable {
            self.power.state = target;
        }
    }

    /// What the port does by itself once nothing is outstanding: PxCMD.ALPE (8.3.1.3) and
    /// PxDEVSLP.ADSE (8.5.1).
    pub(super) fn rest(&mut self, now: Nanos) {
        if self.ci | self.sact != 0 {
            self.power.used = true;
            self.power.sleep_at = None;
            return;
        }
        if mem::take(&mut self.power.used) {
            if self.cmd.contains(PxCmd::ALPE | PxCmd::ASP) {
                self.enter(LinkPower::Slumber);
            } else if self.cmd.contains(PxCmd::ALPE) {
                self.enter(LinkPower::Partial);
            }
            let devslp = self.power.devslp;
            let wait_ms = u64::from(devslp >> 15 & 0x3ff) * (u64::from(devslp >> 25 & 0xf) + 1);
            self.power.sleep_at =
                (devslp & PX_DEVSLP_ADSE != 0).then(|| now.plus(wait_ms * MILLISECOND_NS));
        }
        if self.power.sleep_at.is_some_and(|at| at <= now) {
            self.power.sleep_at = None;
            self.enter(LinkPower::DevSleep);
        }
    }

    pub(super) fn power_wakeup(&self) -> Option<Nanos> {
        self.power.sleep_at
    }

    pub(super) fn read_devslp(&self) -> u32 {
        self.power.devslp | PX_DEVSLP_DSP
    }

    pub(super) fn write_devslp(&mut self, value: u32) {
        self.power.devslp = value & PX_DEVSLP_WRITABLE;
        self.power.used = true;
    }

    /// Power-on and HBA reset: PxDEVSLP forgets what software wrote.
    pub(super) fn reset_power(&mut self) {
        self.cmd = self.power.fixed_bits() | PxCmd::POD;
        self.power.devslp = 0;
        self.power.state = LinkPower::Active;
        self.power.sleep_at = None;
    }

    /// A device has been plugged in or pulled out: what is there to notice that says so.
    pub(super) fn presence_changed(&mut self, present: bool) {
        self.power.present = present;
        match self.power.hot_plug {
            HotPlug::None | HotPlug::Connector => {}
            HotPlug::PresenceSwitch => self.is |= PxIs::DMPS,
            HotPlug::ColdPresence => self.is |= PxIs::CPDS,
        }
    }
}

impl Port {
    /// PxCMD.SUD or POD may have changed. Spinning up sends a COMRESET (10.1.1); without both, the
    /// link is down and the port listens.
    pub(super) fn spin(&mut self, was_up: bool, now: Nanos, memory: &dyn GuestMemory) {
        let is_up = self.wire.is_spun_up();
        if was_up && !is_up {
            let was_linked = self.has_link();
            self.stop(ResetKind::Comreset, now);
            self.wire.go_dark();
            if was_linked {
                self.wire.serr |= PxSerr::DIAG_N;
            }
        } else if is_up && !was_up && !self.wire.is_switched_off() {
            self.wire.link.comreset();
            self.connect(now, memory);
            self.issue(now, memory);
        }
    }

    /// A device is there, and neither software nor a fault holds the link down but for its power.
    fn has_link(&self) -> bool {
        let held = matches!(self.wire.sctl & 0xf, DET_COMRESET | DET_OFFLINE);
        self.has_device() && !held && !self.wire.link.is_down()
    }
}
