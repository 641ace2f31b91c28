//! A body that is whole before anybody reads it.

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use std::{error::Error, time::Duration};
use tokio::time::timeout;

/// Why a body is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// It did not come in time, with the wait for a place.
    Slow,
    /// It is larger than it may be.
    Large,
    /// It broke off or is no HTTP, with what hyper says of it.
    Broken(String),
}

/// A body of at most `most` bytes within `time`, once `place` is there. Who holds the place says for how long:
/// a caller who sends half a body must hold none that others need to be served.
///
/// # Errors
/// [`BodyFault`]; one that says by itself that it is too large is not waited for.
pub async fn whole<B, P>(
    body: B,
    most: usize,
    time: Duration,
    place: impl Future<Output = P>,
) -> Result<(Bytes, P), BodyFault>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if body.size_hint().lower() > most as u64 {
        return Err(BodyFault::Large);
    }
    let read = async {
        let place = place.await;
        let fault = |e: Box<dyn Error + Send + Sync>| {
            if e.is::<LengthLimitError>() { BodyFault::Large } else { BodyFault::Broken(e.to_string()) }
        };
        let bytes = Limited::new(body, most).collect().await.map_err(fault)?;
        Ok((bytes.to_bytes(), place))
    };
    timeout(time, read).await.unwrap_or(Err(BodyFault::Slow))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use hyper::body::Frame;
    use std::{
        convert::Infallible,
        future::{pending, ready},
        pin::Pin,
        task::{Context, Poll},
    };

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);

    /// Begins, and never ends.
    struct Half(Option<Bytes>);

    impl Body for Half {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            self.0.take().map_or(Poll::Pending, |bytes| Poll::Ready(Some(Ok(Frame::data(bytes)))))
        }
    }

    #[tokio::test]
    async fn a_body_comes_whole_within_its_time_and_size_or_says_why_not() {
        let bytes = |n: usize| Bytes::from(vec![7; n]);
        assert_eq!(whole(Full::new(bytes(4)), 4, LONG, ready("place")).await, Ok((bytes(4), "place")));
        // One that says how large it is, and one that does not.
        for time in [LONG, Duration::ZERO] {
            assert_eq!(whole(Full::new(bytes(5)), 4, time, pending::<()>()).await, Err(BodyFault::Large));
        }
        assert_eq!(whole(Half(Some(bytes(5))), 4, LONG, ready(())).await, Err(BodyFault::Large));
        assert_eq!(whole(Half(Some(bytes(3))), 4, SHORT, ready(())).await, Err(BodyFault::Slow));
        assert_eq!(whole(Full::new(bytes(1)), 4, SHORT, pending::<()>()).await, Err(BodyFault::Slow), "no place");
    }
}
