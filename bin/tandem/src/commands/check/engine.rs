//! How own blocks can be built, and by whom they are checked.

use super::Found;
use crate::{
    config::{Config, NodeConfig, Rejection},
    run::chain,
};
use serde_json::{Value, json};
use tandem_node::{ExecutionNode, NodeError};

const TESTING: &str = "testing_buildBlockV1";
const SIMULATE: &str = "eth_simulateV1";

/// The ways that the first node offers.
pub(super) async fn check(config: &Config, node: &NodeConfig) -> Found {
    let fault = |why: &str, remedy: &str| Err(Rejection::new("nodes[0].engine", why, remedy));
    let reached =
        |e: String| Rejection::new("nodes[0].engine", e, "start the execution client, or mend `engine` and `jwt`");
    let (execution, _) = chain::connect(config, node).map_err(|e| reached(format!("{e:#}")))?;
    let builds = has(&execution, TESTING).await.map_err(|e| reached(e.to_string()))?;
    let simulates = has(&execution, SIMULATE).await.map_err(|e| reached(e.to_string()))?;
    let Some(engine) = chain::engine(config, node).map_err(|e| reached(format!("{e:#}")))? else {
        return match builds {
            true => {
                Ok("nodes[0] has no `engine`: own blocks are offered only where the client builds them itself, on its \
                        head and with its own gas limit (geth: --miner.gaslimit), which has to be the one that the \
                        validators register. Set `engine` and `jwt` so that other limits and late heads are covered, too"
                    .into())
            }
            false => fault(
                "the execution client does not have `testing_buildBlockV1`, and without its engine endpoint a block from \
                 `eth_simulateV1` is not offered: no promise could be kept",
                "set `engine` and `jwt`, or enable the client's `testing` namespace",
            ),
        };
    };
    // Every authenticated port must serve this method; a wrong secret is refused.
    let have = engine.chain_id().await.map_err(|e| reached(e.to_string()))?;
    let want = execution.chain_id().await.map_err(|e| reached(e.to_string()))?;
    if have != want {
        let why = format!("the engine endpoint is on chain {have}, the execution client on {want}");
        return fault(&why, "let both be of one client");
    }
    let how = match (builds, simulates) {
        (true, true) => "`testing_buildBlockV1` or `eth_simulateV1`",
        (true, false) => "`testing_buildBlockV1` alone, so on the client's own head only,",
        (false, true) => "`eth_simulateV1`",
        (false, false) => {
            return Err(Rejection::new(
                "nodes[0].execution",
                "the execution client has neither `testing_buildBlockV1` nor `eth_simulateV1`: no own block can be built",
                "enable the client's `testing` namespace, or use a client with `eth_simulateV1`, as geth and reth have it",
            ));
        }
    };
    Ok(format!("nodes[0] own blocks come from {how} and are offered after the engine endpoint's VALID"))
}

/// Whether the client has a method. Without parameters it is refused, and nothing is built: that it is known is all
/// that matters.
async fn has(execution: &ExecutionNode, method: &'static str) -> Result<bool, NodeError> {
    match execution.call::<Value>(method, json!([])).await {
        Err(e) if e.is_unsupported() => Ok(false),
        Err(NodeError::Rpc { .. }) | Ok(_) => Ok(true),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    /// A client that has these methods alone, and is on chain 7.
    async fn client(methods: &'static [&'static str]) -> NodeConfig {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (mut asked, mut part) = (Vec::new(), [0; 4096]);
                // Requests here are short and end with the object's brace.
                while !asked.ends_with(b"}") {
                    let n = stream.read(&mut part).await.unwrap();
                    asked.extend_from_slice(&part[..n]);
                }
                let text = String::from_utf8(asked).unwrap();
                let call: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
                let answer = match call["method"].as_str().unwrap() {
                    "eth_chainId" => json!({ "result": "0x7" }),
                    known if methods.contains(&known) => {
                        json!({ "error": { "code": -32602, "message": "missing value" } })
                    }
                    _ => json!({ "error": { "code": -32601, "message": "no such method" } }),
                };
                let mut answer = answer;
                (answer["jsonrpc"], answer["id"]) = ("2.0".into(), call["id"].clone());
                let body = answer.to_string();
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
                let all = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(all.as_bytes()).await.unwrap();
            }
        });
        let at = || url.parse().unwrap();
        NodeConfig { execution: at(), beacon: at(), engine: Some(at()), jwt: None }
    }

    #[tokio::test]
    async fn a_client_that_can_not_build_by_either_way_is_a_fault_and_one_that_can_is_told_with_its_way() {
        let config = Config::default();
        for (methods, ways) in
            [(&[TESTING, SIMULATE][..], [true, true]), (&[TESTING], [true, false]), (&[SIMULATE], [false, true])]
        {
            let said = check(&config, &client(methods).await).await.unwrap();
            assert_eq!([TESTING, SIMULATE].map(|way| said.contains(way)), ways, "{said}");
        }
        let fault = check(&config, &client(&[]).await).await.unwrap_err();
        assert!(fault.key == "nodes[0].execution" && fault.remedy.contains("`testing`"), "{fault:?}");
        assert!(fault.message.contains(TESTING) && fault.message.contains(SIMULATE), "{fault:?}");

        // Without an engine endpoint nobody says VALID to what was simulated.
        let alone = |node: NodeConfig| NodeConfig { engine: None, ..node };
        assert!(check(&config, &alone(client(&[TESTING]).await)).await.is_ok());
        let fault = check(&config, &alone(client(&[SIMULATE]).await)).await.unwrap_err();
        assert_eq!(fault.key, "nodes[0].engine");
    }
}
