//! What two answers have otherwise.

use crate::{el::Net, geth::Geth};
use serde_json::Value;

/// What two JSON values have otherwise; the order of keys and the case of hex do not count, and where
/// geth writes null others may leave out.
pub fn differences(path: &str, geth: &Value, ours: &Value, found: &mut Vec<String>) {
    match (geth, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let at = format!("{path}.{key}");
                match (a.get(key), b.get(key)) {
                    (Some(x), Some(y)) => differences(&at, x, y, found),
                    (Some(Value::Null), None) => {}
                    (x, y) => found.push(format!("{at}: geth {x:?}, devnet {y:?}")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{i}]"), x, y, found);
            }
        }
        (Value::String(a), Value::String(b)) if a.eq_ignore_ascii_case(b) => {}
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => {}
        (a, b) if a == b => {}
        (a, b) => found.push(format!("{path}: geth {a}, devnet {b}")),
    }
}

/// The devnet and geth on one chain.
pub struct Pair {
    pub net: Net,
    pub geth: Geth,
    pub asked: usize,
    pub found: Vec<String>,
}

impl Pair {
    pub fn new(net: Net, geth: Geth) -> Self {
        Self { net, geth, asked: 0, found: Vec::new() }
    }

    /// Asks both.
    pub async fn both(&mut self, method: &str, params: &Value) -> (Value, Value) {
        let list: Vec<Value> = serde_json::from_value(params.clone()).unwrap();
        let ours = jsonrpsee::core::client::ClientT::request::<Value, _>(&self.net.http, method, list).await;
        let ours = match ours {
            Ok(value) => value,
            Err(jsonrpsee::core::client::Error::Call(e)) => {
                serde_json::json!({ "error": format!("{}: {}", e.code(), e.message()) })
            }
            Err(e) => panic!("{method}: {e}"),
        };
        let geth = &mut self.geth;
        let theirs = tokio::task::block_in_place(|| geth.ask(method, params));
        (theirs, ours)
    }

    /// Asks both, and notes what differs without being known and meant.
    pub async fn same(&mut self, method: &str, params: Value) {
        let (theirs, ours) = self.both(method, &params).await;
        let mut shown = params.to_string();
        shown.truncate(160);
        self.compare(method, &shown, &theirs, &ours);
    }

    /// Notes what differs between two answers.
    pub fn compare(&mut self, method: &str, asked: &str, theirs: &Value, ours: &Value) {
        self.asked += 1;
        let mut found = Vec::new();
        differences("", theirs, ours, &mut found);
        let meant = |line: &String| super::answers::accepted(method, line);
        self.found.extend(found.iter().filter(|l| !meant(l)).take(8).map(|l| format!("{method} {asked} {l}")));
    }

    /// Stops both; nothing differed.
    pub async fn end(self) {
        self.net.server.stop().await;
        println!("{} answers compared with geth's", self.asked);
        assert!(self.found.is_empty(), "{} answers are not geth's:\n{}", self.found.len(), self.found.join("\n"));
    }
}
