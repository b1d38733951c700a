//! Disks behind a port multiplier, as `serve`, `ctl` and the end of the service see them.

#[allow(dead_code, reason = "not every test uses all of it")]
mod common;

use common::{Server, Vmm, freewheel, image};
use serde_json::{Value, json};

/// Disks on 0.0 and 0.2, and one that finds its place by itself.
fn start(first: &str) -> Server {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["disk.img", "second.img", "third.img"] {
        image(dir.path(), name);
    }
    let others =
        ["--disk", "path=second.img,port=0.2", "--disk", "path=third.img", "--deadline", "1"];
    Server::start_on(dir, &format!("path=disk.img,port=0.0{first}"), &others)
}

fn places(status: &Value) -> Vec<(Value, Value)> {
    let disks = status["disks"].as_array().expect("disks");
    disks.iter().map(|disk| (disk["port"].clone(), disk["pm_port"].clone())).collect()
}

#[test]
fn the_status_shows_each_device_behind_it() {
    let server = start("");
    let mut vmm = Vmm::connect(&server);
    // A guest that knows nothing of port multipliers has device port 0.
    vmm.fill(0, 0xa5);
    vmm.issue(0, true, 64);
    assert!(vmm.wait(0));
    let status = server.status();
    let expected = [(json!(0), json!(0)), (json!(0), json!(2)), (json!(1), Value::Null)];
    assert_eq!(places(&status), expected);
    assert_eq!(status["disks"][0]["written_bytes_total"], json!(4096));
    assert_eq!(status["disks"][0]["link"], json!("up"));
    assert_eq!(status["disks"][1]["written_bytes_total"], json!(0));
    assert_eq!(status["disks"][1]["link"], json!("off"), "until software enables its port");
    drop(vmm);
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn a_fault_reaches_the_disk_that_it_names() {
    let server = start("");
    let add =
        |port: Value, spec: &str| server.call("fault.add", &json!({ "port": port, "spec": spec }));
    assert!(add(json!("0.2"), "write:hang").get("result").is_some());
    assert!(add(json!("0.0"), "write:error=EIO").get("result").is_some());
    let reason = |reply: Value| reply["error"]["message"].as_str().unwrap_or("none").to_owned();
    assert!(reason(add(json!("0.1"), "write:hang")).contains("no disk on port 0.1"));
    assert!(reason(add(json!(0), "write:hang")).contains("no disk on port 0"));
    assert!(reason(add(json!("0.2"), "link:drop=1s")).contains("use 0"));
    assert!(reason(add(json!("0.15"), "write:hang")).contains("N.M"));
    assert!(add(json!(0), "link:crc").get("result").is_some(), "the cable of all of them");
    let (dir, ctl) = (server.dir.path(), ["ctl", "--control", "vm.ctl", "fault", "add", "--port"]);
    let added = freewheel(&[ctl.as_slice(), &["0.2", "read:hang"]].concat(), dir);
    assert_eq!(added.status.code(), Some(0));
    server.terminate();
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn a_stuck_disk_behind_it_is_named_at_the_end() {
    let server = start(",fault=write:hang");
    let mut vmm = Vmm::connect(&server);
    vmm.issue(0, true, 64);
    server.wait_for("the write", |status| status["disks"][0]["sata_active"] == json!(1));
    server.terminate();
    let (code, stdout, _) = server.end();
    assert_eq!(code, Some(5));
    assert!(stdout.contains("disk.img LBA 64 to 71"), "{stdout}");
}

#[test]
fn a_port_is_given_to_a_disk_or_to_a_port_multiplier() {
    let dir = tempfile::tempdir().expect("a directory");
    image(dir.path(), "a.img");
    image(dir.path(), "b.img");
    for (one, other, word) in [
        ("port=1", "port=1.0", "ports 1 and 1.0"),
        ("port=1.3", "port=1.3", "port 1.3 is given to two disks"),
        ("port=0.0", "port=0.1,fault=link:crc", "behind a port multiplier"),
    ] {
        let (one, other) = (format!("path=a.img,{one}"), format!("path=b.img,{other}"));
        let args = ["serve", "--socket", "s", "--disk", &one, "--disk", &other];
        let output = freewheel(&args, dir.path());
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(word) && stderr.contains("remedy: "), "{stderr}");
    }
}
