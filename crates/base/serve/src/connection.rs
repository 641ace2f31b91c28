//! One connection, from its first head to its last byte.

use crate::{
    turn::{Said, Turn},
    wire::{Times, Wire},
};
use http::{Request, Response, StatusCode};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{error::Error, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Most bytes of a request's head. The longest regular one has 400.
pub const HEAD_BYTES: usize = 16 << 10;
/// Most headers in it.
pub const HEADERS: usize = 64;
/// How long what a caller still sends is read and thrown away after the last answer, and how long it may
/// pause meanwhile: whoever closes on unread bytes resets the connection, and the answer may be lost with it.
const LINGER: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);

/// Why a head could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadFault {
    /// It did not come in time.
    Slow,
    /// It has more than [`HEAD_BYTES`] bytes or [`HEADERS`] headers.
    Large,
    /// It is not HTTP/1.1 as RFC 9112 has it.
    Bad,
}

/// A connection that hyper is done with, and that is still open.
pub struct Ended {
    stream: TcpStream,
    write: Duration,
    fault: Option<hyper::Error>,
    /// No call was under way.
    listening: bool,
    /// Some of a head came.
    begun: bool,
    /// One of its times was over.
    late: bool,
}

/// Serves a connection until it ends. `None` if `stop` ended it: then the call that was under way had its time
/// of grace, and the connection is closed. `None` also once an answer of 101 was sent: then it is with whoever
/// awaited `hyper::upgrade::on`, and of the times only that of writes is kept.
pub async fn connection<S, B>(
    stream: TcpStream,
    peer: SocketAddr,
    times: Times,
    service: S,
    stop: &CancellationToken,
) -> Option<Ended>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    // Small answers leave at once.
    let _ = stream.set_nodelay(true);
    let turn = Turn::default();
    let ours = turn.clone();
    let service = service_fn(move |request| {
        let turn = ours.clone();
        turn.answering();
        let answer = service.call(request);
        async move {
            let answer = answer.await?;
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                turn.hand_over();
            }
            Ok::<_, S::Error>(answer.map(|body| Said::new(body, turn)))
        }
    });
    let mut served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(times.idle)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(Wire::new(stream, times, turn.clone())), service)
        .with_upgrades();
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = stop.cancelled() => {
            std::pin::Pin::new(&mut served).graceful_shutdown();
            match times.grace {
                Some(grace) => log_end(peer, timeout(grace, served).await.unwrap_or(Ok(())).err().as_ref()),
                None => log_end(peer, served.await.err().as_ref()),
            }
            return None;
        }
    };
    let fault = ended.err();
    log_end(peer, fault.as_ref());
    let parts = served.into_parts()?;
    let wire = parts.io.into_inner();
    let (begun, late) = match times.head {
        Some(_) => (wire.has_begun(), wire.is_late()),
        // hyper alone had a clock for the head.
        None => (!parts.read_buf.is_empty(), wire.is_late() || fault.as_ref().is_some_and(hyper::Error::is_timeout)),
    };
    let listening = turn.is_listening();
    Some(Ended { stream: wire.into_inner(), write: times.write, fault, listening, begun, late })
}

fn log_end(peer: SocketAddr, fault: Option<&hyper::Error>) {
    if let Some(error) = fault {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

impl Ended {
    /// What was wrong with the head that was waited for. `None` where there is nothing to say, as to a
    /// connection that was idle.
    pub fn head_fault(&self) -> Option<HeadFault> {
        let fault = self.fault.as_ref().filter(|_| self.listening)?;
        match () {
            () if (self.late || fault.is_timeout()) && self.begun => Some(HeadFault::Slow),
            () if fault.is_parse_too_large() => Some(HeadFault::Large),
            () if fault.is_parse() || (fault.is_incomplete_message() && self.begun) => Some(HeadFault::Bad),
            () => None,
        }
    }

    /// Parts: says what hyper could not say, if anything, and gives the caller time to read it.
    pub async fn part(mut self, last: Option<Vec<u8>>) {
        let listens = match last {
            Some(said) => matches!(timeout(self.write, self.stream.write_all(&said)).await, Ok(Ok(()))),
            // Else it was idle, gone, or given up within an answer: nothing waits to be read.
            None => !self.late && self.fault.is_none(),
        };
        if !listens {
            return;
        }
        let _ = self.stream.shutdown().await;
        // Who sends a byte at a time had its time.
        if !self.late {
            let _ = timeout(LINGER, drain(&mut self.stream)).await;
        }
    }
}

async fn drain(stream: &mut TcpStream) {
    let mut ignored = [0; 4 << 10];
    while matches!(timeout(PAUSE, stream.read(&mut ignored)).await, Ok(Ok(1..))) {}
}

/// A whole answer in bytes, for where there is no server any more to write it. The body is JSON, and `more`
/// are headers beside those that say so and close the connection.
pub fn answer(status: StatusCode, more: &[(&str, &str)], body: &str) -> Vec<u8> {
    let more: String = more.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n{more}\r\n{body}",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
        body.len(),
    )
    .into_bytes()
}
