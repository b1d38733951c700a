//! CD drives and what lies in them.

use std::time::Instant;

use serde_json::json;

use super::*;

const TEST_UNIT_READY: [u8; 6] = [0; 6];
const PREVENT: [u8; 6] = [0x1e, 0, 0, 0, 1, 0];
/// READ (10) of the first two blocks.
const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0];
const NOT_READY: u32 = 2;
const MEDIUM_ERRORS: [u32; 2] = [2, 3];

/// A drive on port 0 with `one.iso` in it.
fn drive(keys: &str) -> Server {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, byte) in [("one.iso", 0x11), ("two.iso", 0x22)] {
        std::fs::write(dir.path().join(name), vec![byte; 1 << 20]).expect("an image");
    }
    Server::launch(dir, &["--cdrom", &format!("path=one.iso{keys}")])
}

/// A packet command, past what the drive has to say first.
fn packet(vmm: &mut Vmm, packet: &[u8]) -> Result<(), u32> {
    const ATTENTION: u32 = 6;
    for _ in 0..4 {
        vmm.issue_packet(packet);
        match vmm.wait_packet() {
            Err(ATTENTION) => {}
            outcome => return outcome,
        }
    }
    Err(ATTENTION)
}

fn insert(server: &Server, path: &str) -> Value {
    result(server, "insert", json!({ "port": 0, "path": path }))
}

fn state(server: &Server) -> Value {
    server.status()["disks"][0]["drive"].clone()
}

#[test]
fn a_medium_is_read_ejected_and_changed() {
    let server = drive("");
    let mut vmm = Vmm::connect(&server);
    packet(&mut vmm, &READ).expect("data");
    assert_eq!(vmm.data(0), vec![0x11; 4096]);
    let (cause, _) = refusal(&server, "insert", json!({ "port": 0, "path": "two.iso" }));
    assert!(cause.contains("one.iso is in the drive"), "{cause}");

    let reply = result(&server, "eject", json!({ "port": 0 }));
    assert_eq!(reply, json!({ "port": "0", "path": "one.iso" }));
    assert_eq!(state(&server), json!({ "tray_open": true, "locked": false, "medium": false }));
    assert_eq!(packet(&mut vmm, &TEST_UNIT_READY), Err(NOT_READY));
    wait_for_custody(&server, 0);

    insert(&server, "two.iso");
    assert_eq!(state(&server), json!({ "tray_open": false, "locked": false, "medium": true }));
    packet(&mut vmm, &READ).expect("data");
    assert_eq!(vmm.data(0), vec![0x22; 4096]);
}

#[test]
fn a_locked_medium_is_asked_for_and_taken_by_force() {
    let server = drive("");
    let mut vmm = Vmm::connect(&server);
    packet(&mut vmm, &PREVENT).expect("locked");
    let (cause, remedy) = refusal(&server, "eject", json!({ "port": 0 }));
    assert!(cause.contains("has been asked"), "{cause}");
    assert!(remedy.contains("--force"), "{remedy}");
    assert_eq!(state(&server), json!({ "tray_open": false, "locked": true, "medium": true }));
    result(&server, "eject", json!({ "port": 0, "force": true }));
    assert_eq!(state(&server), json!({ "tray_open": true, "locked": false, "medium": false }));
}

#[test]
fn a_medium_that_the_guest_has_ejected_is_replaced() {
    let server = drive("");
    let mut vmm = Vmm::connect(&server);
    // START STOP UNIT: open the tray.
    packet(&mut vmm, &[0x1b, 0, 0, 0, 2, 0]).expect("open");
    assert_eq!(state(&server), json!({ "tray_open": true, "locked": false, "medium": true }));
    insert(&server, "two.iso");
    packet(&mut vmm, &READ).expect("data");
    assert_eq!(vmm.data(0), vec![0x22; 4096]);
}

#[test]
fn a_medium_whose_storage_hangs_is_ejected_at_once() {
    let server = drive(",fault=read#1:hang");
    let mut vmm = Vmm::connect(&server);
    packet(&mut vmm, &TEST_UNIT_READY).expect("ready");
    vmm.issue_packet(&READ);
    server.wait_for("a read", |status| status["disks"][0]["running_now"] == 1);
    let start = Instant::now();
    result(&server, "eject", json!({ "port": 0 }));
    assert_at_once(&server, start);
    let key = vmm.wait_packet().expect_err("the medium is gone");
    assert!(MEDIUM_ERRORS.contains(&key), "sense key {key}");
    let status = wait_for_custody(&server, 1);
    assert_eq!(status["custody"][0]["in_doubt"], json!([]), "a read changes nothing");

    // Others, and this one too, can be inserted: nothing of it can change.
    insert(&server, "one.iso");
    result(&server, "fault.clear", json!({}));
    result(&server, "fault.release", json!({}));
    wait_for_custody(&server, 0);
    packet(&mut vmm, &READ).expect("data");
    assert_eq!(vmm.data(0), vec![0x11; 4096]);
}

#[test]
fn an_empty_drive_comes_and_goes() {
    let server = empty_ports(&[], &["a.iso"]);
    let mut vmm = Vmm::connect(&server);
    result(&server, "attach", json!({ "cdrom": "" }));
    assert_eq!(link(&mut vmm).0, PRESENT);
    vmm.restart();
    assert_eq!(vmm.read(0x124), 0xeb14_0101, "the signature of a packet device");
    assert_eq!(packet(&mut vmm, &TEST_UNIT_READY), Err(NOT_READY));
    insert(&server, "a.iso");
    packet(&mut vmm, &READ).expect("data");
    result(&server, "detach", json!({ "port": 0 }));
    assert_eq!(link(&mut vmm).0, 0);
}
