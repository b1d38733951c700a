//! Freewheel's control socket: JSON-RPC 2.0, one object a line. Fields are read defensively: what
//! isn't there is unknown, never zero.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// One call on a connection of its own.
pub(crate) fn call(socket: &Path, method: &str, params: Value) -> Result<Value> {
    let mut stream = UnixStream::connect(socket)
        .with_context(|| format!("can't reach the control socket {}", socket.display()))?;
    let limit = Some(Duration::from_secs(5));
    stream.set_read_timeout(limit)?;
    stream.set_write_timeout(limit)?;
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).with_context(|| format!("no answer to {method}"))? == 0 {
            bail!("the control socket closed without an answer to {method}");
        }
        let answer: Value = serde_json::from_str(&line)
            .with_context(|| format!("the answer to {method} is no JSON"))?;
        if answer["id"] != json!(1) {
            continue; // a notification
        }
        if let Some(error) = answer.get("error").filter(|e| !e.is_null()) {
            bail!("{method} was refused: {error}");
        }
        return Ok(answer["result"].clone());
    }
}

/// The newest `status`, asked for every half second: the server ends soon after the guest.
pub(crate) struct Watch {
    newest: Arc<Mutex<Value>>,
}

impl Watch {
    pub(crate) fn start(socket: PathBuf) -> Self {
        let newest = Arc::new(Mutex::new(Value::Null));
        let weak = Arc::downgrade(&newest);
        std::thread::spawn(move || {
            while let Some(newest) = weak.upgrade() {
                if let Ok(status) = call(&socket, "status", json!({})) {
                    *newest.lock().unwrap_or_else(PoisonError::into_inner) = status;
                }
                drop(newest);
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        Self { newest }
    }

    pub(crate) fn newest(&self) -> Value {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The sum of a counter over all disks; `None` if no disk has it.
pub(crate) fn disks_sum(status: &Value, counter: &str) -> Option<u64> {
    let disks = status["disks"].as_array()?;
    disks.iter().filter_map(|d| find(d, counter)?.as_u64()).reduce(|a, b| a + b)
}

/// The longest time from the guest's stop or reset of a port to its completion, in microseconds.
pub(crate) fn stop_us_max(status: &Value) -> Option<f64> {
    let hbas = match &status["hba"] {
        Value::Array(all) => all.clone(),
        one => vec![one.clone()],
    };
    let number = |v: &Value, keys: &[&str]| keys.iter().find_map(|k| v[*k].as_f64());
    let listed = hbas
        .iter()
        .filter_map(|h| h["resets"].as_array())
        .flatten()
        .filter_map(|r| number(r, &["stop_us", "us", "took_us"]));
    hbas.iter().filter_map(|h| number(h, &["stop_us_max"])).chain(listed).reduce(f64::max)
}

/// A field of an object, or of an object in it.
fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    object.get(key).or_else(|| object.values().find_map(|inner| find(inner, key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_read_defensively() {
        let status = json!({
            "disks": [{"held_total": 2}, {"counters": {"held_total": 3}}, {}],
            "hba": {"stop_us_max": 12.5, "resets": [{"stop_us": 40}]},
        });
        assert_eq!(disks_sum(&status, "held_total"), Some(5));
        assert_eq!(disks_sum(&status, "nothing"), None);
        assert_eq!(stop_us_max(&status), Some(40.0));
        assert_eq!(disks_sum(&Value::Null, "held_total"), None);
        assert_eq!(stop_us_max(&Value::Null), None);
    }
}
