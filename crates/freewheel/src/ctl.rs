//! `freewheel ctl`: asks a running server over its control socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::{CtlArgs, CtlVerb, FaultVerb};
use crate::exit::{self, UserError};

/// Longer than an answer takes for which the server waits for nothing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than it takes to open an image whose storage answers at all.
const OPEN_TIMEOUT: Duration = Duration::from_secs(120);

/// Runs the command.
pub(crate) fn run(args: &CtlArgs) -> anyhow::Result<ExitCode> {
    let mut patience = ANSWER_TIMEOUT;
    let (method, params) = match &args.verb {
        CtlVerb::Status => ("status", json!({})),
        CtlVerb::Attach { disk, cdrom } => {
            patience = OPEN_TIMEOUT;
            let what = disk.as_ref().map(|disk| ("disk", disk));
            let (key, spec) = what.or(cdrom.as_ref().map(|it| ("cdrom", it))).unzip();
            let key = key.unwrap_or("disk");
            ("attach", json!({ key: spec }))
        }
        CtlVerb::Detach { port, force, timeout } => {
            patience = patience.saturating_add(Duration::from_secs(*timeout));
            let (port, timeout_ms) = (port.to_string(), timeout.saturating_mul(1000));
            ("detach", json!({ "port": port, "force": force, "timeout_ms": timeout_ms }))
        }
        CtlVerb::Insert { port, path } => {
            patience = OPEN_TIMEOUT;
            ("insert", json!({ "port": port.to_string(), "path": path.display().to_string() }))
        }
        CtlVerb::Eject { port, force } => {
            ("eject", json!({ "port": port.to_string(), "force": force }))
        }
        CtlVerb::Shutdown => ("shutdown", json!({})),
        CtlVerb::Fault(FaultVerb::Add { port, spec }) => {
            ("fault.add", json!({ "port": port.to_string(), "spec": spec }))
        }
        CtlVerb::Fault(FaultVerb::Clear) => ("fault.clear", json!({})),
        CtlVerb::Fault(FaultVerb::Release) => ("fault.release", json!({})),
    };
    let reply = call(args, method, &params, patience).map_err(|error| {
        if error.kind() == std::io::ErrorKind::WouldBlock {
            let cause = format!("{method}: no answer within {} s", patience.as_secs());
            let remedy = "it goes on by itself; `freewheel ctl status` shows how far it is";
            return UserError::new(exit::FAILURE, cause, remedy);
        }
        UserError::new(
            exit::SOCKET,
            format!("control socket {}: {error}", args.control.display()),
            "start `freewheel serve` with --control and the same path",
        )
    })?;
    if let Some(error) = reply.get("error") {
        let message = error.get("message").and_then(Value::as_str).unwrap_or("no reason given");
        let remedy = error.pointer("/data/remedy").and_then(Value::as_str);
        let remedy = remedy.unwrap_or("see `freewheel ctl --help`");
        return Err(UserError::new(exit::FAILURE, format!("{method}: {message}"), remedy).into());
    }
    let result = reply.get("result").unwrap_or(&Value::Null);
    println!("{}", serde_json::to_string_pretty(result)?);
    Ok(ExitCode::SUCCESS)
}

fn call(
    args: &CtlArgs,
    method: &str,
    params: &Value,
    patience: Duration,
) -> std::io::Result<Value> {
    let mut socket = UnixStream::connect(&args.control)?;
    socket.set_read_timeout(Some(patience))?;
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    socket.write_all(format!("{request}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
