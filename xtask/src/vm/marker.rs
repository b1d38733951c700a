//! Marker lines, in which the guest speaks to the host, and what is worked out from their times.

use std::time::{Duration, Instant};

/// What a marker line starts with.
const START: &str = "@@FW ";

/// What a line of a command's output starts with.
const OUTPUT: &str = "@@FW> ";

/// The name and the text of a line of output.
pub(crate) fn output(line: &str) -> Option<(String, String)> {
    let (_, rest) = line.split_once(OUTPUT)?;
    let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
    Some((name.to_owned(), text.to_owned()))
}

/// One marker line: words, some with a value (`step=mkfs rc=0`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    words: Vec<(String, String)>,
}

impl Marker {
    /// The marker in a line, if there is one.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once(START)?;
        let words: Vec<_> = rest
            .split_whitespace()
            .map(|word| {
                let (key, value) = word.split_once('=').unwrap_or((word, ""));
                (key.to_owned(), value.to_owned())
            })
            .collect();
        (!words.is_empty()).then_some(Self { words })
    }

    /// The value of a word (empty for one without), if the word is there.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.words.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Whether a word is there with this value.
    pub(crate) fn is(&self, key: &str, value: &str) -> bool {
        self.get(key) == Some(value)
    }

    /// Every word with its value, in order.
    pub(crate) fn words(&self) -> impl Iterator<Item = (&str, &str)> {
        self.words.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The `rc` of a marker that has one; a value that isn't a number is a failure.
    pub(crate) fn rc(&self) -> Option<i32> {
        Some(self.get("rc")?.parse().unwrap_or(-1))
    }
}

/// The longest time without a heartbeat between `begin` and `end`, both of which count as one.
pub(crate) fn longest_gap(beats: &[Instant], begin: Instant, end: Instant) -> Duration {
    let inside = beats.iter().copied().filter(|b| *b > begin && *b < end);
    let mut last = begin;
    let mut longest = Duration::ZERO;
    for beat in inside.chain([end]) {
        longest = longest.max(beat.saturating_duration_since(last));
        last = beat;
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers() {
        let m = Marker::parse("@@FW step=mkfs rc=0\r").unwrap();
        assert!(m.is("step", "mkfs"));
        assert_eq!(m.rc(), Some(0));
        assert_eq!(m.get("other"), None);
        let m = Marker::parse("noise @@FW boot").unwrap();
        assert_eq!(m.get("boot"), Some(""));
        assert_eq!(m.rc(), None);
        assert_eq!(Marker::parse("@@FW pass=1 rc=x").unwrap().rc(), Some(-1));
        assert!(Marker::parse("[    1.0] ata1: EH complete").is_none());
        assert!(Marker::parse("@@FW ").is_none());
        assert!(Marker::parse("@@FW> id a=b").is_none());
        assert_eq!(output("@@FW> id  a b"), Some(("id".into(), " a b".into())));
        assert_eq!(output("@@FW> id"), Some(("id".into(), String::new())));
    }

    #[test]
    fn gaps() {
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        let beats = [at(0), at(1100), at(1300), at(1900), at(5000)];
        // Only what lies inside counts, with both ends as beats.
        assert_eq!(longest_gap(&beats, at(1000), at(2000)), Duration::from_millis(600));
        assert_eq!(longest_gap(&beats, at(1000), at(3000)), Duration::from_millis(1100));
        assert_eq!(longest_gap(&[], at(0), at(700)), Duration::from_millis(700));
        assert_eq!(longest_gap(&beats, at(9), at(9)), Duration::ZERO);
    }
}
