//! A kept HTTP connection with one call at a time: as little of a client as there can be, since the
//! load generator shares the machine with the host.

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

/// Largest answer that is read.
const MAX_ANSWER: usize = 1 << 20;
/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to one server.
pub struct Conn {
    authority: String,
    sender: Option<http1::SendRequest<Full<Bytes>>>,
}

impl Conn {
    /// To `http://HOST:PORT`; it is opened when it is first used, and anew after a fault.
    pub fn new(url: &str) -> Self {
        Self { authority: url.trim_start_matches("http://").trim_end_matches('/').to_owned(), sender: None }
    }

    async fn open(&mut self) -> Result<()> {
        let stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the sender; what broke it is told to the call.
        tokio::spawn(connection);
        self.sender = Some(sender);
        Ok(())
    }

    /// POST of JSON: status and body.
    ///
    /// # Errors
    /// If there is no whole answer in ten seconds. The connection is then opened anew.
    pub async fn post(&mut self, body: Bytes) -> Result<(u16, Bytes)> {
        let answer = tokio::time::timeout(PATIENCE, self.call(body)).await;
        let answer = answer.context("no answer in time").and_then(|a| a);
        if answer.is_err() {
            self.sender = None;
        }
        answer
    }

    async fn call(&mut self, body: Bytes) -> Result<(u16, Bytes)> {
        if self.sender.as_ref().is_none_or(http1::SendRequest::is_closed) {
            self.open().await?;
        }
        let sender = self.sender.as_mut().context("no connection")?;
        sender.ready().await?;
        let request = Request::post("/")
            .header(header::HOST, self.authority.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|e| anyhow::anyhow!("{e}"))?;
        Ok((status, body.to_bytes()))
    }
}
