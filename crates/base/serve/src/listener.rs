//! Connections as they come.

use std::{io::Write as _, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Pause after an accept that failed, as it does while the process has no file descriptors left: that
/// passes, and spinning does not help.
const AFTER_FAULT: Duration = Duration::from_millis(50);

/// Hands over one connection after the other until it is stopped. The listener is the caller's to close,
/// and `server` is who listens, for the log.
pub async fn accept(
    listener: &TcpListener,
    server: &'static str,
    stop: &CancellationToken,
    mut take: impl FnMut(TcpStream, SocketAddr),
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => take(stream, peer),
            Err(error) => {
                tracing::warn!(server, %error, "no connection could be accepted");
                tokio::time::sleep(AFTER_FAULT).await;
            }
        }
    }
}

/// Takes `most` connections at once until it is stopped or dropped, and says `busy` to those above. They are
/// served until `stop`, which each is handed, and are waited for.
pub async fn serve<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    server: &'static str,
    (most, busy): (usize, &[u8]),
    stop: &CancellationToken,
    serving: impl Fn(TcpStream, SocketAddr, CancellationToken) -> F,
) {
    let stop = stop.child_token();
    let _ends_them_all = stop.clone().drop_guard();
    let (places, tasks) = (Arc::new(Semaphore::new(most)), TaskTracker::new());
    let taking = accept(&listener, server, &stop, |stream, peer| {
        let Ok(place) = places.clone().try_acquire_owned() else { return turn_away(stream, busy) };
        let serving = serving(stream, peer, stop.clone());
        tasks.spawn(async move {
            serving.await;
            drop(place);
        });
    });
    taking.await;
    tasks.close();
    tasks.wait().await;
}

/// Closes a connection at once, with a word that is not waited for: a caller that waits would not know
/// what for.
pub fn turn_away(stream: TcpStream, said: &[u8]) {
    // A fresh connection has room for it.
    let _ = stream.into_std().and_then(|mut s| s.write(said));
}
