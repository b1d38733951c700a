//! What the drive says of itself and of its medium.

use crate::support::Rig;

#[test]
fn inquiry_and_its_pages_name_the_drive() {
    let mut rig = Rig::empty();
    let data = rig.good(&[0x12, 0, 0, 0, 96], 66);
    assert_eq!(data[..5], [5, 0x80, 5, 2, 61]);
    assert_eq!(&data[8..32], b"FREEWHL BD-ROM          ");
    assert_eq!(rig.good(&[0x12, 0, 0, 0, 5], 5), data[..5]);
    assert_eq!(rig.good(&[0x12, 1, 0, 0, 255], 7), [5, 0, 0, 3, 0, 0x80, 0x83]);
    let serial = rig.good(&[0x12, 1, 0x80, 0, 255], 24);
    assert_eq!(&serial[..14], b"\x05\x80\x00\x14FW00000000");
    let designators = rig.good(&[0x12, 1, 0x83, 0, 255], 52);
    assert_eq!(designators[..8], [5, 0x83, 0, 48, 2, 1, 0, 44]);
    assert_eq!(rig.check(&[0x12, 1, 0x84, 0, 255]), (5, 0x24, 0));
    assert_eq!(rig.check(&[0x12, 0, 1, 0, 255]), (5, 0x24, 0));
}

#[test]
fn attentions_wait_for_a_command_that_reports_them() {
    let mut rig = Rig::loaded();
    rig.drive.eject(true, rig.now).unwrap();
    rig.insert("B", 1 << 20);
    rig.good(&[0x12, 0, 0, 0, 36], 36);
    rig.good(&[0x46, 2, 0, 0, 0, 0, 0, 0, 8], 8);
    let sense = rig.good(&[3, 0, 0, 0, 18], 18);
    assert_eq!((sense[0], sense[2], sense[12]), (0x70, 6, 0x28), "REQUEST SENSE tells and clears");
    rig.good(&[0], 0);
}

#[test]
fn sense_data_is_that_of_the_last_command() {
    let mut rig = Rig::loaded();
    assert_eq!(rig.check(&[0xff]), (5, 0x20, 0));
    rig.run(crate::support::packet_fis(None), &[0xff]);
    rig.good(&[0], 0);
    assert_eq!(rig.good(&[3, 0, 0, 0, 18], 18)[2], 0);
    assert_eq!(rig.check(&[3, 1, 0, 0, 18]), (5, 0x24, 0), "no descriptor format");
}

#[test]
fn the_table_of_contents_in_all_its_formats() {
    let mut rig = Rig::loaded();
    let toc = |msf: u8, format: u8, track: u8| [0x43, msf, format, 0, 0, 0, track, 1, 0, 0];
    let data = rig.good(&toc(0, 0, 0), 20);
    assert_eq!(data[..12], [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0]);
    assert_eq!(data[12..], [0, 0x14, 0xaa, 0, 0, 0, 0x03, 0xe8]);
    let by_msf = rig.good(&toc(2, 0, 0xaa), 12);
    assert_eq!(by_msf[4..], [0, 0x14, 0xaa, 0, 0, 0, 15, 25]);
    assert_eq!(rig.check(&toc(0, 0, 2)), (5, 0x24, 0));
    let sessions = [0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0];
    assert_eq!(rig.good(&toc(0, 1, 0), 12), sessions);
    // The format where it stood before MMC.
    assert_eq!(rig.good(&[0x43, 0, 0, 0, 0, 0, 0, 1, 0, 0x40], 12), sessions);
    let full = rig.good(&toc(2, 2, 0), 48);
    assert_eq!(full[..4], [0, 46, 1, 1]);
    assert_eq!(full[4 + 22..4 + 33], [1, 0x14, 0, 0xa2, 0, 0, 0, 0, 0, 15, 25]);
    assert_eq!(rig.good(&toc(0, 3, 0), 4), [0, 2, 0, 0]);
    assert_eq!(rig.good(&toc(0, 5, 0), 4), [0, 2, 0, 0]);
    assert_eq!(rig.check(&toc(2, 4, 0)), (5, 0x24, 0));
    assert_eq!(rig.good(&[0x42, 2, 0x40, 1, 0, 0, 0, 0, 255], 16)[..5], [0, 0x15, 0, 12, 1]);
    assert_eq!(rig.good(&[0x42, 2, 0x40, 2, 0, 0, 0, 0, 255], 24)[8], 0, "no catalogue number");
}

#[test]
fn the_profile_follows_the_size_of_the_medium() {
    for (size_bytes, profile, feature) in [
        (650u64 << 20, 0x0008u16, 0x001eu16),
        (4 << 30, 0x0010, 0x001f),
        (25_000_000_000, 0x0040, 0x0040),
    ] {
        let mut rig = Rig::empty();
        rig.insert("A", size_bytes);
        rig.check(&[0]);
        let header = rig.good(&[0x46, 2, 0xff, 0xff, 0, 0, 0, 0, 8], 8);
        assert_eq!(u16::from_be_bytes([header[6], header[7]]), profile);
        rig.run(crate::support::packet_fis(None), &[0x46, 1, 0, 0, 0, 0, 0, 2, 0]);
        let len = u32::from_be_bytes(rig.host.memory[..4].try_into().unwrap()) as usize + 4;
        let (mut at, mut codes) = (8, Vec::new());
        while at < len {
            let entry = &rig.host.memory[at..];
            codes.push(u16::from_be_bytes([entry[0], entry[1]]));
            assert_eq!(entry[2] & 1, 1, "current");
            at += 4 + usize::from(entry[3]);
        }
        assert_eq!(at, len);
        assert!(codes.is_sorted() && codes.contains(&feature) && codes.contains(&0x0010));
        let others = [0x001e, 0x001f, 0x0040].into_iter().filter(|code| *code != feature);
        assert!(others.into_iter().all(|code| !codes.contains(&code)), "{codes:x?}");
    }
    let mut rig = Rig::empty();
    let none = rig.good(&[0x46, 2, 0, 0x10, 0, 0, 0, 1, 0], 20);
    assert_eq!((none[6..8].to_vec(), none[10] & 1), (vec![0, 0], 0), "no medium, not current");
    assert_eq!(rig.check(&[0x46, 3, 0, 0, 0, 0, 0, 0, 8]), (5, 0x24, 0));
}

#[test]
fn the_disc_is_complete_with_one_session_and_one_track() {
    let mut rig = Rig::loaded();
    let disc = rig.good(&[0x51, 0, 0, 0, 0, 0, 0, 0, 34], 34);
    assert_eq!(disc[..8], [0, 32, 0x0e, 1, 1, 1, 1, 0x20]);
    let track = rig.good(&[0x52, 1, 0, 0, 0, 1, 0, 0, 36], 36);
    assert_eq!(track[..8], [0, 34, 1, 1, 0, 4, 1, 2]);
    assert_eq!(track[24..32], [0, 0, 0x03, 0xe8, 0, 0, 0x03, 0xe7]);
    assert_eq!(rig.good(&[0x52, 0, 0, 0, 0x03, 0xe7, 0, 0, 36], 36), track);
    assert_eq!(rig.check(&[0x52, 0, 0, 0, 0x03, 0xe8, 0, 0, 36]), (5, 0x21, 0));
    assert_eq!(rig.check(&[0x52, 1, 0, 0, 0, 2, 0, 0, 36]), (5, 0x24, 0));
    assert_eq!(rig.check(&[0x51, 1, 0, 0, 0, 0, 0, 0, 34]), (5, 0x24, 0));
}

#[test]
fn a_dvd_has_structures_and_a_cd_has_none() {
    let mut rig = Rig::loaded();
    let ask = |format: u8| [0xad, 0, 0, 0, 0, 0, 0, format, 0x10, 0, 0, 0];
    assert_eq!(rig.check(&ask(0)), (5, 0x30, 2));
    assert_eq!(rig.good(&ask(0xff), 8)[4], 0xff);
    let mut rig = Rig::empty();
    rig.insert("A", 6 << 30);
    rig.check(&[0]);
    let physical = rig.good(&ask(0), 2052);
    assert_eq!(physical[..7], [0x08, 0x02, 0, 0, 0x01, 0x0f, 0x21], "two layers");
    assert_eq!(physical[8..12], [0, 3, 0, 0]);
    assert_eq!(physical[12..16], (0x3_0000u32 + 3_145_728 - 1).to_be_bytes());
    assert_eq!(rig.good(&ask(1), 8), [0, 6, 0, 0, 0, 0, 0, 0]);
    let list = rig.good(&ask(0xff), 20);
    assert_eq!(list[..2], [0, 18]);
}

#[test]
fn mode_pages_can_be_read_and_only_what_is_changeable_changed() {
    let mut rig = Rig::loaded();
    let sense = |page: u8| [0x5a, 0, page, 0, 0, 0, 0, 1, 0];
    let all = rig.good(&sense(0x3f), 8 + 12 + 12 + 10 + 26);
    assert_eq!(all[..2], [0, 66]);
    let capabilities = rig.good(&sense(0x2a), 34);
    assert_eq!((capabilities[8], capabilities[9], capabilities[14]), (0x2a, 24, 0x29));
    rig.good(&[0x1e, 0, 0, 0, 1], 0);
    assert_eq!(rig.good(&sense(0x2a), 34)[14], 0x2b, "locked");
    assert_eq!(rig.check(&sense(0xc1)), (5, 0x39, 0), "saved values");
    assert_eq!(rig.check(&sense(0x05)), (5, 0x24, 0));

    let select = |rig: &mut Rig, list: &[u8]| {
        rig.host.memory[..list.len()].copy_from_slice(list);
        let command = [0x55, 0x10, 0, 0, 0, 0, 0, 0, list.len() as u8];
        rig.run(crate::support::packet_fis(None), &command).1.error.bits() >> 4
    };
    let mut list = rig.good(&sense(0x01), 20);
    assert_eq!(rig.good(&sense(0x41), 20)[10..12], [0xff, 0xff]);
    list[11] = 9;
    assert_eq!(select(&mut rig, &list), 0);
    assert_eq!(rig.good(&sense(0x01), 20)[11], 9);
    assert_eq!(rig.good(&sense(0x81), 20)[11], 5, "the default");
    list[12] = 1;
    list[11] = 7;
    assert_eq!(select(&mut rig, &list), 5, "not changeable");
    assert_eq!(rig.good(&sense(0x01), 20)[11], 9, "all or nothing");
    for short in 1..20 {
        assert_eq!(select(&mut rig, &list[..short]), if short == 8 { 0 } else { 5 }, "{short}");
    }
    assert_eq!(rig.check(&[0x55, 0x11, 0, 0, 0, 0, 0, 0, 0]), (5, 0x24, 0), "saving");
}

#[test]
fn the_speed_that_is_set_is_shown() {
    let mut rig = Rig::loaded();
    rig.good(&[0xbb, 0, 0x02, 0xc2, 0xff, 0xff], 0);
    let page = rig.good(&[0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 64], 34);
    assert_eq!(page[22..24], [0x02, 0xc2]);
    rig.good(&[0xbb, 0, 0xff, 0xff, 0xff, 0xff], 0);
    let page = rig.good(&[0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 64], 34);
    assert_eq!(page[22..24], page[16..18]);
}

#[test]
fn mechanism_and_logical_units() {
    let mut rig = Rig::loaded();
    assert_eq!(rig.good(&[0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8], 8), [0, 0, 0, 0, 0, 1, 0, 0]);
    rig.good(&[0x1b, 0, 0, 0, 2], 0);
    assert_eq!(rig.good(&[0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8], 8)[1], 0x10);
    let luns = rig.good(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64], 16);
    assert_eq!(luns[..4], [0, 0, 0, 8]);
    assert_eq!(rig.check(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 8]), (5, 0x24, 0));
    assert_eq!(rig.check(&[0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8]), (5, 0x24, 0), "not polled");
    assert_eq!(rig.good(&[0x4a, 1, 0, 0, 0x20, 0, 0, 0, 8], 4), [0, 2, 0x80, 0x56]);
}
