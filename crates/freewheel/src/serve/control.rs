//! The control socket: JSON-RPC 2.0, one object a line, over a Unix socket.
//!
//! Methods so far: `status`, `fault.add` (`port`: a number or "N.M", `spec`), `fault.clear`, `fault.release`,
//! `shutdown`, and those of `methods.rs` for what comes and goes. What opens an image or waits for
//! the guest is answered when it is done; other requests are answered meanwhile. A client that is slow, silent or hostile costs the device thread nothing: every
//! buffer is bounded, nothing waits, and a client that breaks a bound is cut off.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use freewheel_ahci::Hba;
use freewheel_block::Nanos;
use freewheel_block::fault::{FaultLayer, FaultSpec};
use freewheel_vfio_user::Listener;
use rustix::io::Errno;
use serde_json::{Value, json};

use super::plug::{Answer, Bench, Plugs, Refusal, Ticket};
use super::status;
use crate::exit::{self, UserError};
use crate::place::Place;

mod methods;

const CLIENTS_MAX: usize = 16;
const REQUEST_BYTES_MAX: usize = 64 << 10;
const REPLIES_BYTES_MAX: usize = 1 << 20;
/// Requests answered for one client in one turn of the loop.
const BATCH: usize = 8;

/// What a request asks of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Shutdown,
}

/// What requests act on.
pub(super) struct Subject<'a> {
    pub(super) bench: Bench<'a>,
    pub(super) plugs: &'a mut Plugs,
    pub(super) connected: bool,
    pub(super) ending: bool,
}

/// The listening socket and its clients. Each client has an id that the poll loop knows it by.
pub(super) struct ControlServer {
    listener: Listener,
    clients: Vec<(u64, Client)>,
    next_id: u64,
}

struct Client {
    socket: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
    /// It will send nothing more; what it has asked is still answered.
    half_closed: bool,
    /// Requests whose answers are still to come.
    awaited: usize,
}

/// How a request is answered.
enum Reply {
    Now(Value),
    /// When it is done.
    Later,
}

/// A code of JSON-RPC, and why.
type Failure = (i32, Refusal);

/// Something is wrong with what was asked.
const INVALID_PARAMS: i32 = -32602;
/// It was understood, and could not be done.
const NOT_DONE: i32 = -32000;

fn invalid(reason: impl Into<String>) -> Failure {
    (INVALID_PARAMS, Refusal::new(reason, "see `freewheel ctl --help`"))
}

impl ControlServer {
    pub(super) fn bind(path: &Path) -> Result<Self, UserError> {
        let listener =
            Listener::bind(path).map_err(|error| super::socket_error("control", &error))?;
        // Whoever may steer the controller may ruin its guest.
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .map_err(|error| {
                UserError::new(
                    exit::SOCKET,
                    format!("control socket {}: {error}", path.display()),
                    "choose a path on a file system with permissions",
                )
            })?;
        Ok(Self { listener, clients: Vec::new(), next_id: 0 })
    }

    pub(super) fn listener_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Takes a new client, if one is waiting and there is room. An error is the listener's: there
    /// may be no descriptor left.
    pub(super) fn accept(&mut self) -> Result<Option<u64>, Errno> {
        let Some(socket) = self.listener.accept()? else {
            return Ok(None);
        };
        if self.clients.len() >= CLIENTS_MAX {
            return Ok(None); // closed by being dropped
        }
        self.next_id += 1;
        let (input, output) = (Vec::new(), Vec::new());
        self.clients
            .push((self.next_id, Client { socket, input, output, half_closed: false, awaited: 0 }));
        Ok(Some(self.next_id))
    }

    /// The clients that have more to say already, beyond what one turn answers.
    pub(super) fn backlog(&self) -> Vec<u64> {
        let waits = |client: &Client| client.output.is_empty() && client.has_line();
        self.clients.iter().filter(|(_, client)| waits(client)).map(|(id, _)| *id).collect()
    }

    pub(super) fn client_fd(&self, id: u64) -> Option<BorrowedFd<'_>> {
        self.client(id).map(|client| client.socket.as_fd())
    }

    fn client(&self, id: u64) -> Option<&Client> {
        self.clients.iter().find(|(other, _)| *other == id).map(|(_, client)| client)
    }

    /// Whether the client's socket is to be polled for writing rather than for reading.
    pub(super) fn is_blocked(&self, id: u64) -> bool {
        self.client(id).is_some_and(|client| !client.output.is_empty())
    }

    /// Whether the client will send nothing more, so that its socket need not be polled for it.
    pub(super) fn is_half_closed(&self, id: u64) -> bool {
        self.client(id).is_some_and(|client| client.half_closed)
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.clients.retain(|(other, _)| *other != id);
    }

    /// Gives a client an answer that it was to have later, if it is still there.
    pub(super) fn reply(&mut self, ticket: &Ticket, answer: Answer) {
        let found = self.clients.iter_mut().find(|(other, _)| *other == ticket.client);
        let Some((_, client)) = found else { return };
        client.awaited = client.awaited.saturating_sub(1);
        if let Some(id) = &ticket.id {
            let answer = answer.map_err(|refusal| (NOT_DONE, refusal));
            client.put(&response(id, answer));
        }
    }

    /// Serves a client whose socket is ready; `hung_up` if it cannot be answered any more. `Err` if
    /// it is to be removed.
    pub(super) fn on_ready(
        &mut self,
        id: u64,
        hung_up: bool,
        subject: &mut Subject<'_>,
    ) -> Result<Option<Wish>, ()> {
        let found = self.clients.iter_mut().find(|(other, _)| *other == id);
        let Some((_, client)) = found else {
            return Err(());
        };
        client.send()?;
        if client.output.is_empty() && !client.half_closed {
            client.receive()?;
        }
        let mut wish = None;
        for _ in 0..BATCH {
            if !client.output.is_empty() || !client.has_line() {
                break;
            }
            let end = client.input.iter().position(|byte| *byte == b'\n').unwrap_or(0);
            let line: Vec<u8> = client.input.drain(..=end).collect();
            let (reply, awaited) = answer(id, &line, subject, &mut wish);
            client.awaited += usize::from(awaited);
            if let Some(reply) = reply {
                client.put(&reply);
                client.send()?;
            }
        }
        let idle = client.output.is_empty() && !client.has_line();
        let overlong = client.input.len() > REQUEST_BYTES_MAX && !client.has_line();
        let gone = client.half_closed && idle && (client.awaited == 0 || hung_up);
        if wish.is_none() && (overlong || gone || client.output.len() > REPLIES_BYTES_MAX) {
            return Err(());
        }
        Ok(wish)
    }
}

impl Client {
    fn put(&mut self, reply: &Value) {
        self.output.extend_from_slice(reply.to_string().as_bytes());
        self.output.push(b'\n');
    }

    fn send(&mut self) -> Result<(), ()> {
        while !self.output.is_empty() {
            let flags = rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT;
            match rustix::net::send(&self.socket, &self.output, flags) {
                Ok(count) => {
                    self.output.drain(..count);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(_) => return Err(()),
            }
        }
        Ok(())
    }

    fn has_line(&self) -> bool {
        self.input.contains(&b'\n')
    }

    /// Reads what is there, up to a bound.
    fn receive(&mut self) -> Result<(), ()> {
        let mut chunk = [0; 4096];
        while self.input.len() <= REQUEST_BYTES_MAX {
            let flags = rustix::net::RecvFlags::DONTWAIT;
            match rustix::net::recv(&self.socket, &mut chunk[..], flags) {
                Ok((0, _)) => {
                    self.half_closed = true;
                    return Ok(());
                }
                Ok((count, _)) => self.input.extend_from_slice(&chunk[..count]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(_) => return Err(()),
            }
        }
        Ok(())
    }
}

/// The reply to one line, `None` for a notification and for what is answered later; and whether it
/// is.
fn answer(
    client: u64,
    line: &[u8],
    subject: &mut Subject<'_>,
    wish: &mut Option<Wish>,
) -> (Option<Value>, bool) {
    let Ok(request) = serde_json::from_slice::<Value>(line) else {
        return (Some(error(&Value::Null, -32700, "not JSON")), false);
    };
    let id = request.get("id").cloned();
    let Some(method) = request.get("method").and_then(Value::as_str) else {
        return (Some(error(&id.unwrap_or(Value::Null), -32600, "no `method`")), false);
    };
    let params = request.get("params").cloned().unwrap_or(json!({}));
    let ticket = Ticket { client, id: id.clone() };
    let result = match perform(method, &params, ticket, subject, wish) {
        Ok(Reply::Later) => return (None, true),
        Ok(Reply::Now(value)) => Ok(value),
        Err(failure) => Err(failure),
    };
    (id.map(|id| response(&id, result)), false)
}

fn response(id: &Value, result: Result<Value, Failure>) -> Value {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err((code, refusal)) => {
            let mut reply = error(id, code, &refusal.cause);
            reply["error"]["data"] = json!({ "remedy": refusal.remedy });
            reply
        }
    }
}

fn error(id: &Value, code: i32, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

fn perform(
    method: &str,
    params: &Value,
    ticket: Ticket,
    subject: &mut Subject<'_>,
    wish: &mut Option<Wish>,
) -> Result<Reply, Failure> {
    let done = match method {
        "status" => status::status(subject),
        "fault.add" => {
            let text = methods::text(params, "spec")?;
            let fault = text.parse::<FaultSpec>().map_err(|error| invalid(error.to_string()))?;
            let place = methods::place(params)?.unwrap_or_default();
            add_fault(subject, place, fault).map_err(invalid)?;
            json!({})
        }
        "fault.clear" => {
            subject.bench.controller.hba.clear_link_faults();
            each_fault_layer(subject, |_, layer, _| layer.clear());
            json!({})
        }
        "fault.release" => {
            let Bench { controller, memory, .. } = &mut subject.bench;
            let now = controller.clock.now();
            let mut released = controller.hba.release_link_faults(now, memory);
            each_fault_layer(subject, |_, layer, now| released += layer.release(now));
            json!({ "released": released })
        }
        "shutdown" => {
            *wish = Some(Wish::Shutdown);
            json!({})
        }
        _ => return methods::perform(method, params, ticket, subject),
    };
    Ok(Reply::Now(done))
}

/// A fault of the link goes to the port, any other to the storage behind it.
fn add_fault(subject: &mut Subject<'_>, place: Place, fault: FaultSpec) -> Result<(), String> {
    let missing = format!("there is no disk on port {place}");
    if let FaultSpec::Link(fault) = fault {
        if place.pm_port.is_some() {
            return Err(super::link_fault_behind(place));
        }
        let inject = |hba: &mut Hba, now| hba.inject_link_fault(place.port, fault, now);
        return subject.bench.controller.timed(inject).map_err(|error| error.to_string());
    }
    let mut outcome = Err(missing);
    each_fault_layer(subject, |at, layer, _| {
        if at == Some(place) {
            outcome = layer.add(fault.clone()).map_err(|error| error.to_string());
        }
    });
    outcome
}

/// Every fault layer, also of what is in custody and has no place any more.
fn each_fault_layer(
    subject: &mut Subject<'_>,
    mut act: impl FnMut(Option<Place>, &mut FaultLayer, Nanos),
) {
    let Bench { controller, .. } = &mut subject.bench;
    let now = controller.clock.now();
    for unit in &subject.plugs.units {
        let device = unit.place.device(&mut controller.hba);
        let engine = device.and_then(|device| device.engine_mut());
        if let Some(layer) = engine.and_then(|engine| engine.backend_mut().fault_layer()) {
            act(Some(unit.place), layer, now);
        }
    }
    for case in subject.plugs.custody.iter_mut() {
        let engine = case.engine_mut();
        if let Some(layer) = engine.and_then(|engine| engine.backend_mut().fault_layer()) {
            act(None, layer, now);
        }
    }
}
