//! The routes, each with the words by which the API lists it: one table makes both, so that none is missing.

use super::{
    about, attach, decisions, detach, faucet, gas_limit, late, miss, nodes, override_builder, reorg, resume,
    spike_call, stall,
};
use crate::{execution::DEV_ACCOUNTS, node::Node};
use axum::{
    Router,
    handler::Handler,
    routing::{MethodFilter, MethodRouter, on},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Where the API is.
pub const ROOT: &str = "/tandem/v1/devnet";

/// A call of the devnet's own API, as `GET /tandem/v1/devnet` lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The HTTP method.
    pub method: String,
    /// The whole path; what stands in braces is to be filled in.
    pub path: String,
    /// A JSON body that can be sent as it is; `null` where none is read.
    pub body: Option<Value>,
    /// What it does.
    pub does: String,
}

/// A call, and its route below [`ROOT`].
type Routed = (Call, &'static str, MethodRouter<Node>);

#[derive(Clone, Copy)]
enum Method {
    Get,
    Post,
    Delete,
}

fn call<H, T>(method: Method, path: &'static str, body: Option<Value>, does: &str, handler: H) -> Routed
where
    H: Handler<T, Node>,
    T: 'static,
{
    let (name, filter) = match method {
        Method::Get => ("GET", MethodFilter::GET),
        Method::Post => ("POST", MethodFilter::POST),
        Method::Delete => ("DELETE", MethodFilter::DELETE),
    };
    let whole = format!("{ROOT}{}", path.trim_end_matches('/'));
    let told = Call { method: name.into(), path: whole, body, does: does.into() };
    (told, path, on(filter, handler))
}

fn table() -> Vec<Routed> {
    use Method::{Delete, Get, Post};
    let node = json!({ "name": "mine", "first_validator": 0, "validators": 8, "builder": "http://127.0.0.1:18550" });
    let to = DEV_ACCOUNTS[0].address;
    vec![
        call(Get, "/", None, "what the chain is, its clock, and these calls", about),
        call(Get, "/decisions", None, "what the proposers' nodes decided, oldest first", decisions),
        call(Get, "/nodes", None, "the proposers' nodes", nodes),
        call(Post, "/nodes", Some(node), "attaches a proposer's node, or replaces the one of that name", attach),
        call(Delete, "/nodes/{name}", None, "detaches a proposer's node", detach),
        call(
            Post,
            "/reorg",
            Some(json!({ "depth": 1 })),
            "a block of the first slot that can orphans so many blocks",
            reorg,
        ),
        call(
            Post,
            "/miss",
            Some(json!({ "count": 1 })),
            "so many slots have no block, from `slot` on, \"123\" or 123, or from the next one where none is named",
            miss,
        ),
        call(
            Post,
            "/late",
            Some(json!({ "permille": 500 })),
            "the proposer of `slot`, \"123\" or 123, or of the next one, starts so late; \
             `seconds` says it in chain seconds",
            late,
        ),
        call(
            Post,
            "/spike",
            Some(json!({ "slots": 2, "tip_gwei": 2 })),
            "the pool is filled for so many slots, so that the base fee rises",
            spike_call,
        ),
        call(Post, "/stall", None, "finality stands still", stall),
        call(Post, "/resume", None, "finality follows again", resume),
        call(Post, "/gas-limit", Some(json!({ "gas_limit": 60_000_000 })), "the execution client's target", gas_limit),
        call(
            Post,
            "/override",
            Some(json!({ "on": false })),
            "whether execution clients say `should_override_builder`",
            override_builder,
        ),
        call(
            Post,
            "/faucet",
            Some(json!({ "to": to, "wei": "1000000000000000000" })),
            "a transfer from the devnet's own account",
            faucet,
        ),
    ]
}

/// All routes.
pub fn router() -> Router<Node> {
    table().into_iter().fold(Router::new(), |all, (_, path, route)| all.route(path, route))
}

/// All calls, as the API lists them.
pub fn listed() -> Vec<Call> {
    table().into_iter().map(|(call, ..)| call).collect()
}
