//! The process that serves the file system.

use std::ffi::OsStr;
use std::io::BufRead;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, Request, WriteFlags,
};

use crate::content::Content;
use crate::options::Options;

/// The size of a file in memory, unless another is asked for.
const SIZE_BYTES: u64 = 64 << 20;

const TTL: Duration = Duration::from_secs(3600);
const DISK: INodeNo = INodeNo(2);

type Answer = Box<dyn FnOnce(&mut State) + Send>;

struct State {
    content: Content,
    hanging: Vec<String>,
    fail_fsyncs: bool,
    /// What hangs: its kind, and how it is executed and answered.
    pending: Vec<(&'static str, Answer)>,
}

struct Server {
    state: Arc<Mutex<State>>,
    size_bytes: u64,
    hang_below_bytes: u64,
    cached: bool,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Answers now, or at the release.
    fn answer(
        &self,
        kind: &'static str,
        offset: u64,
        answer: impl FnOnce(&mut State) + Send + 'static,
    ) {
        let mut state = lock(&self.state);
        if offset < self.hang_below_bytes && state.hanging.iter().any(|hanging| hanging == kind) {
            state.pending.push((kind, Box::new(answer)));
        } else {
            answer(&mut state);
        }
    }

    fn attr(&self, ino: INodeNo) -> FileAttr {
        let is_disk = ino == DISK;
        FileAttr {
            ino,
            size: if is_disk { self.size_bytes } else { 0 },
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
}

impl Filesystem for Server {
    fn lookup(&self, _req: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == "disk" {
            reply.entry(&TTL, &self.attr(DISK), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    /// There is no second file, but whoever wants one can be kept waiting.
    fn create(
        &self,
        _req: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        self.answer("create", 0, move |_| reply.error(Errno::EROFS));
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attr(ino));
    }

    fn open(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let flags = if self.cached {
            FopenFlags::FOPEN_KEEP_CACHE
        } else {
            FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
        };
        self.answer("open", 0, move |_| reply.opened(FileHandle(0), flags));
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
        self.answer("read", offset, move |state| match state.content.read(offset, size as usize) {
            Ok(data) => reply.data(&data),
            Err(error) => reply.error(error.into()),
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
        self.answer("write", offset, move |state| match state.content.write(offset, &data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error.into()),
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

    /// A descriptor of the file is being closed.
    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.answer("close", 0, move |_| reply.ok());
    }

    fn fallocate(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.answer("fallocate", offset, move |state| {
            match state.content.allocate(offset, length, mode) {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(error.into()),
            }
        });
    }
}

/// Mounts and serves until standard input ends.
pub(crate) fn serve(options: &Options) -> ExitCode {
    let (content, has_bytes) = match &options.content {
        None => (Content::memory(options.size_bytes.unwrap_or(SIZE_BYTES)), SIZE_BYTES),
        Some(path) => match Content::file(path) {
            Ok(content) => content,
            Err(error) => return refuse(&format!("{}: {error}", path.display())),
        },
    };
    let state = Arc::new(Mutex::new(State {
        content,
        hanging: Vec::new(),
        fail_fsyncs: false,
        pending: Vec::new(),
    }));
    let server = Server {
        state: Arc::clone(&state),
        size_bytes: options.size_bytes.unwrap_or(has_bytes),
        hang_below_bytes: options.hang_below_bytes,
        cached: options.cached,
    };
    match fuser::spawn_mount(server, &options.mountpoint, &Config::default()) {
        // Never joined: the process just ends, and the kernel fails what still hangs.
        Ok(session) => std::mem::forget(session),
        Err(error) => return refuse(&error.to_string()),
    }
    println!("mounted");
    let (life, mountpoint) = (options.life, options.mountpoint.clone());
    std::thread::spawn(move || {
        std::thread::sleep(life);
        eprintln!("hangfs: its life of {} s is over", life.as_secs());
        leave(&mountpoint, 1);
    });
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        println!("{}", obey(&mut lock(&state), &line));
    }
    leave(&options.mountpoint, 0)
}

fn refuse(cause: &str) -> ExitCode {
    println!("error: {cause}");
    ExitCode::FAILURE
}

/// Ends the process; what hangs fails.
fn leave(mountpoint: &Path, code: i32) -> ! {
    // Whoever started us may have done so already.
    let _ = rustix::mount::unmount(mountpoint, rustix::mount::UnmountFlags::DETACH);
    std::process::exit(code);
}

/// Executes one command, and gives its answer.
fn obey(state: &mut State, line: &str) -> String {
    let mut words = line.split_whitespace();
    match words.next() {
        Some("hang") => state.hanging = words.map(String::from).collect(),
        Some("clear") => state.hanging.clear(),
        Some("fail-fsync") => state.fail_fsyncs = true,
        Some("heal-fsync") => state.fail_fsyncs = false,
        Some("release") => {
            state.hanging.clear();
            let pending = std::mem::take(&mut state.pending);
            let count = pending.len();
            for (_, answer) in pending {
                answer(state);
            }
            return count.to_string();
        }
        Some("pending") => {
            let wanted = words.next();
            let is_wanted = |kind: &str| wanted.is_none_or(|wanted| wanted == kind);
            let count = state.pending.iter().filter(|(kind, _)| is_wanted(kind)).count();
            return count.to_string();
        }
        other => return format!("error: no command {:?}", other.unwrap_or_default()),
    }
    "ok".into()
}
