//! No peer decides how much this process allocates.

#![allow(unsafe_code, reason = "an allocator that counts is the only way to measure this")]

mod common;

use common::Rig;
use freewheel_vfio_user::client::access_payload;
use freewheel_vfio_user::codec::{Command, Header, HeaderFlags, Request};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Largest;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed on to the system's allocator, whose contract this is.
unsafe impl GlobalAlloc for Largest {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `alloc` above, with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Largest = Largest;

/// One test, so that no other allocates beside it.
#[test]
fn counts_of_the_peer_are_not_allocated() {
    let mut rig = Rig::new();
    // Whatever the connection needs by itself, it has now.
    LARGEST.store(0, Ordering::Relaxed);
    let huge = u32::MAX.to_le_bytes();
    for number in 0..20_u16 {
        for fill in [0x00, 0x7f, 0xff] {
            let mut payload = vec![fill; 64];
            payload[12..16].copy_from_slice(&huge);
            let flags = HeaderFlags::empty();
            let header = Header { id: 0, command: number, size: 80, flags, error: 0 };
            let _ = Request::decode(&header, &payload);
            if number > 1 {
                rig.client.send_raw(&[&header.encode()[..], &payload].concat(), &[]).unwrap();
                rig.turn().unwrap();
                rig.client.receive_any().unwrap();
            }
        }
    }
    let read = access_payload(5, 0, 1 << 20, &[]);
    let id = rig.client.send(Command::RegionRead, HeaderFlags::empty(), &read, &[]).unwrap();
    rig.turn().unwrap();
    rig.client.receive(id).unwrap_err();
    // A header that announces the largest payload and brings none.
    let flags = HeaderFlags::empty();
    let header = Header { id: 0, command: 10, size: 16 + 16 + (1 << 20), flags, error: 0 };
    rig.client.send_raw(&header.encode(), &[]).unwrap();
    rig.turn().unwrap();
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest <= 64 << 10, "{largest} bytes at once");
}
