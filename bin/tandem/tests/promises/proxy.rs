//! A proxy between two servers of a test, which stops at chosen calls: the moments that cannot be met
//! from outside by a clock.

use anyhow::{Context, Result};
use bytes::Bytes;
use std::{pin::Pin, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// What happens to a call.
pub enum Pass {
    /// It goes on.
    On,
    /// It is answered with this status and an empty body, and goes nowhere.
    Answer(u16),
}

/// Decides about each call by its first line and, after a space, the start of its body; and may take
/// its time.
pub type Gate = Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Pass> + Send>> + Send + Sync>;

/// A running proxy; it ends when this is dropped.
pub struct Proxy {
    pub url: String,
    closed: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts one in front of `http://host:port`.
    pub async fn start(to: &str, gate: Gate) -> Self {
        let to = to.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (closed, is_closed) = watch::channel(false);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (to, gate, mut is_closed) = (to.clone(), gate.clone(), is_closed.clone());
                tokio::spawn(async move {
                    // A connection that breaks is the caller's to notice.
                    tokio::select! {
                        biased;
                        _ = is_closed.wait_for(|c| *c) => {}
                        _ = one_call(client, &to, gate) => {}
                    }
                });
            }
        });
        Self { url, closed, task }
    }

    /// Breaks every connection, event streams too, and each new one at once: the server is gone.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// The server is there again.
    pub fn open(&self) {
        self.closed.send_replace(false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Bytes of a body that the gate is shown: a JSON-RPC call's method is in them.
const SHOWN: usize = 256;

/// One connection carries one call: the server is asked to close it, and says so to the client.
async fn one_call(mut client: TcpStream, to: &str, gate: Gate) -> Result<()> {
    let (head, body) = read_call(&mut client).await?;
    let begins = String::from_utf8_lossy(body.get(..SHOWN).unwrap_or(&body)).into_owned();
    let line = format!("{} {begins}", head.lines().next().unwrap_or_default());
    if let Pass::Answer(status) = gate(line).await {
        let answer = format!("HTTP/1.1 {status} Simulated\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        client.write_all(answer.as_bytes()).await?;
        return Ok(client.shutdown().await?);
    }
    let mut server = TcpStream::connect(to).await?;
    server.write_all(head.as_bytes()).await?;
    server.write_all(&body).await?;
    let (mut from_server, _keep) = server.split();
    let (mut from_client, mut to_client) = client.split();
    let mut nothing = [0; 1];
    tokio::select! {
        r = tokio::io::copy(&mut from_server, &mut to_client) => { r?; }
        // A client that goes away ends an event stream.
        _ = from_client.read(&mut nothing) => {}
    }
    Ok(client.shutdown().await?)
}

async fn read_call(client: &mut TcpStream) -> Result<(String, Bytes)> {
    let mut got = Vec::new();
    let end = loop {
        if let Some(i) = got.windows(4).position(|w| w == b"\r\n\r\n") {
            break i + 4;
        }
        let n = client.read_buf(&mut got).await?;
        anyhow::ensure!(n > 0 && got.len() < 1 << 16, "no whole head");
    };
    let mut body = got.split_off(end);
    let text = String::from_utf8(got)?;
    let mut head = String::new();
    let mut length = 0;
    for line in text.trim_end().lines() {
        let lower = line.to_ascii_lowercase();
        if let Some(n) = lower.strip_prefix("content-length:") {
            length = n.trim().parse().context("content-length")?;
        }
        if !lower.starts_with("connection:") {
            head.push_str(line);
            head.push_str("\r\n");
        }
    }
    head.push_str("connection: close\r\n\r\n");
    while body.len() < length {
        let n = client.read_buf(&mut body).await?;
        anyhow::ensure!(n > 0, "half a body");
    }
    Ok((head, body.into()))
}
