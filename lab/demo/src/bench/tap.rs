//! A tap: passes TCP on unchanged, and writes down when the answers to header calls ended.
//!
//! It runs on a thread of its own, so that the L1's work in this process does not stand before it.

use super::load::Shared;
use anyhow::{Context, Result};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::oneshot,
};

/// The answer to a header call.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// When its last byte was read from who answered.
    pub read: Instant,
    /// When its last byte was given to who asked.
    pub written: Instant,
    /// Whether its status was 200.
    pub is_bid: bool,
    /// Whether the call asked for proofs.
    pub with_proofs: bool,
}

/// Header calls by slot, in the order of their answers.
type Calls = BTreeMap<u64, Vec<Seen>>;

/// A running tap; it ends when it is dropped.
pub struct Tap {
    address: SocketAddr,
    calls: Shared<Calls>,
    /// Dropping it ends the thread.
    _end: oneshot::Sender<()>,
}

impl Tap {
    /// Before a server at `HOST:PORT`.
    ///
    /// # Errors
    /// If it can not listen.
    pub fn before(upstream: &str) -> Result<Self> {
        let upstream: SocketAddr = upstream.parse().with_context(|| format!("the address {upstream}"))?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, crate::process::free_port()?))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let calls = Shared::<Calls>::default();
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::clone(&calls);
        std::thread::Builder::new().name("tap".into()).spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    // The sender is never used: its end is the signal.
                    _ = ended => {}
                    r = serve(listener, upstream, shared) => tracing::warn!(?r, "the tap stopped"),
                }
            });
        })?;
        Ok(Self { address, calls, _end: end })
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The header calls of a slot.
    pub fn of(&self, slot: u64) -> Vec<Seen> {
        self.calls.lock().map(|c| c.get(&slot).cloned().unwrap_or_default()).unwrap_or_default()
    }
}

async fn serve(listener: std::net::TcpListener, upstream: SocketAddr, calls: Shared<Calls>) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (down, _) = listener.accept().await?;
        let calls = Arc::clone(&calls);
        tokio::spawn(async move {
            // A connection that breaks is broken for both ends.
            let _ = pass(down, upstream, calls).await;
        });
    }
}

/// The call that runs on a connection: its slot, and where its answer is written down once it began.
#[derive(Default)]
struct Running {
    slot: Option<u64>,
    with_proofs: bool,
    index: Option<usize>,
}

async fn pass(down: TcpStream, upstream: SocketAddr, calls: Shared<Calls>) -> Result<()> {
    let up = TcpStream::connect(upstream).await?;
    down.set_nodelay(true)?;
    up.set_nodelay(true)?;
    let (down_read, down_write) = down.into_split();
    let (up_read, up_write) = up.into_split();
    let running = Shared::<Running>::default();
    let asking = ask(down_read, up_write, Arc::clone(&running));
    let answering = answer(up_read, down_write, running, calls);
    tokio::select! { r = asking => r, r = answering => r }
}

async fn ask(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, running: Shared<Running>) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = from.read(&mut buffer).await?;
        let chunk = buffer.get(..n).filter(|c| !c.is_empty()).context("closed")?;
        if chunk.starts_with(b"GET ") || chunk.starts_with(b"POST ") {
            let called = header_call(chunk);
            let with_proofs = called.is_some_and(|c| c.1);
            let new = Running { slot: called.map(|c| c.0), with_proofs, index: None };
            *running.lock().map_err(|_| anyhow::anyhow!("poisoned"))? = new;
        }
        to.write_all(chunk).await?;
    }
}

async fn answer(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    running: Shared<Running>,
    calls: Shared<Calls>,
) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = from.read(&mut buffer).await?;
        let read = Instant::now();
        let chunk = buffer.get(..n).filter(|c| !c.is_empty()).context("closed")?;
        to.write_all(chunk).await?;
        let written = Instant::now();
        let mut running = running.lock().map_err(|_| anyhow::anyhow!("poisoned"))?;
        let Some(slot) = running.slot else { continue };
        let mut calls = calls.lock().map_err(|_| anyhow::anyhow!("poisoned"))?;
        let seen = calls.entry(slot).or_default();
        match running.index.and_then(|i| seen.get_mut(i)) {
            // The answer goes on.
            Some(seen) => (seen.read, seen.written) = (read, written),
            None => {
                running.index = Some(seen.len());
                let (is_bid, with_proofs) = (chunk.starts_with(b"HTTP/1.1 200"), running.with_proofs);
                seen.push(Seen { read, written, is_bid, with_proofs });
            }
        }
    }
}

/// The slot of a header call, and whether it asks for proofs.
fn header_call(request: &[u8]) -> Option<(u64, bool)> {
    let line = request.split(|b| *b == b'\r').next()?;
    let path = std::str::from_utf8(line).ok()?.strip_prefix("GET ")?;
    let (_, rest) = path.split_once("/builder/header")?;
    let plain = rest.trim_start_matches("_with_proofs");
    let slot = plain.strip_prefix('/')?.split('/').next()?.parse().ok()?;
    Some((slot, plain.len() < rest.len()))
}

#[cfg(test)]
mod tests {
    use super::header_call;

    #[test]
    fn header_calls_are_known_by_their_path() {
        assert_eq!(header_call(b"GET /eth/v1/builder/header/77/0xab/0xcd HTTP/1.1\r\nhost: x\r\n"), Some((77, false)));
        assert_eq!(
            header_call(b"GET /constraints/v0/builder/header_with_proofs/8/0xab/0xcd HTTP/1.1\r\n"),
            Some((8, true))
        );
        assert_eq!(header_call(b"GET /eth/v1/builder/status HTTP/1.1\r\n"), None);
        assert_eq!(header_call(b"POST /eth/v1/builder/header/77 HTTP/1.1\r\n"), None);
    }
}
