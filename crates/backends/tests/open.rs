//! What `file::open` refuses, and that it leaves no trace when it does.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use freewheel_backends::conformance::open_again;
use freewheel_backends::file::{Cache, EngineChoice, FileOptions, OpenError, open};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

fn dir() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn image(dir: &TempDir, size_bytes: u64) -> PathBuf {
    let path = dir.path().join("disk.img");
    fs::File::create(&path).unwrap().set_len(size_bytes).unwrap();
    path
}

fn writer() -> FileOptions {
    FileOptions::default()
}

fn reader() -> FileOptions {
    FileOptions { read_only: true, ..FileOptions::default() }
}

/// The error, which must name the image and have a remedy.
fn refused(path: &Path, options: &FileOptions) -> OpenError {
    let error = open(path, options).expect_err("it should be refused");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert!(!error.remedy().is_empty() && !error.to_string().contains('\n'), "{error}");
    error
}

#[test]
fn missing_images_are_not_created() {
    let dir = dir();
    let path = dir.path().join("nothing.img");
    assert!(matches!(refused(&path, &writer()), OpenError::Missing { .. }));
    assert!(matches!(refused(&path.join("below"), &writer()), OpenError::Missing { .. }));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn other_kinds_of_files_are_refused_without_waiting() {
    let dir = dir();
    assert!(matches!(refused(dir.path(), &writer()), OpenError::WrongType { .. }));
    assert!(matches!(refused(Path::new("/dev/null"), &writer()), OpenError::WrongType { .. }));
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    // Opening a pipe to read would wait for a writer.
    assert!(matches!(refused(&pipe, &reader()), OpenError::WrongType { .. }));
}

#[test]
fn bad_sizes_name_the_remedy() {
    let dir = dir();
    assert!(matches!(refused(&image(&dir, 0), &writer()), OpenError::Empty { .. }));
    let path = image(&dir, MIB + 100);
    let error = refused(&path, &writer());
    assert!(matches!(error, OpenError::BadSize { multiple_bytes: 512, .. }), "{error}");
    assert!(error.remedy().contains("truncate -s %512"), "{error}");
    assert_eq!(fs::metadata(&path).unwrap().len(), MIB + 100);

    let path = image(&dir, MIB + 512);
    assert!(open_again(&path, &writer()).is_ok());
    let path = image_named(&dir, "another.img", MIB + 512);
    let error = refused(&path, &FileOptions { sector_bytes: 4096, ..writer() });
    assert!(error.remedy().contains("truncate -s %4096"), "{error}");
    assert!(matches!(
        open(&path, &FileOptions { sector_bytes: 520, ..writer() }),
        Err(OpenError::BadSector { sector_bytes: 520 })
    ));
}

#[test]
fn one_writer_or_many_readers() {
    let dir = dir();
    let path = image(&dir, MIB);
    let first = open(&path, &writer()).unwrap();
    let error = refused(&path, &writer());
    assert!(matches!(error, OpenError::Locked { read_only: false, .. }), "{error}");
    let error = refused(&path, &reader());
    assert!(matches!(error, OpenError::Locked { read_only: true, .. }), "{error}");
    assert!(error.cause().contains("for writing"), "{error}");
    // The lock belongs to the file, not to its name.
    let link = dir.path().join("link.img");
    symlink(&path, &link).unwrap();
    assert!(matches!(refused(&link, &writer()), OpenError::Locked { .. }));
    drop(first);

    let readers = [open_again(&path, &reader()).unwrap(), open_again(&path, &reader()).unwrap()];
    assert!(matches!(refused(&path, &writer()), OpenError::Locked { .. }));
    drop(readers);
    assert!(open_again(&path, &writer()).is_ok());
}

#[test]
fn a_failed_open_leaves_no_trace() {
    let dir = dir();
    let path = image(&dir, MIB + 100);
    let before = fs::metadata(&path).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    refused(&path, &writer());
    let locked = image_named(&dir, "locked.img", MIB);
    let holder = open_again(&locked, &writer()).unwrap();
    let held = fs::metadata(&locked).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    refused(&locked, &writer());
    for (path, before) in [(&path, before), (&locked, held)] {
        let after = fs::metadata(path).unwrap();
        assert_eq!(
            (before.len(), before.mtime_nsec(), before.ctime_nsec(), before.blocks()),
            (after.len(), after.mtime_nsec(), after.ctime_nsec(), after.blocks())
        );
    }
    drop(holder);
    // The holder's is closed by a thread of its own.
    let deadline = Instant::now() + Duration::from_secs(10);
    while descriptors_within(dir.path()) > 0 {
        assert!(Instant::now() < deadline, "the image is still open somewhere");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn descriptors_within(dir: &Path) -> usize {
    fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.starts_with(dir))
        .count()
}

fn image_named(dir: &TempDir, name: &str, size_bytes: u64) -> PathBuf {
    let path = dir.path().join(name);
    fs::File::create(&path).unwrap().set_len(size_bytes).unwrap();
    path
}

#[test]
fn opening_neither_allocates_nor_resizes() {
    let dir = dir();
    let path = image(&dir, MIB);
    for cache in [Cache::Writeback, Cache::Writethrough] {
        drop(open_again(&path, &FileOptions { cache, ..writer() }).unwrap());
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.len(), after.blocks()), (MIB, 0));
    }
}

#[test]
fn the_info_tells_the_truth() {
    let dir = dir();
    let path = image(&dir, MIB);
    for (engine, name) in [(EngineChoice::Threads, "threads"), (EngineChoice::Auto, "")] {
        let opened =
            open_again(&path, &FileOptions { engine, queue_depth: 0, ..writer() }).unwrap();
        let info = opened.backend.info();
        assert_eq!((info.size_bytes, info.queue_depth), (MIB, 1));
        assert_eq!(info.engine_name, opened.engine);
        assert!(name.is_empty() || opened.engine == name);
        assert!(!opened.notes.is_empty());
    }
    let info_of =
        |options: &FileOptions| open_again(&path, options).unwrap().backend.info().clone();
    assert_eq!(info_of(&FileOptions { discard: false, ..writer() }).discard, None);
    assert!(info_of(&FileOptions { cache: Cache::Writethrough, ..writer() }).fua);
    assert!(!info_of(&writer()).fua, "the engine has to add a flush");
    let info = info_of(&reader());
    assert!(info.read_only && info.discard.is_none() && !info.write_zeroes);
}

/// As in a container whose profile forbids io_uring. Concerns the calling thread only.
fn forbid_io_uring() {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    let filter = SeccompFilter::new(
        [(io_uring_setup(), Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(1), // EPERM
        std::env::consts::ARCH.try_into().unwrap(),
    )
    .unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

/// The number of the system call, the same on every architecture.
fn io_uring_setup() -> i64 {
    425
}

#[test]
fn without_io_uring_there_are_threads() {
    let run = || {
        let dir = dir();
        let path = image(&dir, MIB);
        forbid_io_uring();
        let options = FileOptions { engine: EngineChoice::IoUring, ..writer() };
        let error = open(&path, &options).expect_err("io_uring is forbidden");
        assert!(matches!(error, OpenError::NoIoUring { .. }), "{error}");
        assert!(error.remedy().contains("engine=threads"), "{error}");
        let opened =
            open_again(&path, &FileOptions { engine: EngineChoice::Auto, ..writer() }).unwrap();
        assert_eq!(opened.engine, "threads");
        assert!(opened.notes.iter().any(|note| note.contains("io_uring")), "{:?}", opened.notes);
    };
    std::thread::spawn(run).join().unwrap();
}
