//! What a guest has said: how its steps went, what its commands printed, what it asked for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::vm::marker::Marker;
use crate::vm::serial::What;

/// What a command printed, and how it ended.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) lines: Vec<String>,
    /// `None` if its end was never heard.
    pub(crate) rc: Option<i32>,
}

/// Everything heard so far.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The job's script began.
    pub(crate) boot: Option<Instant>,
    /// Name and result of each step, in order.
    pub(crate) steps: Vec<(String, i32)>,
    /// Outputs by the name that the script gave them.
    pub(crate) outputs: BTreeMap<String, Output>,
    /// The console has closed.
    pub(crate) closed: bool,
    /// The job's own result.
    pub(crate) end: Option<i32>,
}

/// What the guest waits for the host to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// A method of the control socket.
    pub(crate) method: String,
    /// Its parameters.
    pub(crate) params: serde_json::Value,
}

impl Heard {
    /// Another guest begins; what was heard of the last one stays.
    pub(crate) fn begin(&mut self) {
        (self.boot, self.end, self.closed) = (None, None, false);
    }

    /// Note what was heard; a wish is the caller's to fulfil.
    pub(crate) fn note(&mut self, at: Instant, what: What) -> Option<Wish> {
        match what {
            What::Closed => self.closed = true,
            What::Console(_) => {}
            What::Output { name, line } => {
                self.outputs.entry(name).or_default().lines.push(line);
            }
            What::Marker(marker) => {
                let rc = marker.rc();
                if let Some(method) = marker.get("ask") {
                    return Some(Wish { method: method.to_owned(), params: params(&marker) });
                } else if let (Some(step), Some(rc)) = (marker.get("step"), rc) {
                    self.steps.push((step.to_owned(), rc));
                } else if let (Some(name), Some(rc)) = (marker.get("output"), rc) {
                    self.outputs.entry(name.to_owned()).or_default().rc = Some(rc);
                } else if marker.get("boot").is_some() {
                    self.boot = Some(at);
                } else if let (Some(_), Some(rc)) = (marker.get("end"), rc) {
                    self.end = Some(rc);
                }
            }
        }
        None
    }

    /// Note what the host found out by itself, as if the guest had put it out.
    pub(crate) fn add(&mut self, name: &str, lines: Vec<String>) {
        self.outputs.insert(name.to_owned(), Output { lines, rc: Some(0) });
    }

    /// How the guest ended, if not as it should.
    pub(crate) fn unfinished(&self, limit: Duration) -> Option<String> {
        let last = match self.steps.last() {
            Some((step, _)) => format!("after step {step}"),
            None if self.boot.is_some() => "before its first step".to_owned(),
            None => "before its job began".to_owned(),
        };
        match self.end {
            Some(0) => None,
            Some(_) => Some(format!("its script gave up {last}; the console says why")),
            None if self.closed => Some(format!("the guest stopped {last}")),
            None => Some(format!("the guest was not through after {} s, {last}", limit.as_secs())),
        }
    }
}

/// The words of a wish as parameters: numbers and truth values where they are some.
fn params(marker: &Marker) -> serde_json::Value {
    let mut params = serde_json::Map::new();
    for (key, value) in marker.words().filter(|(key, _)| *key != "ask") {
        let number = value.parse::<u64>().map(serde_json::Value::from).ok();
        let truth = || value.parse::<bool>().map(serde_json::Value::from).ok();
        let value = number.or_else(truth).unwrap_or_else(|| value.into());
        params.insert(key.to_owned(), value);
    }
    params.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_heard() {
        let mut heard = Heard::default();
        let now = Instant::now();
        let marker = |heard: &mut Heard, text: &str| {
            heard.note(now, What::Marker(Marker::parse(text).unwrap()))
        };
        assert_eq!(marker(&mut heard, "@@FW step=mkfs rc=0"), None);
        let line = What::Output { name: "id".into(), line: " a: b".into() };
        assert_eq!(heard.note(now, line), None);
        assert_eq!(marker(&mut heard, "@@FW output=id rc=3"), None);
        assert_eq!(heard.outputs["id"].lines, [" a: b"]);
        assert_eq!(heard.outputs["id"].rc, Some(3));
        let wish = marker(&mut heard, "@@FW ask=fault.add port=1 spec=read@8+1:error=EIO").unwrap();
        assert_eq!(wish.method, "fault.add");
        assert_eq!(wish.params, serde_json::json!({"port": 1, "spec": "read@8+1:error=EIO"}));
        let limit = Duration::from_secs(7);
        assert_eq!(
            heard.unfinished(limit).unwrap(),
            "the guest was not through after 7 s, after step mkfs"
        );
        marker(&mut heard, "@@FW end rc=0");
        assert_eq!(heard.unfinished(limit), None);
    }
}
