//! The disk image: made sparse, measured from outside, and checked when the guest is gone.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::lab::Lab;
use crate::run;

pub(crate) struct Image {
    path: PathBuf,
}

impl Image {
    /// An empty image of so many bytes.
    pub(crate) fn create(path: PathBuf, bytes: u64) -> Result<Self> {
        File::create(&path)
            .and_then(|f| f.set_len(bytes))
            .with_context(|| format!("can't create the image {}", path.display()))?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Make an ext4 file system without a guest; nothing of it is discarded or left to be
    /// initialised later, so that the guest's first operations are its job's.
    pub(crate) fn mkfs(&self, lab: &Lab) -> Result<()> {
        run::output(
            lab.program("mke2fs")?
                .args(["-q", "-F", "-t", "ext4"])
                .args(["-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"])
                .arg(&self.path)
                .env("MKE2FS_CONFIG", lab.file("etc/mke2fs.conf")?),
        )
        .context("can't make a file system on the image")
        .map(drop)
    }

    /// Bytes that the image takes up.
    pub(crate) fn allocated(&self) -> Result<u64> {
        let meta = std::fs::metadata(&self.path)
            .with_context(|| format!("can't stat {}", self.path.display()))?;
        Ok(meta.blocks() * 512)
    }

    /// `e2fsck -fn`: nothing is changed; any complaint is an error.
    pub(crate) fn check(&self, lab: &Lab) -> Result<()> {
        run::output(lab.program("e2fsck")?.arg("-fn").arg(&self.path))
            .context("the file system is damaged")
            .map(drop)
    }
}
