//! Fake servers on ports of their own.
#![allow(dead_code)]

use axum::Router;
use std::path::PathBuf;
use tandem_node::Limits;

pub async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{addr}")
}

pub fn vector(path: &str) -> Vec<u8> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../lab/vectors").join(path);
    std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}
pub fn json_vector(path: &str) -> serde_json::Value {
    serde_json::from_slice(&vector(path)).unwrap()
}

pub fn limits(deadline_ms: u64) -> Limits {
    Limits { deadline_ms, ..Limits::default() }
}
