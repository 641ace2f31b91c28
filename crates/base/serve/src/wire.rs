//! A connection's time. A head that does not come, a call that takes longer than all of its parts may,
//! and a reader who does not read are given up; and hyper gets no word of its own in.
//!
//! A connection that was handed over to another protocol keeps the time of its writes only: whoever is silent
//! there may be.
//!
//! Deadlines are looked at only where a connection has to wait anyhow: a call that does not wait pays
//! for them with a look at the clock.

use crate::turn::Turn;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

#[cfg(test)]
mod tests;

/// How long a connection's parts may take.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// A head, and the silence before it.
    pub idle: Duration,
    /// A head, from its first byte; the first one from the connection's beginning. `None`: within `idle`.
    pub head: Option<Duration>,
    /// A call, from its head's first byte to its answer's last. `None`: as long as it takes.
    pub whole: Option<Duration>,
    /// `least` bytes of an answer, once its reader is waited for.
    pub write: Duration,
    /// Bytes that must pass within `write`, unless they are all there is. 1 asks for any progress.
    pub least: usize,
    /// What is under way when the server stops. `None`: as long as its runtime.
    pub grace: Option<Duration>,
}

/// Fails with `TimedOut` once one of its times is over.
pub(crate) struct Wire<T> {
    inner: T,
    times: Times,
    turn: Turn,
    head: Option<Instant>,
    whole: Option<Instant>,
    write: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    /// Bytes that passed since a reader was first waited for.
    passed: usize,
    /// Bytes of a head came that were not followed by a call.
    begun: bool,
    late: bool,
    muted: bool,
    /// Who waits to read from a connection that was handed over: the clock wakes whoever writes to it.
    reader: Option<Waker>,
}

impl<T> Wire<T> {
    pub(crate) fn new(inner: T, times: Times, turn: Turn) -> Self {
        let now = Instant::now();
        let head = times.head.map(|time| now + time);
        // Whoever waits first sets it.
        let timer = Box::pin(sleep_until(head.unwrap_or(now)));
        let (whole, write, reader) = (None, None, None);
        let (passed, begun, late, muted) = (0, false, false, false);
        Self { inner, times, turn, head, whole, write, timer, passed, begun, late, muted, reader }
    }

    /// Whether one of its times was over.
    pub(crate) const fn is_late(&self) -> bool {
        self.late
    }

    /// Whether a head began that no call followed.
    pub(crate) const fn has_begun(&self) -> bool {
        self.begun
    }

    /// Lets through what the server itself says at the end.
    pub(crate) fn into_inner(self) -> T {
        self.inner
    }

    /// Whether what is being written is hyper's own word.
    fn mutes(&mut self) -> bool {
        self.muted |= self.turn.is_listening();
        self.muted
    }

    /// Sets the times that what was read begins, and ends those that it ended.
    fn heard(&mut self, bytes: usize) {
        if self.turn.is_listening() {
            if bytes > 0 && !self.begun {
                let now = Instant::now();
                self.begun = true;
                self.head = self.head.or(self.times.head.map(|time| now + time));
                self.whole = self.whole.or(self.times.whole.map(|time| now + time));
            }
        } else if self.begun || self.whole.is_none() {
            // A call whose head came along with the one before it begins here.
            self.begun = false;
            self.head = None;
            self.whole = self.whole.or_else(|| self.times.whole.map(|time| Instant::now() + time));
        }
    }

    /// Where there is nothing to do but wait: not longer than the nearest of the times.
    fn wait<R>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        let of_calls = if self.turn.is_handed_over() { [None; 2] } else { [self.head, self.whole] };
        let Some(due) = of_calls.into_iter().chain([self.write]).flatten().min() else { return Poll::Pending };
        if self.timer.is_elapsed() || self.timer.deadline() > due {
            self.timer.as_mut().reset(due);
        }
        ready!(self.timer.as_mut().poll(cx));
        if self.timer.deadline() < due {
            // It was set for a time that has ended since.
            self.timer.as_mut().reset(due);
            ready!(self.timer.as_mut().poll(cx));
        }
        self.late = true;
        self.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Reads on after the connection was handed over: without a time, until a write is given up.
    fn read_on(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        if self.late {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn wrote(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = polled
            && self.write.is_some()
        {
            self.passed += n;
            if self.passed >= self.times.least {
                self.calm();
            }
        }
        self.watch(cx, polled)
    }

    /// The reader is not waited for any more.
    fn calm(&mut self) {
        (self.write, self.passed) = (None, 0);
    }

    fn watch<R>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            return polled;
        }
        self.heard(0);
        self.write.get_or_insert_with(|| Instant::now() + self.times.write);
        self.wait(cx)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if self.turn.is_handed_over() {
            return if polled.is_ready() { polled } else { self.read_on(cx) };
        }
        self.heard(buf.filled().len() - before);
        if polled.is_ready() { polled } else { self.wait(cx) }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.mutes() {
            return Poll::Ready(Ok(buf.len()));
        }
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.wrote(cx, polled)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.mutes() {
            return Poll::Ready(Ok(bufs.iter().map(|b| b.len()).sum()));
        }
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.wrote(cx, polled)
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
    /// hyper calls it when it has written all that it had.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.calm();
            if self.turn.flushed() {
                (self.begun, self.head, self.whole) = (false, None, None);
            }
        }
        self.watch(cx, polled)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.muted {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watch(cx, polled)
    }
}
