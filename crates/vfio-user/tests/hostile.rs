//! A connection as an enemy sees it: garbage, half messages, lies about lengths, in every split.
//!
//! Whatever comes, a turn ends, and ends in a reply, in waiting for more, or in a typed reason.

mod common;

use common::{Rig, memfd, words};
use freewheel_vfio_user::Disconnect;
use freewheel_vfio_user::client::access_payload;
use freewheel_vfio_user::codec::{Command, Header, HeaderError, HeaderFlags};
use freewheel_vfio_user::server::ProtocolError;
use proptest::prelude::*;
use rustix::fd::AsFd;
use std::net::Shutdown;

fn message(command: u16, size: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = 0x55_u16.to_le_bytes().to_vec();
    bytes.extend(command.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// What the connection says to bytes after which the peer writes no more.
fn end_of(rig: &mut Rig, bytes: &[u8]) -> Disconnect {
    rig.client.send_raw(bytes, &[]).unwrap();
    rig.client.stream().shutdown(Shutdown::Write).unwrap();
    for _ in 0..1000 {
        if let Err(reason) = rig.turn() {
            return reason;
        }
    }
    panic!("no end");
}

#[test]
fn version_must_come_first_and_once() {
    let read = message(9, 32, 0, &access_payload(5, 0, 4, &[]));
    let reason = end_of(&mut Rig::silent(), &read);
    assert_eq!(reason, ProtocolError::VersionExpected(9).into());
    let version = message(1, 20, 0, &[0, 0, 1, 0]);
    let reason = end_of(&mut Rig::new(), &version);
    assert_eq!(reason, ProtocolError::VersionOutOfPlace.into());
    let silent = message(1, 20, 0x10, &[0, 0, 1, 0]);
    let reason = end_of(&mut Rig::silent(), &silent);
    assert_eq!(reason, ProtocolError::VersionOutOfPlace.into());
}

#[test]
fn a_version_that_cannot_be_accepted_is_answered_and_ends_it() {
    for payload in [&[][..], &[0, 0], &[1, 0, 0, 0], &[0, 0, 0, 0, b'{'], &[0, 0, 0, 0, b'{', 0]] {
        let mut rig = Rig::silent();
        let bytes = message(1, 16 + payload.len() as u32, 0, payload);
        assert_eq!(end_of(&mut rig, &bytes), ProtocolError::VersionRefused.into());
        let (header, _) = rig.client.receive_any().unwrap();
        assert!(header.flags.contains(HeaderFlags::ERROR) && header.error != 0);
    }
}

#[test]
fn impossible_headers_end_it_at_once() {
    for (size, error) in [
        (0, HeaderError::TooShort(0)),
        (15, HeaderError::TooShort(15)),
        (3 << 30, HeaderError::TooLong(3 << 30)),
        (u32::MAX, HeaderError::TooLong(u32::MAX)),
    ] {
        let mut rig = Rig::new();
        rig.client.send_raw(&message(9, size, 0, &[]), &[]).unwrap();
        assert_eq!(
            rig.turn(),
            Err(ProtocolError::Header(error).into()),
            "without waiting for more"
        );
        assert!(!rig.conn.wants_read());
    }
    let reason = end_of(&mut Rig::new(), &message(9, 16, 2, &[]));
    assert_eq!(reason, ProtocolError::Header(HeaderError::Type(2)).into());
    let reason = end_of(&mut Rig::new(), &message(11, 16, 1, &[]));
    assert_eq!(reason, ProtocolError::UnexpectedReply.into());
}

#[test]
fn half_messages_end_as_such() {
    let whole = message(10, 36, 0, &access_payload(5, 0, 4, &[1; 4]));
    for cut in 1..whole.len() {
        let mut rig = Rig::new();
        let reason = end_of(&mut rig, &whole[..cut]);
        assert_eq!(reason, ProtocolError::Truncated.into());
        assert!(rig.dev.log.is_empty());
    }
    assert_eq!(end_of(&mut Rig::new(), &whole), Disconnect::Clean);
}

#[test]
fn messages_may_come_byte_by_byte() {
    let mut rig = Rig::silent();
    let version = b"\0\0\0\0{\"capabilities\":{}}\0";
    let mut bytes = message(1, 16 + version.len() as u32, 0, version);
    bytes.extend(message(10, 33, 0, &access_payload(7, 4, 1, &[6])));
    bytes.extend(message(10, 36, 0x10, &access_payload(5, 0, 4, &[1, 2, 3, 4])));
    bytes.extend(message(9, 32, 0, &access_payload(5, 0, 4, &[])));
    for byte in bytes {
        rig.client.send_raw(&[byte], &[]).unwrap();
        rig.turn().unwrap();
    }
    let commands: Vec<_> = (0..3).map(|_| rig.client.receive_any().unwrap().0.command).collect();
    assert_eq!(commands, [1, 10, 9]);
    assert_eq!(rig.dev.log, [('w', 0, 4), ('r', 0, 4)]);
}

#[test]
fn too_many_descriptors_end_it() {
    let file = memfd(4096);
    let fds = [file.as_fd(); 33];
    for count in [32, 33] {
        let mut rig = Rig::new();
        let bytes = message(13, 16, 0, &[]);
        rig.client.send_raw(&bytes, &fds[..count]).unwrap();
        let expected =
            if count == 33 { Err(ProtocolError::TooManyDescriptors.into()) } else { Ok(()) };
        assert_eq!(rig.turn(), expected);
    }
    // Also if they come in portions with the parts of one message.
    let mut rig = Rig::new();
    let bytes = message(10, 36, 0, &access_payload(5, 0, 4, &[0; 4]));
    rig.client.send_raw(&bytes[..10], &fds[..32]).unwrap();
    rig.turn().unwrap();
    rig.client.send_raw(&bytes[10..], &fds[..1]).unwrap();
    assert_eq!(rig.turn(), Err(ProtocolError::TooManyDescriptors.into()));
}

/// Descriptors that are not taken are closed: this process must not run out of them.
#[test]
fn unwanted_descriptors_are_closed() {
    let file = memfd(4096);
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut rig = Rig::new();
    let inode = rustix::fs::fstat(&file).unwrap().st_ino;
    let ours = || {
        std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| std::fs::metadata(entry.ok()?.path()).ok())
            .filter(|meta| std::os::unix::fs::MetadataExt::ino(meta) == inode)
            .count()
    };
    assert!(count() > 0);
    for _ in 0..50 {
        let fds = [file.as_fd(); 8];
        for (command, payload) in [(9, access_payload(5, 0, 4, &[])), (2, vec![0; 7]), (99, vec![])]
        {
            let bytes = message(command, 16 + payload.len() as u32, 0, &payload);
            rig.client.send_raw(&bytes, &fds).unwrap();
            rig.turn().unwrap();
            rig.client.receive_any().unwrap();
        }
    }
    assert_eq!(ours(), 1);
}

/// Malformed payloads are answered, and the connection goes on.
#[test]
fn malformed_payloads_are_answered() {
    let mut rig = Rig::new();
    for command in [2, 3, 4, 5, 6, 7, 8, 9, 10, 15] {
        for payload in [vec![], vec![0xff; 3], vec![0xff; 64], vec![0; 64]] {
            if command == 4 && payload == [0xff; 64] {
                // DEVICE_GET_INFO of a client with a larger structure: nothing is wrong with it.
                continue;
            }
            let bytes = message(command, 16 + payload.len() as u32, 0, &payload);
            rig.client.send_raw(&bytes, &[]).unwrap();
            rig.turn().unwrap();
            let (header, rest) = rig.client.receive_any().unwrap();
            assert!(header.flags.contains(HeaderFlags::ERROR), "{command} {payload:?}");
            assert!(header.error != 0 && rest.is_empty());
        }
    }
    let id = rig.client.send(Command::DeviceReset, HeaderFlags::empty(), &[], &[]).unwrap();
    rig.turn().unwrap();
    rig.client.receive(id).unwrap();
}

/// The largest message is taken; it lies outside every region.
#[test]
fn the_largest_message_is_read_and_refused() {
    let mut rig = Rig::new();
    let payload = access_payload(5, 0, 1 << 20, &vec![7; 1 << 20]);
    let bytes = message(10, 16 + payload.len() as u32, 0, &payload);
    let mut client = rig.client.stream().try_clone().unwrap();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut client, &bytes));
    while !writer.is_finished() {
        rig.turn().unwrap();
    }
    writer.join().unwrap().unwrap();
    rig.turn().unwrap();
    let (header, _) = rig.client.receive_any().unwrap();
    assert!(header.flags.contains(HeaderFlags::ERROR));
    assert!(rig.dev.log.is_empty());
}

/// A message that is well formed in its frame, with fields that are small, huge or at an edge.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        0_u32..32,
        Just(4096),
        Just(8192),
        Just(1 << 20),
        Just(3 << 30),
        Just(u32::MAX),
        any::<u32>(),
    ];
    (0_u16..20, prop_oneof![Just(0_u32), Just(0x10)], proptest::collection::vec(field, 0..14))
        .prop_map(|(command, flags, fields)| {
            let payload = words(&fields);
            message(command, 16 + payload.len() as u32, flags, &payload)
        })
}

fn feed(rig: &mut Rig, bytes: &[u8], cuts: &[usize], with_fd: bool) {
    let file = memfd(8192);
    rig.client.stream().set_nonblocking(true).unwrap();
    let mut at = 0;
    let mut cuts = cuts.iter().cycle();
    while at < bytes.len() {
        let end = (at + cuts.next().copied().unwrap_or(1).max(1)).min(bytes.len());
        let fds = [file.as_fd()];
        let fds = if with_fd && at % 3 == 0 { &fds[..] } else { &[] };
        if rig.client.send_raw(&bytes[at..end], fds).is_err() {
            break;
        }
        at = end;
        if rig.turn().is_err() {
            return;
        }
        // Read what it has to say.
        while rig.client.receive_any().is_ok() {}
    }
    rig.client.stream().shutdown(Shutdown::Write).unwrap();
    for _ in 0..10_000 {
        if rig.turn().is_err() {
            return;
        }
        while rig.client.receive_any().is_ok() {}
    }
    panic!("the connection has not ended");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn garbage_ends_it(
        bytes in proptest::collection::vec(any::<u8>(), 1..400),
        cuts in proptest::collection::vec(1_usize..50, 1..10),
        negotiated: bool,
    ) {
        let mut rig = if negotiated { Rig::new() } else { Rig::silent() };
        feed(&mut rig, &bytes, &cuts, false);
    }

    #[test]
    fn plausible_messages_in_every_split_are_answered_or_end_it(
        messages in proptest::collection::vec(plausible(), 1..30),
        cuts in proptest::collection::vec(1_usize..50, 1..10),
        with_fd: bool,
    ) {
        let mut rig = Rig::new();
        feed(&mut rig, &messages.concat(), &cuts, with_fd);
    }
}

#[test]
fn every_header_field_at_its_edges() {
    for command in (0..20).chain([u16::MAX]) {
        for size in [16, 17, 24, 32, 36, 48, 1 << 20] {
            for flags in [0, 1, 0x10, 0x20, 0x30, 0xf, u32::MAX] {
                let mut rig = Rig::new();
                let bytes = message(command, size, flags, &[0x41; 64]);
                feed(&mut rig, &bytes, &[80], false);
            }
        }
    }
    assert_eq!(Header::SIZE, 16);
}
