//! Register access of any size, and bits that do not stick.

use freewheel_ahci::ABAR_LEN_BYTES;
use freewheel_ahci::registers::*;
use freewheel_sim::ResetWay;

use crate::support::*;

#[test]
fn parts_of_a_register_can_be_read_and_written() {
    let mut rig = Rig::new();
    rig.driver.stop(&mut rig.machine);
    let clb = u64::from(PORTS + PX_CLB);
    rig.driver.write(&mut rig.machine, PX_CLB, 0x1234_5400);
    rig.machine.write_bytes(clb + 3, &[0xab]);
    assert_eq!(rig.driver.read(&mut rig.machine, PX_CLB), 0xab34_5400);
    rig.machine.write_bytes(clb + 1, &[0xcd]);
    assert_eq!(rig.driver.read(&mut rig.machine, PX_CLB), 0xab34_cc00);
    let mut half = [0; 2];
    rig.machine.read_bytes(clb + 2, &mut half);
    assert_eq!(half, [0x34, 0xab]);
    rig.machine.write_bytes(clb, &0x0000_0007_8000_0000u64.to_le_bytes());
    assert_eq!(rig.driver.read(&mut rig.machine, PX_CLB), 0x8000_0000);
    assert_eq!(rig.driver.read(&mut rig.machine, PX_CLBU), 7);
}

#[test]
fn a_byte_of_a_write_one_to_clear_register_clears_that_byte_only() {
    let mut rig = Rig::new();
    rig.driver.reset(&mut rig.machine, ResetWay::Comreset);
    let serr = rig.driver.read(&mut rig.machine, PX_SERR);
    assert_eq!(serr, (PxSerr::DIAG_X | PxSerr::DIAG_N).bits());
    let is = PxIs::from_bits_retain(rig.driver.read(&mut rig.machine, PX_IS));
    assert!(is.contains(PxIs::PCS | PxIs::PRCS));
    rig.machine.write_bytes(u64::from(PORTS + PX_SERR) + 3, &[0xff]);
    assert_eq!(rig.driver.read(&mut rig.machine, PX_SERR), PxSerr::DIAG_N.bits());
    let is = PxIs::from_bits_retain(rig.driver.read(&mut rig.machine, PX_IS));
    assert!(is.contains(PxIs::PRCS) && !is.contains(PxIs::PCS));
}

#[test]
fn what_is_read_only_stays_and_what_is_not_there_is_zero() {
    let mut rig = Rig::new();
    for register in [CAP, PI, VS, CAP2, PORTS + PX_TFD, PORTS + PX_SIG, PORTS + PX_SSTS] {
        let before = rig.machine.read(register);
        rig.machine.write(register, !before);
        assert_eq!(rig.machine.read(register), before, "{register:#x}");
    }
    let mut bytes = [0xff; 64];
    rig.machine.read_bytes(PORTS as u64 + 2 * PORT_STRIDE as u64, &mut bytes);
    assert_eq!(bytes, [0; 64], "there is no third port");
    for offset in [ABAR_LEN_BYTES - 2, ABAR_LEN_BYTES, 1 << 40, u64::MAX - 3] {
        let mut bytes = [0xff; 8];
        rig.machine.read_bytes(offset, &mut bytes);
        rig.machine.write_bytes(offset, &[0xff; 8]);
    }
    rig.power_on();
}

#[test]
fn a_stopped_port_takes_no_commands() {
    let mut rig = Rig::new();
    rig.driver.stop(&mut rig.machine);
    rig.driver.write(&mut rig.machine, PX_SACT, u32::MAX);
    rig.driver.write(&mut rig.machine, PX_CI, u32::MAX);
    assert_eq!(rig.driver.read(&mut rig.machine, PX_SACT), 0);
    assert_eq!(rig.driver.read(&mut rig.machine, PX_CI), 0);
}

#[test]
fn writing_zeroes_to_ci_and_sact_clears_nothing() {
    let mut rig = Rig::new();
    rig.fill_and_hang(1);
    rig.driver.write(&mut rig.machine, PX_SACT, 0);
    rig.driver.write(&mut rig.machine, PX_CI, 0);
    assert_eq!(rig.driver.read(&mut rig.machine, PX_SACT), u32::MAX);
    assert_eq!(rig.driver.read(&mut rig.machine, PX_CI), 0);
}
