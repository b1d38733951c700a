use freewheel_ata::{ConfigError, Disk, DiskConfig, Rotation};
use freewheel_block::DiscardSupport;

use crate::support::*;

fn config() -> DiskConfig {
    DiskConfig {
        serial: "S1".into(),
        model: "Freewheel Disk with a name that is far too long to fit".into(),
        firmware: "ü2".into(),
        wwn: Some(0x5001_2345_6789_abcd),
        ..DiskConfig::default()
    }
}

fn words_of(setup: Setup) -> Vec<u16> {
    setup.build().identify()
}

fn text(words: &[u16]) -> String {
    words.iter().flat_map(|word| word.to_be_bytes()).map(char::from).collect()
}

fn u32_at(words: &[u16], index: usize) -> u32 {
    u32::from(words[index + 1]) << 16 | u32::from(words[index])
}

#[test]
fn the_sum_of_all_bytes_is_zero() {
    let words = words_of(Setup::default());
    assert_eq!(words[255] & 0xff, 0xa5);
    let sum = words.iter().flat_map(|word| word.to_le_bytes()).fold(0u8, u8::wrapping_add);
    assert_eq!(sum, 0);
}

#[test]
fn names_are_swapped_cut_padded_and_printable() {
    let words = words_of(Setup { config: config(), ..Setup::default() });
    assert_eq!(text(&words[10..20]), "S1                  ");
    assert_eq!(text(&words[23..27]), "?2      ");
    assert_eq!(text(&words[27..47]), "Freewheel Disk with a name that is far t");
    assert_eq!(words[108..112], [0x5001, 0x2345, 0x6789, 0xabcd]);
    assert_eq!((words[84] >> 8 & 1, words[87] >> 8 & 1), (1, 1));
}

#[test]
fn the_capacity_stands_in_28_and_48_bits() {
    let words = words_of(Setup { size_bytes: 1 << 20, ..Setup::default() });
    assert_eq!(u32_at(&words, 60), 2048);
    assert_eq!((u32_at(&words, 100), u32_at(&words, 102)), (2048, 0));
    assert_eq!((words[1], words[3], words[6]), (2, 16, 63));
    assert_eq!(u32_at(&words, 57), 2 * 16 * 63);
}

#[test]
fn sector_sizes_and_their_relation_are_told() {
    let words = words_of(Setup { config: config(), ..Setup::default() });
    assert_eq!(words[106], 0x6003, "eight logical sectors to a physical one");
    assert_eq!(words[209], 0x4000);
    assert_eq!(words[47], 0x8010);
    let native = DiskConfig { logical_sector_bytes: 4096, ..config() };
    let words = words_of(Setup { config: native, ..Setup::default() });
    assert_eq!(words[106], 0x5000);
    assert_eq!(u32_at(&words, 117), 2048);
    assert_eq!(u32_at(&words, 60), 256);
    assert_eq!(words[47], 0x8002);
    let plain = DiskConfig { physical_sector_bytes: 512, ..config() };
    assert_eq!(words_of(Setup { config: plain, ..Setup::default() })[106], 0x4000);
}

#[test]
fn features_are_told_as_they_are() {
    let words = words_of(Setup { config: config(), ..Setup::default() });
    assert_eq!(words[0], 0x0040);
    assert_eq!(words[49], 0x2f00);
    assert_eq!(words[53], 7);
    assert_eq!(words[75], 31);
    assert_eq!(words[76] & 0x870e, 0x870e);
    assert_eq!(words[77] & 0x0e, 6);
    assert_eq!((words[78], words[79]), (0x140, 0x40));
    assert_eq!(words[80] >> 11 & 1, 1, "ACS-4");
    assert_eq!((words[82] & 0x7069, words[85] & 0x7069), (0x7069, 0x7069));
    assert_eq!((words[83] & 0xf468, words[86] & 0xf468), (0x7468, 0xb440));
    assert_eq!((words[84] & 0x6163, words[87] & 0x6163), (0x6163, 0x6163));
    assert_eq!(words[88], 0x407f);
    assert_eq!((words[119] & 0x408c, words[120] & 0x408c), (0x408c, 0x400c));
    assert_eq!((words[2], words[91]), (0xc837, 0));
    assert_eq!((words[93], words[206]), (0, 0));
    assert_eq!(words[217], 1);
    assert_eq!(words[222], 0x10ff);
    let slow = DiskConfig { rotation: Rotation::Rpm(7200), queue_depth: 1, ..config() };
    let words = words_of(Setup { config: slow, ..Setup::default() });
    assert_eq!((words[217], words[75]), (7200, 0));
    let odd = DiskConfig { rotation: Rotation::Rpm(1), ..config() };
    assert_eq!(words_of(Setup { config: odd, ..Setup::default() })[217], 0);
}

#[test]
fn zeroes_after_trim_are_promised_only_if_every_sector_reads_as_zeroes() {
    let support = |align_bytes, reads_zeroes| {
        let discard = Some(DiscardSupport { align_bytes, reads_zeroes });
        let words = words_of(Setup { discard, ..Setup::default() });
        assert_eq!((words[169], words[105]), (1, 8));
        words[69] & !0x0c00
    };
    assert_eq!(support(512, true), 0x4020);
    assert_eq!(support(4096, true), 0x4000);
    assert_eq!(support(512, false), 0);
    let words = words_of(Setup { discard: None, ..Setup::default() });
    assert_eq!((words[169], words[105], words[69]), (0, 0, 0x0c00));
    let config = DiskConfig { discard: false, ..config() };
    assert_eq!(words_of(Setup { config, ..Setup::default() })[169], 0);
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    let refused = |config: DiskConfig, size_bytes| {
        let rig = Setup { size_bytes, ..Setup::default() }.build();
        Disk::new(config, rig.disk.into_engine()).map(|_| ()).unwrap_err()
    };
    let with = |change: fn(&mut DiskConfig)| {
        let mut config = DiskConfig::default();
        change(&mut config);
        refused(config, 1 << 20)
    };
    assert_eq!(with(|it| it.logical_sector_bytes = 1024), ConfigError::LogicalSector(1024));
    assert_eq!(with(|it| it.logical_sector_bytes = 0), ConfigError::LogicalSector(0));
    for physical in [0, 256, 1536, 512 << 16] {
        let config = DiskConfig { physical_sector_bytes: physical, ..DiskConfig::default() };
        assert_eq!(refused(config, 1 << 20), ConfigError::PhysicalSector(physical));
    }
    assert_eq!(with(|it| it.queue_depth = 0), ConfigError::QueueDepth(0));
    assert_eq!(with(|it| it.queue_depth = 33), ConfigError::QueueDepth(33));
    assert_eq!(with(|it| it.sata_generation = 4), ConfigError::SataGeneration(4));
    let native = DiskConfig { logical_sector_bytes: 4096, ..DiskConfig::default() };
    assert!(matches!(refused(native, 512 * 9), ConfigError::Ragged { .. }));
}
