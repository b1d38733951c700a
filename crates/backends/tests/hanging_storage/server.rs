//! The other process: a FUSE file system with one file in memory, `disk`, that hangs on command.
//!
//! A process of its own, so that the kernel can end its requests when it dies; a process whose
//! threads wait for a file system that it serves itself can't even be killed.
//!
//! Commands arrive on standard input, one a line, each answered with a line:
//! `hang KIND…` (read, write, fsync, fallocate: below [`HANG_BELOW_BYTES`]), `fail-fsync` (those that
//! hang, or the next one, with EIO), `release`, `pending`. At the end of the input it exits.

use std::ffi::OsStr;
use std::io::BufRead;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite,
    Request, WriteFlags,
};

/// The size of the file.
pub(crate) const DISK_BYTES: u64 = 64 << 20;
/// Only what begins below hangs.
pub(crate) const HANG_BELOW_BYTES: u64 = 32 << 20;

/// No test takes this long. A device thread that waits for us is let go then, and the test fails
/// instead of waiting for ever.
const LIFETIME: Duration = Duration::from_secs(20);

const TTL: Duration = Duration::from_secs(3600);
const DISK: INodeNo = INodeNo(2);

type Pending = Box<dyn FnOnce(&mut State) + Send>;

struct State {
    content: Vec<u8>,
    hanging: Vec<String>,
    fail_fsyncs: bool,
    pending: Vec<Pending>,
}

struct HangFs {
    state: Arc<Mutex<State>>,
    cached: bool,
}

impl HangFs {
    fn answer(&self, kind: &str, offset: u64, answer: impl FnOnce(&mut State) + Send + 'static) {
        let mut state = self.state.lock().unwrap();
        if offset < HANG_BELOW_BYTES && state.hanging.iter().any(|hanging| hanging == kind) {
            state.pending.push(Box::new(answer));
        } else {
            answer(&mut state);
        }
    }
}

fn attr(ino: INodeNo) -> FileAttr {
    let is_disk = ino == DISK;
    FileAttr {
        ino,
        size: if is_disk { DISK_BYTES } else { 0 },
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if is_disk { FileType::RegularFile } else { FileType::Directory },
        perm: 0o700,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        flags: 0,
        blksize: 4096,
    }
}

impl Filesystem for HangFs {
    fn lookup(&self, _req: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == "disk" {
            reply.entry(&TTL, &attr(DISK), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &attr(ino));
    }

    fn open(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let flags = if self.cached {
            FopenFlags::FOPEN_KEEP_CACHE
        } else {
            FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
        };
        reply.opened(FileHandle(0), flags);
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.answer("read", offset, move |state| {
            let start = (offset as usize).min(state.content.len());
            let end = (start + size as usize).min(state.content.len());
            reply.data(&state.content[start..end]);
        });
    }

    fn write(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let data = data.to_vec();
        self.answer("write", offset, move |state| {
            state.content[offset as usize..][..data.len()].copy_from_slice(&data);
            reply.written(data.len() as u32);
        });
    }

    fn fsync(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.answer("fsync", 0, move |state| {
            if state.fail_fsyncs { reply.error(Errno::EIO) } else { reply.ok() }
        });
    }

    fn fallocate(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        self.answer("fallocate", offset, move |state| {
            let start = (offset as usize).min(state.content.len());
            let end = (start + length as usize).min(state.content.len());
            state.content[start..end].fill(0);
            reply.ok();
        });
    }
}

/// Mounts at `mountpoint` and serves until standard input ends.
pub(crate) fn serve(mountpoint: &Path, cached: bool) {
    let state = Arc::new(Mutex::new(State {
        content: vec![0; DISK_BYTES as usize],
        hanging: Vec::new(),
        fail_fsyncs: false,
        pending: Vec::new(),
    }));
    let file_system = HangFs { state: Arc::clone(&state), cached };
    match fuser::spawn_mount(file_system, mountpoint, &Config::default()) {
        // Never joined: the process just ends, and the kernel fails what still hangs.
        Ok(session) => std::mem::forget(session),
        Err(error) => {
            println!("error: {error}");
            return;
        }
    }
    println!("mounted");
    std::thread::spawn(|| {
        std::thread::sleep(LIFETIME);
        std::process::exit(1);
    });
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let mut words = line.split_whitespace();
        let mut state = state.lock().unwrap();
        match words.next() {
            Some("hang") => state.hanging = words.map(String::from).collect(),
            Some("fail-fsync") => state.fail_fsyncs = true,
            Some("heal-fsync") => state.fail_fsyncs = false,
            Some("release") => {
                state.hanging.clear();
                for answer in std::mem::take(&mut state.pending) {
                    answer(&mut state);
                }
            }
            Some("pending") => {
                println!("{}", state.pending.len());
                continue;
            }
            _ => {}
        }
        println!("ok");
    }
    std::process::exit(0);
}
