//! Storage that hangs on command, seen from the test: the FUSE file itself, a loop device on it, or
//! a file on an ext4 on that loop device.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use freewheel_backends::conformance::{Fixture, Subject, open_again};
use freewheel_backends::file::FileOptions;
use freewheel_hangfs::{HangFs, Options};
use tempfile::TempDir;

/// Only what begins below hangs.
pub(crate) const HANG_BELOW_BYTES: u64 = 32 << 20;
/// No test takes this long.
const LIFE: Duration = Duration::from_secs(20);

/// What lies on the FUSE file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layers {
    /// The file as it is, without the page cache, so that requests reach the server one by one.
    Fuse,
    /// A loop device: a block device that hangs.
    Loop,
    /// A file on an ext4 on a loop device: a local file system whose disk hangs.
    Ext4,
}

/// See the module's description.
pub(crate) struct Storage {
    options: FileOptions,
    image: PathBuf,
    /// What is mounted on top of the FUSE file.
    mount: Option<PathBuf>,
    device: Option<PathBuf>,
    fuse: HangFs,
    // Last: its mounts are gone by then.
    _dir: TempDir,
}

impl Storage {
    /// Sets it up. The reason, if this machine doesn't let us.
    pub(crate) fn new(layers: Layers, options: FileOptions) -> Result<Self, String> {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .map_err(|error| format!("no temporary directory: {error}"))?;
        let fuse = dir.path().join("fuse");
        std::fs::create_dir(&fuse).map_err(|error| error.to_string())?;
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let fs_options = Options {
            cached: layers != Layers::Fuse,
            hang_below_bytes: HANG_BELOW_BYTES,
            life: LIFE,
            ..Options::new(&fuse)
        };
        let fuse = HangFs::start(Command::new(program).arg(super::SERVE), &fs_options)?;
        let image = fuse.image().to_owned();
        let mut storage = Self { options, image, mount: None, device: None, fuse, _dir: dir };
        if layers != Layers::Fuse {
            let image = storage.image.clone();
            let device = run("losetup", &["--find".as_ref(), "--show".as_ref(), image.as_ref()])?;
            storage.image = PathBuf::from(&device);
            storage.device = Some(PathBuf::from(device));
        }
        if layers == Layers::Ext4 {
            let device = storage.image.clone();
            let mountpoint = storage._dir.path().join("ext4");
            std::fs::create_dir(&mountpoint).map_err(|error| error.to_string())?;
            storage.mount = Some(mountpoint.clone());
            run("mkfs.ext4", &["-q".as_ref(), device.as_ref()])?;
            run("mount", &[device.as_ref(), mountpoint.as_ref()])?;
            storage.image = mountpoint.join("disk.img");
            make_fragmented_image(&storage.image).map_err(|error| error.to_string())?;
            // Mounted anew, ext4 has to ask the disk where the blocks of the file are.
            run("umount", &[mountpoint.as_ref()])?;
            run("mount", &[device.as_ref(), mountpoint.as_ref()])?;
        }
        Ok(storage)
    }

    /// The image to open.
    pub(crate) fn image(&self) -> &Path {
        &self.image
    }

    /// How to open it.
    pub(crate) fn options(&self) -> &FileOptions {
        &self.options
    }

    /// From now on, these kinds of requests hang.
    pub(crate) fn hang(&mut self, kinds: &str) {
        // What is cached would be read without the disk.
        for cached in [self.image.as_path(), self.fuse.image()] {
            let file = std::fs::File::open(cached).expect("the image");
            let all = std::num::NonZero::new(u64::MAX >> 1);
            rustix::fs::fadvise(&file, 0, all, rustix::fs::Advice::DontNeed).expect("fadvise");
        }
        self.fuse.hang(kinds);
    }

    /// Answers what hangs, and everything from now on.
    pub(crate) fn release(&mut self) {
        self.fuse.release();
    }

    /// Gives the file system a command.
    pub(crate) fn command(&mut self, command: &str) -> String {
        self.fuse.command(command)
    }

    /// Waits until at least `count` requests hang.
    pub(crate) fn wait_for_pending(&mut self, count: usize) {
        self.fuse.wait_for_pending(count);
    }
}

/// An image with data, in so many pieces that their places fill blocks of their own.
fn make_fragmented_image(path: &Path) -> std::io::Result<()> {
    const BYTES: u64 = 24 << 20;
    std::fs::write(path, vec![1_u8; BYTES as usize])?;
    let file = std::fs::OpenOptions::new().write(true).open(path)?;
    file.sync_all()?;
    let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    for offset in (4096..BYTES).step_by(8192) {
        rustix::fs::fallocate(&file, punch, offset, 4096)?;
    }
    file.sync_all()
}

fn run(program: &str, args: &[&std::ffi::OsStr]) -> Result<String, String> {
    let output =
        Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Whatever still hangs has to end, or unmounting would hang too.
            self.fuse.end();
        }
        if let Some(mount) = self.mount.take() {
            let _ = rustix::mount::unmount(&mount, rustix::mount::UnmountFlags::DETACH);
        }
        if let Some(device) = self.device.take() {
            let _ = Command::new("losetup").arg("--detach").arg(device).status();
        }
    }
}

impl Fixture for Storage {
    fn open(&self, read_only: bool) -> Subject {
        let options = FileOptions { read_only, ..self.options.clone() };
        let opened = open_again(&self.image, &options).unwrap_or_else(|error| panic!("{error}"));
        Subject { backend: opened.backend, wake: Some(opened.wake) }
    }
}
