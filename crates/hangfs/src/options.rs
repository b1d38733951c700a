//! How the file system is made, as values and as words of a command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What `hangfs --help` prints.
pub const USAGE: &str = "\
hangfs MOUNTPOINT [OPTIONS]: serve a file, MOUNTPOINT/disk, whose requests hang on command

  --size-bytes N        the size of the file (64 MiB; with --content, that file's)
  --content FILE        keep the content in FILE instead of in memory
  --hang-below-bytes N  only requests that begin below this can hang (all)
  --life-s N            exit after so many seconds, whatever happens (120)
  --cached              let the kernel cache the file

Commands, one a line on standard input, each answered with a line:
  hang [open] [read] [write] [fsync] [fallocate] [close] [create]    clear    release    pending [KIND]
  fail-fsync    heal-fsync

Example:
  freewheel drill --stall-with 'exec hangfs /mnt/h' --disk path=/mnt/h/disk --destroy-data
";

/// How the file system is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The directory to mount at.
    pub mountpoint: PathBuf,
    /// The size of the file; with `content`, `None` is that file's.
    pub size_bytes: Option<u64>,
    /// A file to keep the content in; memory if `None`.
    pub content: Option<PathBuf>,
    /// Only requests that begin below can hang.
    pub hang_below_bytes: u64,
    /// No test takes this long. Whoever waits for us when he must not is let go then, and the test
    /// fails instead of waiting for ever.
    pub life: Duration,
    /// The kernel may cache the file. Without, its requests arrive one by one.
    pub cached: bool,
}

impl Options {
    /// All at its default.
    pub fn new(mountpoint: impl Into<PathBuf>) -> Self {
        Self {
            mountpoint: mountpoint.into(),
            size_bytes: None,
            content: None,
            hang_below_bytes: u64::MAX,
            life: Duration::from_secs(120),
            cached: false,
        }
    }

    /// From words of a command line. The error is a cause.
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut options = Self::new("");
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let name = word.to_string_lossy().into_owned();
            let mut value = || words.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--size-bytes" => options.size_bytes = Some(number(&name, &value()?)?),
                "--content" => options.content = Some(value()?.into()),
                "--hang-below-bytes" => options.hang_below_bytes = number(&name, &value()?)?,
                "--life-s" => options.life = Duration::from_secs(number(&name, &value()?)?),
                "--cached" => options.cached = true,
                _ if name.starts_with("--") => return Err(format!("{name} is no option")),
                _ if options.mountpoint.as_os_str().is_empty() => options.mountpoint = word.into(),
                _ => return Err(format!("{name} is one word too many")),
            }
        }
        if options.mountpoint.as_os_str().is_empty() {
            return Err("no mountpoint is given".into());
        }
        Ok(options)
    }

    /// The words that [`Options::parse`] makes the same options of.
    pub fn words(&self) -> Vec<OsString> {
        let mut words = vec![self.mountpoint.clone().into()];
        let mut option = |name: &str, value: OsString| words.extend([OsString::from(name), value]);
        if let Some(size_bytes) = self.size_bytes {
            option("--size-bytes", size_bytes.to_string().into());
        }
        if let Some(content) = &self.content {
            option("--content", content.clone().into());
        }
        option("--hang-below-bytes", self.hang_below_bytes.to_string().into());
        option("--life-s", self.life.as_secs().to_string().into());
        if self.cached {
            words.push("--cached".into());
        }
        words
    }

    /// Mounts, and serves in this process until standard input ends.
    pub fn serve(&self) -> ExitCode {
        crate::server::serve(self)
    }
}

fn number(name: &str, value: &OsString) -> Result<u64, String> {
    let value = value.to_string_lossy();
    value.parse().map_err(|_| format!("{name} {value}: not a whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_options_are_the_same_thing() {
        let options = Options {
            size_bytes: Some(4096),
            content: Some("a file".into()),
            hang_below_bytes: 7,
            life: Duration::from_secs(9),
            cached: true,
            ..Options::new("/mnt")
        };
        assert_eq!(Options::parse(options.words()), Ok(options));
        assert_eq!(Options::parse(["/mnt".into()]), Ok(Options::new("/mnt")));
    }

    #[test]
    fn mistakes_are_named() {
        for (words, cause) in [
            (&[][..], "no mountpoint is given"),
            (&["/mnt", "--life-s"], "--life-s needs a value"),
            (&["/mnt", "--life-s", "soon"], "--life-s soon: not a whole number"),
            (&["/mnt", "--colour"], "--colour is no option"),
            (&["/mnt", "/more"], "/more is one word too many"),
        ] {
            let words = words.iter().map(|word| OsString::from(*word));
            assert_eq!(Options::parse(words), Err(cause.to_owned()));
        }
    }
}
