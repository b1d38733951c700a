//! Which kernel a guest boots: one of the lab's, or a kernel image of the user's own.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::lab::Lab;

pub(crate) struct Kernel {
    pub(crate) title: String,
    /// Short, for names of directories.
    pub(crate) name: String,
    pub(crate) image: PathBuf,
    pub(crate) initramfs: Vec<PathBuf>,
}

impl Kernel {
    /// `6.12`, `7`, `6.12-full`, `7-full`, or the path of an image, which must have the disk's drivers built in.
    pub(crate) fn find(lab: &Lab, wanted: &str) -> Result<Self> {
        let path = Path::new(wanted);
        if wanted.contains('/') || path.is_file() {
            if !path.is_file() {
                bail!(
                    "there is no kernel image {wanted}: name a file, or one of 6.12, 7, 6.12-full and 7-full"
                );
            }
            return Ok(Self {
                title: wanted.to_owned(),
                name: "own".to_owned(),
                image: path.to_owned(),
                initramfs: vec![lab.tools()],
            });
        }
        let (image, initramfs) = lab.kernel(wanted)?;
        Ok(Self { title: lab.kernel_version(wanted)?, name: wanted.to_owned(), image, initramfs })
    }
}
