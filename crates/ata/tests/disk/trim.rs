use freewheel_ata::fis::{Error, RegisterH2D};
use freewheel_block::{ByteRange, IoError, OpKind};

use crate::support::*;

fn trim(blocks: u16) -> RegisterH2D {
    RegisterH2D { features: 1, count: blocks, ..command(0x06) }
}

fn put_ranges(rig: &mut Rig, ranges: &[(u64, u16)]) {
    rig.host.memory[0].fill(0);
    for (index, (lba, sectors)) in ranges.iter().enumerate() {
        let entry = u64::from(*sectors) << 48 | lba;
        rig.host.memory[0][index * 8..index * 8 + 8].copy_from_slice(&entry.to_le_bytes());
    }
}

fn discarded(rig: &Rig) -> Vec<ByteRange> {
    let discards = rig.ram.lock().unwrap();
    discards.log.iter().filter(|it| it.0 == OpKind::Discard).map(|it| it.1).collect()
}

#[test]
fn the_last_range_of_a_full_payload_is_discarded() {
    for blocks in 1..=8u16 {
        let mut rig = Rig::default();
        let ranges: Vec<_> = (0..u64::from(blocks) * 64).map(|index| (index * 4, 1)).collect();
        put_ranges(&mut rig, &ranges);
        rig.good(trim(blocks));
        let mut seen = discarded(&rig);
        seen.sort_unstable();
        let wanted: Vec<_> = ranges.iter().map(|(lba, _)| ByteRange::new(lba * 512, 512)).collect();
        assert_eq!(seen, wanted);
    }
}

#[test]
fn the_payload_is_read_once() {
    let mut rig = Rig::default();
    put_ranges(&mut rig, &[(0, 8), (16, 8)]);
    rig.ram().hangs = true;
    rig.issue(0, trim(2));
    assert_eq!(rig.host.out_bytes, 1024);
    rig.host.memory[0].fill(0xff);
    rig.ram().hangs = false;
    rig.settle();
    assert_eq!(rig.host.out_bytes, 1024);
    assert_eq!(discarded(&rig), [ByteRange::new(0, 4096), ByteRange::new(8192, 4096)]);
}

#[test]
fn a_range_behind_the_end_keeps_all_others_from_being_discarded() {
    for (lba, count, missing) in [(2048, 1, 2048), (2047, 2, 2048), (1 << 40, 1, 1 << 40)] {
        let mut rig = Rig::default();
        put_ranges(&mut rig, &[(0, 8), (lba, count)]);
        assert_eq!(rig.bad(trim(1), Error::IDNF).lba, missing);
        assert!(discarded(&rig).is_empty());
    }
    let mut rig = Rig::default();
    put_ranges(&mut rig, &[(2047, 1)]);
    rig.good(trim(1));
    assert_eq!(discarded(&rig), [ByteRange::new(2047 * 512, 512)]);
}

#[test]
fn empty_ranges_are_void_wherever_they_are() {
    let mut rig = Rig::default();
    put_ranges(&mut rig, &[(0xffff_ffff_ffff, 0), (8, 8), (5, 0)]);
    rig.good(trim(1));
    assert_eq!(discarded(&rig), [ByteRange::new(8 * 512, 4096)]);
    put_ranges(&mut rig, &[]);
    rig.good(trim(8));
    assert_eq!(discarded(&rig).len(), 1);
}

#[test]
fn a_long_range_cut_by_the_host_is_joined_again() {
    let mut rig = Setup { size_bytes: 70_000 * 512, ..Setup::default() }.build();
    put_ranges(&mut rig, &[(0, 65_535), (65_535, 2_049)]);
    rig.good(trim(1));
    assert_eq!(discarded(&rig), [ByteRange::new(0, 67_584 * 512)]);
}

#[test]
fn what_is_not_trim_or_too_long_is_aborted_and_its_payload_not_read() {
    let mut rig = Rig::default();
    for (features, count) in [(0, 1), (2, 1), (3, 1), (0x0101, 1), (1, 0), (1, 9), (1, 0xffff)] {
        rig.bad(RegisterH2D { features, ..trim(count) }, Error::ABRT);
    }
    assert_eq!(rig.host.out_bytes, 0);
    let mut rig = Setup { discard: None, ..Setup::default() }.build();
    rig.bad(trim(1), Error::ABRT);
}

#[test]
fn a_discard_that_fails_aborts_the_command() {
    let mut rig = Rig::default();
    put_ranges(&mut rig, &[(8, 8)]);
    rig.ram().fails = Some((OpKind::Discard, 4096, IoError::Os(5)));
    assert_eq!(rig.bad(trim(1), Error::ABRT).lba, 8);
}
