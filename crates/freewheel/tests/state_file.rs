//! State files: what a disk keeps comes back after any end of the process, and a file that is
//! damaged, someone else's or impossible to write is dealt with in words.

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use std::path::Path;
use std::time::Instant;

use common::{HANG, Server, Vmm, freewheel, image};
use serde_json::{Value, json};

/// A server whose disk has its state beside the image.
fn serve(dir: tempfile::TempDir, keys: &str) -> Server {
    Server::start_on(dir, &format!("path=disk.img,serial=S1,{keys}"), &["--keep"])
}

fn new_disk() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    image(dir.path(), "disk.img");
    dir
}

fn written(status: &Value, least: u64) -> bool {
    let file = &status["disks"][0]["state_file"];
    file["written_total"].as_u64() >= Some(least) && file["writing_ms"] == Value::Null
}

/// Power cycles, from the last section of the file.
fn power_cycles(path: &Path) -> u32 {
    let bytes = std::fs::read(path).expect("the file");
    let section = bytes
        .windows(6)
        .position(|window| window == [2, 0, 12, 0, 0, 0])
        .expect("the section on power-on time");
    let at = section + 6 + 8;
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Ends `server` the hard way; a directory with its state file, and a new image: the kernel may take
/// its time to let go of the old one.
fn kill(server: Server) -> tempfile::TempDir {
    let dir = new_disk();
    let name = "disk.img.freewheel-state";
    let old = server.dir.path().join(name);
    rustix::process::kill_process(server.id(), rustix::process::Signal::KILL).expect("a signal");
    std::fs::copy(old, dir.path().join(name)).expect("copied");
    dir
}

#[test]
fn the_state_survives_a_killed_process() {
    let mut dir = new_disk();
    for cycle in 1..4 {
        let server = serve(dir, "state=on");
        let status = server.wait_for("the first write", |status| written(status, 1));
        assert_eq!(status["disks"][0]["state_file"]["failed_total"], json!(0));
        dir = kill(server);
        assert_eq!(power_cycles(&dir.path().join("disk.img.freewheel-state")), cycle);
    }
}

#[test]
fn an_orderly_end_writes_the_state_once_more() {
    let dir = new_disk();
    let server = serve(dir, "state=here");
    server.wait_for("the first write", |status| written(status, 1));
    let path = server.dir.path().join("here");
    let before = std::fs::read(&path).expect("the file");
    std::fs::remove_file(&path).expect("removed");
    let kept = server.dir.path().to_owned();
    let reader = std::thread::spawn(move || {
        let start = Instant::now();
        loop {
            // It is there again before the directory goes with the server.
            if let Ok(bytes) = std::fs::read(kept.join("here")) {
                return bytes;
            }
            assert!(start.elapsed() < HANG, "no file");
        }
    });
    server.terminate();
    let after = reader.join().expect("the file");
    assert_eq!(server.end().0, Some(0));
    assert_eq!(after.len(), before.len());
    assert_ne!(after, before, "it has been on for longer");
}

#[test]
fn without_the_key_there_is_no_file() {
    let server = serve(new_disk(), "state=off");
    assert_eq!(server.status()["disks"][0]["state_file"], Value::Null);
    let names = std::fs::read_dir(server.dir.path()).expect("a directory");
    assert!(!names.flatten().any(|it| it.file_name().to_string_lossy().contains("state")));
}

#[test]
fn a_file_that_cannot_be_used_is_refused_with_its_name_a_reason_and_a_remedy() {
    let server = serve(new_disk(), "state=on");
    server.wait_for("the first write", |status| written(status, 1));
    let dir = kill(server);
    let good = std::fs::read(dir.path().join("disk.img.freewheel-state")).expect("the file");
    let put = |name: &str, bytes: &[u8]| {
        std::fs::write(dir.path().join(name), bytes).expect("written");
    };
    put("torn", &good[..good.len() - 7]);
    let mut flipped = good.clone();
    flipped[20] ^= 1;
    put("flipped", &flipped);
    let mut later = good.clone();
    later[8] = 9;
    put("later", &later);
    put("letter", b"Dear disk, how are you? I am fine.");
    put("huge", &vec![0; 2 << 20]);
    put("good", &good);
    std::fs::create_dir(dir.path().join("folder")).expect("a folder");
    let small = std::fs::File::create(dir.path().join("small.img")).expect("an image");
    small.set_len(1 << 20).expect("its size");
    let cases = [
        ("path=disk.img,serial=S1,state=torn", "torn", "bytes where its beginning says", 3),
        ("path=disk.img,serial=S1,state=flipped", "flipped", "checksum", 3),
        ("path=disk.img,serial=S1,state=later", "later", "version 9", 3),
        ("path=disk.img,serial=S1,state=letter", "letter", "does not begin", 3),
        ("path=disk.img,serial=S1,state=disk.img", "disk.img", "more than any", 3),
        ("path=disk.img,serial=S1,state=huge", "huge", "more than any", 3),
        ("path=disk.img,serial=S1,state=folder", "folder", "not a regular file", 3),
        ("path=disk.img,serial=S1,state=no/s", "no/s", "folder cannot be used", 3),
        ("path=disk.img,serial=S2,state=good", "good", "`S1`, not `S2`", 3),
        ("path=small.img,serial=S1,state=good", "good", "of 16777216 bytes", 3),
    ];
    for (disk, name, reason, code) in cases {
        let output = freewheel(&["serve", "--socket", "s", "--disk", disk], dir.path());
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{disk}: {stderr}");
        assert!(stderr.contains(name) && stderr.contains(reason), "{disk}: {stderr}");
        assert!(stderr.contains("remedy: "), "{disk}: {stderr}");
    }
    assert_eq!(std::fs::read(dir.path().join("torn")).expect("the file").len(), good.len() - 7);
    // Two disks cannot share one.
    image(dir.path(), "b.img");
    let output = freewheel(
        &["serve", "--socket", "s", "--disk", "path=disk.img,serial=S1,state=new"]
            .into_iter()
            .chain(["--disk", "path=b.img,serial=S1,state=./new"])
            .collect::<Vec<_>>(),
        dir.path(),
    );
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_folder_that_takes_no_file_is_logged_and_counted_and_stops_nothing() {
    // Not even root can create a file there.
    let server = serve(new_disk(), "state=/proc/freewheel");
    let status = server.wait_for("a failure", |status| {
        status["disks"][0]["state_file"]["failed_total"].as_u64() >= Some(1)
    });
    let error = status["disks"][0]["state_file"]["error"].as_str().expect("an error").to_owned();
    assert!(error.contains("/proc/freewheel.tmp"), "{error}");
    let mut vmm = Vmm::connect(&server);
    vmm.fill(0, 0x5a);
    vmm.issue(0, true, 64);
    assert!(vmm.wait(0), "the guest does not care");
    drop(vmm);
    server.terminate();
    let (code, stdout, stderr) = server.end();
    assert_eq!(code, Some(5), "{stderr}");
    assert!(stdout.contains("in doubt: state file /proc/freewheel is not up to date"), "{stdout}");
    assert!(stderr.contains("cannot create"), "{stderr}");
}
