//! A connection as a well-behaved monitor sees it, with QEMU's habits.

mod common;

use common::{FakeDevice, LEVEL, Rig, event, fired, memfd, refused, words};
use freewheel_vfio_user::client::{
    Client, ClientError, MapRange, REGION_BAR5, REGION_CONFIG, access_payload, dma_map_payload,
};
use freewheel_vfio_user::codec::{Command, Header, HeaderFlags};
use freewheel_vfio_user::pci::{MSI_OFFSET, PM_OFFSET, SATA_OFFSET};
use freewheel_vfio_user::{Connection, Disconnect, DmaError, PciConfig, PciIdentity};
use rustix::fd::AsFd;
use rustix::io::{Errno, pread};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const PAGE: u64 = 4096;

fn range(address: u64, size: u64, offset: u64) -> MapRange {
    MapRange { address, size, offset, writable: true }
}

#[test]
fn describes_itself_as_qemu_wants_it() {
    let mut rig = Rig::new();
    let info = rig.call(Command::DeviceGetInfo, &words(&[16, 0, 0, 0]), &[]).unwrap();
    assert_eq!(info, words(&[16, 3, 9, 5]), "resettable PCI device, 9 regions, 5 interrupts");
    for index in 0..9 {
        let query = words(&[32, 0, index, 0, 0, 0, 0, 0]);
        let info = rig.call(Command::DeviceGetRegionInfo, &query, &[]).unwrap();
        let (flags, size) = match index {
            5 => (3, 4096),
            7 => (3, 256),
            _ => (0, 0),
        };
        assert_eq!(info, words(&[32, flags, index, 0, size, 0, 0, 0]));
        let fds = rig.call(Command::DeviceGetRegionIoFds, &words(&[16, 0, index, 0]), &[]);
        assert_eq!(fds.unwrap(), words(&[16, 0, index, 0]));
    }
    for (index, flags, count) in [(0, 7, 1), (1, 9, 1), (2, 0, 0), (3, 0, 0), (4, 0, 0)] {
        let info = rig.call(Command::DeviceGetIrqInfo, &words(&[16, 0, index, 0]), &[]).unwrap();
        assert_eq!(info, words(&[16, flags, index, count]));
    }
    let region = words(&[32, 0, 9, 0, 0, 0, 0, 0]);
    assert_eq!(refused(rig.call(Command::DeviceGetRegionInfo, &region, &[])), Errno::INVAL);
    let irq = words(&[16, 0, 5, 0]);
    assert_eq!(refused(rig.call(Command::DeviceGetIrqInfo, &irq, &[])), Errno::INVAL);
}

/// Trap 2: no reply but REGION_READ's is longer than its request.
#[test]
fn replies_are_not_longer_than_their_requests() {
    let mut rig = Rig::silent();
    let version = b"\0\0\0\0{\"capabilities\":{\"max_msg_fds\":1,\"pgsizes\":1}}\0";
    let answer = rig.call(Command::Version, version, &[]).unwrap();
    assert!(answer.len() <= version.len());
    assert_eq!(answer[..4], [0; 4], "0.0 is answered with 0.0");
    for (command, payload) in [
        (Command::DeviceGetInfo, words(&[16, 0, 0, 0])),
        (Command::DeviceGetRegionInfo, words(&[32, 0, 5, 0, 0, 0, 0, 0])),
        (Command::DeviceGetIrqInfo, words(&[16, 0, 0, 0])),
        (Command::DeviceSetIrqs, words(&[20, 0x21, 0, 0, 0])),
        (Command::RegionWrite, access_payload(5, 0, 4, &[0; 4])),
        (Command::DmaMap, dma_map_payload(range(0, PAGE, 0))),
        (Command::DmaUnmap, [&words(&[24, 0])[..], &[0; 8], &PAGE.to_le_bytes()].concat()),
        (Command::DeviceReset, vec![]),
    ] {
        let reply = rig.call(command, &payload, &[]).unwrap();
        assert!(reply.len() <= payload.len(), "{command:?}");
    }
}

/// Trap 2: an offer of 0.7 is answered with what we speak.
#[test]
fn a_higher_minor_version_is_brought_down() {
    let mut rig = Rig::silent();
    let answer = rig.call(Command::Version, b"\0\0\x07\0", &[]).unwrap();
    assert_eq!(answer, [0, 0, 1, 0]);
}

#[test]
fn registers_are_read_and_written() {
    let mut rig = Rig::new();
    rig.write(REGION_BAR5, 0x118, &[1, 2, 3, 4]).unwrap();
    assert_eq!(rig.read(REGION_BAR5, 0x118).unwrap(), [1, 2, 3, 4]);
    assert_eq!(rig.read(REGION_BAR5, 0x11a).unwrap(), [3, 4]);
    assert_eq!(rig.read(REGION_BAR5, 0x11b).unwrap(), [4]);
    assert_eq!(rig.read(REGION_BAR5, 0x118).unwrap(), [1, 2, 3, 4, 0, 0, 0, 0]);
    rig.dev.log.clear();
    assert_eq!(rig.read(REGION_BAR5, 0x117).unwrap(), [0, 1, 2]);
    assert_eq!(rig.dev.log, [('r', 0x117, 1), ('r', 0x118, 2)], "split at its alignment");
}

#[test]
fn accesses_outside_regions_are_refused() {
    let mut rig = Rig::new();
    for (region, offset) in [
        (5, 4093),
        (5, 4096),
        (5, u64::MAX),
        (5, u64::MAX - 3),
        (7, 253),
        (7, 1 << 40),
        (0, 0),
        (6, 0),
        (8, 0),
        (9, 0),
        (u32::MAX, 0),
    ] {
        assert_eq!(refused(rig.read::<4>(region, offset)), Errno::INVAL, "{region} {offset:#x}");
        assert_eq!(refused(rig.write(region, offset, &[0; 4])), Errno::INVAL);
    }
    assert!(rig.dev.log.is_empty());
    let huge = access_payload(5, 0, 3 << 30, &[]);
    assert_eq!(refused(rig.call(Command::RegionRead, &huge, &[])), Errno::INVAL);
    rig.write(REGION_BAR5, 0, &[1; 4]).unwrap();
}

#[test]
fn configuration_space_works_through_the_socket() {
    let mut rig = Rig::new();
    assert_eq!(rig.read(REGION_CONFIG, 0).unwrap(), [0x86, 0x80, 0x22, 0x29]);
    let whole: [u8; 256] = rig.read(REGION_CONFIG, 0).unwrap();
    assert_eq!(whole[9..12], [1, 6, 1]);
    rig.write(REGION_CONFIG, 0x24, &[0xff; 4]).unwrap();
    assert_eq!(rig.read(REGION_CONFIG, 0x24).unwrap(), 0xffff_f000_u32.to_le_bytes());
}

#[test]
fn registers_are_closed_without_memory_space_or_in_d3hot() {
    let mut rig = Rig::new();
    rig.write(REGION_BAR5, 0, &[5; 4]).unwrap();
    for (at, close, open) in [(4, 4, 6), (PM_OFFSET as u64 + 4, 3, 0)] {
        rig.write(REGION_CONFIG, at, &[close]).unwrap();
        assert_eq!(rig.read(REGION_BAR5, 0).unwrap(), [0xff; 4]);
        rig.write(REGION_BAR5, 0, &[6; 4]).unwrap();
        rig.write(REGION_CONFIG, at, &[open]).unwrap();
        assert_eq!(rig.read(REGION_BAR5, 0).unwrap(), [5; 4]);
    }
}

#[test]
fn registers_can_be_reached_through_configuration_space() {
    let mut rig = Rig::new();
    let (index, data) = (SATA_OFFSET as u64 + 8, SATA_OFFSET as u64 + 12);
    rig.write(REGION_CONFIG, index, &0x118_u32.to_le_bytes()).unwrap();
    rig.write(REGION_CONFIG, data, &[1, 2, 3, 4]).unwrap();
    assert_eq!(rig.read(REGION_CONFIG, data).unwrap(), [1, 2, 3, 4]);
    assert_eq!(rig.dev.log, [('w', 0x118, 4), ('r', 0x118, 4)]);
    let _: [u8; 256] = rig.read(REGION_CONFIG, 0).unwrap();
    assert_eq!(rig.dev.log.len(), 2, "reading all of it touches no register");
}

/// Trap 5: posted writes get no reply, and keep their order with what follows.
#[test]
fn posted_writes_are_silent_and_in_order() {
    let mut rig = Rig::new();
    for i in 0..10_u8 {
        let payload = access_payload(5, 0x40, 1, &[i]);
        rig.client.send(Command::RegionWrite, HeaderFlags::NO_REPLY, &payload, &[]).unwrap();
    }
    // One that is refused is silent too.
    let bad = access_payload(0, 0x40, 1, &[0]);
    rig.client.send(Command::RegionWrite, HeaderFlags::NO_REPLY, &bad, &[]).unwrap();
    assert_eq!(rig.read(REGION_BAR5, 0x40).unwrap(), [9], "the reply is that of the read");
    assert_eq!(rig.dev.log.len(), 11);
}

#[test]
fn many_writes_come_in_one_message() {
    let mut rig = Rig::new();
    let write = |region: u8, offset: u8, data: u8| {
        let mut bytes = [0; 24];
        (bytes[0], bytes[8], bytes[12], bytes[16]) = (offset, region, 4, data);
        bytes
    };
    let writes = [write(5, 0x40, 1), write(0, 0, 2), write(5, 0x44, 3)].concat();
    let payload = [&3_u64.to_le_bytes()[..], &writes].concat();
    let reply = rig.call(Command::RegionWriteMulti, &payload, &[]).unwrap();
    assert_eq!(reply, 2_u64.to_le_bytes(), "the refused one does not stop the next");
    rig.client.send(Command::RegionWriteMulti, HeaderFlags::NO_REPLY, &payload, &[]).unwrap();
    assert_eq!(rig.read(REGION_BAR5, 0x44).unwrap(), [3, 0, 0, 0]);
    assert_eq!(rig.dev.log.len(), 5);
}

/// Trap 3: maps back to back, each with its own descriptor, some without.
#[test]
fn descriptors_stay_with_their_messages() {
    let mut rig = Rig::new();
    let files: Vec<_> = (0..20_u64).map(|_| memfd(PAGE)).collect();
    let mut ids = Vec::new();
    for (i, file) in (0..).zip(&files) {
        let payload = dma_map_payload(range(2 * i * PAGE, PAGE, 0));
        let fd = file.as_fd();
        let flags = HeaderFlags::empty();
        ids.push(rig.client.send(Command::DmaMap, flags, &payload, &[fd]).unwrap());
        let rom =
            dma_map_payload(MapRange { writable: false, ..range((2 * i + 1) * PAGE, PAGE, 0) });
        ids.push(rig.client.send(Command::DmaMap, flags, &rom, &[]).unwrap());
    }
    rig.turn().unwrap();
    for id in ids {
        rig.client.receive(id).unwrap();
    }
    for (i, file) in (0_u8..).zip(&files) {
        let address = 2 * u64::from(i) * PAGE;
        rig.dma_write(address, [i; 8]).unwrap();
        let mut bytes = [0; 8];
        pread(file, &mut bytes, 0).unwrap();
        assert_eq!(bytes, [i; 8]);
        let address = address + PAGE;
        assert_eq!(rig.dma_read(address), Err(DmaError::Unreachable { address }));
    }
}

/// Trap 3 again: the message arrives in pieces, the descriptor with any of them.
#[test]
fn descriptors_survive_split_messages() {
    for split in 1..48 {
        for with_first in [true, false] {
            let mut rig = Rig::new();
            let file = memfd(PAGE);
            let payload = dma_map_payload(range(0, PAGE, 0));
            let flags = HeaderFlags::empty();
            let header = Header { id: 9, command: 2, size: 48, flags, error: 0 };
            let bytes = [&header.encode()[..], &payload].concat();
            let fds = [file.as_fd()];
            let (first, second) =
                if with_first { (&fds[..], &[][..]) } else { (&[][..], &fds[..]) };
            rig.client.send_raw(&bytes[..split], first).unwrap();
            rig.turn().unwrap();
            rig.client.send_raw(&bytes[split..], second).unwrap();
            rig.turn().unwrap();
            rig.client.receive(9).unwrap();
            rig.dma_write(0, *b"freewhee").unwrap();
            assert_eq!(rig.dma_read(0), Ok(*b"freewhee"));
        }
    }
}

#[test]
fn maps_are_refused_with_their_errno() {
    let mut rig = Rig::new();
    let file = memfd(2 * PAGE);
    rig.map(range(0, PAGE, 0), Some(file.as_fd())).unwrap();
    let fd = Some(file.as_fd());
    assert_eq!(refused(rig.map(range(0, PAGE, 0), fd)), Errno::EXIST);
    assert_eq!(refused(rig.map(range(PAGE, 4 * PAGE, 0), fd)), Errno::INVAL, "file too short");
    assert_eq!(refused(rig.map(range(PAGE + 1, PAGE, 0), fd)), Errno::INVAL);
    assert_eq!(refused(rig.map(range(PAGE, 0, 0), fd)), Errno::INVAL);
    assert_eq!(refused(rig.map(range(!0xfff, 2 * PAGE, 0), fd)), Errno::INVAL);
    let payload = dma_map_payload(range(PAGE, PAGE, 0));
    let two = [file.as_fd(), file.as_fd()];
    assert_eq!(refused(rig.call(Command::DmaMap, &payload, &two)), Errno::INVAL);
    assert_eq!(refused(rig.call(Command::DeviceReset, &[], &two)), Errno::INVAL);
    assert_eq!(refused(rig.unmap(1, 0, PAGE)), Errno::INVAL, "dirty bitmap");
    assert_eq!(rig.conn.dma().len(), 1);
}

/// Trap 4: unmap and map again, also while mapped; the device hears of it.
#[test]
fn memory_comes_and_goes() {
    let mut rig = Rig::new();
    let file = memfd(2 * PAGE);
    for _ in 0..3 {
        rig.map(range(0, 2 * PAGE, 0), Some(file.as_fd())).unwrap();
        rig.dma_write(PAGE - 4, [3; 8]).unwrap();
        rig.unmap(0, 0, 2 * PAGE).unwrap();
        assert_eq!(rig.dma_read(PAGE), Err(DmaError::Unmapped { address: PAGE }));
    }
    rig.unmap(0, 0, 2 * PAGE).unwrap();
    rig.map(range(0, PAGE, 0), Some(file.as_fd())).unwrap();
    rig.unmap(2, 0, 0).unwrap();
    assert!(rig.conn.dma().is_empty());
    let pair = (0, 2 * PAGE);
    assert_eq!(rig.dev.unmapped, [pair, pair, pair, (0, u64::MAX)]);
}

#[test]
fn read_only_memory_is_not_written() {
    let mut rig = Rig::new();
    let file = memfd(PAGE);
    let map = MapRange { writable: false, ..range(0, PAGE, 0) };
    rig.map(map, Some(file.as_fd())).unwrap();
    rig.dma_read(8).unwrap();
    assert_eq!(rig.dma_write(8, [1; 8]), Err(DmaError::Denied { address: 8, write: true }));
}

#[test]
fn dma_needs_bus_master_enable() {
    let mut rig = Rig::new();
    let file = memfd(PAGE);
    rig.map(range(0, PAGE, 0), Some(file.as_fd())).unwrap();
    rig.write(REGION_CONFIG, 4, &[2]).unwrap();
    assert_eq!(rig.dma_read(0), Err(DmaError::BusMasterDisabled));
    rig.write(REGION_CONFIG, 4, &[6]).unwrap();
    rig.dma_read(0).unwrap();
    rig.write(REGION_CONFIG, PM_OFFSET as u64 + 4, &[3]).unwrap();
    assert!(!rig.conn.dma().bus_master());
    assert_eq!(rig.dev.bus_master, [true, false, true, false]);
}

/// Trap 5: INTx fires again on unmask if the line is still asserted.
#[test]
fn inta_through_the_socket() {
    let mut rig = Rig::new();
    let fd = event();
    rig.set_irqs(0, 0x24, 1, &[fd.as_fd()]).unwrap();
    rig.write(REGION_BAR5, LEVEL, &[1]).unwrap();
    assert_eq!(fired(&fd), 1);
    assert_eq!(rig.read(REGION_CONFIG, 6).unwrap(), [0x18], "interrupt status");
    rig.set_irqs(0, 0x11, 1, &[]).unwrap();
    assert_eq!(fired(&fd), 1, "still asserted");
    // The guest clears the cause with a posted write, and the monitor unmasks, in one batch.
    let clear = access_payload(5, LEVEL, 1, &[0]);
    rig.client.send(Command::RegionWrite, HeaderFlags::NO_REPLY, &clear, &[]).unwrap();
    rig.set_irqs(0, 0x11, 1, &[]).unwrap();
    assert_eq!(fired(&fd), 0, "the unmask has seen the level as it is");
    // A completion outside any message.
    rig.conn.set_interrupt(true, 1);
    assert_eq!(fired(&fd), 1);
    rig.set_irqs(0, 0x21, 0, &[]).unwrap();
    rig.conn.set_interrupt(false, 0);
    rig.conn.set_interrupt(true, 1);
    assert_eq!(fired(&fd), 0, "de-assigned");
}

#[test]
fn msi_through_the_socket() {
    let mut rig = Rig::new();
    let (intx, msi) = (event(), event());
    rig.set_irqs(0, 0x24, 1, &[intx.as_fd()]).unwrap();
    // QEMU's order: enable in configuration space, then the eventfd.
    rig.write(REGION_CONFIG, MSI_OFFSET as u64 + 2, &[0x81, 0]).unwrap();
    rig.conn.set_interrupt(true, 1);
    rig.set_irqs(1, 0x24, 1, &[msi.as_fd()]).unwrap();
    assert_eq!((fired(&intx), fired(&msi)), (0, 1), "the event was kept");
    rig.conn.set_interrupt(true, 1);
    assert_eq!((fired(&intx), fired(&msi)), (0, 1));
    rig.write(REGION_CONFIG, MSI_OFFSET as u64 + 2, &[0x80, 0]).unwrap();
    assert_eq!((fired(&intx), fired(&msi)), (1, 0), "back to INTA, which is asserted");
    assert_eq!(refused(rig.set_irqs(0, 0x14, 1, &[msi.as_fd()])), Errno::NOTSUP);
    assert_eq!(refused(rig.set_irqs(0, 0x27, 1, &[])), Errno::INVAL);
}

#[test]
fn reset_resets_everything_but_the_monitors_set_up() {
    let mut rig = Rig::new();
    let (fd, file) = (event(), memfd(PAGE));
    rig.set_irqs(0, 0x24, 1, &[fd.as_fd()]).unwrap();
    rig.map(range(0, PAGE, 0), Some(file.as_fd())).unwrap();
    rig.write(REGION_CONFIG, 0x24, &[0xff; 4]).unwrap();
    rig.write(REGION_BAR5, LEVEL, &[1]).unwrap();
    assert_eq!(fired(&fd), 1);
    assert!(rig.call(Command::DeviceReset, &[], &[]).unwrap().is_empty());
    assert_eq!(rig.dev.resets, 1);
    assert_eq!(rig.read(REGION_CONFIG, 0x24).unwrap(), [0; 4]);
    assert_eq!(rig.read(REGION_CONFIG, 4).unwrap(), [0, 0, 0x10, 0]);
    assert!(!rig.conn.dma().bus_master());
    assert_eq!(rig.conn.dma().len(), 1);
    rig.write(REGION_CONFIG, 4, &[6]).unwrap();
    rig.write(REGION_BAR5, LEVEL, &[1]).unwrap();
    assert_eq!(fired(&fd), 1, "neither masked nor forgotten");
    rig.dma_read(0).unwrap();
}

/// Trap 9: unknown commands with payload are answered, and the stream stays in step.
#[test]
fn unsupported_commands_are_answered() {
    let mut rig = Rig::new();
    for command in
        [Command::DmaRead, Command::DmaWrite, Command::DeviceFeature, Command::MigDataRead]
    {
        assert_eq!(refused(rig.call(command, &[1; 100], &[])), Errno::NOTSUP);
    }
    let flags = HeaderFlags::empty();
    for command in [0, 14, 19, 0xffff] {
        let header = Header { id: 1, command, size: 16 + 5000, flags, error: 0 };
        rig.client.send_raw(&[&header.encode()[..], &[0xa5; 5000]].concat(), &[]).unwrap();
        rig.turn().unwrap();
        assert_eq!(refused(rig.client.receive(1)), Errno::NOTSUP);
    }
    rig.read::<4>(REGION_BAR5, 0).unwrap();
}

/// A peer that does not read is no longer read from, and holds up nothing.
#[test]
fn a_slow_reader_stops_being_served_and_loses_nothing() {
    let mut rig = Rig::new();
    rig.client.stream().set_nonblocking(true).unwrap();
    let payload = access_payload(REGION_BAR5, 0, 4096, &[]);
    let mut sent = Vec::new();
    while rig.conn.wants_read() {
        let flags = HeaderFlags::empty();
        match rig.client.send(Command::RegionRead, flags, &payload, &[]) {
            Ok(id) => sent.push(id),
            Err(ClientError::Os(Errno::AGAIN)) => panic!("never blocked: {}", sent.len()),
            Err(error) => panic!("{error}"),
        }
        rig.turn().unwrap();
    }
    assert!(rig.conn.wants_write());
    let reads = rig.dev.log.len();
    for _ in 0..100 {
        rig.turn().unwrap();
    }
    assert_eq!(rig.dev.log.len(), reads);
    rig.client.stream().set_nonblocking(false).unwrap();
    for id in sent {
        while rig.conn.wants_write() {
            // Make room for the rest of the reply that is kept.
            let mut poll = [rustix::event::PollFd::new(&rig.conn, rustix::event::PollFlags::OUT)];
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            if rustix::event::poll(&mut poll, Some(&now)).unwrap() == 0 {
                break;
            }
            rig.turn().unwrap();
        }
        assert_eq!(rig.client.receive(id).unwrap().len(), 16 + 4096);
        rig.turn().unwrap();
    }
    assert!(rig.conn.wants_read());
    rig.read::<4>(REGION_BAR5, 0).unwrap();
}

#[test]
fn a_turn_is_bounded() {
    let mut rig = Rig::new();
    let payload = access_payload(REGION_BAR5, 0, 4, &[0; 4]);
    for _ in 0..200 {
        rig.client.send(Command::RegionWrite, HeaderFlags::NO_REPLY, &payload, &[]).unwrap();
    }
    let mut before = 0;
    while before < 200 {
        rig.turn().unwrap();
        let now = rig.dev.log.len();
        assert!(now > before && now - before <= 64);
        before = now;
    }
}

#[test]
fn the_end_is_clean_between_messages() {
    let mut rig = Rig::new();
    drop(rig.client);
    assert_eq!(rig.conn.on_ready(&mut rig.dev), Err(Disconnect::Clean));
    assert_eq!(rig.conn.on_ready(&mut rig.dev), Err(Disconnect::Clean));
    assert!(!rig.conn.wants_read() && !rig.conn.wants_write());

    // Also if the peer left replies unread.
    let mut rig = Rig::new();
    let payload = access_payload(REGION_BAR5, 0, 4, &[]);
    rig.client.send(Command::RegionRead, HeaderFlags::empty(), &payload, &[]).unwrap();
    rig.turn().unwrap();
    drop(rig.client);
    assert_eq!(rig.conn.on_ready(&mut rig.dev), Err(Disconnect::Clean));
}

#[test]
fn memory_goes_with_the_connection() {
    let mut rig = Rig::new();
    let file = memfd(PAGE);
    rig.map(range(0, PAGE, 0), Some(file.as_fd())).unwrap();
    let mapped = || std::fs::read_to_string("/proc/self/maps").unwrap();
    let inode = format!(" {} ", rustix::fs::fstat(&file).unwrap().st_ino);
    assert!(mapped().contains(&inode));
    drop(rig.conn);
    assert!(!mapped().contains(&inode));
}

/// Taking down the mapping of all of a guest's RAM takes long, and must hold up nothing.
#[test]
fn large_memory_is_released_in_the_background() {
    let mut rig = Rig::new();
    let size = 1_u64 << 30;
    let file = memfd(size);
    rig.map(range(0, size, 0), Some(file.as_fd())).unwrap();
    for page in 0..size / PAGE / 16 {
        rig.conn.dma().write(page * PAGE, &[1]).unwrap();
    }
    let start = Instant::now();
    rig.unmap(0, 0, size).unwrap();
    println!("unmapped in {:?}", start.elapsed());
    let address = 0;
    assert_eq!(rig.dma_read(0), Err(DmaError::Unmapped { address }));
    let inode = format!(" {} ", rustix::fs::fstat(&file).unwrap().st_ino);
    while std::fs::read_to_string("/proc/self/maps").unwrap().contains(&inode) {
        assert!(start.elapsed() < Duration::from_secs(20), "never released");
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("released in {:?}", start.elapsed());
    let mut byte = [0];
    pread(&file, &mut byte, PAGE).unwrap();
    assert_eq!(byte, [1], "the guest's memory itself is untouched");
}

#[test]
fn the_next_peer_finds_a_function_after_power_on() {
    let mut config = PciConfig::new(PciIdentity::default());
    config.write(4, &[6]);
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let conn = Connection::new(ours.into(), config);
    assert!(!conn.pci().bus_master());
}

/// With a poll loop in a thread, as in the program; also the figures of a register access.
#[test]
fn served_from_a_poll_loop() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = std::thread::spawn(move || {
        let config = PciConfig::new(PciIdentity::default());
        let mut conn = Connection::new(ours.into(), config);
        let mut dev = FakeDevice::default();
        loop {
            let mut events = rustix::event::PollFlags::empty();
            events.set(rustix::event::PollFlags::IN, conn.wants_read());
            events.set(rustix::event::PollFlags::OUT, conn.wants_write());
            let mut poll = [rustix::event::PollFd::new(&conn, events)];
            rustix::event::poll(&mut poll, None).unwrap();
            if let Err(reason) = conn.on_ready(&mut dev) {
                return reason;
            }
        }
    });
    let mut client = Client::from_stream(theirs).unwrap();
    client.negotiate().unwrap();
    client.region_write(REGION_CONFIG, 4, &[6]).unwrap();
    let file = memfd(1 << 20);
    client.dma_map(range(0, 1 << 20, 0), Some(file.as_fd())).unwrap();
    let start = Instant::now();
    for i in 0..2000 {
        client.write32(0x100, i).unwrap();
        assert_eq!(client.read32(0x100).unwrap(), i);
    }
    let each = start.elapsed() / 2000;
    println!("a posted write and a read: {each:?}");
    assert!(each < Duration::from_millis(50));
    client.reset().unwrap();
    client.dma_unmap(0, 1 << 20).unwrap();
    client.dma_unmap_all().unwrap();
    drop(client);
    assert_eq!(server.join().unwrap(), Disconnect::Clean);
}
