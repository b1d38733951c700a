//! Where a state file is, how it is read, and how it takes the place of the one before.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use freewheel_ata::SAVED_STATE_MAX_BYTES;

use crate::exit::{self, UserError};

fn error(path: &Path, what: &str, remedy: &str) -> UserError {
    UserError::new(exit::DISK, format!("state file {}: {what}", path.display()), remedy)
}

/// `path` with something appended to its name.
fn appended(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// The state file of `state=on`: beside the image.
pub(super) fn beside(image: &Path) -> Result<PathBuf, UserError> {
    let path = appended(image, ".freewheel-state");
    if fs::metadata(image).is_ok_and(|metadata| metadata.file_type().is_block_device()) {
        let cause = "a file beside a block device would not outlive the machine's next start";
        return Err(error(&path, cause, "name a file: state=PATH"));
    }
    Ok(path)
}

/// The file itself, from wherever the process or a symbolic link may point: it is to be replaced.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, UserError> {
    match fs::canonicalize(path) {
        Ok(path) => return Ok(path),
        Err(cause) if cause.kind() == ErrorKind::NotFound => {}
        Err(cause) => return Err(error(path, &cause.to_string(), "choose another path")),
    }
    let Some(name) = path.file_name() else {
        return Err(error(path, "it has no name", "name a file: state=PATH"));
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match fs::canonicalize(folder) {
        Ok(folder) => Ok(folder.join(name)),
        Err(cause) => {
            let cause = format!("its folder cannot be used: {cause}");
            Err(error(path, &cause, "create the folder, or choose another path"))
        }
    }
}

/// What is in it; `None` if it is not there yet.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, UserError> {
    let refuse = |what: &str, remedy: &str| Err(error(path, what, remedy));
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return refuse("it is not a regular file", "choose another path"),
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        Err(cause) => return refuse(&cause.to_string(), "choose another path"),
    }
    let mut bytes = Vec::new();
    let most = SAVED_STATE_MAX_BYTES as u64 + 1;
    match File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(cause) => refuse(&cause.to_string(), "make it readable, or choose another path"),
    }
}

/// Replaces it by `bytes`: whoever looks, whenever, even after a crash, finds the one or the other.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let temporary = appended(path, ".tmp");
    let step = |what: &str, result: io::Result<()>| {
        result.map_err(|error| format!("cannot {what} {}: {error}", temporary.display()))
    };
    let mut file = None;
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&temporary)
        .map(|opened| file = Some(opened));
    step("create", opened)?;
    if let Some(mut file) = file {
        step("write", file.write_all(bytes))?;
        step("sync", file.sync_all())?;
    }
    step("rename", fs::rename(&temporary, path))?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| format!("cannot sync {}: {error}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacing_leaves_one_file_with_the_new_content() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        for content in [&b"one"[..], b"two, longer", b"3"] {
            replace(&path, content).expect("replaced");
            assert_eq!(read(&path).expect("read").as_deref(), Some(content));
        }
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1);
    }

    #[test]
    fn what_was_left_of_a_write_that_a_crash_cut_off_is_in_nobodys_way() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        replace(&path, b"old").expect("replaced");
        fs::write(dir.path().join("s.tmp"), b"half of something lon").expect("written");
        assert_eq!(read(&path).expect("read").as_deref(), Some(&b"old"[..]));
        replace(&path, b"new").expect("replaced");
        assert_eq!(read(&path).expect("read").as_deref(), Some(&b"new"[..]));
    }

    #[test]
    fn a_link_is_followed_once_and_its_target_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let (link, target) = (dir.path().join("link"), dir.path().join("target"));
        fs::write(&target, b"old").expect("written");
        std::os::unix::fs::symlink(&target, &link).expect("linked");
        replace(&resolve(&link).expect("resolved"), b"new").expect("replaced");
        assert_eq!(fs::read(&target).expect("read"), b"new");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    }

    #[test]
    fn a_failure_says_at_what() {
        let dir = tempfile::tempdir().expect("a directory");
        let message = replace(&dir.path().join("none/s"), b"").expect_err("no folder");
        assert!(message.starts_with("cannot create ") && message.contains("none/s.tmp"));
        assert_eq!(resolve(&dir.path().join("none/s")).expect_err("no folder").code, exit::DISK);
        assert!(read(dir.path()).is_err(), "a folder");
    }
}
