//! Writer for initramfs archives: the kernel's "newc" format (its
//! Documentation/driver-api/early-userspace/buffer-format.rst). Archives can be put one behind
//! the other; a later one's files replace an earlier one's. Leaves out hard links, which nothing
//! here needs.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;

/// An archive being written.
pub(crate) struct Archive<W: Write> {
    out: W,
    at: u64,
    inode: u32,
    /// Directories and files already in it.
    names: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, at: 0, inode: 0, names: BTreeSet::new() }
    }

    /// A file from the host, with the given permissions. A name that is there already is skipped.
    pub(crate) fn host_file(&mut self, name: &str, from: &Path, mode: u32) -> Result<()> {
        let data = fs::read(from).with_context(|| format!("can't read {}", from.display()))?;
        Ok(self.file(name, &data, mode)?)
    }

    pub(crate) fn file(&mut self, name: &str, data: &[u8], mode: u32) -> io::Result<()> {
        self.add(name, FILE | mode, (0, 0), data)
    }

    pub(crate) fn symlink(&mut self, name: &str, to: &str) -> io::Result<()> {
        self.add(name, LINK | 0o777, (0, 0), to.as_bytes())
    }

    pub(crate) fn directory(&mut self, name: &str) -> io::Result<()> {
        self.add(name, DIRECTORY | 0o755, (0, 0), &[])
    }

    pub(crate) fn character(&mut self, name: &str, device: (u32, u32)) -> io::Result<()> {
        self.add(name, CHARACTER | 0o600, device, &[])
    }

    fn add(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) -> io::Result<()> {
        let name = name.trim_matches('/');
        if self.names.contains(name) {
            return Ok(());
        }
        // Directories must come before what they hold.
        if let Some((parent, _)) = name.rsplit_once('/') {
            self.directory(parent)?;
        }
        self.names.insert(name.to_owned());
        self.inode += 1;
        self.entry(name, self.inode, mode, device, data)
    }

    fn entry(
        &mut self,
        name: &str,
        inode: u32,
        mode: u32,
        device: (u32, u32),
        data: &[u8],
    ) -> io::Result<()> {
        let size = u32::try_from(data.len())
            .map_err(|_| io::Error::other(format!("{name} is over 4 GiB, the format's limit")))?;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let fields = [
            inode,
            mode,
            0, // uid
            0, // gid
            links,
            0, // mtime
            size,
            0, // device the file was on, major and minor
            0,
            device.0,
            device.1,
            u32::try_from(name.len() + 1).unwrap_or(u32::MAX),
            0, // check sum, unused in this variant
        ];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        self.write(header.as_bytes())?;
        self.write(name.as_bytes())?;
        self.write(&[0])?;
        self.pad(4)?;
        self.write(data)?;
        self.pad(4)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn pad(&mut self, to: u64) -> io::Result<()> {
        let missing = (to - self.at % to) % to;
        self.write(&[0; 512][..missing as usize])
    }

    /// Write the trailer, padded so that another archive can follow.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, 0, (0, 0), &[])?;
        self.pad(512)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        let mut archive = Archive::new(Vec::new());
        archive.file("a/b", b"xyz", 0o644).unwrap();
        archive.file("a/b", b"again", 0o644).unwrap();
        archive.character("a/c", (5, 1)).unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 512, 0);
        let text = String::from_utf8_lossy(&bytes);
        // The directory first: header of 110, name "a" with its zero, padded to 112.
        assert!(text.starts_with("07070100000001000041ed"));
        assert_eq!(&bytes[110..112], b"a\0");
        let file = &text[112..];
        assert!(file.starts_with("07070100000002000081a4"));
        assert_eq!(&file[6 + 8 * 6..6 + 8 * 7], "00000003", "size");
        assert_eq!(&file[6 + 8 * 11..6 + 8 * 12], "00000004", "length of the name");
        assert_eq!(&bytes[112 + 110..112 + 114], b"a/b\0");
        assert_eq!(&bytes[112 + 116..112 + 120], b"xyz\0", "data padded to 4");
        let device = &text[232..];
        assert!(device.starts_with("07070100000003000021"));
        assert_eq!(&device[6 + 8 * 9..6 + 8 * 11], "0000000500000001");
        assert_eq!(text.matches("070701").count(), 4);
        assert!(text.contains("TRAILER!!!"));
    }
}
