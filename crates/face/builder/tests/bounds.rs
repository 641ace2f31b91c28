//! Deadlines, bounds, and what happens when the desk fails or the caller leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tandem_builder::Config;

fn wait(what: &str, mut f: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !f() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_desk_that_hangs_costs_the_slot_nothing_but_the_bid() {
    let s = start(Config { header_deadline_ms: 200, header_reserve_ms: 20, ..config() });
    *s.desk.mood.lock().unwrap() = Mood::Hang;
    let reply = send(s.server.addr(), "GET", &header_path("1", &a_key()), &[], b"");
    assert_eq!(reply.status, 204);
    assert_eq!(s.server.stats().count("header", "deadline"), 1);
    assert!(s.desk.headers.lock().unwrap()[0].3 <= Duration::from_millis(180), "the desk knows when to be done");
}

#[test]
fn a_callers_timeout_lowers_the_deadline_and_never_raises_it() {
    let s = start(Config { header_deadline_ms: 800, header_reserve_ms: 10, ..config() });
    for (given, at_most) in [("100", 90), ("0", 0), ("60000", 790)] {
        s.desk.headers.lock().unwrap().clear();
        let reply = send(s.server.addr(), "GET", &header_path("1", &a_key()), &[("X-Timeout-Ms", given)], b"");
        assert_eq!(reply.status, 204);
        // With no time at all the desk may not be asked any more.
        let left = s.desk.headers.lock().unwrap().first().map_or(Duration::ZERO, |h| h.3);
        assert!(left <= Duration::from_millis(at_most), "{given}: {left:?}");
    }
}

#[test]
fn a_desk_that_panics_is_no_bid_and_an_error_elsewhere_and_serves_on() {
    let s = start(config());
    *s.desk.mood.lock().unwrap() = Mood::Panic;
    let header = || send(s.server.addr(), "GET", &header_path("1", &a_key()), &[], b"");
    assert_eq!(header().status, 204);
    let block = vector("own-block/fulu-ssz-21/blinded-request.ssz");
    let reply = send(s.server.addr(), "POST", V2, &[SSZ, FULU], &block);
    assert_eq!((reply.status, reply.reason()), (502, "failed".into()));
    *s.desk.mood.lock().unwrap() = Mood::Normal;
    assert_eq!(send(s.server.addr(), "POST", V2, &[SSZ, FULU], &block).status, 202);
}

#[test]
fn a_blinded_block_is_carried_through_when_its_caller_hangs_up() {
    let s = start(config());
    *s.desk.delay.lock().unwrap() = Duration::from_millis(200);
    let body = vector("own-block/fulu-ssz-21/blinded-request.ssz");
    let head = format!(
        "POST {V2} HTTP/1.1\r\nHost: b\r\nContent-Type: application/octet-stream\r\nEth-Consensus-Version: fulu\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(s.server.addr()).unwrap();
    stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
    // Hanging up before the server has read everything would leave half a body: wait for the desk.
    std::thread::sleep(Duration::from_millis(100));
    drop(stream);
    wait("the desk has the block", || s.desk.blocks.lock().unwrap().len() == 1);
}

#[test]
fn an_answer_that_comes_too_late_is_not_success() {
    let s = start(Config { submit_ms: 100, ..config() });
    *s.desk.delay.lock().unwrap() = Duration::from_millis(400);
    let body = vector("own-block/fulu-ssz-21/blinded-request.ssz");
    let reply = send(s.server.addr(), "POST", V2, &[SSZ, FULU], &body);
    assert_eq!((reply.status, reply.reason()), (502, "late".into()));
    wait("the desk goes on", || s.desk.blocks.lock().unwrap().len() == 1);
}

#[test]
fn more_header_calls_than_the_bound_are_told_so_at_once() {
    let s = start(Config { max_headers: 2, ..config() });
    *s.desk.mood.lock().unwrap() = Mood::Hang;
    let path = header_path("1", &a_key());
    let mut held: Vec<TcpStream> = (0..2).map(|_| connect(s.server.addr())).collect();
    for stream in &mut held {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: b\r\n\r\n").as_bytes()).unwrap();
    }
    wait("both are at the desk", || s.desk.headers.lock().unwrap().len() == 2);
    let reply = send(s.server.addr(), "GET", &path, &[], b"");
    assert_eq!((reply.status, reply.reason()), (503, "busy".into()));
}

#[test]
fn slow_senders_do_not_turn_a_good_block_away() {
    let s = start(Config { max_submissions: 1, body_ms: 200, ..config() });
    let head = format!(
        "POST {V2} HTTP/1.1\r\nHost: b\r\nContent-Type: application/octet-stream\r\nEth-Consensus-Version: fulu\r\nContent-Length: 1000\r\n\r\n"
    );
    let mut slow = connect(s.server.addr());
    slow.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let body = vector("own-block/fulu-ssz-21/blinded-request.ssz");
    assert_eq!(send(s.server.addr(), "POST", V2, &[SSZ, FULU], &body).status, 202);
}

#[test]
fn more_connections_than_the_bound_are_closed_and_the_others_served() {
    let s = start(Config { max_connections: 3, ..config() });
    let mut held: Vec<TcpStream> = (0..3).map(|_| connect(s.server.addr())).collect();
    wait("three are taken", || s.server.stats().connections().0 == 3);
    for _ in 0..50 {
        let _ = TcpStream::connect(s.server.addr()).unwrap();
    }
    wait("fifty are turned away", || s.server.stats().connections().1 == 50);
    held[0].write_all(b"GET /eth/v1/builder/status HTTP/1.1\r\nHost: b\r\n\r\n").unwrap();
    assert_eq!(read_reply(&mut held[0]).status, 200);
}

#[tokio::test]
async fn it_starts_and_stops_inside_another_runtime_and_leaves_nothing() {
    let s = start(config());
    let addr = s.server.addr();
    assert!(TcpStream::connect(addr).is_ok());
    s.server.stop();
    assert!(TcpStream::connect(addr).is_err());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Config { listen: taken.local_addr().unwrap(), ..config() };
    let desk = std::sync::Arc::new(FakeDesk::default());
    let error = tandem_builder::BuilderServer::start(config, desk, std::sync::Arc::new(|_| true)).unwrap_err();
    assert!(error.to_string().contains("can not listen"), "{error}");
}

/// The own runtime: blocking every thread of another one does not delay the Builder API.
#[test]
fn a_stalled_runtime_beside_it_does_not_delay_it() {
    let other = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let s = other.block_on(async { start(config()) });
    let (release, stall) = std::sync::mpsc::sync_channel::<()>(1);
    let stall = std::sync::Arc::new(std::sync::Mutex::new(stall));
    for _ in 0..2 {
        let stall = stall.clone();
        other.spawn(async move { drop(stall.lock().map(|s| s.recv())) });
    }
    assert_eq!(send(s.server.addr(), "GET", &header_path("1", &a_key()), &[], b"").status, 204);
    drop(release);
}
