use super::*;
use crate::turn::Said;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// Longer than a machine stands still.
const SHORT: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(60);
/// What must pass within the time, where more than any progress is asked for.
const LEAST: usize = 64 << 10;

/// Any progress in reading is enough, and heads and calls have as long as they want.
const EASY: Times = Times { idle: LONG, head: None, whole: None, write: LONG, least: 1, grace: None };

fn wire(capacity: usize, times: Times) -> (Wire<DuplexStream>, DuplexStream, Turn) {
    let (ours, theirs) = duplex(capacity);
    let turn = Turn::default();
    (Wire::new(ours, times, turn.clone()), theirs, turn)
}

/// Whether reading ends with `TimedOut`, and not within a while.
async fn times_out(wire: &mut Wire<DuplexStream>) -> bool {
    let read = async { while wire.read_u8().await.is_ok() {} };
    tokio::time::timeout(2 * SHORT, read).await.is_ok() && wire.late
}

#[tokio::test]
async fn a_head_has_its_time_from_its_first_byte_and_the_first_one_from_the_beginning() {
    let times = Times { head: Some(SHORT), ..EASY };
    let (mut silent, _theirs, _) = wire(1 << 10, times);
    assert!(times_out(&mut silent).await && !silent.has_begun());
    let (mut begun, mut theirs, _) = wire(1 << 10, times);
    theirs.write_all(b"GET").await.unwrap();
    assert!(times_out(&mut begun).await && begun.has_begun());
    // Between calls a connection may be silent; hyper bounds for how long.
    let (mut idle, mut theirs, turn) = wire(1 << 10, times);
    theirs.write_all(b"GET").await.unwrap();
    idle.read_exact(&mut [0; 3]).await.unwrap();
    turn.answering();
    drop(Said::new((), turn.clone()));
    idle.write_all(b"answer").await.unwrap();
    idle.flush().await.unwrap();
    assert!(turn.is_listening() && !times_out(&mut idle).await);
    theirs.write_all(b"G").await.unwrap();
    assert!(times_out(&mut idle).await && idle.has_begun());
}

#[tokio::test]
async fn a_call_has_its_time_as_a_whole_whatever_moves() {
    for (whole, late) in [(Some(SHORT), true), (Some(LONG), false), (None, false)] {
        let (mut wire, mut theirs, turn) = wire(1 << 10, Times { whole, ..EASY });
        theirs.write_all(b"POST").await.unwrap();
        wire.read_exact(&mut [0; 4]).await.unwrap();
        turn.answering();
        let drip = async {
            while theirs.write_all(b"x").await.is_ok() {
                tokio::time::sleep(SHORT / 10).await;
            }
        };
        let gone = tokio::select! { gone = times_out(&mut wire) => gone, () = drip => false };
        assert_eq!(gone, late, "{whole:?}");
    }
}

#[tokio::test]
async fn a_reader_who_does_not_read_is_given_up_and_a_slow_one_is_not() {
    let (mut wire, mut theirs, turn) = wire(1 << 10, Times { write: SHORT, ..EASY });
    turn.answering();
    let read = async {
        let (mut all, mut piece) = (0, [0; 1 << 10]);
        while all < 8 << 10 {
            all += theirs.read(&mut piece).await.unwrap();
            tokio::time::sleep(SHORT / 4).await;
        }
    };
    let (written, ()) = tokio::join!(wire.write_all(&[0; 8 << 10]), read);
    assert!(written.is_ok(), "two limits all in all, and each piece in time");
    let stalled = wire.write_all(&[0; 8 << 10]).await;
    assert_eq!(stalled.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn where_more_is_asked_for_a_reader_who_reads_nothing_or_a_byte_at_a_time_is_given_up() {
    let times = Times { write: SHORT, least: LEAST, ..EASY };
    let (mut idle, _kept, turn) = wire(1 << 10, times);
    turn.answering();
    assert_eq!(idle.write_all(&[0; 1 << 20]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    let (mut dripped, mut theirs, turn) = wire(1 << 10, times);
    turn.answering();
    let drip = async move {
        while theirs.read_u8().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let begun = Instant::now();
    let (written, ()) = tokio::join!(async move { dripped.write_all(&[0; 1 << 20]).await }, drip);
    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(begun.elapsed() >= SHORT);
}

#[tokio::test]
async fn where_more_is_asked_for_a_reader_who_takes_long_but_reads_on_gets_everything() {
    let (mut wire, mut theirs, turn) = wire(LEAST, Times { write: SHORT, least: LEAST, ..EASY });
    turn.answering();
    let read = async move {
        let (mut all, mut piece) = (0, vec![0; LEAST]);
        while all < 8 * LEAST {
            all += theirs.read(&mut piece).await.unwrap();
            tokio::time::sleep(SHORT / 4).await;
        }
        all
    };
    let begun = Instant::now();
    let (written, read) = tokio::join!(wire.write_all(&[0; 8 * LEAST]), read);
    assert_eq!((written.is_ok(), read), (true, 8 * LEAST));
    assert!(begun.elapsed() > SHORT, "it took longer than the limit all in all");
}

#[tokio::test]
async fn what_nobody_asked_for_is_swallowed_and_an_answer_is_not() {
    // hyper may have written all of an answer when it drops its body, or not.
    for rest in ["", "!"] {
        let (mut wire, mut theirs, turn) = wire(1 << 10, EASY);
        turn.answering();
        wire.write_all(b"answer").await.unwrap();
        wire.flush().await.unwrap();
        assert!(!turn.is_listening(), "more of it may come");
        drop(Said::new((), turn.clone()));
        wire.write_all(rest.as_bytes()).await.unwrap();
        wire.flush().await.unwrap();
        assert!(turn.is_listening());
        wire.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        wire.shutdown().await.unwrap();
        wire.into_inner().write_all(b" and ours").await.unwrap();
        let mut all = String::new();
        theirs.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, format!("answer{rest} and ours"));
    }
}
