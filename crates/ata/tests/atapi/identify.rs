//! Who the drive is: IDENTIFY PACKET DEVICE word by word, its names, and what it can do.

use freewheel_ata::DriveConfig;

use crate::support::{Rig, ata, packet};

fn words(rig: &mut Rig) -> Vec<u16> {
    rig.issue(ata(0xa1), packet(&[]));
    let data = &rig.host.memory[..512];
    data.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

fn text(words: &[u16]) -> String {
    words.iter().flat_map(|word| word.to_be_bytes()).map(char::from).collect()
}

#[test]
fn each_word_says_what_the_drive_is() {
    let mut rig = Rig::empty();
    let words = words(&mut rig);
    let expected: [(usize, u16, &str); 21] = [
        (0, 0x85c0, "a removable CD/DVD drive with packets of 12 bytes"),
        (49, 0x0b00, "IORDY, LBA, DMA"),
        (50, 0x4000, "valid"),
        (53, 0x0006, "words 64 to 70 and 88 are valid"),
        (63, 0x0007, "Multiword DMA 0 to 2"),
        (64, 0x0003, "PIO 3 and 4"),
        (65, 120, "ns a cycle"),
        (66, 120, "ns a cycle"),
        (67, 120, "ns a cycle"),
        (68, 120, "ns a cycle"),
        (76, 0x000e, "generations 1 to 3"),
        (77, 0x0006, "generation 3 now"),
        (78, 0x0060, "notification, settings preservation"),
        (79, 0x0040, "settings preservation is enabled"),
        (80, 0x0ff0, "ATA/ATAPI-4 to ACS-4"),
        (82, 0x4218, "NOP, DEVICE RESET, PACKET, power management"),
        (83, 0x4000, "valid"),
        (84, 0x4000, "valid"),
        (85, 0x4218, "as word 82"),
        (87, 0x4000, "valid"),
        (222, 0x10ff, "SATA"),
    ];
    for (word, value, meaning) in expected {
        assert_eq!(words[word], value, "word {word}: {meaning}");
    }
    assert_eq!(words[81], 0x5e, "a minor version");
    assert_eq!(words[88], 0x407f, "Ultra DMA 0 to 6, and 6 is selected");
    assert_eq!(words[255] & 0xff, 0xa5, "an integrity word");
    let known = [81, 88, 255].into_iter().chain(expected.iter().map(|(word, ..)| *word));
    let known: Vec<usize> = known.chain(10..20).chain(23..47).collect();
    let others = (0..256).filter(|word| !known.contains(word));
    assert_eq!(others.filter(|word| words[*word] != 0).count(), 0, "nothing else is claimed");
}

#[test]
fn names_are_those_of_the_configuration() {
    let config = DriveConfig {
        serial: "S\u{e4}RIAL".into(),
        vendor: "VENDOR-TOO-LONG".into(),
        product: "PRODUCT".into(),
        firmware: "1.2.3".into(),
        wwn: Some(0x5000_c500_1234_5678),
        sata_generation: 2,
    };
    let mut rig = Rig::configured(config);
    let words = words(&mut rig);
    assert_eq!(text(&words[10..20]), format!("{:20}", "S?RIAL"));
    assert_eq!(text(&words[23..27]), format!("{:8}", "1.2.3"));
    assert_eq!(text(&words[27..47]), format!("{:40}", "VENDOR-T PRODUCT"));
    assert_eq!(words[77], 2 << 1);
    assert_eq!(words[108..112], [0x5000, 0xc500, 0x1234, 0x5678]);
    assert_eq!((words[84], words[87]), (0x4100, 0x4100), "there is a World Wide Name");
    let inquiry = rig.good(&[0x12, 0, 0, 0, 66], 66);
    assert_eq!(&inquiry[8..36], b"VENDOR-TPRODUCT         1.2.");
    let designators = rig.good(&[0x12, 1, 0x83, 0, 255], 64);
    assert_eq!(designators[52..], [1, 3, 0, 8, 0x50, 0, 0xc5, 0, 0x12, 0x34, 0x56, 0x78]);
}

/// Code, whether it is current, and data of each feature.
fn features(rig: &mut Rig) -> Vec<(u16, bool, Vec<u8>)> {
    rig.run(crate::support::packet_fis(None), &[0x46, 0, 0, 0, 0, 0, 0, 2, 0]);
    let memory = &rig.host.memory;
    let end = u32::from_be_bytes(memory[..4].try_into().unwrap()) as usize + 4;
    let (mut at, mut all) = (8, Vec::new());
    while at < end {
        let len = usize::from(memory[at + 3]);
        let code = u16::from_be_bytes([memory[at], memory[at + 1]]);
        all.push((code, memory[at + 2] & 1 != 0, memory[at + 4..at + 4 + len].to_vec()));
        at += 4 + len;
    }
    all
}

#[test]
fn features_say_what_the_drive_can_do_and_which_count_for_its_medium() {
    let mut rig = Rig::empty();
    let profiles = |current: u8| {
        let current = |profile| u8::from(profile == current);
        vec![0, 0x40, current(0x40), 0, 0, 0x10, current(0x10), 0, 0, 8, current(8), 0]
    };
    let mut bd = vec![0; 28];
    bd[21] = 2;
    for (size_bytes, profile, of_medium) in [
        (0, 0, None),
        (1 << 20, 8, Some(0x1e)),
        (4 << 30, 0x10, Some(0x1f)),
        (20 << 30, 0x40, Some(0x40)),
    ] {
        if size_bytes > 0 {
            rig.insert("A", size_bytes);
            rig.check(&[0]);
        }
        let there = size_bytes > 0;
        let is = |code| of_medium == Some(code);
        let expected = [
            (0x0000, true, profiles(profile)),
            (0x0001, true, vec![0, 0, 0, 7, 1, 0, 0, 0]),
            (0x0002, true, vec![0; 4]),
            (0x0003, true, vec![0x39, 0, 0, 0]),
            (0x0010, there, vec![0, 0, 8, 0, 0, 1, 1, 0]),
            (0x001d, is(0x1e), vec![]),
            (0x001e, is(0x1e), vec![0; 4]),
            (0x001f, is(0x1f), vec![0; 4]),
            (0x0040, is(0x40), bd.clone()),
            (0x0100, true, vec![]),
            (0x0105, true, vec![0; 4]),
            (0x0108, true, format!("{:20}", "FW00000000").into_bytes()),
        ];
        assert_eq!(features(&mut rig), expected);
        rig.drive.eject(true, rig.now).unwrap();
    }
}

#[test]
fn each_class_of_events_is_answered_and_others_are_not() {
    let mut rig = Rig::loaded();
    let mut ask = |classes: u8, len| rig.good(&[0x4a, 1, 0, 0, classes, 0, 0, 0, 8], len);
    assert_eq!(ask(1 << 1, 8), [0, 6, 1, 0x56, 0, 0, 0, 0], "operational change: none");
    assert_eq!(ask(1 << 2, 8), [0, 6, 2, 0x56, 0, 1, 0, 0], "power management: active");
    assert_eq!(ask(1 << 6, 8), [0, 6, 6, 0x56, 0, 0, 0, 0], "device busy: not");
    assert_eq!(ask(0xff, 8), [0, 6, 4, 0x56, 2, 2, 0, 0], "a new medium comes first");
    assert_eq!(ask(1 << 4, 8), [0, 6, 4, 0x56, 0, 2, 0, 0], "and once");
    for class in [0, 3, 5, 7] {
        assert_eq!(ask(1 << class, 4), [0, 2, 0x80, 0x56], "{class}");
    }
}

#[test]
fn sub_channels_say_that_nothing_plays() {
    let mut rig = Rig::loaded();
    let mut ask =
        |wanted: u8, format: u8, len| rig.good(&[0x42, 0, wanted, format, 0, 0, 0, 0, 255], len);
    assert_eq!(ask(0, 0, 4), [0, 0x15, 0, 0]);
    let position = [0, 0x15, 0, 12, 1, 0x14, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(ask(0x40, 1, 16), position);
    for format in [2, 3] {
        let code = ask(0x40, format, 24);
        assert_eq!((code[3], code[4], code[8]), (20, format, 0), "there is none");
    }
    assert_eq!(rig.check(&[0x42, 0, 0x40, 4, 0, 0, 0, 0, 255]), (5, 0x24, 0));
}
