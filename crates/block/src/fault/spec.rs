//! The grammar of faults:
//!
//! ```text
//! OP[@LBA[+COUNT]][#NTH][/PROBABILITY]:ACTION
//! OP      read | write | flush | discard | write-zeroes | any
//! ACTION  delay=TIME | hang | error=ERRNO | short | corrupt
//! TIME    a number with ns, us, ms, s or m behind it
//! link:drop=TIME | link:crc | link:no-signature | link:unknown-fis | link:bad-fis | link:retry |
//! link:stuck | link:poison
//! ```
//!
//! `discard#1:delay=35s` delays the first discard by 35 seconds. LBA and COUNT are in logical
//! sectors, decimal or hexadecimal (`0x…`). NTH counts the matching requests to the backend from
//! 1; without it every match fires. PROBABILITY is a number from 0 to 1.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use crate::OpKind;

/// The grammar on one line, for error messages.
const GRAMMAR: &str = "OP[@LBA[+COUNT]][#NTH][/PROBABILITY]:ACTION with \
    OP read|write|flush|discard|write-zeroes|any and \
    ACTION delay=TIME|hang|error=ERRNO|short|corrupt, or \
    link:drop=TIME|link:crc|link:no-signature|link:unknown-fis|link:bad-fis|link:retry|link:stuck|\
    link:poison";

/// Which requests a fault is for.
#[derive(Clone, Debug, PartialEq)]
pub struct OpMatch {
    /// The kind; `None` for any.
    pub kind: Option<OpKind>,
    /// First LBA and number of sectors; `None` for anywhere.
    pub lba: Option<(u64, u64)>,
    /// Only the n-th match, counted from 1.
    pub nth: Option<u64>,
    /// How likely a match fires, 0 to 1; `None` for always.
    pub probability: Option<f64>,
}

/// What a fault does to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultAction {
    /// It is carried out this many nanoseconds late.
    Delay(u64),
    /// It is not carried out until it is released.
    Hang,
    /// It fails with this `errno` and is not carried out.
    Error(i32),
    /// It transfers less than was asked.
    Short,
    /// Its data is damaged.
    Corrupt,
}

/// What a fault does to the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkFault {
    /// The link goes away for this many nanoseconds.
    Drop(u64),
    /// The next data transfer fails with an interface CRC error.
    Crc,
    /// The device does not send its signature after the next COMRESET.
    NoSignature,
    /// The device sends a FIS of a type that no host knows.
    UnknownFis,
    /// The next FIS of the device for a command is malformed.
    BadFis,
    /// The next FIS of the device is damaged once, and repeated by hardware.
    Retry,
    /// The device takes the next command and never answers it.
    Stuck,
    /// The memory behind the next data transfer has an uncorrectable error.
    Poison,
}

/// One fault.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultSpec {
    /// Of the storage.
    Op {
        /// For which requests.
        matching: OpMatch,
        /// What happens to them.
        action: FaultAction,
    },
    /// Of the link.
    Link(LinkFault),
}

/// A fault specification that cannot be read: where, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultParseError {
    text: String,
    at_byte: usize,
    reason: String,
}

impl core::error::Error for FaultParseError {}

impl fmt::Display for FaultParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = self.text[..self.at_byte].chars().count() + 1;
        write!(
            f,
            "fault `{}`: {} at column {column}; the grammar is {GRAMMAR}",
            self.text, self.reason
        )
    }
}

impl FromStr for FaultSpec {
    type Err = FaultParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Parser { text, at: 0 }.fault()
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn fail<T>(&self, at: usize, reason: impl Into<String>) -> Result<T, FaultParseError> {
        Err(FaultParseError { text: self.text.to_string(), at_byte: at, reason: reason.into() })
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Takes everything up to one of `ends`, or to the end of the text.
    fn word(&mut self, ends: &[char]) -> (usize, &'a str) {
        let start = self.at;
        let rest = self.rest();
        let len = rest.find(ends).unwrap_or(rest.len());
        self.at += len;
        (start, &rest[..len])
    }

    fn eat(&mut self, symbol: char) -> bool {
        let eaten = self.rest().starts_with(symbol);
        if eaten {
            self.at += symbol.len_utf8();
        }
        eaten
    }

    fn fault(mut self) -> Result<FaultSpec, FaultParseError> {
        let (start, op) = self.word(&['@', '#', '/', ':']);
        if op == "link" {
            return self.link();
        }
        let kind = match op {
            "read" => Some(OpKind::Read),
            "write" => Some(OpKind::Write),
            "flush" => Some(OpKind::Flush),
            "discard" => Some(OpKind::Discard),
            "write-zeroes" => Some(OpKind::WriteZeroes),
            "any" => None,
            other => return self.fail(start, format!("`{other}` is no operation")),
        };
        let mut matching = OpMatch { kind, lba: None, nth: None, probability: None };
        if self.eat('@') {
            let first = self.number(&['+', '#', '/', ':'], "an LBA")?;
            let count = if self.eat('+') { self.number(&['#', '/', ':'], "a count")? } else { 1 };
            matching.lba = Some((first, count));
        }
        if self.eat('#') {
            let start = self.at;
            let nth = self.number(&['/', ':'], "a number")?;
            if nth == 0 {
                return self.fail(start, "counting starts at 1");
            }
            matching.nth = Some(nth);
        }
        if self.eat('/') {
            let (start, word) = self.word(&[':']);
            match word.parse::<f64>() {
                Ok(value) if (0.0..=1.0).contains(&value) => matching.probability = Some(value),
                _ => return self.fail(start, format!("`{word}` is no probability from 0 to 1")),
            }
        }
        if !self.eat(':') {
            return self.fail(self.at, "`:` and an action are missing");
        }
        let action = self.action()?;
        Ok(FaultSpec::Op { matching, action })
    }

    fn action(&mut self) -> Result<FaultAction, FaultParseError> {
        let start = self.at;
        let (name, value) = split_value(self.rest());
        let value_at = start + name.len() + 1;
        match (name, value) {
            ("hang", None) => Ok(FaultAction::Hang),
            ("short", None) => Ok(FaultAction::Short),
            ("corrupt", None) => Ok(FaultAction::Corrupt),
            ("delay", Some(value)) => Ok(FaultAction::Delay(self.time(value_at, value)?)),
            ("error", Some(value)) => match errno(value) {
                Some(errno) => Ok(FaultAction::Error(errno)),
                None => self.fail(value_at, format!("`{value}` is no error name or number")),
            },
            ("delay" | "error", None) => {
                self.fail(start, format!("`{name}` needs `=` and a value"))
            }
            _ => self.fail(start, format!("`{}` is no action", self.rest())),
        }
    }

    fn link(mut self) -> Result<FaultSpec, FaultParseError> {
        if !self.eat(':') {
            return self.fail(self.at, "`:` and a link fault are missing");
        }
        let start = self.at;
        let (name, value) = split_value(self.rest());
        let fault = match (name, value) {
            ("crc", None) => LinkFault::Crc,
            ("no-signature", None) => LinkFault::NoSignature,
            ("unknown-fis", None) => LinkFault::UnknownFis,
            ("bad-fis", None) => LinkFault::BadFis,
            ("retry", None) => LinkFault::Retry,
            ("stuck", None) => LinkFault::Stuck,
            ("poison", None) => LinkFault::Poison,
            ("drop", Some(value)) => LinkFault::Drop(self.time(start + name.len() + 1, value)?),
            _ => return self.fail(start, format!("`{}` is no link fault", self.rest())),
        };
        Ok(FaultSpec::Link(fault))
    }

    fn number(&mut self, ends: &[char], what: &str) -> Result<u64, FaultParseError> {
        let (start, word) = self.word(ends);
        let parsed = match word.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => word.parse(),
        };
        parsed.or_else(|_| self.fail(start, format!("`{word}` is not {what}")))
    }

    fn time(&self, at: usize, text: &str) -> Result<u64, FaultParseError> {
        const UNITS: [(&str, u64); 5] = [
            ("ns", 1),
            ("us", 1_000),
            ("ms", 1_000_000),
            ("s", 1_000_000_000),
            ("m", 60_000_000_000),
        ];
        for (unit, unit_ns) in UNITS {
            let Some(number) = text.strip_suffix(unit) else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            if let Some(total_ns) = number.checked_mul(unit_ns) {
                return Ok(total_ns);
            }
        }
        self.fail(at, format!("`{text}` is no time such as 35s or 200ms"))
    }
}

fn split_value(text: &str) -> (&str, Option<&str>) {
    match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    }
}

fn errno(name: &str) -> Option<i32> {
    const NAMES: [(&str, i32); 12] = [
        ("EPERM", 1),
        ("EIO", 5),
        ("ENXIO", 6),
        ("EAGAIN", 11),
        ("ENOMEM", 12),
        ("EACCES", 13),
        ("EINVAL", 22),
        ("ENOSPC", 28),
        ("EROFS", 30),
        ("EOPNOTSUPP", 95),
        ("ETIMEDOUT", 110),
        ("EDQUOT", 122),
    ];
    let by_name = NAMES.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    by_name.or_else(|| name.parse().ok().filter(|value| (1..4096).contains(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn op(text: &str) -> (OpMatch, FaultAction) {
        match text.parse() {
            Ok(FaultSpec::Op { matching, action }) => (matching, action),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn the_seeds_reproduction_is_read() {
        let (matching, action) = op("discard#1:delay=35s");
        assert_eq!(matching.kind, Some(OpKind::Discard));
        assert_eq!(matching.nth, Some(1));
        assert_eq!(action, FaultAction::Delay(35_000_000_000));
    }

    #[test]
    fn every_part_is_read() {
        let (matching, action) = op("write@0x10+8#3/0.5:error=ENOSPC");
        assert_eq!(matching.lba, Some((16, 8)));
        assert_eq!(matching.nth, Some(3));
        assert_eq!(matching.probability, Some(0.5));
        assert_eq!(action, FaultAction::Error(28));
        assert_eq!(op("any:hang").0.kind, None);
        assert_eq!(op("read@7:short").0.lba, Some((7, 1)));
        assert_eq!("link:drop=2s".parse(), Ok(FaultSpec::Link(LinkFault::Drop(2_000_000_000))));
        for (text, fault) in [
            ("link:crc", LinkFault::Crc),
            ("link:no-signature", LinkFault::NoSignature),
            ("link:unknown-fis", LinkFault::UnknownFis),
            ("link:bad-fis", LinkFault::BadFis),
            ("link:retry", LinkFault::Retry),
            ("link:stuck", LinkFault::Stuck),
            ("link:poison", LinkFault::Poison),
        ] {
            assert_eq!(text.parse(), Ok(FaultSpec::Link(fault)), "{text}");
        }
    }

    #[test]
    fn an_error_names_its_place_and_the_grammar() {
        for (text, column, word) in [
            ("trim:hang", 1, "`trim`"),
            ("read@x:hang", 6, "LBA"),
            ("read#0:hang", 6, "starts at 1"),
            ("read/2:hang", 6, "probability"),
            ("read", 5, "missing"),
            ("read:sleep", 6, "action"),
            ("read:delay=35", 12, "time"),
            ("read:error=EWHAT", 12, "EWHAT"),
            ("link:cut", 6, "link fault"),
        ] {
            let message = text.parse::<FaultSpec>().expect_err(text).to_string();
            assert!(message.contains(&format!("column {column};")), "{message}");
            assert!(message.contains(word), "{message}");
            assert!(message.contains("OP[@LBA"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_typed_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<FaultSpec>().map_err(|error| error.to_string());
        }
    }
}
