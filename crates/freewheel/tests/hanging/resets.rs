//! Every way to stop or reset, with 32 tags stuck in the kernel.

use std::time::{Duration, Instant};

use freewheel_vfio_user::client::REGION_CONFIG;
use serde_json::{Value, json};

use crate::common::{Server, Vmm};
use crate::storage::{HANG_BELOW_LBA, Storage};

/// What a reset may take as the guest sees it, and the longest turn of the device thread: far more
/// than it does, since the machine may be busy, and far less than storage that hangs.
const AT_ONCE: Duration = Duration::from_millis(500);
/// What a turn of the device thread may compute, or wait for anything, in microseconds (issue 4).
const TURN_US: f64 = 5_000.0;
/// Sectors from one tag's range to the next.
const STRIDE: u64 = 16;

const GHC: u64 = 0x04;
const SCTL: u64 = 0x12c;
const SSTS: u64 = 0x128;
const TFD: u64 = 0x120;

#[derive(Clone, Copy, Debug)]
enum Way {
    Stop,
    Comreset,
    SoftwareReset,
    HbaReset,
    FunctionReset,
    Unmap,
    Disconnect,
}

const WAYS: [Way; 7] = [
    Way::Stop,
    Way::Comreset,
    Way::SoftwareReset,
    Way::HbaReset,
    Way::FunctionReset,
    Way::Unmap,
    Way::Disconnect,
];

/// Resets, sees that the port is empty, and comes back; how long the guest had to wait for that.
fn reset(way: Way, mut vmm: Vmm, server: &Server) -> (Vmm, Duration) {
    let start = Instant::now();
    match way {
        Way::Stop => vmm.stop(),
        Way::Comreset => {
            vmm.write(SCTL, 1);
            vmm.write(SCTL, 0);
        }
        Way::SoftwareReset => {
            vmm.stop();
            vmm.start();
            vmm.control(4);
            vmm.control(0);
        }
        Way::HbaReset => vmm.write(GHC, 1 << 31 | 1),
        Way::FunctionReset => {
            vmm.client.reset().expect("a reset");
            // Registers are out of reach until memory space is enabled again.
            vmm.client.region_write(REGION_CONFIG, 4, &6u16.to_le_bytes()).expect("configured");
        }
        Way::Unmap => {
            vmm.client.dma_unmap(0x10_0000, 1 << 20).expect("unmapped");
            vmm.stop();
        }
        Way::Disconnect => {
            drop(vmm);
            let took = start.elapsed();
            server.wait_for("the end of the connection", |status| {
                status["connected"] == json!(false)
            });
            return (Vmm::connect(server), took);
        }
    }
    let (command_issue, active, _) = vmm.in_flight();
    assert_eq!((command_issue, active), (0, 0), "{way:?} is not over");
    let took = start.elapsed();
    match way {
        // Memory, HBA and port have to be set up anew.
        Way::HbaReset | Way::FunctionReset | Way::Unmap => {
            drop(vmm);
            server.wait_for("the end of the connection", |status| {
                status["connected"] == json!(false)
            });
            vmm = Vmm::connect(server);
        }
        _ => {
            vmm.stop();
            vmm.write(0x130, u32::MAX);
            vmm.write(0x110, u32::MAX);
            vmm.start();
        }
    }
    (vmm, took)
}

/// How long the server takes to answer.
fn ask(server: &Server) -> (Value, Duration) {
    let start = Instant::now();
    let status = server.status();
    (status, start.elapsed())
}

/// The test.
pub(crate) fn every_way_to_reset_ends_at_once(storage: &mut Storage, keys: &str) {
    let server = storage.serve(keys, &["--keep"]);
    let mut vmm = Vmm::connect(&server);
    let mut longest = Duration::ZERO;
    for (round, way) in (0u64..).zip(WAYS) {
        let (old, new) = (0x10 + round as u8, 0x80 + round as u8);
        storage.hang();
        for slot in 0..32 {
            vmm.fill(slot, old);
            vmm.issue(slot, slot % 2 == 0, slot * STRIDE);
        }
        storage.fs.wait_for_pending(32);
        let (status, answered) = ask(&server);
        assert_eq!(status["disks"][0]["running_now"], json!(32), "{way:?}");
        assert!(answered < AT_ONCE, "the status took {answered:?} while the storage hangs");

        let took;
        (vmm, took) = reset(way, vmm, &server);
        assert!(took < AT_ONCE, "{way:?} took {took:?}");
        longest = longest.max(took);
        let (status, _) = ask(&server);
        assert_eq!(storage.fs.pending(), 32, "{way:?}: the storage let go of requests");
        assert_eq!(status["disks"][0]["orphans_now"], json!(32), "{way:?}");
        assert_eq!(status["disks"][0]["fences_now"], json!(16), "{way:?}");
        assert_eq!(vmm.read(SSTS) & 0xf, 3, "{way:?}: no link afterwards");
        assert_eq!(vmm.read(TFD) & 0x88, 0, "{way:?}: busy afterwards");

        // The guest goes on elsewhere, and is held where an orphan may still write.
        for slot in 0..32 {
            vmm.fill(slot, 0xcc);
        }
        vmm.fill(0, new);
        vmm.issue(0, true, HANG_BELOW_LBA + 1024);
        assert!(vmm.wait(0), "{way:?}: a write elsewhere");
        vmm.issue(1, false, HANG_BELOW_LBA + 1024);
        assert!(vmm.wait(1), "{way:?}: a read elsewhere");
        assert!(vmm.data(1).iter().all(|byte| *byte == new), "{way:?}: what was written elsewhere");
        vmm.fill(2, new);
        vmm.issue(2, true, 2 * STRIDE);
        server.wait_for("the hold", |status| status["disks"][0]["held_now"] == json!(1));

        // The storage comes back.
        assert_eq!(storage.fs.release(), 32);
        assert!(vmm.wait(2), "{way:?}: the write that was held");
        server.wait_for("the end of the orphans", |status| {
            status["disks"][0]["orphans_now"] == json!(0)
        });
        for slot in 3..32 {
            let untouched = vmm.data(slot).iter().all(|byte| *byte == 0xcc);
            assert!(untouched, "{way:?}: late data in the memory of slot {slot}");
        }
        vmm.issue(3, false, 2 * STRIDE);
        vmm.issue(4, false, 4 * STRIDE);
        assert!(vmm.wait(3) && vmm.wait(4), "{way:?}: reading back");
        assert!(vmm.data(3).iter().all(|byte| *byte == new), "{way:?}: older data came last");
        assert!(vmm.data(4).iter().all(|byte| *byte == old), "{way:?}: the orphan's own data");
    }
    let status = server.status();
    let us = |value: &Value| value.as_f64().expect("a number");
    let (turn, stop) = (us(&status["turn_us_max"]), us(&status["hba"]["stop_us_max"]));
    let (computed, blocked) = (us(&status["turn_cpu_us_max"]), us(&status["turn_blocked_us_max"]));
    println!(
        "{keys}: turn_us_max {turn:.0} ({:.0} of its own), turn_cpu_us_max {computed:.0}, {} turns \
         waited ({blocked:.0} us at most), stop_us_max {stop:.0}, the guest waited {:.0} us at most",
        us(&status["turn_us_max_cpu"]),
        status["turns_blocked_total"],
        longest.as_secs_f64() * 1e6
    );
    let limit = AT_ONCE.as_secs_f64() * 1e6;
    assert!(turn < limit && stop < limit, "the device thread waited");
    assert!(computed < TURN_US && blocked < TURN_US, "a turn of the device thread is too long");
}
