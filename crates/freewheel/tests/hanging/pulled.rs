//! Surprise removal with 32 commands stuck in the kernel.

use std::time::Duration;

use serde_json::json;

use crate::common::{HANG, Vmm};
use crate::storage::Storage;

pub(crate) fn a_disk_is_pulled_out_at_once(storage: &mut Storage, keys: &str) {
    let server = storage.serve(keys, &["--keep"]);
    let path = storage.fs.image().display().to_string();
    let mut vmm = Vmm::connect(&server);
    storage.hang();
    for slot in 0..32 {
        vmm.fill(slot, 0x11);
        vmm.issue(slot, slot % 2 == 0, slot * 16);
    }
    storage.fs.wait_for_pending(32);
    let reply = server.call("detach", &json!({ "port": 0, "force": true }));
    let in_doubt = reply["result"]["in_doubt"].as_array().expect("ranges");
    assert_eq!(in_doubt.len(), 16, "{reply:#}");
    let status = server.status();
    let stop_us = status["hba"]["stop_us_max"].as_f64().expect("a number");
    assert!(stop_us < 100_000.0, "it took {stop_us} µs");
    println!("{keys}: pulled out within {stop_us} µs");
    let turn_us = status["turn_us_max"].as_f64().expect("a number");
    assert!(turn_us < 500_000.0, "a turn of the device thread took {turn_us} µs");
    vmm.fill(1, 0x99);

    let disk = json!({ "disk": format!("path={path},{keys}") });
    let reply = server.call("attach", &disk);
    let cause = reply["error"]["message"].as_str().expect("a refusal");
    assert!(cause.contains("LBA 480 to 487"), "{cause}");

    storage.fs.clear();
    storage.fs.release();
    server.wait_for("the end of custody", |status| status["custody"] == json!([]));
    assert_eq!(vmm.data(1), vec![0x99; 4096], "a late read has reached the guest");
    let reply = server.call("attach", &disk);
    assert!(reply.get("error").is_none(), "{reply:#}");
    vmm.restart();
    vmm.issue(0, false, 480);
    assert!(vmm.wait(0));
    assert_eq!(vmm.data(0), vec![0x11; 4096], "the late write came before");
    drop(vmm);
    std::thread::sleep(Duration::from_millis(10));
    server.terminate();
    assert_eq!(server.end().0, Some(0), "within {HANG:?}");
}
