//! A connection over a real socket, with either clock for its heads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, time::Duration};
use tandem_serve::{Ended, HeadFault, Times, accept, answer, connection, serve as serve_all, turn_away};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

/// Longer than a machine stands still.
const SHORT: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(60);
const CALL: &[u8] = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n";

/// A head is timed from its first byte, or together with the silence before it.
const CLOCKS: [Times; 2] = [
    Times { idle: LONG, head: Some(SHORT), whole: Some(LONG), write: LONG, least: 1, grace: None },
    Times { idle: SHORT, head: None, whole: None, write: LONG, least: 64 << 10, grace: Some(SHORT) },
];

/// Two ends of a connection.
async fn ends() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (listener.accept().await.unwrap().0, theirs)
}

/// Serves an end, with answers that take their time.
async fn serve(ours: TcpStream, times: Times, answering: Duration, stop: &CancellationToken) -> Option<Ended> {
    let peer = ours.peer_addr().unwrap();
    let service = service_fn(move |_| async move {
        tokio::time::sleep(answering).await;
        Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(b"answer"))))
    });
    connection(ours, peer, times, service, stop).await
}

#[tokio::test]
async fn what_is_wrong_with_a_head_is_known_whichever_clock_it_has() {
    let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(40_000));
    for times in CLOCKS {
        for (sent, fault) in [
            ("", None),
            ("GET / HT", Some(HeadFault::Slow)),
            (large.as_str(), Some(HeadFault::Large)),
            ("\u{16}\u{3}\u{1}\r\n\r\n", Some(HeadFault::Bad)),
        ] {
            let (ours, mut theirs) = ends().await;
            theirs.write_all(sent.as_bytes()).await.unwrap();
            let ended = serve(ours, times, Duration::ZERO, &CancellationToken::new()).await.unwrap();
            assert_eq!(ended.head_fault(), fault, "{times:?}: {:?}", sent.get(..8));
            ended.part(fault.map(|_| answer(http::StatusCode::BAD_REQUEST, &[("x", "y")], "{}"))).await;
            let mut said = String::new();
            theirs.read_to_string(&mut said).await.unwrap();
            let ours = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\
                        connection: close\r\nx: y\r\n\r\n{}";
            assert_eq!(said, if fault.is_some() { ours } else { "" });
        }
    }
}

#[tokio::test]
async fn who_closes_half_a_head_sent_a_bad_one_and_who_closes_after_an_answer_none() {
    for times in CLOCKS {
        for (sent, fault) in [(&CALL[..20], Some(HeadFault::Bad)), (CALL, None)] {
            let (ours, mut theirs) = ends().await;
            let calling = async {
                theirs.write_all(sent).await.unwrap();
                let (mut said, mut piece) = (Vec::new(), [0; 1 << 10]);
                // Who closes before the answer is there does not want it.
                while fault.is_none() && !said.ends_with(b"answer") {
                    let n = theirs.read(&mut piece).await.unwrap();
                    said.extend_from_slice(&piece[..n]);
                    assert!(n > 0, "{said:?}");
                }
                theirs.shutdown().await.unwrap();
            };
            let stop = CancellationToken::new();
            let (ended, ()) = tokio::join!(serve(ours, times, Duration::ZERO, &stop), calling);
            let ended = ended.unwrap();
            assert_eq!(ended.head_fault(), fault, "{times:?}");
            ended.part(None).await;
            assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0, "and nothing more is said");
        }
    }
}

#[tokio::test]
async fn who_ends_its_side_within_a_body_is_answered_and_who_does_after_a_whole_call_hung_up() {
    let head = "POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 10\r\n\r\n";
    for times in CLOCKS {
        for (body, answer) in [("", "broken"), ("12345", "broken"), ("1234567890", "")] {
            let (ours, mut theirs) = ends().await;
            theirs.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            theirs.shutdown().await.unwrap();
            let service = service_fn(|request: http::Request<Incoming>| async {
                let read = request.into_body().collect().await;
                tokio::time::sleep(SHORT / 3).await;
                let said = if read.is_ok() { "whole" } else { "broken" };
                Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(said.as_bytes()))))
            });
            let peer = ours.peer_addr().unwrap();
            let ended = connection(ours, peer, times, service, &CancellationToken::new()).await.unwrap();
            assert_eq!(ended.head_fault(), None, "{times:?}: {body:?}");
            ended.part(None).await;
            let mut said = String::new();
            theirs.read_to_string(&mut said).await.unwrap();
            assert_eq!(said.rsplit("\r\n").next(), Some(answer), "{times:?}: {body:?}: {said}");
        }
    }
}

#[tokio::test]
async fn a_stop_waits_for_the_call_under_way_and_not_for_longer_than_its_grace() {
    for (grace, answering, answered) in [(Some(LONG), SHORT, true), (None, SHORT, true), (Some(SHORT), LONG, false)] {
        let (ours, mut theirs) = ends().await;
        theirs.write_all(CALL).await.unwrap();
        let stop = CancellationToken::new();
        let stopping = async {
            tokio::time::sleep(SHORT / 3).await;
            stop.cancel();
        };
        let times = Times { grace, ..CLOCKS[0] };
        let (ended, ()) = tokio::join!(serve(ours, times, answering, &stop), stopping);
        assert!(ended.is_none());
        let mut said = String::new();
        theirs.read_to_string(&mut said).await.unwrap();
        assert_eq!(said.ends_with("answer"), answered, "{said}");
    }
}

#[tokio::test]
async fn connections_are_taken_until_the_stop_and_the_listener_is_still_its_owners() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let calling = async {
        for _ in 0..3 {
            let mut said = String::new();
            TcpStream::connect(addr).await.unwrap().read_to_string(&mut said).await.unwrap();
            assert_eq!(said, "full");
        }
        stop.cancel();
    };
    let mut taken = 0;
    let taking = accept(&listener, "test", &stop, |stream, _| {
        taken += 1;
        turn_away(stream, b"full");
    });
    tokio::join!(taking, calling);
    assert_eq!(taken, 3);
    assert!(TcpStream::connect(addr).await.is_ok());
}

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nhost: here\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";

type Io = TokioIo<hyper::upgrade::Upgraded>;

/// Serves an end that is handed over to `speak`.
async fn hand_over(ours: TcpStream, times: Times, speak: impl FnOnce(Io) + Clone + Send + 'static) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        let speak = speak.clone();
        tokio::spawn(async move {
            let io = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
            speak(io);
        });
        let switching = http::Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo");
        async move { Ok::<_, Infallible>(switching.body(Full::new(Bytes::new())).unwrap()) }
    });
    let peer = ours.peer_addr().unwrap();
    let ended = connection(ours, peer, times, service, &CancellationToken::new()).await;
    assert!(ended.is_none(), "it is no longer its server's");
}

async fn upgraded(theirs: &mut TcpStream) {
    theirs.write_all(UPGRADE).await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\n") {
        said.push(theirs.read_u8().await.unwrap());
    }
    assert!(said.starts_with(b"HTTP/1.1 101 "));
}

#[tokio::test]
async fn a_connection_that_speaks_another_protocol_may_be_silent_for_longer_than_any_head_or_call() {
    for times in CLOCKS {
        let times = Times { whole: Some(SHORT), ..times };
        let (ours, mut theirs) = ends().await;
        let echo = |mut io: Io| {
            tokio::spawn(async move {
                while let Ok(byte) = io.read_u8().await {
                    io.write_u8(byte).await.unwrap();
                    io.flush().await.unwrap();
                }
            });
        };
        let calling = async {
            upgraded(&mut theirs).await;
            for byte in [1, 2] {
                tokio::time::sleep(2 * SHORT).await;
                theirs.write_u8(byte).await.unwrap();
                assert_eq!(theirs.read_u8().await.unwrap(), byte, "{times:?}");
            }
        };
        tokio::join!(hand_over(ours, times, echo), calling);
    }
}

#[tokio::test]
async fn who_reads_nothing_after_the_hand_over_is_given_up_by_writer_and_reader() {
    let (ours, mut theirs) = ends().await;
    let (ended, mut both) = tokio::sync::mpsc::channel(2);
    let times = Times { write: SHORT, ..CLOCKS[0] };
    let flood = move |io: Io| {
        let (mut reads, mut writes) = tokio::io::split(io);
        let (reader, writer) = (ended.clone(), ended.clone());
        tokio::spawn(async move { reader.send(reads.read_u8().await.unwrap_err().kind()).await });
        tokio::spawn(async move {
            loop {
                if let Err(e) = writes.write_all(&[0; 64 << 10]).await {
                    return writer.send(e.kind()).await;
                }
            }
        });
    };
    tokio::join!(hand_over(ours, times, flood), upgraded(&mut theirs));
    for _ in 0..2 {
        let ended = tokio::time::timeout(LONG / 3, both.recv()).await.expect("both end in time");
        assert_eq!(ended, Some(std::io::ErrorKind::TimedOut));
    }
}

#[tokio::test]
async fn as_many_connections_as_are_allowed_are_served_and_all_end_with_their_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = |mut stream: TcpStream, _, stop: CancellationToken| async move {
        stream.write_all(b"served").await.unwrap();
        stop.cancelled().await;
    };
    let stop = CancellationToken::new();
    let ours = stop.clone();
    let server = tokio::spawn(async move { serve_all(listener, "test", (1, b"busy"), &ours, serving).await });
    let mut first = TcpStream::connect(addr).await.unwrap();
    let mut said = [0; 6];
    first.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"served");
    let mut second = String::new();
    TcpStream::connect(addr).await.unwrap().read_to_string(&mut second).await.unwrap();
    assert_eq!(second, "busy");
    server.abort();
    assert_eq!(first.read(&mut said).await.unwrap(), 0, "it ends with whoever served it");
    assert!(!stop.is_cancelled(), "and nothing else does");
}
