//! Checks: what is expected of a guest's outputs, field by field, and what was seen. One line each
//! in the report.

use std::fmt::Display;

use super::heard::{Heard, Output};

/// Checks of one run, in the order in which they were made.
pub(crate) struct Checks<'a> {
    heard: &'a Heard,
    list: Vec<Check>,
}

/// What was checked; what is wrong with it, if anything is.
pub(crate) struct Check {
    pub(crate) what: String,
    pub(crate) wrong: Option<String>,
}

impl<'a> Checks<'a> {
    pub(crate) fn new(heard: &'a Heard) -> Self {
        Self { heard, list: Vec::new() }
    }

    pub(crate) fn into_list(self) -> Vec<Check> {
        self.list
    }

    /// One check, however it was come by.
    pub(crate) fn note(&mut self, what: impl Into<String>, wrong: Option<String>) {
        self.list.push(Check { what: what.into(), wrong });
    }

    /// A value, against what it should be.
    pub(crate) fn same(&mut self, what: &str, expected: impl Display, seen: impl Display) {
        let (expected, seen) = (expected.to_string(), seen.to_string());
        let wrong = (expected != seen).then(|| differs(&expected, &seen));
        self.note(format!("{what} = {expected}"), wrong);
    }

    /// The lines of an output, if there are any.
    pub(crate) fn lines(&self, name: &str) -> &'a [String] {
        self.heard.outputs.get(name).map_or(&[], |output| &output.lines)
    }

    /// The first line of an output, or nothing.
    pub(crate) fn first_line(&self, name: &str) -> String {
        let output = self.heard.outputs.get(name);
        output.and_then(|output| output.lines.first()).map_or(String::new(), |l| blanks_as_one(l))
    }

    /// The output that the script calls by this name.
    pub(crate) fn of(&mut self, name: &str) -> Of<'_, 'a> {
        let output = self.heard.outputs.get(name);
        if output.is_none() {
            self.note(name, Some("the guest never ran it".to_owned()));
        }
        Of { name: name.to_owned(), output, checks: self }
    }

    /// The kernel's log under this name (from `kernel_log`) complains about no disk, but for lines
    /// with one of these texts in them.
    pub(crate) fn quiet(&mut self, name: &str, provoked: &[&str]) {
        let Some(output) = self.heard.outputs.get(name) else {
            self.note(name, Some("the guest never read its log".to_owned()));
            return;
        };
        let complaint = output
            .lines
            .iter()
            .find(|line| is_complaint(line) && !provoked.iter().any(|text| line.contains(text)));
        let what = format!("{name}: no complaint of the kernel that was not provoked");
        self.note(what, complaint.map(|line| format!("seen {line:?}")));
    }
}

/// Checks of one output.
pub(crate) struct Of<'c, 'a> {
    name: String,
    output: Option<&'a Output>,
    checks: &'c mut Checks<'a>,
}

impl Of<'_, '_> {
    fn add(self, what: impl Display, wrong: impl FnOnce(&Output) -> Option<String>) -> Self {
        if let Some(output) = self.output {
            let wrong = wrong(output);
            self.checks.note(format!("{}: {what}", self.name), wrong);
        }
        self
    }

    /// The exit code.
    pub(crate) fn rc(self, expected: i32) -> Self {
        self.add(format_args!("exit code {expected}"), |output| match output.rc {
            Some(rc) if rc == expected => None,
            rc => Some(format!(
                "seen {}; it printed {:?}",
                rc.map_or("none".to_owned(), |rc| rc.to_string()),
                output.lines.iter().take(6).collect::<Vec<_>>()
            )),
        })
    }

    /// What stands behind `key` in the first line that has it; blanks are taken as one.
    pub(crate) fn field(self, key: &str, expected: impl Display) -> Self {
        let expected = expected.to_string();
        self.add(format_args!("{key} {expected}"), |output| match value(output, key) {
            Some(seen) if seen == expected => None,
            Some(seen) => Some(differs(&expected, &seen)),
            None => Some("there is no such field".to_owned()),
        })
    }

    /// What stands behind `key`, judged by a function that says what was expected of it.
    pub(crate) fn field_is(
        self,
        key: &str,
        expected: &str,
        good: impl FnOnce(&str) -> bool,
    ) -> Self {
        self.add(format_args!("{key} {expected}"), |output| match value(output, key) {
            Some(seen) if good(&seen) => None,
            Some(seen) => Some(differs(expected, &seen)),
            None => Some("there is no such field".to_owned()),
        })
    }

    /// A line that is this one, blanks taken as one.
    pub(crate) fn line(self, expected: &str) -> Self {
        self.add(format_args!("line {expected:?}"), |output| {
            let there = output.lines.iter().any(|line| blanks_as_one(line) == expected);
            (!there).then(|| nearest(output, expected))
        })
    }

    /// Some line with this text in it, blanks taken as one.
    pub(crate) fn has(self, text: &str) -> Self {
        self.add(format_args!("has {text:?}"), |output| {
            let there = output.lines.iter().any(|line| blanks_as_one(line).contains(text));
            (!there).then(|| nearest(output, text))
        })
    }

    /// So many lines with this text in them, at least.
    pub(crate) fn has_times(self, text: &str, least: usize) -> Self {
        self.add(format_args!("has {text:?} at least {least} times"), |output| {
            let count = output.lines.iter().filter(|l| blanks_as_one(l).contains(text)).count();
            (count < least).then(|| format!("seen {count} times"))
        })
    }

    /// No line with this text in it.
    pub(crate) fn lacks(self, text: &str) -> Self {
        self.add(format_args!("lacks {text:?}"), |output| {
            let line = output.lines.iter().find(|line| blanks_as_one(line).contains(text))?;
            Some(format!("seen {line:?}"))
        })
    }
}

fn differs(expected: &str, seen: &str) -> String {
    format!("expected {expected:?}, seen {seen:?}")
}

/// The value behind a key: the rest of the first line that begins with it (after blanks, and signs
/// that tools put before a line), else of the first that has it.
fn value(output: &Output, key: &str) -> Option<String> {
    let lines: Vec<String> = output.lines.iter().map(|line| blanks_as_one(line)).collect();
    let begins =
        lines.iter().find_map(|line| line.trim_start_matches(['*', '-', ' ']).strip_prefix(key));
    let rest = begins.or_else(|| lines.iter().find_map(|line| Some(line.split_once(key)?.1)))?;
    Some(rest.trim().to_owned())
}

fn blanks_as_one(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Of lines that are not what was expected, the one to show: it shares the most words.
fn nearest(output: &Output, expected: &str) -> String {
    let words: Vec<&str> = expected.split_whitespace().collect();
    let shared = |line: &str| line.split_whitespace().filter(|w| words.contains(w)).count();
    match output.lines.iter().max_by_key(|line| shared(line)) {
        Some(line) if shared(line) > 0 => format!("no; the nearest is {:?}", blanks_as_one(line)),
        _ => format!("not in its {} lines", output.lines.len()),
    }
}

/// Whether a line of `dmesg -r` is a warning or worse about disks and their controller.
fn is_complaint(line: &str) -> bool {
    let Some((level, text)) = line.strip_prefix('<').and_then(|rest| rest.split_once('>')) else {
        return false;
    };
    let severe = level.parse::<u8>().is_ok_and(|level| level & 7 <= 4);
    let text = text.split_once("] ").map_or(text, |(_, text)| text);
    let about = ["ata", "ahci", "sd ", "sr ", "scsi", "EXT4-fs error", "Buffer I/O", "blk_"];
    let disk = about.iter().any(|start| text.starts_with(start));
    severe && (disk || text.contains("I/O error") || text.contains(", dev sd"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[&str]) -> Heard {
        let mut heard = Heard::default();
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        heard.outputs.insert("id".to_owned(), Output { lines, rc: Some(0) });
        heard
    }

    fn wrong(heard: &Heard, check: impl FnOnce(&mut Checks)) -> Option<String> {
        let mut checks = Checks::new(heard);
        check(&mut checks);
        checks.into_list().remove(0).wrong
    }

    #[test]
    fn fields_are_judged() {
        let heard = heard(&["\tLogical  Sector size:     512 bytes", "\t   *\tWrite cache"]);
        let field = |key: &str, expected: &str| {
            wrong(&heard, |c| {
                c.of("id").field(key, expected);
            })
        };
        assert_eq!(field("Logical Sector size:", "512 bytes"), None);
        assert_eq!(field("Sector size:", "512 bytes"), None, "in the middle of a line too");
        let seen = field("Logical Sector size:", "4096 bytes").unwrap();
        assert_eq!(seen, "expected \"4096 bytes\", seen \"512 bytes\"");
        assert!(field("Model:", "x").is_some());
    }

    #[test]
    fn lines_codes_and_what_is_missing_are_judged() {
        let heard = heard(&["\t   *\tWrite cache"]);
        let of = |check: fn(Of<'_, '_>)| wrong(&heard, |c| check(c.of("id")));
        assert_eq!(of(|o| drop(o.line("* Write cache"))), None);
        assert!(of(|o| drop(o.line("Write cache"))).unwrap().contains("* Write cache"));
        assert_eq!(of(|o| drop(o.has("Write"))), None);
        assert!(of(|o| drop(o.lacks("Write"))).is_some());
        assert_eq!(of(|o| drop(o.rc(0))), None);
        assert!(of(|o| drop(o.rc(1))).unwrap().starts_with("seen 0"));
        assert!(of(|o| drop(o.has_times("Write", 2))).is_some());
        assert!(wrong(&heard, |c| drop(c.of("other"))).is_some());
    }

    #[test]
    fn the_kernels_complaints_are_seen() {
        assert!(is_complaint("<3>[    2.5] ata1.00: exception Emask 0x0"));
        assert!(is_complaint("<4>[    2.5] I/O error, dev sda, sector 9"));
        assert!(!is_complaint("<6>[    2.5] ata1: SATA link up 6.0 Gbps"));
        assert!(!is_complaint("<4>[    2.5] clocksource: slow"));
        let heard = heard(&["<3>[    2.5] ata1.00: error: { UNC }"]);
        assert!(wrong(&heard, |c| c.quiet("id", &[])).is_some());
        assert_eq!(wrong(&heard, |c| c.quiet("id", &["{ UNC }"])), None);
    }
}
