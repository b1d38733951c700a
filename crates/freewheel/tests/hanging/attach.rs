//! An image whose storage does not even let it be opened: everything else goes on.

use std::io::{BufRead, BufReader, Write};

use serde_json::{Value, json};

use crate::common::{Server, Vmm};
use crate::storage::Storage;

pub(crate) fn an_image_that_cannot_be_opened_stops_nothing(storage: &mut Storage, keys: &str) {
    let server = Server::start(&format!(",{keys}"), &["--keep"]);
    let mut vmm = Vmm::connect(&server);
    storage.fs.hang("open");
    let mut client = server.control();
    let disk = format!("path={},{keys},port=3", storage.fs.image().display());
    let params = json!({ "disk": disk });
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "attach", "params": params });
    client.write_all(format!("{request}\n").as_bytes()).expect("sent");
    storage.fs.wait_for_pending(1);

    for slot in 0..32 {
        vmm.fill(slot, 0x44);
        vmm.issue(slot, true, slot * 8);
    }
    for slot in 0..32 {
        assert!(vmm.wait(slot), "slot {slot}");
    }
    let status = server.status();
    assert_eq!(status["opening"][0]["port"], "3", "{status:#}");
    assert_eq!(status["disks"].as_array().map(Vec::len), Some(1));
    let turn_us = status["turn_us_max"].as_f64().expect("a number");
    assert!(turn_us < 500_000.0, "a turn of the device thread took {turn_us} µs");
    // The same client has other things answered meanwhile.
    client.write_all(b"{\"id\":2,\"method\":\"status\"}\n").expect("sent");
    let mut answers = BufReader::new(client).lines();
    let mut answer = || -> Value {
        let line = answers.next().expect("an answer").expect("an answer");
        serde_json::from_str(&line).expect("JSON")
    };
    assert_eq!(answer()["id"], 2);

    storage.fs.clear();
    storage.fs.release();
    let attached = answer();
    assert_eq!((&attached["id"], &attached["result"]["port"]), (&json!(1), &json!("3")));
    assert_eq!(server.status()["disks"][1]["link"], "up");
}

pub(crate) fn only_so_many_images_are_opened_at_a_time(storage: &mut Storage, keys: &str) {
    let server = Server::start("", &["--keep", "--ports", "16"]);
    storage.fs.hang("open");
    let mut client = server.control();
    let disk = format!("path={},{keys}", storage.fs.image().display());
    let attach = json!({ "disk": disk });
    for id in 0..8 {
        let request = json!({ "id": id, "method": "attach", "params": attach });
        client.write_all(format!("{request}\n").as_bytes()).expect("sent");
    }
    storage.fs.wait_for_pending(8);
    let reply = server.call("attach", &attach);
    let cause = reply["error"]["message"].as_str().expect("a refusal");
    assert!(cause.contains("8 images are being opened"), "{cause}");
    // A process that opens something ends when that has ended.
    storage.fs.clear();
    storage.fs.release();
}
