//! Insert, eject, the host's lock, and how the host learns of each.

use freewheel_ata::fis::{DeviceFis, RegisterH2D, Status};
use freewheel_ata::{Device, InsertError, Locked};

use crate::support::{Rig, content, image, packet, packet_fis, read_10};

const EJECT: [u8; 5] = [0x1b, 0, 0, 0, 2];
const LOAD: [u8; 5] = [0x1b, 0, 0, 0, 3];
const LOCK: [u8; 5] = [0x1e, 0, 0, 0, 1];
const UNLOCK: [u8; 5] = [0x1e, 0, 0, 0, 0];

/// Event code and media status.
fn event(rig: &mut Rig) -> (u8, u8) {
    let data = rig.good(&[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8], 8);
    assert_eq!(data[..3], [0, 6, 4]);
    (data[4], data[5])
}

#[test]
fn a_new_medium_is_announced_once_and_read() {
    let mut rig = Rig::empty();
    assert_eq!(rig.check(&[0]), (2, 0x3a, 1));
    assert_eq!(event(&mut rig), (0, 0));
    rig.insert("B", 2048 * 300);
    assert_eq!(event(&mut rig), (2, 2));
    assert_eq!(event(&mut rig), (0, 2));
    assert_eq!(rig.check(&read_10(0, 1)), (6, 0x28, 0));
    assert_eq!(rig.good(&read_10(299, 1), 2048), content("B", 299, 1));
}

#[test]
fn the_host_ejects_and_loads_the_same_medium_again() {
    let mut rig = Rig::loaded();
    event(&mut rig);
    rig.good(&EJECT, 0);
    assert!(rig.drive.is_tray_open() && rig.drive.has_medium());
    assert_eq!(rig.check(&[0]), (2, 0x3a, 2));
    assert_eq!(event(&mut rig), (3, 1));
    rig.good(&LOAD, 0);
    assert_eq!(event(&mut rig), (2, 2));
    assert_eq!(rig.check(&[0]), (6, 0x28, 0));
    assert_eq!(rig.good(&read_10(1, 1), 2048), content("A", 1, 1));
}

#[test]
fn a_locked_medium_stays_and_the_host_is_asked_for_it() {
    let mut rig = Rig::loaded();
    event(&mut rig);
    rig.good(&LOCK, 0);
    assert_eq!(rig.check(&EJECT), (5, 0x53, 2));
    assert!(matches!(rig.drive.eject(false, rig.now), Err(Locked)));
    assert!(rig.drive.has_medium() && !rig.drive.is_tray_open());
    assert_eq!(event(&mut rig), (1, 2));
    rig.good(&UNLOCK, 0);
    rig.good(&EJECT, 0);
    assert!(rig.drive.eject(false, rig.now).is_ok_and(|engine| engine.is_some()));
}

#[test]
fn a_lock_does_not_count_against_force_nor_outlive_a_reset() {
    let mut rig = Rig::loaded();
    rig.good(&LOCK, 0);
    assert!(rig.drive.eject(true, rig.now).is_ok_and(|engine| engine.is_some()));
    assert_eq!(rig.check(&[0]), (2, 0x3a, 2));
    let mut rig = Rig::loaded();
    rig.good(&[0x1e, 0, 0, 0, 3], 0);
    rig.good(&UNLOCK, 0);
    assert!(rig.drive.is_locked(), "persistent prevention has a bit of its own");
    rig.drive.comreset(rig.now, &mut rig.host);
    assert!(!rig.drive.is_locked());
}

#[test]
fn an_eject_returns_at_once_while_storage_hangs_and_the_read_fails() {
    let mut rig = Rig::loaded();
    rig.hang(true);
    rig.issue(packet_fis(None), packet(&read_10(0, 32)));
    rig.drive.poll(rig.now, &mut rig.host);
    rig.host.fises.clear();
    rig.host.memory.fill(0xcc);
    let engine = rig.drive.eject(false, rig.now).unwrap().unwrap();
    assert!(engine.status(rig.now).counters.orphans_now > 0, "the engine keeps what is owed");
    // Another medium comes before the host has been told anything.
    let other = std::sync::Arc::default();
    assert!(rig.drive.insert(image("C", 2048 * 10, &other)).is_ok());
    rig.settle();
    let fises = rig.fises();
    let [(Some(3), DeviceFis::RegisterD2H { registers, .. })] = fises[..] else {
        panic!("{fises:?}")
    };
    assert_eq!(registers.status, Status::DRDY | Status::ERR);
    assert!(rig.host.memory.iter().all(|byte| *byte == 0xcc));
    rig.check(&[0]);
    assert_eq!(rig.good(&read_10(9, 1), 2048), content("C", 9, 1));
}

#[test]
fn a_command_that_was_aborted_after_an_eject_leaves_the_next_one_alone() {
    let mut rig = Rig::loaded();
    rig.hang(true);
    rig.issue(packet_fis(None), packet(&read_10(0, 1)));
    rig.drive.eject(true, rig.now).unwrap();
    assert_eq!(rig.drive.abort_all(rig.now), 1);
    rig.storage = std::sync::Arc::default();
    rig.insert("C", 2048 * 10);
    // Reports the medium.
    rig.issue(packet_fis(None), packet(&[0]));
    assert_eq!(rig.good(&read_10(9, 1), 2048), content("C", 9, 1));
}

#[test]
fn a_drive_whose_medium_went_before_its_command_was_under_way_comes_to_rest() {
    let mut rig = Rig::loaded();
    rig.issue(packet_fis(None), packet(&read_10(0, 1)));
    rig.drive.eject(true, rig.now).unwrap();
    rig.host.fises.clear();
    rig.settle();
    assert_eq!(rig.fises().len(), 1, "the command has ended");
}

#[test]
fn images_that_cannot_be_are_refused_and_given_back() {
    let mut rig = Rig::loaded();
    let refused = |rig: &mut Rig, size_bytes| {
        let engine = image("B", size_bytes, &rig.storage);
        rig.drive.insert(engine).map_err(|(why, engine)| {
            assert_eq!(engine.info().size_bytes, size_bytes);
            why
        })
    };
    assert_eq!(refused(&mut rig, 2048), Err(InsertError::Occupied));
    rig.drive.eject(false, rig.now).unwrap();
    assert_eq!(refused(&mut rig, 2047), Err(InsertError::Empty(2047)));
    assert_eq!(refused(&mut rig, 8 << 40), Err(InsertError::TooLarge(8 << 40)));
    assert_eq!(refused(&mut rig, (8 << 40) - 2048), Ok(()));
}

#[test]
fn the_host_is_notified_if_and_only_if_it_wants_to_be() {
    let notification = RegisterH2D {
        is_command: true,
        command: 0xef,
        features: 0x10,
        count: 5,
        ..RegisterH2D::default()
    };
    let mut rig = Rig::empty();
    rig.insert("A", 4096);
    rig.settle();
    assert_eq!(rig.fises(), []);
    rig.drive.eject(true, rig.now).unwrap();
    rig.issue(notification, packet(&[]));
    rig.settle();
    rig.fises();
    rig.insert("A", 4096);
    rig.settle();
    let fises = rig.fises();
    assert!(
        matches!(
            fises[..],
            [(
                None,
                DeviceFis::SetDeviceBits { interrupt: true, notification: true, active: 0, .. }
            )]
        ),
        "{fises:?}"
    );
    rig.settle();
    assert_eq!(rig.fises(), [], "once for an event");
}
