//! The whole backend: its device thread, its workers, the eventfd, and its end.

use freewheel_block::OpKind;

use super::case::Case;
use super::device::{Device, Setting};

pub(super) const CASES: &[Case] = &[
    Case { name: "backend::one", run: one },
    Case { name: "backend::one_after_the_other", run: one_after_the_other },
    Case { name: "backend::two", run: two },
    Case { name: "backend::others_go_on", run: others_go_on },
    Case { name: "backend::drop_with_requests", run: drop_with_requests },
    Case { name: "backend::drop_with_a_hang", run: drop_with_a_hang },
    Case { name: "backend::withdraw", run: withdraw },
    Case { name: "backend::flush", run: flush },
    Case { name: "backend::late_flush", run: late_flush },
    Case { name: "backend::failed_flush", run: failed_flush },
    Case { name: "backend::withdrawn_flush", run: withdrawn_flush },
    Case { name: "backend::write_through", run: write_through },
    Case { name: "backend::ring_and_pool", run: ring_and_pool },
];

/// Larger ones, for searches at random.
pub(super) const LARGE: &[Case] = &[Case { name: "backend::busy_day", run: busy_day }];

/// As many threads as slots: enough where nothing is flushed.
fn threads(slots: u16) -> Device {
    Device::new(Setting { slots, threads: usize::from(slots), ..Setting::default() })
}

/// With the extra thread that there is in truth.
fn one() {
    let mut device = Device::new(Setting { slots: 1, threads: 2, ..Setting::default() });
    device.discard(0);
    device.wait_for_all();
    device.finish();
}

/// The second finds an idle worker, or one whose time is up.
fn one_after_the_other() {
    let mut device = threads(1);
    device.discard(0);
    device.wait_for_all();
    device.discard(0);
    device.wait_for_all();
    device.finish();
}

fn two() {
    let mut device = threads(2);
    device.discard(0);
    device.discard(1);
    device.wait_for_all();
    device.finish();
}

/// C4: what hangs holds up nobody else.
fn others_go_on() {
    let mut device = threads(2);
    let hangs = device.hanging_discard(0);
    let other = device.discard(1);
    device.wait_for(other);
    assert!(!device.is_back(hangs));
    device.storage().release();
    device.wait_for_all();
    device.finish();
}

fn drop_with_requests() {
    let mut device = threads(3);
    device.discard(0);
    device.discard(1);
    device.discard(2);
    device.finish();
}

/// C7: the end waits for nobody, and the image stays locked while a write may still land.
fn drop_with_a_hang() {
    let mut device = threads(2);
    device.hanging_discard(0);
    let other = device.discard(1);
    device.wait_for(other);
    assert!(!device.storage().is_closed());
    device.finish();
}

/// The hint comes before a worker has begun, or in the middle, or too late.
fn withdraw() {
    let mut device = threads(2);
    let id = device.discard(0);
    device.discard(1);
    device.cancel_hint(id);
    device.wait_for_all();
    device.finish();
}

/// C5.
fn flush() {
    let mut device = Device::new(Setting { slots: 2, threads: 1, ..Setting::default() });
    device.discard(0);
    device.wait_for_all();
    device.submit(1, OpKind::Flush, 0);
    device.wait_for_all();
    device.finish();
}

/// The second flush comes while the first one's sync may be running, which is too early for it.
fn late_flush() {
    let mut device = threads(2);
    device.submit(0, OpKind::Flush, 0);
    let write = device.discard(1);
    device.wait_for(write);
    device.submit(1, OpKind::Flush, 0);
    device.wait_for_all();
    device.finish();
}

/// The kernel mentions it once. From then on, no flush can be believed.
fn failed_flush() {
    let mut device = Device::new(Setting { slots: 2, threads: 1, ..Setting::default() });
    device.storage().fail_sync(0);
    device.discard(0);
    device.wait_for_all();
    device.submit(0, OpKind::Flush, 0);
    device.wait_for_all();
    device.submit(0, OpKind::Flush, 0);
    device.wait_for_all();
    device.finish();
}

fn withdrawn_flush() {
    let mut device = Device::new(Setting { slots: 2, threads: 1, ..Setting::default() });
    device.discard(0);
    device.wait_for_all();
    let id = device.submit(0, OpKind::Flush, 0);
    device.cancel_hint(id);
    device.wait_for(id);
    device.submit(1, OpKind::Flush, 0);
    device.wait_for_all();
    device.finish();
}

fn write_through() {
    let mut device =
        Device::new(Setting { slots: 2, threads: 2, write_through: true, ring: false });
    device.discard(0);
    device.discard(1);
    device.wait_for_all();
    device.finish();
}

/// Two kinds of threads signal the same eventfd.
fn ring_and_pool() {
    let mut device =
        Device::new(Setting { slots: 2, threads: 1, write_through: false, ring: true });
    device.submit(0, OpKind::Read, 0);
    device.discard(1);
    device.wait_for_all();
    device.finish();
}

/// Everything at once: six slots, a hang, hints, flushes, and an end in the middle of it.
fn busy_day() {
    let mut device = Device::new(Setting { slots: 6, threads: 7, ..Setting::default() });
    device.hanging_discard(0);
    let first = device.discard(1);
    let second = device.discard(2);
    device.submit(3, OpKind::Flush, 0);
    device.cancel_hint(first);
    device.wait_for(first);
    let third = device.discard(1);
    let flush = device.submit(4, OpKind::Flush, 0);
    device.poll();
    device.cancel_hint(third);
    device.wait_for(second);
    let fourth = device.discard(2);
    let late = device.submit(5, OpKind::Flush, 0);
    device.wait_for(third);
    device.wait_for(flush);
    device.cancel_hint(fourth);
    device.wait_for(fourth);
    device.wait_for(late);
    device.discard(1);
    device.discard(2);
    device.poll();
    device.finish();
}
