//! Every cause of an interrupt (3.3.5) but IPMS: how it comes about, what a driver sees, and that the
//! port goes on.

use freewheel_ahci::registers::*;
use freewheel_ata::LinkError;
use freewheel_ata::fis::{DeviceFis, Registers, Status};
use freewheel_block::fault::LinkFault;

use crate::support::*;

fn halts(rig: &mut Rig) -> bool {
    let taken = rig.script(0).taken.len();
    rig.issue(0, 31);
    rig.script(0).taken.len() == taken
}

/// Gets over a fatal error as a driver does (6.2.2.1).
fn restart(rig: &mut Rig) {
    rig.stop(0);
    if rig.read(0, PX_TFD) & 0x88 != 0 {
        rig.comreset(0);
    }
    rig.start(0);
}

fn inject(rig: &mut Rig, fault: LinkFault) {
    rig.hba.inject_link_fault(0, fault, rig.now).expect("injected");
}

#[test]
fn dhrs_a_register_fis_with_its_i_bit() {
    let mut rig = Rig::new();
    rig.issue(0, 0);
    assert_eq!(rig.is(0), PxIs::DHRS);
    assert_eq!(rig.read_global(IS), 1);
    rig.write(0, PX_IS, PxIs::DHRS.bits());
    let registers = Registers { status: Status::DRDY | Status::DSC, ..Registers::default() };
    let silent = DeviceFis::RegisterD2H { interrupt: false, registers };
    rig.perform(0, 0, vec![Act::Fis(silent)]);
    assert_eq!((rig.is(0), rig.read(0, PX_CI)), (PxIs::empty(), 0));
}

#[test]
fn pss_a_pio_setup_fis() {
    let mut rig = Rig::new();
    let setup = DeviceFis::PioSetup {
        interrupt: true,
        to_host: true,
        registers: Registers { status: Status::DRQ, ..Registers::default() },
        ending_status: Status::DRDY | Status::DSC,
        transfer_count_bytes: 512,
    };
    rig.perform(0, 0, vec![Act::In(0, vec![7; 512]), Act::Fis(setup)]);
    assert_eq!((rig.is(0), rig.read(0, PX_CI)), (PxIs::PSS, 0));
    assert_eq!(rig.received(0, FIS_AREA_PSFIS, 1), [0x5f]);
    assert_eq!(rig.get(Rig::base(0) + DATA, 512), [7; 512]);
}

#[test]
fn dss_a_dma_setup_fis() {
    let mut rig = Rig::new();
    rig.issue_queued(0, 3);
    rig.write(0, PX_IS, u32::MAX);
    for (interrupt, cause) in [(false, PxIs::empty()), (true, PxIs::DSS)] {
        let setup =
            DeviceFis::DmaSetup { interrupt, tag: 3, to_host: true, transfer_count_bytes: 512 };
        rig.script(0).later = vec![(3, Act::Fis(setup))];
        rig.pass(1);
        assert_eq!(rig.is(0), cause);
    }
    let fis = rig.received(0, FIS_AREA_DSFIS, 28);
    assert_eq!((fis[0], fis[1], fis[4]), (0x41, 0x60, 3));
    assert_eq!(rig.read(0, PX_SACT), 1 << 3, "the command goes on");
}

#[test]
fn sdbs_a_set_device_bits_fis() {
    let mut rig = Rig::new();
    rig.issue_queued(0, 3);
    rig.write(0, PX_IS, u32::MAX);
    rig.script(0).later = vec![(3, Act::Loose(set_device_bits(1 << 3)))];
    rig.pass(1);
    assert_eq!((rig.is(0), rig.read(0, PX_SACT)), (PxIs::SDBS, 0));
    assert_eq!(rig.received(0, FIS_AREA_SDBFIS, 1), [0xa1]);
}

#[test]
fn ufs_a_fis_of_unknown_type_goes_to_memory_as_it_is() {
    let mut rig = Rig::new();
    let bytes: Vec<u8> = (0xd4..=0xff).chain(0..20).collect();
    assert_eq!(bytes.len(), UNKNOWN_FIS_BYTES);
    rig.script(0).later = vec![(0, Act::Unknown(bytes.clone()))];
    rig.pass(1);
    assert_eq!((rig.is(0), rig.serr(0)), (PxIs::UFS, PxSerr::DIAG_F));
    assert_eq!(rig.received(0, FIS_AREA_UFIS, UNKNOWN_FIS_BYTES), bytes);
    rig.write(0, PX_IS, u32::MAX);
    assert_eq!(rig.is(0), PxIs::UFS, "it stands as long as PxSERR.DIAG.F");
    rig.write(0, PX_SERR, PxSerr::DIAG_F.bits());
    assert_eq!(rig.is(0), PxIs::empty());
    assert!(rig.works(0), "it is no error of the port");
}

#[test]
fn an_unknown_fis_is_not_posted_without_fre_and_is_an_error_if_it_has_no_room() {
    let mut rig = Rig::new();
    rig.command(0, PxCmd::SUD | PxCmd::POD);
    rig.script(0).later = vec![(0, Act::Unknown(vec![0xc7; 4]))];
    rig.pass(1);
    assert_eq!((rig.is(0), rig.serr(0)), (PxIs::empty(), PxSerr::DIAG_F));
    assert_eq!(rig.received(0, FIS_AREA_UFIS, 4), [0; 4]);
    rig.start(0);
    rig.script(0).later = vec![(0, Act::Unknown(vec![0xc7; 65]))];
    rig.pass(1);
    assert_eq!((rig.is(0), rig.serr(0)), (PxIs::IFS, PxSerr::ERR_P | PxSerr::DIAG_T));
    assert_eq!(rig.received(0, FIS_AREA_UFIS, 4), [0; 4]);
    assert!(halts(&mut rig));
    restart(&mut rig);
    assert!(rig.works(0));
}

#[test]
fn ufs_can_be_injected() {
    let mut rig = Rig::new();
    inject(&mut rig, LinkFault::UnknownFis);
    assert!(rig.hba.next_wakeup().is_some(), "it does not wait for anything");
    rig.pass(1);
    assert_eq!((rig.is(0), rig.received(0, FIS_AREA_UFIS, 1)), (PxIs::UFS, vec![0xc7]));
    rig.write(0, PX_SERR, u32::MAX);
    rig.pass(1);
    assert_eq!(rig.is(0), PxIs::empty(), "once");
    // Without a link it waits for one.
    rig.stop(0);
    rig.write(0, PX_SCTL, DET_OFFLINE);
    inject(&mut rig, LinkFault::UnknownFis);
    assert_eq!(rig.hba.next_wakeup(), None);
    rig.write(0, PX_SCTL, 0);
    rig.pass(1);
    assert!(rig.is(0).contains(PxIs::UFS));
}

#[test]
fn dps_the_end_of_a_prdt_entry_that_asks_for_it() {
    let mut rig = Rig::new();
    let data = Rig::base(0) + DATA;
    let prdt = [(data, 511), (data + 512, 511 | 1 << 31), (data + 1024, 511)];
    rig.prepare_with(0, 0, &command(0x60), &prdt);
    rig.script(0).commands.push_back(vec![Act::Fis(register(Status::DRDY))]);
    rig.write(0, PX_SACT, 1);
    rig.write(0, PX_CI, 1);
    rig.write(0, PX_IS, u32::MAX);
    let cases = [
        (Act::In(0, vec![1; 512]), false),
        (Act::In(512, vec![2; 511]), false),
        (Act::In(1023, vec![3; 1]), true),
        (Act::In(1024, vec![4; 512]), false),
        (Act::Out(256, 1024), true),
    ];
    for (act, reported) in cases {
        rig.script(0).later = vec![(0, act.clone())];
        rig.pass(1);
        assert_eq!(rig.is(0) == PxIs::DPS, reported, "{act:?}");
        rig.write(0, PX_IS, u32::MAX);
    }
}

#[test]
fn pcs_and_prcs_a_link_that_comes_up_follow_pxserr() {
    let mut rig = Rig::new();
    rig.stop(0);
    rig.comreset(0);
    assert!(rig.is(0).contains(PxIs::PCS | PxIs::PRCS));
    rig.write(0, PX_IS, u32::MAX);
    assert_eq!(rig.is(0), PxIs::PCS | PxIs::PRCS);
    rig.write(0, PX_SERR, PxSerr::DIAG_X.bits());
    assert_eq!(rig.is(0), PxIs::PRCS);
    rig.write(0, PX_SERR, PxSerr::DIAG_N.bits());
    assert_eq!(rig.is(0), PxIs::empty());
}

#[test]
fn ofs_more_data_than_the_prdt_has_room_for() {
    let mut rig = Rig::new();
    let failed = register(Status::DRDY | Status::ERR);
    rig.perform(0, 0, vec![Act::In(0, vec![1; 4097]), Act::Fis(failed)]);
    assert_eq!(rig.script(0).results[0], Err(LinkError::Overflow));
    assert_eq!(rig.is(0), PxIs::OFS | PxIs::TFES | PxIs::DHRS);
    restart(&mut rig);
    assert!(rig.works(0));
}

#[test]
fn infs_a_fis_that_hardware_repeats_by_itself_is_no_more_than_a_note() {
    let mut rig = Rig::new();
    inject(&mut rig, LinkFault::Retry);
    rig.issue(0, 0);
    assert_eq!((rig.is(0), rig.read(0, PX_CI)), (PxIs::INFS | PxIs::DHRS, 0));
    assert_eq!(rig.serr(0), PxSerr::ERR_I | PxSerr::DIAG_C);
    rig.write(0, PX_SERR, u32::MAX);
    rig.write(0, PX_IS, u32::MAX);
    assert!(rig.works(0), "the port did not halt");
    assert_eq!(rig.is(0), PxIs::DHRS, "once");
}

#[test]
fn ifs_a_malformed_fis_halts_the_port_and_its_command_never_ends() {
    let mut rig = Rig::new();
    rig.put(Rig::base(0) + FIS_AREA + FIS_AREA_RFIS, &[0]);
    inject(&mut rig, LinkFault::BadFis);
    rig.issue(0, 5);
    assert_eq!((rig.is(0), rig.read(0, PX_CI)), (PxIs::IFS, 1 << 5));
    assert_eq!(rig.serr(0), PxSerr::ERR_P | PxSerr::DIAG_T);
    assert_eq!(rig.read(0, PX_TFD) & 0x80, 0x80, "BSY");
    assert_eq!(rig.read(0, PX_CMD) >> 8 & 0x1f, 5, "PxCMD.CCS");
    assert_eq!(rig.received(0, FIS_AREA_RFIS, 1), [0]);
    assert!(halts(&mut rig));
    restart(&mut rig);
    assert!(rig.works(0), "once");
}

#[test]
fn a_malformed_fis_for_queued_commands_leaves_them_in_pxsact() {
    let mut rig = Rig::new();
    rig.issue_queued(0, 3);
    rig.issue_queued(0, 4);
    rig.write(0, PX_IS, u32::MAX);
    inject(&mut rig, LinkFault::BadFis);
    rig.script(0).later = vec![(3, Act::Loose(set_device_bits(1 << 3)))];
    rig.pass(1);
    assert_eq!((rig.is(0), rig.read(0, PX_SACT)), (PxIs::IFS, 0b11000));
    restart(&mut rig);
    assert!(rig.works(0));
}

#[test]
fn hbds_memory_with_an_uncorrectable_error() {
    let mut rig = Rig::new();
    inject(&mut rig, LinkFault::Poison);
    let failed = register(Status::DRDY | Status::ERR);
    rig.perform(0, 0, vec![Act::In(0, vec![1; 512]), Act::Fis(failed)]);
    assert_eq!(rig.script(0).results[0], Err(LinkError::HostBus));
    assert_eq!(rig.is(0), PxIs::HBDS | PxIs::TFES | PxIs::DHRS);
    assert_eq!(rig.get(Rig::base(0) + DATA, 512), [0; 512], "not a byte has moved");
    assert!(halts(&mut rig));
    restart(&mut rig);
    rig.perform(0, 0, vec![Act::In(0, vec![1; 512]), Act::Fis(good())]);
    assert_eq!((rig.is(0), rig.read(0, PX_CI)), (PxIs::DHRS, 0), "once");
}

#[test]
fn hbfs_a_pointer_to_no_memory() {
    let mut rig = Rig::new();
    rig.stop(0);
    rig.write(0, PX_CLBU, 0x1000);
    rig.command(0, PxCmd::ST | PxCmd::FRE);
    rig.write(0, PX_CI, 1 << 7);
    assert_eq!((rig.is(0), rig.read(0, PX_CI)), (PxIs::HBFS, 1 << 7));
    rig.stop(0);
    rig.write(0, PX_CLBU, 0);
    rig.start(0);
    assert!(rig.works(0));
}

#[test]
fn tfes_an_error_that_the_device_reports() {
    let mut rig = Rig::new();
    rig.perform(0, 9, vec![Act::Fis(register(Status::DRDY | Status::ERR))]);
    assert_eq!((rig.is(0), rig.read(0, PX_CI)), (PxIs::TFES | PxIs::DHRS, 1 << 9));
    assert_eq!(rig.read(0, PX_TFD), 0x41);
    assert!(halts(&mut rig));
    restart(&mut rig);
    assert!(rig.works(0));
}

#[test]
fn a_stuck_command_is_busy_until_it_is_reset() {
    let mut rig = Rig::new();
    inject(&mut rig, LinkFault::Stuck);
    rig.issue(0, 2);
    rig.pass(1 << 50);
    assert_eq!((rig.is(0), rig.read(0, PX_CI)), (PxIs::empty(), 1 << 2));
    assert_eq!(rig.read(0, PX_TFD) & 0x80, 0x80);
    assert_eq!(rig.script(0).taken, []);
    rig.stop(0);
    assert_eq!((rig.read(0, PX_CI), rig.read(0, PX_TFD) & 0x80), (0, 0x80), "stopped, still busy");
    rig.comreset(0);
    rig.start(0);
    assert!(rig.works(0));
}

#[test]
fn faults_that_wait_can_be_taken_back() {
    let mut rig = Rig::new();
    for fault in [
        LinkFault::UnknownFis,
        LinkFault::BadFis,
        LinkFault::Retry,
        LinkFault::Stuck,
        LinkFault::Poison,
    ] {
        inject(&mut rig, fault);
        rig.hba.clear_link_faults();
        rig.perform(0, 0, vec![Act::In(0, vec![1; 512]), Act::Fis(good())]);
        rig.pass(1);
        assert_eq!((rig.is(0), rig.read(0, PX_CI)), (PxIs::DHRS, 0), "{fault:?}");
        rig.write(0, PX_IS, u32::MAX);
    }
}
