//! The commands that read the medium.

use crate::support::{Rig, content, read_10};

#[test]
fn what_is_read_is_what_the_image_has() {
    let mut rig = Rig::loaded();
    assert_eq!(rig.good(&read_10(0, 1), 2048), content("A", 0, 1));
    assert_eq!(rig.good(&read_10(990, 10), 20480), content("A", 990, 10));
    let read_12 = [0xa8, 0, 0, 0, 0, 17, 0, 0, 0, 100, 0, 0];
    assert_eq!(rig.good(&read_12, 204_800), content("A", 17, 100));
    assert_eq!(rig.good(&read_10(1000, 0), 0), []);
}

#[test]
fn what_lies_behind_the_end_is_out_of_range() {
    let mut rig = Rig::loaded();
    for command in [
        read_10(999, 2).to_vec(),
        read_10(1000, 1).to_vec(),
        read_10(u32::MAX, 2).to_vec(),
        vec![0xa8, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0],
        vec![0x2b, 0, 0, 0, 0x03, 0xe8],
        vec![0x2f, 0, 0, 0, 0x03, 0xe7, 0, 0, 2, 0],
        vec![0xbe, 0, 0, 0, 0x03, 0xe7, 0, 0, 2, 0xf8],
    ] {
        assert_eq!(rig.check(&command), (5, 0x21, 0), "{command:x?}");
    }
    rig.good(&[0x2b, 0, 0, 0, 0x03, 0xe7], 0);
}

#[test]
fn an_error_of_the_medium_names_its_block() {
    let mut rig = Rig::loaded();
    rig.storage.lock().unwrap().bad_block = Some(42);
    let (_, registers) = rig.run(crate::support::packet_fis(None), &read_10(40, 4));
    assert_eq!(registers.error.bits(), 0x30);
    rig.run(crate::support::packet_fis(None), &[3, 0, 0, 0, 18]);
    let sense = &rig.host.memory[..18];
    assert_eq!((sense[0], sense[2], sense[12]), (0xf0, 3, 0x11));
    let lba = u32::from_be_bytes([sense[3], sense[4], sense[5], sense[6]]);
    assert!((40..=42).contains(&lba), "{lba}");
    assert_eq!(rig.check(&[0x2f, 0, 0, 0, 0, 42, 0, 0, 1, 0]), (3, 0x11, 0));
    rig.good(&read_10(43, 1), 2048);
}

#[test]
fn capacity_is_the_last_block_and_the_size_of_one() {
    let mut rig = Rig::loaded();
    assert_eq!(rig.good(&[0x25], 8), [0, 0, 0x03, 0xe7, 0, 0, 8, 0]);
    let mut rig = Rig::empty();
    // Half a block at the end is not there.
    rig.insert("B", (4 << 40) + 1024);
    rig.check(&[0]);
    assert_eq!(rig.good(&[0x25], 8), [0x7f, 0xff, 0xff, 0xff, 0, 0, 8, 0]);
    let last = rig.good(&read_10(0x7fff_ffff, 1), 2048);
    assert_eq!(last, content("B", 0x7fff_ffff, 1));
}

#[test]
fn read_cd_gives_whole_sectors_over_any_number_of_chunks() {
    let mut rig = Rig::loaded();
    let whole = rig.good(&[0xbe, 0, 0, 0, 0, 70, 0, 0, 40, 0xf8], 40 * 2352);
    for (index, sector) in whole.chunks_exact(2352).enumerate() {
        assert_eq!(sector[..12], [0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0]);
        let frame = (70 + index) % 75;
        let bcd = (frame / 10 * 16 + frame % 10) as u8;
        let second = if 70 + index >= 75 { 3 } else { 2 };
        assert_eq!(sector[12..16], [0, second, bcd, 1]);
        assert_eq!(sector[16..2064], content("A", 70 + index as u64, 1));
        assert_eq!(sector[2068..2076], [0; 8]);
    }
    assert_eq!(rig.good(&[0xbe, 0, 0, 0, 0, 3, 0, 0, 2, 0x10], 4096), content("A", 3, 2));
    assert_eq!(rig.good(&[0xbe, 0, 0, 0, 0, 3, 0, 0, 2, 0x00], 0), []);
    let by_msf = rig.good(&[0xb9, 0, 0, 0, 2, 3, 0, 2, 5, 0x10], 4096);
    assert_eq!(by_msf, content("A", 3, 2));
}

#[test]
fn read_cd_refuses_what_a_data_track_has_not() {
    let mut rig = Rig::loaded();
    // Audio, a subheader torn from its sync, sub-channels, an end before the start.
    assert_eq!(rig.check(&[0xbe, 1 << 2, 0, 0, 0, 0, 0, 0, 1, 0x10]), (5, 0x64, 0));
    for command in [
        [0xbe, 0, 0, 0, 0, 0, 0, 0, 1, 0x90, 0],
        [0xbe, 0, 0, 0, 0, 0, 0, 0, 1, 0x10, 1],
        [0xbe, 0, 0, 0, 0, 0, 0, 0, 1, 0x12, 0],
        [0xb9, 0, 0, 0, 2, 5, 0, 2, 3, 0x10, 0],
        [0xb9, 0, 0, 0, 1, 0, 0, 2, 3, 0x10, 0],
    ] {
        assert_eq!(rig.check(&command), (5, 0x24, 0), "{command:x?}");
    }
}
