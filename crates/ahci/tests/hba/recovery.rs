//! Recovery from errors (6.2), register by register as a driver goes through it.

use freewheel_ahci::registers::*;
use freewheel_ata::fis::{DeviceFis, Error, Registers, Status};

use crate::support::*;

const UP: PxCmd = PxCmd::SUD.union(PxCmd::POD);

fn ccs(rig: &mut Rig) -> u32 {
    rig.read(0, PX_CMD) >> PX_CMD_CCS_SHIFT & 0x1f
}

fn failed() -> Act {
    Act::Fis(register(Status::DRDY | Status::ERR))
}

#[test]
fn a_non_queued_command_that_fails_is_named_by_ccs_and_the_rest_waits() {
    let mut rig = Rig::new();
    // Three commands in the list, the second of which will fail (6.2.2.1).
    rig.script(0).commands = [vec![], vec![failed()], vec![Act::Fis(good())]].into();
    for slot in [4, 9, 20] {
        rig.prepare(0, slot, &command(0x25));
    }
    rig.write(0, PX_CI, 1 << 4 | 1 << 9 | 1 << 20);
    assert_eq!(rig.script(0).taken.len(), 1, "one at a time");
    rig.script(0).later = vec![(4, Act::Fis(good()))];
    rig.pass(1);
    assert_eq!(rig.is(0), PxIs::TFES | PxIs::DHRS);
    assert_eq!((ccs(&mut rig), rig.read(0, PX_TFD)), (9, 0x41));
    assert_eq!(rig.read(0, PX_CI), 1 << 9 | 1 << 20, "the failed one and the one that waits");
    assert_eq!(rig.script(0).taken.len(), 2, "nothing is fetched any more");
    rig.pass(MILLISECOND);
    assert_eq!(rig.script(0).taken.len(), 2);
    // Clearing what is reported does not set it going again.
    rig.write(0, PX_IS, u32::MAX);
    rig.write(0, PX_SERR, u32::MAX);
    rig.write(0, PX_CI, 1 << 21);
    assert_eq!(rig.script(0).taken.len(), 2);
    // Stopping does: PxCI is empty, the task file stays.
    rig.command(0, PxCmd::FRE | UP);
    assert_eq!((rig.read(0, PX_CI), rig.read(0, PX_TFD)), (0, 0x41));
    assert_eq!(rig.read(0, PX_CMD) & (PxCmd::CR | PxCmd::ST).bits(), 0);
    assert_eq!(ccs(&mut rig), 0);
    // The device is not busy, so that neither CLO nor COMRESET is needed.
    rig.command(0, PxCmd::FRE | PxCmd::ST | UP);
    assert!(rig.works(0));
}

#[test]
fn queued_commands_that_fail_stay_in_pxsact() {
    let mut rig = Rig::new();
    for slot in [1, 2, 3] {
        rig.issue_queued(0, slot);
    }
    assert_eq!((rig.read(0, PX_CI), rig.read(0, PX_SACT)), (0, 0b1110));
    rig.write(0, PX_IS, u32::MAX);
    // One ends, then the device reports an error and ends none (6.2.2.2).
    let error = DeviceFis::SetDeviceBits {
        interrupt: true,
        notification: false,
        status: Status::DRDY | Status::ERR,
        error: Error::UNC,
        active: 0,
    };
    rig.script(0).later = vec![(1, Act::Loose(set_device_bits(0b10))), (2, Act::Loose(error))];
    rig.pass(1);
    assert_eq!(rig.is(0), PxIs::TFES | PxIs::SDBS);
    assert_eq!(rig.read(0, PX_SACT), 0b1100, "these are to be tried again");
    assert_eq!(rig.read(0, PX_TFD), 0x4041);
    rig.issue(0, 5);
    assert_eq!(rig.script(0).taken.len(), 3, "halted");
    rig.command(0, PxCmd::FRE | UP);
    assert_eq!((rig.read(0, PX_CI), rig.read(0, PX_SACT)), (0, 0));
    rig.command(0, PxCmd::FRE | PxCmd::ST | UP);
    rig.write(0, PX_IS, u32::MAX);
    // READ LOG EXT, page 10h, is what comes first.
    rig.prepare(0, 0, &command(0x2f));
    rig.write(0, PX_CI, 1);
    let last = rig.script(0).taken.last().map(|(_, fis)| fis.command);
    assert_eq!((rig.read(0, PX_CI), last), (0, Some(0x2f)));
    rig.issue_queued(0, 2);
    assert_eq!(rig.read(0, PX_SACT), 0b100);
}

#[test]
fn clo_frees_a_stopped_port_of_a_busy_device() {
    let mut rig = Rig::new();
    rig.perform(0, 0, vec![]);
    assert_eq!(rig.read(0, PX_TFD) & 0x80, 0x80);
    rig.command(0, PxCmd::FRE | PxCmd::ST | PxCmd::CLO | UP);
    assert_eq!(rig.read(0, PX_TFD) & 0x80, 0x80, "not while it is started (3.3.7)");
    rig.command(0, PxCmd::FRE | UP);
    assert_eq!(rig.read(0, PX_TFD) & 0x80, 0x80);
    rig.command(0, PxCmd::FRE | PxCmd::CLO | UP);
    assert_eq!(rig.read(0, PX_TFD) & 0x88, 0);
    assert_eq!(rig.read(0, PX_CMD) & PxCmd::CLO.bits(), 0, "it is over");
    rig.command(0, PxCmd::FRE | PxCmd::ST | UP);
    assert!(rig.works(0));
}

#[test]
fn after_a_fatal_error_of_the_interface_a_comreset_brings_everything_back() {
    let mut rig = Rig::new();
    rig.issue_queued(0, 1);
    rig.script(0).later = vec![(1, Act::Unknown(vec![0; 100]))];
    rig.pass(1);
    assert!(rig.is(0).contains(PxIs::IFS));
    rig.command(0, PxCmd::FRE | UP);
    rig.write(0, PX_SCTL, DET_COMRESET);
    assert_eq!((rig.read(0, PX_SSTS), rig.read(0, PX_TFD)), (0, 0x7f));
    rig.write(0, PX_SCTL, 0);
    assert_eq!((rig.read(0, PX_SSTS), rig.read(0, PX_TFD)), (SSTS_UP_GEN3, 0x150));
    assert_eq!(rig.script(0).running, 0);
    rig.start(0);
    assert!(rig.works(0));
}

#[test]
fn an_error_of_one_port_is_none_of_the_other() {
    let mut rig = Rig::new();
    rig.start(1);
    rig.perform(0, 0, vec![failed()]);
    assert!(rig.status(0).halted && !rig.status(1).halted);
    assert!(rig.works(1));
    assert_eq!(rig.read_global(IS), 0b11);
}

#[test]
fn a_notice_leaves_the_error_that_software_has_yet_to_read() {
    let mut rig = Rig::new();
    let failed = DeviceFis::RegisterD2H {
        interrupt: true,
        registers: Registers {
            status: Status::DRDY | Status::ERR,
            error: Error::from_bits_retain(0x64),
            ..Registers::default()
        },
    };
    rig.perform(0, 0, vec![Act::Fis(failed)]);
    assert_eq!(rig.read(0, PX_TFD), 0x6441);
    rig.script(0).later = vec![(
        0,
        Act::Loose(DeviceFis::SetDeviceBits {
            interrupt: true,
            notification: true,
            status: Status::DRDY,
            error: Error::empty(),
            active: 0,
        }),
    )];
    rig.pass(1);
    assert_eq!(rig.read(0, PX_SNTF), 1, "it is heard");
    assert_eq!(rig.read(0, PX_TFD), 0x6441);
}
