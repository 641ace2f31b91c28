//! Deadlines, bounds, and what happens when the desk fails or the caller leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
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
fn the_desk_learns_whether_the_answer_with_its_bid_left() {
    let s = start(Config { header_deadline_ms: 100, header_reserve_ms: 10, ..config() });
    let bid = recorded_bid("fulu-ssz-21");
    *s.desk.bid.lock().unwrap() = Some(bid.clone());
    let ask = || send(s.server.addr(), "GET", &header_path("1", &a_key()), &[], b"").status;
    let told = || s.desk.left.lock().unwrap().clone();
    *s.desk.delay.lock().unwrap() = Duration::from_millis(300);
    assert_eq!(ask(), 204);
    wait("the answer comes when nobody waits for it", || told() == [(bid.block_hash, false)]);
    *s.desk.delay.lock().unwrap() = Duration::ZERO;
    // A loaded machine may be late for this deadline by itself; the desk is told of the very answer.
    wait("an answer leaves", || ask() == 200);
    wait("it is told", || told().last() == Some(&(bid.block_hash, true)));
    let before = told().len();
    *s.desk.bid.lock().unwrap() = None;
    assert_eq!(ask(), 204);
    assert_eq!(told().len(), before, "no bid is none that could leave");
}

#[test]
fn the_desk_learns_that_whoever_hung_up_got_nothing() {
    let s = start(Config { header_deadline_ms: 1_000, header_reserve_ms: 10, ..config() });
    let bid = recorded_bid("fulu-ssz-21");
    *s.desk.bid.lock().unwrap() = Some(bid.clone());
    // Well before the deadline, and long enough to hang up meanwhile.
    *s.desk.delay.lock().unwrap() = Duration::from_millis(800);
    let mut stream = connect(s.server.addr());
    write!(stream, "GET {} HTTP/1.1\r\nhost: x\r\n\r\n", header_path("1", &a_key())).unwrap();
    wait("the desk is asked", || !s.desk.headers.lock().unwrap().is_empty());
    drop(stream);
    wait("an answer to nobody", || *s.desk.left.lock().unwrap() == [(bid.block_hash, false)]);
}

#[test]
fn a_callers_timeout_lowers_the_deadline_and_never_raises_it() {
    let s = start(Config { header_deadline_ms: 800, header_reserve_ms: 10, ..config() });
    for (given, at_most) in [("100", 90), ("0", 0), ("60000", 790)] {
        s.desk.headers.lock().unwrap().clear();
        let first_left = || {
            let reply = send(s.server.addr(), "GET", &header_path("1", &a_key()), &[("X-Timeout-Ms", given)], b"");
            assert_eq!(reply.status, 204);
            s.desk.headers.lock().unwrap().first().map(|h| h.3)
        };
        let mut left = first_left();
        // With no time at all the desk may not be asked any more; with some, a loaded machine may be late once.
        wait("the desk is asked", || {
            left = left.or_else(first_left);
            left.is_some() || given == "0"
        });
        let left = left.unwrap_or_default();
        assert!(left <= Duration::from_millis(at_most), "{given}: {left:?}");
    }
}

#[test]
fn a_desk_that_panics_is_no_bid_and_an_error_elsewhere_and_serves_on() {
    let s = start(config());
    *s.desk.mood.lock().unwrap() = Mood::Panic;
    let header = || send(s.server.addr(), "GET", &header_path("1", &a_key()), &[], b"");
    assert_eq!(header().status, 204);
    assert_eq!(s.server.stats().count("header", "desk-failed"), 1);
    let block = vector("own-block/fulu-ssz-21/blinded-request.ssz");
    let reply = send(s.server.addr(), "POST", V2, &[SSZ, FULU], &block);
    assert_eq!((reply.status, reply.reason()), (502, "failed".into()));
    *s.desk.mood.lock().unwrap() = Mood::Normal;
    assert_eq!(send(s.server.addr(), "POST", V2, &[SSZ, FULU], &block).status, 202);
}

#[test]
fn a_blinded_block_is_carried_through_when_its_caller_hangs_up() {
    let s = start(config());
    *s.desk.delay.lock().unwrap() = Duration::from_secs(1);
    let body = vector("own-block/fulu-ssz-21/blinded-request.ssz");
    let head = format!(
        "POST {V2} HTTP/1.1\r\nHost: b\r\nContent-Type: application/octet-stream\r\nEth-Consensus-Version: fulu\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(s.server.addr()).unwrap();
    stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
    // Hanging up before the server has read everything would leave half a body: wait for the desk.
    wait("the desk is asked", || s.desk.calls.load(Ordering::SeqCst) == 1);
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
    let told = read_reply(&mut connect(s.server.addr()));
    assert_eq!((told.status, told.reason()), (503, "busy".into()));
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

/// Whether a new caller is served within the time, where one connection is all there may be.
fn a_place_becomes_free(s: &Setup, within: Duration) -> bool {
    let until = Instant::now() + within;
    while Instant::now() < until {
        let mut stream = connect(s.server.addr());
        let _ = stream.write_all(b"GET /eth/v1/builder/status HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n");
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        if said.starts_with(b"HTTP/1.1 200") {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// The place of a caller who sends a byte at a time, or nothing, is free after its time. Without the
/// deadline it is not: so it is the deadline that frees it.
#[test]
fn a_head_that_comes_a_byte_at_a_time_or_never_holds_its_place_for_its_time_only() {
    for (head_ms, given_up) in [(300, true), (60_000, false)] {
        for drips in [true, false] {
            let s = start(Config { head_ms, max_connections: 1, ..config() });
            let mut slow = connect(s.server.addr());
            wait("it is taken", || s.server.stats().connections().0 == 1);
            let dripping = std::thread::spawn(move || {
                let until = Instant::now() + Duration::from_millis(1_900);
                let mut endless = b"GET /eth/v1/builder/status HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
                while Instant::now() < until {
                    if drips && endless.next().is_none_or(|b| slow.write_all(&[*b]).is_err()) {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                slow
            });
            let free = a_place_becomes_free(&s, Duration::from_millis(if given_up { 20_000 } else { 1_500 }));
            assert_eq!(free, given_up, "{head_ms} ms, drips: {drips}");
            drop(dripping.join().unwrap());
        }
    }
}

#[test]
fn a_connection_may_be_idle_between_its_calls_for_longer_than_a_head_may_take() {
    let s = start(Config { head_ms: 500, write_ms: 500, ..config() });
    let mut kept = connect(s.server.addr());
    for _ in 0..3 {
        kept.write_all(b"GET /eth/v1/builder/status HTTP/1.1\r\nHost: b\r\n\r\n").unwrap();
        assert_eq!(read_reply(&mut kept).status, 200);
        std::thread::sleep(Duration::from_millis(1_200));
    }
}

/// More than the system's buffers take on both sides of a connection.
const PAYLOAD: usize = 64 << 20;

/// A caller of the old version that gets a large payload, and does not read it.
fn deaf(s: &Setup) -> TcpStream {
    *s.desk.payload.lock().unwrap() = Some((vec![0; PAYLOAD].into(), vec![b' '; PAYLOAD].into()));
    let body = vector("own-block/fulu-ssz-21/blinded-request.ssz");
    let head = format!(
        "POST {V1} HTTP/1.1\r\nHost: b\r\nAccept: application/octet-stream\r\nContent-Type: application/octet-stream\r\nEth-Consensus-Version: fulu\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = connect(s.server.addr());
    stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
    wait("it is answered", || s.server.stats().count("blinded-v1", "ok") > 0);
    stream
}

#[test]
fn a_reader_who_does_not_read_holds_its_place_for_its_time_only() {
    for (write_ms, given_up) in [(300, true), (60_000, false)] {
        let s = start(Config { write_ms, max_connections: 1, ..config() });
        let mut stream = deaf(&s);
        let within = Duration::from_millis(if given_up { 20_000 } else { 1_500 });
        assert_eq!(a_place_becomes_free(&s, within), given_up, "{write_ms} ms");
        if !given_up {
            // It was only late: what it is owed is all there.
            assert_eq!(read_reply(&mut stream).body.len(), PAYLOAD);
        }
    }
}

#[test]
fn readers_who_do_not_read_hold_no_place_that_other_calls_need() {
    let s = start(Config { max_submissions: 1, max_headers: 1, ..config() });
    let _deaf: Vec<TcpStream> = (0..3).map(|_| deaf(&s)).collect();
    let body = vector("own-block/fulu-ssz-21/blinded-request.ssz");
    assert_eq!(send(s.server.addr(), "POST", V2, &[SSZ, FULU], &body).status, 202);
    assert_eq!(send(s.server.addr(), "GET", &header_path("1", &a_key()), &[], b"").status, 204);
}

/// Senders of half a body queue for nothing: neither a block nor registrations nor a header wait for them.
#[test]
fn any_number_of_slow_senders_holds_no_place_that_other_calls_need() {
    let s = start(Config { max_submissions: 1, max_registrations: 1, max_headers: 1, body_ms: 60_000, ..config() });
    let slow: Vec<TcpStream> = [V2, VALIDATORS]
        .iter()
        .cycle()
        .take(40)
        .map(|path| {
            let mut stream = connect(s.server.addr());
            let head = format!("POST {path} HTTP/1.1\r\nHost: b\r\nContent-Type: application/octet-stream\r\nEth-Consensus-Version: fulu\r\nContent-Length: 20000000\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&[0; 10_000]).unwrap();
            stream
        })
        .collect();
    wait("they are taken", || s.server.stats().connections().0 == 40);
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    let body = vector("own-block/fulu-ssz-21/blinded-request.ssz");
    assert_eq!(send(s.server.addr(), "POST", V2, &[SSZ, FULU], &body).status, 202);
    let ours = vector("own-block/registrations-fulu-ssz.ssz");
    assert_eq!(send(s.server.addr(), "POST", VALIDATORS, &[SSZ], &ours).status, 200);
    assert_eq!(send(s.server.addr(), "GET", &header_path("1", &a_key()), &[], b"").status, 204);
    assert!(begun.elapsed() < Duration::from_secs(30), "well before the first slow one is given up");
    drop(slow);
}

#[test]
fn states_that_take_long_to_tell_keep_no_header_call_out() {
    let s = start(Config { max_headers: 1, header_deadline_ms: 100, header_reserve_ms: 10, ..config() });
    *s.desk.mood.lock().unwrap() = Mood::Hang;
    let status = || send(s.server.addr(), "GET", "/eth/v1/builder/status", &[], b"");
    assert_eq!((status().status, status().status), (502, 503), "the first one hangs on, and holds its place");
    assert_eq!(send(s.server.addr(), "GET", &header_path("1", &a_key()), &[], b"").status, 204);
}

#[test]
fn who_sends_far_too_much_still_gets_to_read_why_it_is_refused() {
    let s = start(config());
    let head = format!(
        "POST {V2} HTTP/1.1\r\nHost: b\r\nContent-Type: application/octet-stream\r\nEth-Consensus-Version: fulu\r\nContent-Length: 30000000\r\n\r\n"
    );
    let mut stream = connect(s.server.addr());
    // Writing it must succeed to the last byte, or the answer is lost in a reset.
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![0; 30_000_000]).unwrap();
    let reply = read_reply(&mut stream);
    assert_eq!((reply.status, reply.reason()), (413, "too-large".into()));
}
