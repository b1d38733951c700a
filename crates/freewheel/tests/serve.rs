//! The served controller as a process: mistakes at the start, peers that misbehave, stuck storage,
//! and the end.

mod common;

use std::io::{BufRead, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::{HANG, Server, Vmm, freewheel, image};
use serde_json::json;

#[test]
fn a_mistake_gets_a_cause_a_remedy_and_its_exit_code_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    image(dir.path(), "good.img");
    std::fs::write(dir.path().join("odd.img"), [0; 1000]).expect("an image");
    std::fs::write(dir.path().join("empty.img"), []).expect("an image");
    std::fs::write(dir.path().join("file"), "not a socket").expect("a file");
    let serve = |disk: &str, socket: &str| {
        freewheel(&["serve", "--socket", socket, "--disk", disk], dir.path())
    };
    let long = "x".repeat(200);
    let cases = [
        (serve("path=missing.img", "s"), 3, "missing.img"),
        (serve("path=odd.img", "s"), 3, "1000"),
        (serve("path=empty.img", "s"), 3, "empty.img"),
        (serve("path=.", "s"), 3, "image ."),
        (serve("path=good.img", "file"), 4, "file"),
        (serve("path=good.img", "nowhere/s"), 4, "nowhere/s"),
        (serve("path=good.img", &long), 4, "too long"),
        (serve("path=good.img,colour=red", "s"), 2, "colour"),
        (serve("path=good.img,fault=trim:hang", "s"), 2, "column 1"),
        (serve("path=good.img,fault=flush:short", "s"), 2, "good.img"),
        (serve("path=good.img,port=40", "s"), 2, "port"),
        (serve("path=good.img,logical=1024", "s"), 3, "1024"),
    ];
    for (output, code, word) in cases {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
        // Mistakes on the command line are clap's to report: cause, and where to look.
        let remedy = if code == 2 { "" } else { "remedy: " };
        assert!(stderr.contains(remedy), "{stderr}");
        assert!(output.stdout.is_empty());
    }
    let mut left: Vec<_> = std::fs::read_dir(dir.path())
        .expect("the directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    left.sort();
    assert_eq!(left, ["empty.img", "file", "good.img", "odd.img"]);
}

#[test]
fn a_second_server_gets_neither_the_image_nor_the_socket() {
    let server = Server::start("", &["--keep"]);
    let again =
        freewheel(&["serve", "--socket", "other", "--disk", "path=disk.img"], server.dir.path());
    assert_eq!(again.status.code(), Some(3));
    image(server.dir.path(), "other.img");
    let again =
        freewheel(&["serve", "--socket", "vm.sock", "--disk", "path=other.img"], server.dir.path());
    assert_eq!(again.status.code(), Some(4));
    server.terminate();
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn data_survives_the_way_through_the_socket_and_the_server_ends_with_its_vmm() {
    for engine in ["io_uring", "threads"] {
        let server = Server::start(&format!(",engine={engine}"), &[]);
        let mut vmm = Vmm::connect(&server);
        vmm.fill(0, 0xa5);
        vmm.issue(0, true, 64);
        assert!(vmm.wait(0));
        vmm.fill(1, 0);
        vmm.issue(1, false, 64);
        assert!(vmm.wait(1));
        assert!(vmm.data(1).iter().all(|byte| *byte == 0xa5));
        let status = server.status();
        assert_eq!(status["disks"][0]["engine"], json!(engine));
        assert_eq!(status["connected"], json!(true));
        drop(vmm);
        assert_eq!(server.end().0, Some(0));
    }
}

#[test]
fn a_peer_that_breaks_the_protocol_costs_its_connection_and_nothing_else() {
    let server = Server::start("", &["--keep"]);
    let header = |command: u16, size: u32| {
        let mut bytes = [0u8; 16];
        bytes[2..4].copy_from_slice(&command.to_le_bytes());
        bytes[4..8].copy_from_slice(&size.to_le_bytes());
        bytes
    };
    let garbage: Vec<u8> = (0..4096u32).map(|at| (at * 131 % 251) as u8).collect();
    let attacks: [&[u8]; 6] = [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        &garbage,
        &header(1, u32::MAX),
        &header(1, 4096),
        &header(9, 16),
    ];
    for attack in attacks {
        let mut peer = UnixStream::connect(server.socket()).expect("connected");
        // The server may cut the peer off while it is still sending.
        let _ = peer.write_all(attack);
        drop(peer);
        server.wait_for("the end of the connection", |status| status["connected"] == json!(false));
    }
    // A half-open peer is replaced by nobody, but goes when it closes.
    let mut vmm = Vmm::connect(&server);
    vmm.fill(0, 1);
    vmm.issue(0, true, 0);
    assert!(vmm.wait(0));
}

#[test]
fn a_stop_with_32_stuck_commands_is_over_when_the_next_register_is_read() {
    let server = Server::start(",fault=any:hang", &["--keep"]);
    let mut vmm = Vmm::connect(&server);
    for slot in 0..32 {
        vmm.fill(slot, 0x11);
        vmm.issue(slot, slot % 2 == 0, slot * 8);
    }
    assert_eq!(vmm.in_flight(), (0, u32::MAX, true));
    vmm.stop();
    assert_eq!(vmm.in_flight(), (0, 0, false));
    let status = server.status();
    assert_eq!(status["disks"][0]["orphans_now"], json!(32));
    assert_eq!(status["disks"][0]["fences_now"], json!(16));
    assert_eq!(status["hba"]["resets"][0]["cancelled"], json!(32));
    // The guest goes on beside the fences, and is held behind them.
    server.call("fault.clear", &json!({}));
    vmm.start();
    vmm.fill(0, 0x22);
    vmm.issue(0, true, 0);
    vmm.issue(1, false, 1024);
    assert!(vmm.wait(1));
    server.wait_for("the hold", |status| status["disks"][0]["held_now"] == json!(1));
    for slot in 2..32 {
        vmm.fill(slot, 0xcc);
    }
    assert_eq!(server.call("fault.release", &json!({}))["result"]["released"], json!(32));
    assert!(vmm.wait(0));
    server
        .wait_for("the end of the orphans", |status| status["disks"][0]["orphans_now"] == json!(0));
    for slot in 2..32 {
        assert!(vmm.data(slot).iter().all(|byte| *byte == 0xcc), "late data in slot {slot}");
    }
    vmm.issue(2, false, 0);
    assert!(vmm.wait(2));
    assert!(vmm.data(2).iter().all(|byte| *byte == 0x22), "the older write came last");
}

#[test]
fn memory_that_is_unmapped_with_commands_in_flight_is_never_touched_again() {
    let server = Server::start(",fault=read:hang", &["--keep"]);
    let mut vmm = Vmm::connect(&server);
    vmm.fill(0, 0xcc);
    vmm.issue(0, false, 0);
    let start = Instant::now();
    vmm.client.dma_unmap(0x10_0000, 1 << 20).expect("unmapped");
    assert!(start.elapsed() < HANG);
    server.call("fault.release", &json!({}));
    server.wait_for("the failure", |status| status["disks"][0]["failed_total"] == json!(1));
    assert!(vmm.data(0).iter().all(|byte| *byte == 0xcc));
    // PxIS.HBFS: the port halts as AHCI defines it.
    assert_ne!(vmm.read(0x110) & 1 << 29, 0);
}

#[test]
fn the_end_with_storage_stuck_names_the_ranges_and_has_its_own_exit_code() {
    let server = Server::start(",fault=write#2:hang", &["--deadline", "1"]);
    let mut vmm = Vmm::connect(&server);
    vmm.fill(0, 1);
    vmm.issue(0, true, 0);
    assert!(vmm.wait(0));
    vmm.issue(1, true, 4096);
    server.wait_for("the second write", |status| status["disks"][0]["running_now"] == json!(1));
    drop(vmm);
    let (code, stdout, stderr) = server.end();
    assert_eq!(code, Some(5), "{stdout}{stderr}");
    assert_eq!(stdout, "in doubt: disk.img LBA 4096 to 4103\n");
    assert!(stderr.contains("waiting for 1 stuck request"), "{stderr}");
}

#[test]
fn the_end_waits_for_storage_that_comes_back_in_time() {
    let server = Server::start(",fault=write#1:delay=700ms", &[]);
    let mut vmm = Vmm::connect(&server);
    vmm.issue(0, true, 0);
    server.wait_for("the write", |status| status["disks"][0]["running_now"] == json!(1));
    drop(vmm);
    let (code, stdout, _) = server.end();
    assert_eq!((code, stdout.as_str()), (Some(0), ""));
}

#[test]
fn a_second_signal_ends_the_waiting() {
    let server = Server::start(",fault=write:hang", &["--deadline", "1000", "--keep"]);
    let mut vmm = Vmm::connect(&server);
    vmm.issue(0, true, 0);
    server.wait_for("the write", |status| status["disks"][0]["running_now"] == json!(1));
    server.terminate();
    std::thread::sleep(Duration::from_millis(500));
    server.terminate();
    assert_eq!(server.end().0, Some(5));
}

#[test]
fn control_clients_that_misbehave_cost_only_themselves() {
    let server = Server::start("", &["--keep"]);
    let mut garbage = server.control();
    garbage.write_all(b"not json\n{}\n[1]\n{\"method\":5}\n").expect("sent");
    let mut flood = server.control();
    flood.set_write_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let line = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n";
    // Asks and never reads: at some point nothing is taken from it any more.
    let asked = (0..100_000).take_while(|_| flood.write_all(line).is_ok()).count();
    assert!(asked < 100_000, "a client that does not read is not read from");
    let mut endless = server.control();
    let long = vec![b'x'; 1 << 20];
    let _ = endless.write_all(&long);
    let idle: Vec<UnixStream> = (0..40).map(|_| server.control()).collect();
    drop(idle);
    let reply = server.call("no.such.method", &json!({}));
    assert_eq!(reply["error"]["code"], json!(-32601));
    let reply = server.call("fault.add", &json!({ "port": 0, "spec": "read:dance" }));
    assert!(reply["error"]["message"].as_str().expect("a message").contains("column 6"));
    assert_eq!(
        server.call("fault.add", &json!({ "port": 9, "spec": "read:hang" }))["error"]["code"],
        json!(-32602)
    );
    assert_eq!(server.call("shutdown", &json!({}))["result"], json!({}));
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn a_log_reader_that_has_stopped_does_not_stop_the_device() {
    // Nobody reads standard error, and the pipe is filled by refused peers.
    let server = Server::start("", &["--keep"]);
    for _ in 0..3000 {
        let mut peer = UnixStream::connect(server.socket()).expect("connected");
        let _ = peer.write_all(b"GET / HTTP/1.1\r\n\r\n");
    }
    server.wait_for("the end of the connections", |status| status["connected"] == json!(false));
    let mut vmm = Vmm::connect(&server);
    vmm.fill(0, 1);
    vmm.issue(0, true, 0);
    assert!(vmm.wait(0));
}

#[test]
fn the_end_can_be_watched_and_helped_along() {
    let server = Server::start(",fault=write:hang", &["--deadline", "1000"]);
    let mut vmm = Vmm::connect(&server);
    vmm.issue(0, true, 0);
    server.wait_for("the write", |status| status["disks"][0]["running_now"] == json!(1));
    drop(vmm);
    let status = server.wait_for("the end's beginning", |status| status["ending"] == json!(true));
    assert_eq!(status["disks"][0]["orphans"][0]["fenced"], json!(true));
    assert_eq!(server.call("fault.release", &json!({}))["result"]["released"], json!(1));
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn the_verdict_needs_no_reader() {
    let server = Server::start(",fault=write:hang", &["--deadline", "1"]);
    let mut vmm = Vmm::connect(&server);
    vmm.issue(0, true, 0);
    server.wait_for("the write", |status| status["disks"][0]["running_now"] == json!(1));
    drop(vmm);
    let (code, stderr) = server.end_unread();
    assert_eq!(code, Some(5));
    assert!(stderr.contains("in doubt: disk.img LBA 0 to 7"), "{stderr}");
}

#[test]
fn a_stranger_neither_ends_the_service_nor_keeps_the_vmm_out() {
    let server = Server::start("", &[]);
    drop(UnixStream::connect(server.socket()).expect("connected"));
    // While the first is being dealt with, a second is refused; it tries again.
    let mut silent = UnixStream::connect(server.socket()).expect("connected");
    server.wait_for("the stranger", |status| {
        let connected = status["connected"] == json!(true);
        if !connected {
            silent = UnixStream::connect(server.socket()).expect("connected");
        }
        connected
    });
    server.wait_for("the stranger's end", |status| status["connected"] == json!(false));
    drop(silent);
    let mut vmm = Vmm::connect(&server);
    vmm.fill(0, 1);
    vmm.issue(0, true, 0);
    assert!(vmm.wait(0));
}

#[test]
fn every_request_of_a_client_that_asks_ahead_is_answered() {
    let server = Server::start("", &["--keep"]);
    let mut client = server.control();
    let ask: String = (0..50)
        .map(|id| format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"status\"}}\n"))
        .collect();
    client.write_all(ask.as_bytes()).expect("sent");
    client.shutdown(std::net::Shutdown::Write).expect("half closed");
    let answers = std::io::BufReader::new(client).lines();
    assert_eq!(answers.map_while(Result::ok).count(), 50);
}

#[test]
fn a_link_that_drops_loses_its_commands_and_comes_back() {
    let server = Server::start(",fault=write:hang", &["--keep"]);
    let mut vmm = Vmm::connect(&server);
    vmm.fill(0, 1);
    vmm.issue(0, true, 0);
    server.wait_for("the write", |status| status["disks"][0]["running_now"] == json!(1));
    server.call("fault.add", &json!({ "spec": "link:drop=100ms" }));
    let status = server.status();
    assert_eq!(status["disks"][0]["orphans_now"], json!(1));
    server.wait_for("the link", |status| status["disks"][0]["link"] == json!("up"));
    server.call("fault.clear", &json!({}));
    server.call("fault.release", &json!({}));
    vmm.stop();
    vmm.write(0x130, u32::MAX);
    vmm.write(0x110, u32::MAX);
    vmm.start();
    vmm.issue(1, false, 0);
    assert!(vmm.wait(1));
}
