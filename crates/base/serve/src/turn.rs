//! Whose turn it is on a connection.

use hyper::body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

/// Whose turn it is. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn(Arc<AtomicU8>);

/// No call is under way: whatever is written now is hyper's, about a head that it can not read.
const LISTENING: u8 = 0;
/// A call is being answered.
const ANSWERING: u8 = 1;
/// The answer is with hyper, and on its way out.
const SAID: u8 = 2;
/// The connection speaks another protocol from here on: there are no turns any more.
const HANDED_OVER: u8 = 3;

impl Turn {
    /// A call came.
    pub(crate) fn answering(&self) {
        self.0.store(ANSWERING, Ordering::Release);
    }
    /// Whether the next call is waited for.
    pub(crate) fn is_listening(&self) -> bool {
        self.0.load(Ordering::Acquire) == LISTENING
    }
    /// The answer that is under way hands the connection over to another protocol.
    pub(crate) fn hand_over(&self) {
        self.0.store(HANDED_OVER, Ordering::Release);
    }
    /// Whether what is said on it is no HTTP any more.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.0.load(Ordering::Acquire) == HANDED_OVER
    }
    /// Whether this flush was the end of an answer. It is not while one is still being made.
    pub(crate) fn flushed(&self) -> bool {
        self.0.compare_exchange(SAID, LISTENING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// An answer's body. hyper drops it once it has all of it.
pub(crate) struct Said<B> {
    body: B,
    turn: Turn,
}

impl<B> Said<B> {
    pub(crate) const fn new(body: B, turn: Turn) -> Self {
        Self { body, turn }
    }
}

impl<B> Drop for Said<B> {
    fn drop(&mut self) {
        // Where the connection was handed over it stays so.
        let _ = self.turn.0.compare_exchange(ANSWERING, SAID, Ordering::AcqRel, Ordering::Acquire);
    }
}

impl<B: Body + Unpin> Body for Said<B> {
    type Data = B::Data;
    type Error = B::Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
