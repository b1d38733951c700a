use freewheel_ata::fis::{DeviceFis, Error, Status};
use freewheel_ata::{Device, DiskConfig};
use freewheel_block::{ByteRange, OpKind};

use crate::support::*;

const SECTORS: u64 = (1 << 20) / 512;

#[test]
fn every_read_returns_what_is_on_the_medium() {
    for opcode in [0x20, 0x21, 0x24, 0x25, 0x29, 0xc4, 0xc8, 0xc9] {
        let mut rig = Rig::default();
        let fis = at48(opcode, 5, 3);
        match opcode {
            0x25 | 0xc8 | 0xc9 => drop(rig.good(fis)),
            0x29 | 0xc4 => assert_eq!(rig.pio_in(fis), [3 * 512]),
            _ => assert_eq!(rig.pio_in(fis), [512; 2], "the first and the last"),
        }
        let wanted = rig.ram().data[5 * SECTOR..8 * SECTOR].to_vec();
        assert_eq!(rig.host.memory[0][..3 * SECTOR], wanted, "{opcode:x}");
        assert_eq!(rig.host.in_bytes, 3 * 512);
    }
}

#[test]
fn every_write_puts_the_data_on_the_medium() {
    for opcode in [0x30, 0x31, 0x34, 0x35, 0x39, 0x3d, 0xc5, 0xca, 0xcb, 0xce] {
        let mut rig = Rig::default();
        rig.host.memory[0][..2 * SECTOR].fill(0xa5);
        rig.good(at48(opcode, 7, 2));
        let ram = rig.ram();
        assert!(ram.data[7 * SECTOR..9 * SECTOR].iter().all(|byte| *byte == 0xa5), "{opcode:x}");
        assert_ne!(ram.data[9 * SECTOR..10 * SECTOR], [0xa5; SECTOR]);
        let fua = matches!(opcode, 0x3d | 0xce);
        assert_eq!(ram.log, [(OpKind::Write, ByteRange::new(7 * 512, 1024), fua)]);
    }
}

#[test]
fn the_last_sector_is_there_and_the_one_behind_it_is_not() {
    let mut rig = Rig::default();
    for opcode in [0x25, 0xc8, 0x35, 0xca, 0x3d, 0x30, 0x34, 0x39, 0xc5, 0x40, 0x41, 0x42, 0x70] {
        rig.good(at48(opcode, SECTORS - 1, 1));
        let past = rig.bad(at48(opcode, SECTORS, 1), Error::IDNF);
        assert_eq!(past.lba, SECTORS, "{opcode:x}");
        if opcode != 0x70 {
            let across = rig.bad(at48(opcode, SECTORS - 1, 2), Error::IDNF);
            assert_eq!(across.lba, SECTORS, "the first sector that is not there");
        }
    }
    for opcode in [0x20, 0x24, 0xc4, 0x29] {
        rig.pio_in(at48(opcode, SECTORS - 1, 1));
        rig.bad(at48(opcode, SECTORS - 1, 2), Error::IDNF);
    }
    let far = rig.bad(at48(0x25, 0xffff_ffff_ffff, 1), Error::IDNF);
    assert_eq!(far.lba, 0xffff_ffff_ffff);
}

#[test]
fn a_28_bit_command_that_misses_reports_its_lba_in_28_bits() {
    let mut rig = Rig::default();
    let registers = rig.bad(at28(0xc8, 0xabc_def0, 1), Error::IDNF);
    assert_eq!(registers.lba, 0xbc_def0);
    assert_eq!(registers.device, 0x4a);
}

#[test]
fn a_28_bit_command_ignores_the_upper_bytes_of_its_registers() {
    let mut rig = Rig::default();
    rig.good(at48(0xc8, 0xffff_ff00_0002, 0xab01));
    assert_eq!(rig.host.in_bytes, 512);
    assert_eq!(rig.host.memory[0][..SECTOR], rig.ram.lock().unwrap().data[2 * SECTOR..3 * SECTOR]);
}

#[test]
fn count_zero_is_the_largest_count() {
    let mut rig = Setup { size_bytes: 65_536 * 512, ..Setup::default() }.build();
    rig.good(at28(0xc8, 0, 0));
    assert_eq!(rig.host.in_bytes, 256 * 512);
    rig.host.memory[0] = vec![0; 65_536 * 512];
    rig.host.in_bytes = 0;
    rig.good(at48(0x25, 0, 0));
    assert_eq!(rig.host.in_bytes, 65_536 * 512);
    assert!(rig.host.memory[0] == rig.ram.lock().unwrap().data);
    rig.bad(at48(0x25, 1, 0), Error::IDNF);
    rig.host.in_bytes = 0;
    // However many blocks there are, one poll does not announce each.
    assert_eq!(rig.pio_in(at48(0x24, 0, 0)), [512, 512]);
    assert_eq!(rig.host.in_bytes, 65_536 * 512);
    let fises = rig.run_all(at48(0x34, 0, 0));
    assert_eq!(fises.len(), 3, "two PIO Setup FISes and the end");
}

#[test]
fn a_multiple_read_moves_blocks_and_a_rest() {
    let mut rig = Rig::default();
    rig.good(at28(0xc6, 0, 4));
    assert_eq!(rig.pio_in(at48(0x29, 0, 10)), [2048, 1024]);
    rig.good(at28(0xc6, 0, 0));
    rig.bad(at48(0x29, 0, 10), Error::ABRT);
    rig.bad(at48(0xce, 0, 10), Error::ABRT);
    for count in [3, 32, 255] {
        rig.bad(at28(0xc6, 0, count), Error::ABRT);
    }
    assert_eq!(rig.identify()[59] & 0x1ff, 0x0100);
}

#[test]
fn a_pio_write_asks_for_its_first_block_without_an_interrupt() {
    let mut rig = Rig::default();
    let fises = rig.run_all(at28(0x30, 0, 3));
    let interrupts: Vec<bool> = fises
        .iter()
        .map(|fis| match *fis {
            DeviceFis::PioSetup { interrupt, to_host: false, ending_status, .. } => {
                assert!(ending_status.contains(Status::BSY));
                interrupt
            }
            DeviceFis::RegisterD2H { interrupt, .. } => interrupt,
            ref other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(interrupts, [false, true, true], "the first block, the last block, the end");
}

#[test]
fn verify_reads_everything_and_moves_nothing() {
    let mut rig = Rig::default();
    for (opcode, sectors) in [(0x40, 256), (0x41, 256), (0x42, 300)] {
        rig.ram().log.clear();
        rig.good(at48(opcode, 8, if opcode == 0x42 { 300 } else { 0 }));
        let read: u64 = rig.ram().log.iter().map(|(_, range, _)| range.len_bytes).sum();
        assert_eq!(read, sectors * 512);
    }
    assert_eq!(rig.host.in_bytes, 0);
}

#[test]
fn a_cylinder_head_and_sector_address_finds_its_sector() {
    let mut rig = Rig::default();
    // Cylinder 1, head 2, sector 3 of 16 heads and 63 sectors.
    let lba = (16 + 2) * 63 + 2;
    let mut fis = at28(0xc8, 1 << 8 | 3, 1);
    fis.device = 2;
    rig.good(fis);
    let wanted = rig.ram().data[lba * SECTOR..(lba + 1) * SECTOR].to_vec();
    assert_eq!(rig.host.memory[0][..SECTOR], wanted);
    // There is no sector 0, no sector 64, and no cylinder 9 on a medium of this size.
    for low in [0, 64, 9 << 8 | 1] {
        rig.bad(RegisterLow(low).read(), Error::IDNF);
    }
    // Another translation: 4 heads, 8 sectors.
    let mut parameters = at28(0x91, 0, 8);
    parameters.device = 3;
    rig.good(parameters);
    fis.lba = 1 << 8 | 1;
    fis.device = 0;
    rig.good(fis);
    let wanted = rig.ram().data[32 * SECTOR..33 * SECTOR].to_vec();
    assert_eq!(rig.host.memory[0][..SECTOR], wanted);
    let words = rig.identify();
    assert_eq!((words[54], words[55], words[56]), (64, 4, 8));
    parameters.count = 0;
    rig.bad(parameters, Error::ABRT);
}

struct RegisterLow(u64);

impl RegisterLow {
    fn read(self) -> freewheel_ata::fis::RegisterH2D {
        let mut fis = at28(0xc8, self.0, 1);
        fis.device = 0;
        fis
    }
}

#[test]
fn large_sectors_are_counted_and_addressed_as_such() {
    let config = DiskConfig { logical_sector_bytes: 4096, ..DiskConfig::default() };
    let mut rig = Setup { config, ..Setup::default() }.build();
    rig.good(at48(0x25, 255, 1));
    assert_eq!(rig.host.in_bytes, 4096);
    assert_eq!(rig.bad(at48(0x25, 255, 2), Error::IDNF).lba, 256);
    assert_eq!(rig.pio_in(at48(0x24, 0, 2)), [4096, 4096]);
    assert_eq!(rig.pio_in(at48(0x29, 0, 3)), [8192, 4096]);
}

#[test]
fn a_read_only_medium_refuses_writes_and_nothing_else() {
    let mut rig = Setup { read_only: true, ..Setup::default() }.build();
    for opcode in [0x30, 0x31, 0x34, 0x35, 0x39, 0x3d, 0xc5, 0xca, 0xce] {
        rig.bad(at48(opcode, 0, 1), Error::ABRT);
    }
    rig.good(at48(0x25, 0, 1));
    rig.good(command(0xe7));
    assert_eq!(rig.identify()[169], 0);
}

#[test]
fn a_second_command_while_the_disk_is_busy_is_aborted_and_one_in_its_slot_ignored() {
    let mut rig = Rig::default();
    rig.ram().hangs = true;
    rig.issue(0, at48(0x25, 0, 1));
    rig.issue(0, at48(0x25, 1, 1));
    assert!(rig.fises().is_empty());
    for fis in [at48(0x25, 0, 1), queued(0x60, 3, 0, 1)] {
        rig.issue(3, fis);
        let fises = rig.fises();
        assert!(
            matches!(fises[..], [(Some(3), DeviceFis::RegisterD2H { registers, .. })]
                if registers.error == Error::ABRT),
            "{fises:?}"
        );
    }
    rig.ram().hangs = false;
    rig.settle();
    assert_eq!(rig.fises().len(), 1);
}

#[test]
fn a_slot_that_no_controller_has_is_ignored() {
    let mut rig = Rig::default();
    for slot in [32, 255] {
        rig.issue(slot, at48(0x25, 0, 1));
    }
    rig.settle();
    assert!(rig.fises().is_empty());
    assert_eq!(rig.disk.abort_all(rig.now), 0);
}
