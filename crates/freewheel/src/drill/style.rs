//! Colour where it is wanted, and numbers as people read them.

use std::io::IsTerminal;

use freewheel_block::ByteRange;

/// Whether, and how, text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    colour: bool,
}

impl Style {
    /// Without colour.
    #[cfg(test)]
    pub(super) fn plain() -> Self {
        Self { colour: false }
    }

    /// Colour on a terminal, unless NO_COLOR is set (<https://no-color.org>).
    pub(super) fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: !refused && std::io::stdout().is_terminal() }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(super) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub(super) fn stuck(self, text: &str) -> String {
        self.paint("33", text)
    }
}

/// A duration with a fitting unit.
pub(super) fn duration(ns: u64) -> String {
    let scaled = |unit_ns: u64| ns as f64 / unit_ns as f64;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", scaled(1_000)),
        1_000_000..1_000_000_000 => format!("{:.1} ms", scaled(1_000_000)),
        _ => format!("{:.2} s", scaled(1_000_000_000)),
    }
}

/// A size with a fitting unit.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["bytes", "KiB", "MiB", "GiB"];
    let mut unit = 0;
    let mut value = bytes;
    while value >= 1024 && value.is_multiple_of(1024) && unit + 1 < UNITS.len() {
        value /= 1024;
        unit += 1;
    }
    format!("{value} {}", UNITS[unit])
}

/// One character a slot: `█` for those in `slots`.
pub(super) fn tag_map(slots: u32, tags: u8) -> String {
    (0..u32::from(tags.min(32))).map(|tag| if slots >> tag & 1 != 0 { '█' } else { '·' }).collect()
}

/// A few ranges, in sectors.
pub(super) fn ranges(ranges: &[ByteRange], sector_bytes: u32) -> String {
    const SHOWN: usize = 4;
    let sector_bytes = u64::from(sector_bytes);
    let mut text: Vec<String> = ranges
        .iter()
        .take(SHOWN)
        .map(|range| {
            format!("{}+{}", range.offset_bytes / sector_bytes, range.len_bytes / sector_bytes)
        })
        .collect();
    if ranges.len() > SHOWN {
        text.push(format!("… {} ranges", ranges.len()));
    }
    text.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(duration(999), "999 ns");
        assert_eq!(duration(8_250), "8.2 µs");
        assert_eq!(duration(35_000_000_000), "35.00 s");
        assert_eq!(size(64 << 20), "64 MiB");
        assert_eq!(size(1000), "1000 bytes");
        assert_eq!(tag_map(0b101, 4), "█·█·");
        let list: Vec<_> = (0..6).map(|at| ByteRange::new(at * 8192, 4096)).collect();
        assert_eq!(ranges(&list, 512), "0+8, 16+8, 32+8, 48+8, … 6 ranges");
        assert_eq!(Style::plain().bad("x"), "x");
    }
}
