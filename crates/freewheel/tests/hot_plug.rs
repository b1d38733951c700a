//! Disks, drives and media that come and go, as a guest on port 0 and an operator see it.

#[allow(dead_code, reason = "other tests use the rest")]
mod common;
#[path = "hot_plug/cycles.rs"]
mod cycles;
#[path = "hot_plug/disks.rs"]
mod disks;
#[path = "hot_plug/media.rs"]
mod media;

use std::time::Instant;

use common::{HANG, Server, Vmm, image};
use serde_json::{Value, json};

/// PxSSTS.DET of a device with a link.
const PRESENT: u32 = 3;
const DIAG_N: u32 = 1 << 16;
const DIAG_X: u32 = 1 << 26;

/// A controller with empty ports, and images beside it that are not attached.
fn empty_ports(options: &[&str], images: &[&str]) -> Server {
    let dir = tempfile::tempdir().expect("a directory");
    for name in images {
        image(dir.path(), name);
    }
    Server::launch(dir, options)
}

fn result(server: &Server, method: &str, params: Value) -> Value {
    let reply = server.call(method, &params);
    assert!(reply.get("error").is_none(), "{method} {params}: {reply:#}");
    reply["result"].clone()
}

/// The cause and the remedy.
fn refusal(server: &Server, method: &str, params: Value) -> (String, String) {
    let reply = server.call(method, &params);
    let text = |at: &str| {
        let text = reply.pointer(at).and_then(Value::as_str);
        text.unwrap_or_else(|| panic!("{method} {params}: {reply:#}")).to_owned()
    };
    (text("/error/message"), text("/error/data/remedy"))
}

fn attach(server: &Server, keys: &str) -> Value {
    result(server, "attach", json!({ "disk": keys }))
}

fn pull(server: &Server) -> Value {
    result(server, "detach", json!({ "port": 0, "force": true }))
}

fn wait_for_custody(server: &Server, cases: usize) -> Value {
    server.wait_for("custody", |status| status["custody"].as_array().map(Vec::len) == Some(cases))
}

/// PxSSTS.DET, and PxSERR, which is cleared.
fn link(vmm: &mut Vmm) -> (u32, u32) {
    let state = (vmm.read(0x128) & 0xf, vmm.read(0x130));
    vmm.write(0x130, !0);
    state
}

/// The device thread has not waited for storage: what took things off took next to no time.
fn assert_at_once(server: &Server, since: Instant) {
    assert!(since.elapsed() < HANG / 10, "it took {:?}", since.elapsed());
    let status = server.status();
    let stop_us = status["hba"]["stop_us_max"].as_f64().expect("a number");
    assert!(stop_us < 100_000.0, "something took {stop_us} µs to go: {status:#}");
}
