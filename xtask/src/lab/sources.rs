//! Which Debian mirror this machine's apt is set up with: reads both styles of apt's source lists
//! (one line, and deb822). Nothing here knows the name of a mirror, and nothing is downloaded.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

/// Suites by which an archive is known to be Debian's own.
const DEBIAN_SUITES: &[&str] = &[
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
];

/// One archive with its suites.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    uri: String,
    suites: Vec<String>,
}

/// The mirror's URL, from the environment or apt's lists.
pub(crate) fn mirror() -> Result<String> {
    if let Some(url) = std::env::var("FREEWHEEL_DEBIAN_MIRROR").ok().filter(|u| !u.is_empty()) {
        return Ok(url);
    }
    let mut found = Vec::new();
    let etc = Path::new("/etc/apt");
    if let Ok(text) = fs::read_to_string(etc.join("sources.list")) {
        found.extend(one_line(&text));
    }
    let mut files: Vec<_> = fs::read_dir(etc.join("sources.list.d"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .collect();
    files.sort();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|e| e.to_str()) {
            Some("list") => found.extend(one_line(&text)),
            Some("sources") => found.extend(deb822(&text)),
            _ => {}
        }
    }
    match choose(&found) {
        Some(uri) => Ok(uri),
        None => bail!(
            "this machine's apt is not set up with a Debian mirror (looked in {}/sources.list and \
             sources.list.d)\nremedy: set FREEWHEEL_DEBIAN_MIRROR to a Debian mirror's URL",
            etc.display()
        ),
    }
}

/// The first archive that carries a plain Debian release (not only its security updates).
fn choose(sources: &[Source]) -> Option<String> {
    sources
        .iter()
        .find(|s| s.suites.iter().any(|suite| DEBIAN_SUITES.contains(&suite.as_str())))
        .map(|s| s.uri.trim_end_matches('/').to_owned())
}

/// `deb [options] URI SUITE COMPONENT…`
fn one_line(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb").filter(|r| r.starts_with([' ', '\t'])) else {
            continue;
        };
        let rest = rest.trim();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']').map_or("", |(_, r)| r),
            None => rest,
        };
        let mut words = rest.split_whitespace();
        if let (Some(uri), Some(suite)) = (words.next(), words.next()) {
            found.push(Source { uri: uri.to_owned(), suites: vec![suite.to_owned()] });
        }
    }
    found
}

/// Stanzas of `Key: value`, with continuation lines; `Enabled: no` switches one off.
fn deb822(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    for fields in super::apt::stanzas(text) {
        let get = |name: &str| {
            fields
                .iter()
                .find(|(k, _)| k.eq_ignore_ascii_case(name))
                .map_or("", |(_, v)| v.as_str())
        };
        let binary = get("Types").split_whitespace().any(|t| t == "deb");
        if !binary || get("Enabled").eq_ignore_ascii_case("no") {
            continue;
        }
        for uri in get("URIs").split_whitespace() {
            found.push(Source {
                uri: uri.to_owned(),
                suites: get("Suites").split_whitespace().map(str::to_owned).collect(),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_style() {
        let text = "# deb http://old.example/debian stretch main\n\
            deb-src http://src.example/debian bookworm main\n\
            deb [arch=amd64 signed-by=/a.gpg] http://tools.example/x stable-x main\n\
            deb http://sec.example/debian-security bookworm-security main # c\n\
            deb\thttp://m.example/debian/ bookworm main contrib\n";
        let found = one_line(text);
        assert_eq!(found.len(), 3);
        assert_eq!(choose(&found).as_deref(), Some("http://m.example/debian"));
    }

    #[test]
    fn deb822_style() {
        let text = "Types: deb deb-src\n# a comment\nURIs: http://a.example/debian\n\
            \x20http://b.example/debian\nSuites: trixie trixie-updates\nComponents: main\n\n\n\
            Types: deb\nEnabled: no\nURIs: http://c.example/debian\nSuites: sid\n";
        let found = deb822(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].uri, "http://b.example/debian");
        assert_eq!(choose(&found).as_deref(), Some("http://a.example/debian"));
    }

    #[test]
    fn only_debian_counts() {
        let text = "Types: deb\nURIs: http://u.example/ubuntu\nSuites: noble noble-updates\n";
        assert_eq!(choose(&deb822(text)), None);
    }
}
