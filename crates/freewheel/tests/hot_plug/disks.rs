//! Disks.

use std::time::Instant;

use serde_json::json;

use super::*;

#[test]
fn a_disk_comes_is_used_goes_and_comes_back_with_its_data() {
    let server = empty_ports(&[], &["a.img"]);
    let mut vmm = Vmm::connect(&server);
    assert_eq!(link(&mut vmm).0, 0, "the port is empty");
    let reply = attach(&server, "path=a.img");
    assert_eq!(reply, json!({ "port": "0", "path": "a.img" }));
    let (state, errors) = link(&mut vmm);
    assert_eq!((state, errors & DIAG_X), (PRESENT, DIAG_X), "{errors:#x}");

    vmm.restart();
    vmm.fill(3, 0x5a);
    vmm.issue(3, true, 800);
    assert!(vmm.wait(3));
    let reply = result(&server, "detach", json!({ "port": 0 }));
    assert_eq!(reply, json!({ "path": "a.img", "settled": true }));
    let (state, errors) = link(&mut vmm);
    assert_eq!((state, errors & DIAG_N), (0, DIAG_N), "{errors:#x}");
    assert_eq!(server.status()["disks"], json!([]));

    attach(&server, "path=a.img,port=0");
    vmm.restart();
    vmm.issue(7, false, 800);
    assert!(vmm.wait(7));
    assert_eq!(vmm.data(7), vec![0x5a; 4096]);
}

#[test]
fn a_disk_that_is_pulled_out_with_32_stuck_writes_comes_back_only_once_they_are_settled() {
    let server = empty_ports(&[], &["a.img"]);
    attach(&server, "path=a.img,fault=write:hang");
    let mut vmm = Vmm::connect(&server);
    for slot in 0..32 {
        vmm.fill(slot, 0x77);
        vmm.issue(slot, true, slot * 16);
    }
    server.wait_for("32 writes", |status| status["disks"][0]["running_now"] == 32);
    let start = Instant::now();
    let reply = pull(&server);
    assert_at_once(&server, start);
    let in_doubt = reply["in_doubt"].as_array().expect("ranges");
    assert_eq!(in_doubt.len(), 32);
    assert_eq!(in_doubt[1], json!({ "lba": 16, "sectors": 8 }));
    assert_eq!(vmm.in_flight().1, !0, "the tags are the guest's to clear");

    let status = wait_for_custody(&server, 1);
    assert_eq!(status["custody"][0]["path"], "a.img");
    assert_eq!(status["custody"][0]["orphans_now"], 32);
    // By any name.
    std::os::unix::fs::symlink("a.img", server.dir.path().join("other.img")).expect("a link");
    let (cause, remedy) = refusal(&server, "attach", json!({ "disk": "path=other.img" }));
    assert!(cause.contains("a.img was taken off") && cause.contains("LBA 16 to 23"), "{cause}");
    assert!(remedy.contains("custody"), "{remedy}");

    assert_eq!(result(&server, "fault.release", json!({}))["released"], 32);
    wait_for_custody(&server, 0);
    attach(&server, "path=other.img");
    vmm.restart();
    vmm.issue(0, false, 16);
    assert!(vmm.wait(0));
    assert_eq!(vmm.data(0), vec![0x77; 4096], "the late write has come before it was attached");
}

#[test]
fn a_disk_in_use_stays_and_the_answer_names_the_other_way() {
    let server = Server::start(",fault=read:hang", &[]);
    let mut vmm = Vmm::connect(&server);
    vmm.issue(5, false, 0);
    let params = json!({ "port": 0, "timeout_ms": 50 });
    let (cause, remedy) = refusal(&server, "detach", params);
    assert!(cause.contains("1 command(s) are in flight"), "{cause}");
    assert!(remedy.contains("--force"), "{remedy}");
    assert_eq!(vmm.read(0x128) & 0xf, PRESENT);
    result(&server, "fault.clear", json!({}));
    result(&server, "fault.release", json!({}));
    assert!(vmm.wait(5));
}

#[test]
fn what_is_not_possible_is_refused_with_a_remedy() {
    let server = Server::start("", &["--cdrom", "port=2"]);
    for (method, params, words) in [
        ("attach", json!({ "disk": "path=disk.img" }), "disk.img is on port 0 already"),
        ("attach", json!({ "disk": "path=missing.img" }), "no such file"),
        ("attach", json!({ "disk": "path=disk.img,port=0" }), "on port 0 already"),
        ("attach", json!({ "disk": "path=disk.img,port=6" }), "there is no port 6"),
        ("attach", json!({ "disk": "colour=red" }), "`colour` is unknown"),
        ("attach", json!({ "disk": "path=a", "cdrom": "" }), "one of"),
        ("detach", json!({}), "`port` is missing"),
        ("detach", json!({ "port": 4 }), "no disk and no drive on port 4"),
        ("insert", json!({ "port": 0, "path": "disk.img" }), "no CD drive"),
        ("insert", json!({ "port": 2, "path": "missing.iso" }), "no such file"),
        ("eject", json!({ "port": 0 }), "no CD drive"),
    ] {
        let (cause, remedy) = refusal(&server, method, params);
        assert!(cause.contains(words) && !remedy.is_empty(), "{cause}; {remedy}");
    }
    let status = server.status();
    assert_eq!(status["disks"].as_array().map(Vec::len), Some(2), "{status:#}");
}

#[test]
fn a_disk_behind_a_port_multiplier_comes_and_goes() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["a.img", "b.img"] {
        image(dir.path(), name);
    }
    let disks = ["--disk", "path=a.img,port=0.0", "--disk", "path=b.img,port=0.1"];
    let server = Server::launch(dir, &disks);
    for params in [json!({ "port": "0.1", "force": true }), json!({ "port": "0.1" })] {
        result(&server, "detach", params);
        let status = wait_for_custody(&server, 0);
        assert_eq!(status["disks"].as_array().map(Vec::len), Some(1), "{status:#}");
        attach(&server, "path=b.img,port=0.1");
        assert_eq!(server.status()["disks"][1]["pm_port"], 1);
    }
    let elsewhere = |keys| refusal(&server, "attach", json!({ "disk": keys })).0;
    assert!(elsewhere("path=b.img,port=1.0").contains("no port multiplier on port 1"));
    assert!(elsewhere("path=b.img,port=0").contains("on port 0 is a port multiplier"));
    // Even an empty port multiplier has its port.
    for port in ["0.0", "0.1"] {
        result(&server, "detach", json!({ "port": port, "force": true }));
    }
    wait_for_custody(&server, 0);
    assert_eq!(attach(&server, "path=a.img")["port"], "1");
}

#[test]
fn an_answer_says_if_the_last_flush_hangs_or_fails() {
    let server = empty_ports(&[], &["a.img", "b.img"]);
    attach(&server, "path=a.img,fault=flush:hang");
    attach(&server, "path=b.img,fault=flush:error=EIO");
    let (cause, _) = refusal(&server, "detach", json!({ "port": 0, "timeout_ms": 1500 }));
    assert!(cause.contains("a.img is off, but its storage is not settled"), "{cause}");
    let status = wait_for_custody(&server, 1);
    assert_eq!(status["custody"][0]["flushed"], false);
    let (cause, _) = refusal(&server, "detach", json!({ "port": 1 }));
    assert!(cause.contains("its last flush failed"), "{cause}");
    result(&server, "fault.release", json!({}));
    wait_for_custody(&server, 0);
}

#[test]
fn what_a_disk_keeps_is_written_when_it_goes_and_read_when_it_comes_back() {
    let server = empty_ports(&[], &["a.img"]);
    for round in 0..3 {
        attach(&server, "path=a.img,state=on");
        let status = server.status();
        assert_eq!(status["disks"][0]["state_file"]["failed_total"], 0, "round {round}");
        pull(&server);
        wait_for_custody(&server, 0);
        let state = server.dir.path().join("a.img.freewheel-state");
        assert!(std::fs::metadata(state).expect("a state file").len() > 0);
    }
}

/// Processor time of the server, in clock ticks.
fn ticks(server: &Server) -> u64 {
    let path = format!("/proc/{}/stat", server.id().as_raw_nonzero());
    let stat = std::fs::read_to_string(path).expect("a process");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number")
}

#[test]
fn a_client_that_goes_while_it_waits_costs_nothing_and_one_that_only_listens_is_answered() {
    use std::io::{Read, Write};
    let server = Server::start(",fault=read:hang", &[]);
    let mut vmm = Vmm::connect(&server);
    vmm.issue(5, false, 0);
    let detach = |timeout_ms| {
        let params = json!({ "port": 0, "timeout_ms": timeout_ms });
        let request = json!({ "id": 1, "method": "detach", "params": params });
        let mut client = server.control();
        client.write_all(format!("{request}\n").as_bytes()).expect("sent");
        client.shutdown(std::net::Shutdown::Write).expect("half closed");
        client
    };
    let mut listens = detach(500);
    server.wait_for("leaving", |status| status["leaving"] == json!(["0"]));
    let before = ticks(&server);
    let mut answer = String::new();
    listens.read_to_string(&mut answer).expect("an answer, then the end");
    assert!(answer.contains("still in use"), "{answer}");
    let goes = detach(60_000);
    server.wait_for("leaving", |status| status["leaving"] == json!(["0"]));
    drop(goes);
    std::thread::sleep(std::time::Duration::from_millis(500));
    // Two half seconds, of a hundred ticks each.
    assert!(ticks(&server) - before < 30, "it spins");
    pull(&server);
}

#[test]
fn ctl_does_it_all() {
    let server = empty_ports(&[], &["a.img", "a.iso"]);
    let ctl = |words: &[&str]| {
        let output = common::freewheel(
            &[&["ctl", "--control", "vm.ctl"], words].concat(),
            server.dir.path(),
        );
        let text = String::from_utf8(output.stdout).expect("text");
        let errors = String::from_utf8(output.stderr).expect("text");
        (output.status.code(), text + &errors)
    };
    for words in [
        &["attach", "--disk", "path=a.img,port=3"][..],
        &["attach", "--cdrom", ""],
        &["insert", "--port", "0", "a.iso"],
        &["eject", "--port", "0"],
        &["eject", "--port", "0", "--force"],
        &["detach", "--port", "3", "--timeout", "20"],
        &["detach", "--port", "0", "--force"],
    ] {
        let (code, text) = ctl(words);
        assert_eq!(code, Some(0), "{words:?}: {text}");
    }
    let (code, text) = ctl(&["attach", "--disk", "path=missing.img"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("no such file") && text.contains("remedy: check the path"), "{text}");
    assert_eq!(ctl(&["attach"]).0, Some(2));
}

#[test]
fn the_end_waits_for_what_was_pulled_out_and_names_it() {
    let server = empty_ports(&["--deadline", "1"], &["a.img"]);
    attach(&server, "path=a.img,fault=write@40:hang");
    let mut vmm = Vmm::connect(&server);
    vmm.issue(0, true, 40);
    server.wait_for("a write", |status| status["disks"][0]["running_now"] == 1);
    pull(&server);
    drop(vmm);
    let (code, stdout, stderr) = server.end();
    assert_eq!(code, Some(5), "{stderr}");
    assert!(stdout.contains("in doubt: a.img LBA 40 to 47"), "{stdout}");
}
