//! Storage that really hangs, in the kernel, and a device thread that must not.
//!
//! Needs root, FUSE and, for some, loop devices. What this machine can't run is listed as
//! *ignored*, and said once more at the end; with `FREEWHEEL_REQUIRE_ALL=1` it fails instead.

mod storage;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use freewheel_backends::conformance::{Fixture, Rig};
use freewheel_backends::file::{Cache, EngineChoice, FileOptions, OpenError, open};
use freewheel_block::{ByteRange, IoError, IoId, OpKind};
use libtest_mimic::{Arguments, Failed, Trial};
use storage::{Layers, Storage};

/// The first argument of the process that serves the file system.
const SERVE: &str = "--serve-hanging-file-system";

/// What the device thread may spend on one batch. Takes microseconds; the rest is for a busy
/// machine.
const AT_ONCE: Duration = Duration::from_millis(200);

const LEN: u64 = 4096;

type TestFn = fn(&mut Storage);

const ON_FUSE: [(&str, TestFn); 6] = [
    ("submitting_returns_at_once", submitting_returns_at_once),
    ("others_go_on", others_go_on),
    ("dropping_returns_at_once_and_keeps_the_lock", dropping_returns_at_once_and_keeps_the_lock),
    ("closing_returns_at_once", closing_returns_at_once),
    ("a_failed_flush_is_final", a_failed_flush_is_final),
    ("a_failed_flush_that_nobody_waits_for_is_final", an_orphaned_flush_that_fails_is_final),
];
const ON_DISKS: [(&str, TestFn); 1] = [("submitting_returns_at_once", submitting_returns_at_once)];

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == SERVE) {
        return freewheel_hangfs::Options::parse(words).expect("options").serve();
    }

    let mut args = Arguments::from_args();
    // One at a time: they drop the page cache, and time things.
    args.test_threads = Some(1);
    let require_all = std::env::var_os("FREEWHEEL_REQUIRE_ALL").is_some_and(|value| value == "1");
    let mut trials = Vec::new();
    let mut not_run = Vec::new();
    for (layers, caches, tests) in [
        (Layers::Fuse, &[Cache::Writeback, Cache::Writethrough, Cache::None][..], &ON_FUSE[..]),
        (Layers::Loop, &[Cache::Writeback, Cache::None], &ON_DISKS),
        (Layers::Ext4, &[Cache::Writeback, Cache::None], &ON_DISKS),
    ] {
        let obstacle = Storage::new(layers, FileOptions::default()).err();
        if let Some(reason) = &obstacle {
            not_run.push(format!("{layers:?}: {reason}"));
        }
        for engine in [EngineChoice::IoUring, EngineChoice::Threads] {
            for cache in caches {
                let options = FileOptions { engine, cache: *cache, ..FileOptions::default() };
                for (name, test) in tests {
                    let (options, test) = (options.clone(), *test);
                    let name = format!("{layers:?}::{engine:?}::{cache:?}::{name}");
                    let trial = Trial::test(name, move || {
                        test(&mut Storage::new(layers, options).map_err(Failed::from)?);
                        Ok(())
                    });
                    trials.push(trial.with_ignored_flag(obstacle.is_some() && !require_all));
                }
            }
        }
    }
    let conclusion = libtest_mimic::run(&args, trials);
    for line in &not_run {
        eprintln!("NOT RUN: {line}");
    }
    conclusion.exit_code()
}

/// Runs `call`, which must not wait for the storage.
fn at_once<T>(what: &str, call: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = call();
    let took = start.elapsed();
    assert!(took < AT_ONCE, "{what} took {took:?} while the storage hangs");
    result
}

fn place(n: u64) -> ByteRange {
    // Apart from each other, so that read-ahead for one doesn't fetch the next.
    ByteRange::new(n * (512 << 10), LEN)
}

fn submit(rig: &mut Rig, kind: OpKind, n: u64) -> IoId {
    let data = vec![n as u8; LEN as usize];
    match kind {
        OpKind::Write => rig.submit(kind, place(n), false, &data),
        OpKind::Flush => rig.submit(kind, ByteRange::default(), false, &[]),
        _ => rig.submit(kind, place(n), false, &[]),
    }
}

/// Every kind of request, as many as fit, hangs; submitting, polling, hinting do not.
fn submitting_returns_at_once(storage: &mut Storage) {
    let mut rig = Rig::new(storage);
    for kind in [OpKind::Read, OpKind::Write, OpKind::Flush, OpKind::Discard, OpKind::WriteZeroes] {
        let info = rig.info();
        if (kind == OpKind::Discard && info.discard.is_none())
            || (kind == OpKind::WriteZeroes && !info.write_zeroes)
        {
            continue;
        }
        storage.hang("read write fsync fallocate");
        let ids: Vec<IoId> = at_once(kind.name(), || {
            let slots = rig.slots() as u64;
            let ids = (0..slots).map(|n| submit(&mut rig, kind, n)).collect();
            rig.kick();
            ids
        });
        at_once("polling", || rig.completes_within(ids[0], Duration::ZERO));
        std::thread::sleep(Duration::from_millis(300));
        at_once("polling later", || rig.completes_within(ids[0], Duration::ZERO));
        at_once("hinting", || ids.iter().for_each(|id| rig.cancel_hint(*id)));
        at_once("polling after the hints", || rig.completes_within(ids[0], Duration::ZERO));
        storage.release();
        for id in ids {
            // A hint may have ended it early.
            let _ = rig.wait(id);
        }
    }
    rig.write(0, &[7; LEN as usize]);
    rig.flush();
    assert!(rig.read(0, LEN) == [7; LEN as usize]);
}

/// With all but one slot hanging, reads and writes elsewhere are served (C4).
fn others_go_on(storage: &mut Storage) {
    let mut rig = Rig::new(storage);
    for kind in [OpKind::Read, OpKind::Write, OpKind::Discard] {
        storage.hang("read write fallocate");
        // A discard, as the kernel's inode lock has it, excludes all else on the same file.
        let hung = if kind == OpKind::Discard { 1 } else { rig.slots() as u64 - 1 };
        let ids: Vec<IoId> = (0..hung).map(|n| submit(&mut rig, kind, n)).collect();
        rig.kick();
        // Written through the page cache, the kernel itself lets one write of a file in at a time,
        // unless the file system permits more, as this one does for writes within the file.
        storage.wait_for_pending(hung as usize);
        assert!(!rig.completes_within(ids[0], Duration::ZERO));
        let elsewhere = ByteRange::new(storage::HANG_BELOW_BYTES + (1 << 20), LEN);
        let others: &[OpKind] =
            if kind == OpKind::Discard { &[OpKind::Read] } else { &[OpKind::Write, OpKind::Read] };
        for other in others {
            if storage.options().cache == Cache::Writethrough && *other == OpKind::Write {
                continue; // its fdatasync waits for all writes of the file
            }
            let data = [9; LEN as usize];
            let data = if *other == OpKind::Write { &data[..] } else { &[] };
            let id = rig.submit(*other, elsewhere, false, data);
            rig.kick();
            assert!(
                rig.completes_within(id, Duration::from_secs(3)),
                "a {other} elsewhere waits for a hung {kind}"
            );
            assert_eq!(rig.wait(id).0, Ok(LEN));
        }
        storage.release();
        for id in ids {
            assert!(rig.wait(id).0.is_ok());
        }
    }
}

/// Nothing is waited for, and nobody else gets at the image before the last write has ended.
fn dropping_returns_at_once_and_keeps_the_lock(storage: &mut Storage) {
    let mut rig = Rig::new(storage);
    storage.hang("read write fsync");
    for n in 0..rig.slots() as u64 {
        submit(&mut rig, [OpKind::Write, OpKind::Read, OpKind::Flush][n as usize % 3], n);
    }
    rig.kick();
    storage.wait_for_pending(2);
    at_once("dropping", || drop(rig));
    let again = at_once("opening", || open(storage.image(), storage.options()));
    assert!(matches!(again, Err(OpenError::Locked { .. })), "{again:?}");
    storage.release();
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = open(storage.image(), storage.options()) {
        assert!(Instant::now() < deadline, "{error}");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut rig = Rig::new(storage);
    assert_eq!(rig.read(place(0).offset_bytes, LEN).len() as u64, LEN);
}

fn closing_returns_at_once(storage: &mut Storage) {
    let rig = Rig::new(storage);
    storage.hang("close");
    at_once("closing", || drop(rig));
    storage.release();
}

const EIO: IoError = IoError::Os(5);

fn flush(rig: &mut Rig) -> Result<u64, IoError> {
    rig.run(OpKind::Flush, ByteRange::default(), &[]).0
}

fn expect_failed_for_good(rig: &mut Rig, storage: &mut Storage) {
    storage.command("heal-fsync");
    storage.release();
    assert_eq!(flush(rig), Err(EIO), "the second flush after a failure lies");
    let data = [1; LEN as usize];
    let (result, _) = rig.run(OpKind::Write, place(0), &data);
    match storage.options().cache {
        Cache::Writethrough => assert_eq!(result, Err(EIO)),
        _ => assert_eq!(result, Ok(LEN), "what promises nothing still works"),
    }
    assert_eq!(rig.read(0, LEN).len() as u64, LEN);
}

fn a_failed_flush_is_final(storage: &mut Storage) {
    let mut rig = Rig::new(storage);
    flush(&mut rig).expect("nothing wrong yet");
    storage.command("fail-fsync");
    assert_eq!(flush(&mut rig), Err(EIO));
    expect_failed_for_good(&mut rig, storage);
    drop(rig);
    flush(&mut Rig::new(storage as &dyn Fixture)).expect("it has been opened again");
}

fn an_orphaned_flush_that_fails_is_final(storage: &mut Storage) {
    let mut rig = Rig::new(storage);
    storage.hang("fsync");
    let id = submit(&mut rig, OpKind::Flush, 0);
    rig.kick();
    storage.wait_for_pending(1);
    let waiting = submit(&mut rig, OpKind::Flush, 0);
    rig.kick();
    rig.cancel_hint(id);
    // The flush is let go of at once; its failure is not.
    assert!(rig.completes_within(id, Duration::from_secs(1)));
    let _ = rig.wait(id);
    storage.command("fail-fsync");
    storage.release();
    assert_eq!(rig.wait(waiting).0, Err(EIO));
    expect_failed_for_good(&mut rig, storage);
}
