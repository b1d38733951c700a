//! Devices that come and go.

use freewheel_ahci::registers::*;
use freewheel_ahci::{HbaConfig, HotPlug, LinkState, ResetKind};
use freewheel_block::fault::LinkFault;

use crate::support::*;

const GONE: (u32, u32) = (0, 0x7f);

fn link(rig: &mut Rig) -> (u32, u32) {
    (rig.read(0, PX_SSTS), rig.read(0, PX_TFD) & 0xff)
}

#[test]
fn removal_cancels_everything_at_once_and_tells_the_driver() {
    let mut rig = Rig::new();
    rig.issue_queued(0, 3);
    rig.issue_queued(0, 7);
    rig.take_interrupt();
    assert!(rig.hba.detach(0, rig.now).is_some());
    assert_eq!(rig.script(0).aborted, 2, "once at power-on, once now");
    assert_eq!(rig.script(0).running, 0);
    assert_eq!(link(&mut rig), GONE);
    assert_eq!(rig.serr(0), PxSerr::DIAG_N);
    assert!(rig.is(0).contains(PxIs::PRCS) && !rig.is(0).intersects(PxIs::PCS));
    assert!(rig.take_interrupt().level);
    assert_eq!(rig.read(0, PX_SACT), 0b1000_1000, "a bit that fell would mean completion");
    let status = rig.status(0);
    assert_eq!((status.link, status.halted), (LinkState::Absent, true));
    let last = status.resets.last().expect("a reset");
    assert_eq!((last.kind, last.cancelled), (ResetKind::Detach, 2));
    rig.stop(0);
    assert_eq!(rig.read(0, PX_SACT), 0);
    assert!(rig.hba.detach(0, rig.now).is_none());
    assert!(rig.hba.detach(2, rig.now).is_none() && rig.hba.detach(99, rig.now).is_none());
}

#[test]
fn nothing_meant_for_the_old_device_reaches_the_new_one() {
    let mut rig = Rig::new();
    rig.hba.inject_link_fault(0, LinkFault::Stuck, rig.now).expect("injected");
    rig.issue(0, 4);
    rig.issue(0, 5);
    rig.hba.detach(0, rig.now);
    let (device, script) = scripted();
    rig.hba.attach(0, device.into(), rig.now, &rig.memory).map_err(drop).expect("room");
    rig.scripts[0] = script;
    rig.write(0, PX_CI, 1 << 6);
    rig.pass(MILLISECOND);
    assert_eq!(rig.script(0).taken, []);
    assert_eq!(rig.read(0, PX_CI), 0b111_0000);
    rig.stop(0);
    rig.start(0);
    assert!(rig.works(0));
}

#[test]
fn commands_issued_to_an_empty_port_reach_no_device() {
    for had_one in [true, false] {
        let mut rig = Rig::new();
        let port = if had_one { 0 } else { 2 };
        if had_one {
            rig.stop(0);
            rig.hba.detach(0, rig.now).expect("a device");
        }
        rig.start(port);
        rig.issue(port, 4);
        rig.write(port, PX_SACT, 1 << 9);
        let (device, script) = scripted();
        rig.scripts.resize(3, script.clone());
        rig.scripts[port] = script;
        rig.hba.attach(port, device.into(), rig.now, &rig.memory).map_err(drop).expect("room");
        rig.pass(MILLISECOND);
        assert_eq!(rig.script(port).taken, []);
        assert_eq!((rig.read(port, PX_CI), rig.read(port, PX_SACT)), (1 << 4, 1 << 9));
        rig.stop(port);
        rig.start(port);
        assert!(rig.works(port));
    }
}

#[test]
fn insertion_brings_the_link_up_and_the_signature() {
    let mut rig = Rig::new();
    let old = rig.hba.detach(0, rig.now).expect("a device");
    rig.stop(0);
    rig.write(0, PX_SERR, u32::MAX);
    rig.write_global(IS, u32::MAX);
    rig.take_interrupt();
    rig.hba.attach(0, old, rig.now, &rig.memory).map_err(drop).expect("room");
    assert_eq!(link(&mut rig), (SSTS_UP_GEN3, 0x50));
    assert_eq!(rig.read(0, PX_SIG), 0x0000_0101);
    assert_eq!(rig.serr(0), PxSerr::DIAG_X | PxSerr::DIAG_N);
    assert!(rig.is(0).contains(PxIs::PCS | PxIs::PRCS));
    assert!(rig.take_interrupt().level);
    rig.start(0);
    assert!(rig.works(0));
}

#[test]
fn a_device_that_cannot_be_plugged_in_is_given_back() {
    let mut rig = Rig::new();
    for port in [0, 3, usize::MAX] {
        let (device, _) = scripted();
        assert!(rig.hba.attach(port, device.into(), rig.now, &rig.memory).is_err(), "{port}");
    }
    assert!(rig.works(0));
}

#[test]
fn a_port_that_never_had_a_device_gets_one() {
    let mut rig = Rig::new();
    assert_eq!(rig.read(2, PX_SSTS), 0);
    let (device, script) = scripted();
    rig.scripts.push(script);
    rig.hba.attach(2, device.into(), rig.now, &rig.memory).map_err(drop).expect("room");
    rig.start(2);
    assert!(rig.works(2));
    assert!(rig.works(0), "the other ports go on");
}

#[test]
fn an_interface_that_is_off_stays_off() {
    let mut rig = Rig::new();
    rig.stop(0);
    rig.write(0, PX_SCTL, DET_OFFLINE);
    rig.write(0, PX_SERR, u32::MAX);
    let device = rig.hba.detach(0, rig.now).expect("a device");
    rig.hba.attach(0, device, rig.now, &rig.memory).map_err(drop).expect("room");
    assert_eq!(link(&mut rig), (DET_OFFLINE, 0x7f));
    assert_eq!(rig.serr(0), PxSerr::empty());
    rig.write(0, PX_SCTL, 0);
    rig.start(0);
    assert!(rig.works(0));
}

#[test]
fn faults_of_a_link_go_with_its_device() {
    let mut rig = Rig::new();
    rig.hba.inject_link_fault(0, LinkFault::Drop(u64::MAX), rig.now).expect("injected");
    let device = rig.hba.detach(0, rig.now).expect("a device");
    rig.hba.attach(0, device, rig.now, &rig.memory).map_err(drop).expect("room");
    assert_eq!(rig.read(0, PX_SSTS), SSTS_UP_GEN3);
    assert_eq!(rig.status(0).link, LinkState::Up);
}

#[test]
fn dmps_a_presence_switch_opens_and_closes() {
    let mut rig =
        Rig::with(HbaConfig { hot_plug: HotPlug::PresenceSwitch, ..HbaConfig::default() });
    assert_ne!(rig.read_global(CAP) & Cap::SMPS.bits(), 0);
    let switch = |rig: &mut Rig, port| {
        let cmd = PxCmd::from_bits_truncate(rig.read(port, PX_CMD));
        assert!(cmd.contains(PxCmd::HPCP | PxCmd::MPSP));
        cmd.contains(PxCmd::MPSS)
    };
    assert!(!switch(&mut rig, 0) && switch(&mut rig, 2));
    let device = rig.hba.detach(0, rig.now).expect("a device");
    assert!(switch(&mut rig, 0) && rig.is(0).contains(PxIs::DMPS));
    rig.write(0, PX_IS, PxIs::DMPS.bits());
    assert!(!rig.is(0).contains(PxIs::DMPS));
    rig.hba.attach(0, device, rig.now, &rig.memory).map_err(drop).expect("room");
    assert!(!switch(&mut rig, 0) && rig.is(0).contains(PxIs::DMPS));
}

#[test]
fn cpds_a_device_without_power_is_noticed() {
    let mut rig = Rig::with(HbaConfig { hot_plug: HotPlug::ColdPresence, ..HbaConfig::default() });
    assert_eq!(rig.read_global(CAP) & Cap::SMPS.bits(), 0);
    let state = |rig: &mut Rig| PxCmd::from_bits_truncate(rig.read(0, PX_CMD));
    assert!(state(&mut rig).contains(PxCmd::HPCP | PxCmd::CPD | PxCmd::CPS));
    let device = rig.hba.detach(0, rig.now).expect("a device");
    rig.command(0, PxCmd::SUD);
    assert!(!state(&mut rig).intersects(PxCmd::CPS | PxCmd::POD));
    rig.write(0, PX_IS, u32::MAX);
    rig.write(0, PX_SERR, u32::MAX);
    rig.hba.attach(0, device, rig.now, &rig.memory).map_err(drop).expect("room");
    assert_eq!((rig.is(0), rig.serr(0)), (PxIs::CPDS, PxSerr::empty()), "it has no power");
    assert_eq!(link(&mut rig), GONE);
    rig.start(0);
    assert!(rig.works(0));
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (word ^ word >> 31) % limit
    }
}

#[test]
fn devices_that_come_and_go_at_any_time_leave_nothing_behind() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let hot_plug =
            [HotPlug::None, HotPlug::PresenceSwitch, HotPlug::ColdPresence][seed as usize % 3];
        let staggered_spin_up = random.below(2) == 0;
        let mut rig = Rig::with(HbaConfig { hot_plug, staggered_spin_up, ..HbaConfig::default() });
        let mut shelf = None;
        for _ in 0..100 {
            match random.below(14) {
                0 | 1 => {
                    if let Some(device) = rig.hba.detach(0, rig.now) {
                        assert_eq!(rig.script(0).running, 0, "C1: cancelled within the call");
                        shelf = Some(device);
                    }
                }
                2..=4 => {
                    if let Some(device) = shelf.take() {
                        let back = rig.hba.attach(0, device, rig.now, &rig.memory);
                        assert!(back.is_ok());
                    }
                }
                5 => rig.comreset(0),
                6 => rig.stop(0),
                7 => rig.start(0),
                8 => rig.write_global(GHC, (Ghc::HR | Ghc::AE).bits()),
                9 => rig.hba.reset_function(rig.now),
                10 => rig.command(0, PxCmd::FRE | PxCmd::POD),
                11 => rig.pass(MILLISECOND),
                12 => rig.issue_queued(0, random.below(32) as u8),
                _ => rig.issue(0, random.below(32) as u8),
            }
            let present = shelf.is_none();
            let det = rig.read(0, PX_SSTS) & 0xf;
            assert!(present || det != 3, "seed {seed}: a link to nothing");
            assert_eq!(rig.status(0).link == LinkState::Absent, !present, "seed {seed}");
            if det != 3 {
                assert_eq!(rig.script(0).running, 0, "seed {seed}: work without a link");
            }
        }
        if let Some(device) = shelf.take() {
            rig.hba.attach(0, device, rig.now, &rig.memory).map_err(drop).expect("room");
        }
        rig.script(0).commands.clear();
        rig.stop(0);
        rig.comreset(0);
        rig.start(0);
        assert!(rig.works(0), "seed {seed}");
    }
}
