//! Power of link and device: spin-up, interface power states, device sleep, speed, notification.

use freewheel_ahci::registers::*;
use freewheel_ahci::{HbaConfig, LinkPower, LinkState};
use freewheel_ata::fis::{DeviceFis, Error, Status};

use crate::support::*;

const RUNNING: PxCmd = PxCmd::FRE.union(PxCmd::ST).union(PxCmd::SUD).union(PxCmd::POD);
const ACTIVE: u32 = 1;
const PARTIAL: u32 = 2;
const SLUMBER: u32 = 6;
const DEVSLEEP: u32 = 8;

/// PxSSTS.IPM.
fn ipm(rig: &mut Rig) -> u32 {
    rig.read(0, PX_SSTS) >> 8 & 0xf
}

fn ask(rig: &mut Rig, icc: u32) -> u32 {
    rig.write(0, PX_CMD, RUNNING.bits() | icc << PX_CMD_ICC_SHIFT);
    assert_eq!(rig.read(0, PX_CMD) >> PX_CMD_ICC_SHIFT, 0, "the transition is over");
    ipm(rig)
}

#[test]
fn the_capabilities_say_what_there_is() {
    let mut rig = Rig::new();
    let cap = Cap::from_bits_truncate(rig.read_global(CAP));
    assert!(cap.contains(Cap::PSC | Cap::SSC | Cap::SALP | Cap::SSNTF));
    assert!(!cap.intersects(Cap::SSS | Cap::SMPS));
    let cap2 = Cap2::from_bits_truncate(rig.read_global(CAP2));
    assert!(cap2.contains(Cap2::SDS | Cap2::SADM));
}

#[test]
fn icc_puts_the_link_to_rest_and_pxssts_says_so() {
    let mut rig = Rig::new();
    for (icc, power) in [
        (PARTIAL, LinkPower::Partial),
        (SLUMBER, LinkPower::Slumber),
        (DEVSLEEP, LinkPower::DevSleep),
    ] {
        assert_eq!(ask(&mut rig, icc), icc);
        assert_eq!(rig.status(0).link_power, power);
        assert_eq!(rig.read(0, PX_SSTS) & 0xff, 0x33, "the device is there all the same");
        assert_eq!(rig.serr(0), PxSerr::empty(), "no link came or went");
        assert_eq!(ask(&mut rig, ACTIVE), ACTIVE);
    }
}

#[test]
fn a_lower_state_is_entered_from_the_active_one_only() {
    let mut rig = Rig::new();
    assert_eq!(ask(&mut rig, PARTIAL), PARTIAL);
    assert_eq!(ask(&mut rig, SLUMBER), PARTIAL);
    assert_eq!(ask(&mut rig, DEVSLEEP), DEVSLEEP);
    assert_eq!(ask(&mut rig, PARTIAL), DEVSLEEP);
}

#[test]
fn reserved_values_of_icc_change_nothing() {
    let mut rig = Rig::new();
    for icc in (0..16).filter(|icc| ![ACTIVE, PARTIAL, SLUMBER, DEVSLEEP].contains(icc)) {
        assert_eq!(ask(&mut rig, icc), ACTIVE, "{icc}");
    }
    assert!(rig.works(0));
}

#[test]
fn pxsctl_ipm_forbids_states() {
    for (forbidden, icc) in [(1, PARTIAL), (2, SLUMBER), (4, DEVSLEEP)] {
        let mut rig = Rig::new();
        rig.write(0, PX_SCTL, forbidden << 8);
        for other in [PARTIAL, SLUMBER, DEVSLEEP] {
            let expected = if other == icc { ACTIVE } else { other };
            assert_eq!(ask(&mut rig, other), expected);
            ask(&mut rig, ACTIVE);
        }
    }
}

#[test]
fn a_command_wakes_the_link() {
    let mut rig = Rig::new();
    for icc in [PARTIAL, SLUMBER, DEVSLEEP] {
        assert_eq!(ask(&mut rig, icc), icc);
        assert!(rig.works(0));
        assert_eq!(ipm(&mut rig), ACTIVE);
    }
}

#[test]
fn a_device_with_something_to_say_wakes_the_link() {
    let mut rig = Rig::new();
    rig.issue_queued(0, 1);
    assert_eq!(ask(&mut rig, DEVSLEEP), ACTIVE, "not with commands outstanding");
    assert_eq!(ask(&mut rig, SLUMBER), SLUMBER);
    rig.script(0).later = vec![(1, Act::Loose(set_device_bits(2)))];
    rig.pass(1);
    assert_eq!((ipm(&mut rig), rig.read(0, PX_SACT)), (ACTIVE, 0));
}

#[test]
fn alpe_lets_the_link_rest_as_soon_as_nothing_is_outstanding() {
    for (asp, resting) in [(PxCmd::empty(), PARTIAL), (PxCmd::ASP, SLUMBER)] {
        let mut rig = Rig::new();
        rig.command(0, RUNNING | PxCmd::ALPE | asp);
        assert_eq!(ipm(&mut rig), resting, "nothing is outstanding already");
        rig.issue_queued(0, 1);
        rig.pass(MILLISECOND);
        assert_eq!(ipm(&mut rig), ACTIVE);
        rig.script(0).later = vec![(1, Act::Loose(set_device_bits(2)))];
        rig.pass(1);
        assert_eq!(ipm(&mut rig), resting);
        assert!(rig.works(0));
        assert_eq!(ipm(&mut rig), resting);
        // As Linux does it: off, and the link awake.
        assert_eq!(ask(&mut rig, ACTIVE), ACTIVE);
        assert!(rig.works(0));
        assert_eq!(ipm(&mut rig), ACTIVE);
    }
}

#[test]
fn a_comreset_wakes_the_link() {
    let mut rig = Rig::new();
    ask(&mut rig, SLUMBER);
    rig.stop(0);
    rig.comreset(0);
    assert_eq!(rig.read(0, PX_SSTS), SSTS_UP_GEN3);
}

#[test]
fn aggressive_device_sleep_waits_for_its_idle_time() {
    let mut rig = Rig::new();
    // DITO 20 ms, DM 2: three times that.
    let value = PX_DEVSLP_ADSE | 20 << 15 | 2 << 25;
    rig.write(0, PX_DEVSLP, value);
    assert_eq!(rig.read(0, PX_DEVSLP), value | PX_DEVSLP_DSP);
    assert_eq!(rig.hba.next_wakeup(), Some(rig.now.plus(60 * MILLISECOND)));
    rig.pass(59 * MILLISECOND);
    assert_eq!(ipm(&mut rig), ACTIVE);
    assert!(rig.works(0), "starts it anew");
    rig.pass(59 * MILLISECOND);
    assert_eq!(ipm(&mut rig), ACTIVE);
    rig.pass(MILLISECOND);
    assert_eq!(ipm(&mut rig), DEVSLEEP);
    assert_eq!(rig.hba.next_wakeup(), None);
    assert!(rig.works(0));
    rig.write(0, PX_DEVSLP, u32::MAX);
    assert_eq!(rig.read(0, PX_DEVSLP), 0x1fff_ffff);
    rig.write_global(GHC, (Ghc::HR | Ghc::AE).bits());
    assert_eq!(rig.read(0, PX_DEVSLP), PX_DEVSLP_DSP);
}

#[test]
fn pxsctl_spd_limits_the_speed_that_is_negotiated() {
    let mut rig = Rig::new();
    rig.stop(0);
    for (limit, speed) in [(1, 1), (2, 2), (3, 3), (0, 3), (4, 3), (15, 3)] {
        rig.write(0, PX_SCTL, limit << 4 | DET_COMRESET);
        rig.write(0, PX_SCTL, limit << 4);
        assert_eq!(rig.read(0, PX_SSTS), 0x103 | speed << 4, "limit {limit}");
    }
    rig.write(0, PX_SCTL, 1 << 4);
    assert_eq!(rig.read(0, PX_SSTS), 0x133, "not before the link is reset");
}

#[test]
fn without_sss_the_device_cannot_be_spun_down() {
    let mut rig = Rig::new();
    rig.command(0, PxCmd::FRE | PxCmd::ST);
    let cmd = PxCmd::from_bits_truncate(rig.read(0, PX_CMD));
    assert!(cmd.contains(PxCmd::SUD | PxCmd::POD));
    assert!(rig.works(0));
}

#[test]
fn with_sss_the_link_stays_down_until_sud() {
    let mut rig = Rig::stopped(HbaConfig { staggered_spin_up: true, ..HbaConfig::default() });
    assert_ne!(rig.read_global(CAP) & Cap::SSS.bits(), 0);
    assert_eq!((rig.read(0, PX_SSTS), rig.read(0, PX_TFD)), (0, 0x7f));
    assert_eq!((rig.read(0, PX_SERR), rig.status(0).link), (0, LinkState::Off));
    rig.comreset(0);
    assert_eq!(rig.read(0, PX_SSTS), 0, "not by a COMRESET either");
    rig.command(0, PxCmd::SUD);
    assert_eq!((rig.read(0, PX_SSTS), rig.read(0, PX_SIG)), (SSTS_UP_GEN3, 0x101));
    assert_eq!(rig.read(1, PX_SSTS), 0, "each port by itself");
    rig.start(0);
    assert!(rig.works(0));
    rig.write_global(GHC, (Ghc::HR | Ghc::AE).bits());
    assert_eq!(rig.read(0, PX_SSTS), 0, "an HBA reset spins nothing up");
    rig.start(0);
    assert!(rig.works(0));
}

#[test]
fn spinning_down_cancels_what_is_in_flight() {
    let mut rig = Rig::with(HbaConfig { staggered_spin_up: true, ..HbaConfig::default() });
    rig.write(0, PX_SERR, u32::MAX);
    rig.issue_queued(0, 1);
    rig.command(0, PxCmd::FRE | PxCmd::ST);
    assert_eq!((rig.read(0, PX_SSTS), rig.script(0).running), (0, 0));
    assert_eq!(rig.serr(0), PxSerr::DIAG_N);
    rig.issue(0, 2);
    assert_eq!(rig.read(0, PX_CI), 1 << 2, "waits for the link");
    rig.command(0, RUNNING);
    assert_eq!((rig.read(0, PX_SSTS), rig.read(0, PX_CI)), (SSTS_UP_GEN3, 0));
}

#[test]
fn a_device_that_comes_is_heard_by_a_port_that_listens() {
    let mut rig = Rig::stopped(HbaConfig { staggered_spin_up: true, ..HbaConfig::default() });
    let device = rig.hba.detach(0, rig.now).expect("a device");
    assert_eq!(rig.read(0, PX_SERR), 0);
    rig.hba.attach(0, device, rig.now, &rig.memory).map_err(drop).expect("room");
    assert_eq!((rig.serr(0), rig.read(0, PX_SSTS)), (PxSerr::DIAG_X, 0));
}

#[test]
fn a_notification_is_noted_in_pxsntf() {
    let mut rig = Rig::new();
    let notify = DeviceFis::SetDeviceBits {
        interrupt: true,
        notification: true,
        status: Status::DRDY,
        error: Error::empty(),
        active: 0,
    };
    rig.script(0).later = vec![(0, Act::Loose(notify))];
    rig.pass(1);
    assert_eq!((rig.read(0, PX_SNTF), rig.is(0)), (1, PxIs::SDBS));
    rig.comreset(0);
    assert_eq!(rig.read(0, PX_SNTF), 1, "a COMRESET leaves it");
    rig.write(0, PX_SNTF, 1);
    assert_eq!(rig.read(0, PX_SNTF), 0);
    rig.script(0).later = vec![(0, Act::Loose(notify))];
    rig.pass(1);
    rig.write_global(GHC, (Ghc::HR | Ghc::AE).bits());
    assert_eq!(rig.read(0, PX_SNTF), 0);
}
