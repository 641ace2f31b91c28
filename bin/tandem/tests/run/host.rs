//! `tandem run`: a signal ends it in order, and what it promised is there when it starts again.

use crate::{
    family::{DEADLINE, Family, To},
    lab::TURN,
};
use rustix::process::Signal;
use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::Path,
    sync::PoisonError,
    time::{Duration, Instant},
};
use tandem_demo::{
    ask, http,
    kill::oracle::Answer,
    process::Host,
    rig::{Rig, RigConfig},
    wallet::{Fees, Wallet},
};

const SLOT_MS: u64 = 3_000;
/// Slots: longer than a test, and at the end of an epoch those of the next one are.
const FAR: u64 = 30;
pub const PATIENCE: Duration = Duration::from_secs(10);

/// An L1 in this process, and a host's folder beside it.
pub struct World {
    pub runtime: tokio::runtime::Runtime,
    pub rig: Rig,
    pub host: Host,
}

impl World {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let config = RigConfig { slot_ms: SLOT_MS, accounts: 16, ..RigConfig::default() };
        let mut rig = runtime.block_on(Rig::start(config)).unwrap();
        let all = 0..rig.validators();
        let binary = Path::new(env!("CARGO_BIN_EXE_tandem"));
        let host = runtime.block_on(rig.add_host(binary, "host", all, "prysm", &[])).unwrap();
        Self { runtime, rig, host }
    }

    pub fn start(&self, flags: &[&str]) -> Family {
        let config = self.host.dir.join("tandem.toml");
        let args = [&["run", "--config", config.to_str().unwrap()], flags].concat();
        Family::start_in(&args, Some(&self.host.dir))
    }

    /// Starts it and waits until it is ready.
    pub fn ready(&self, flags: &[&str]) -> Family {
        let mut family = self.start(flags);
        let url = format!("{}/readyz", self.host.gateway);
        family.until("/readyz", Duration::from_secs(60), |_| {
            self.runtime.block_on(http::get(&url, PATIENCE)).is_ok_and(|a| a.status == 200)
        });
        family
    }

    /// A served slot that is not over before the test is. A host delegates its slots one after the other as it
    /// starts.
    pub fn far_slot(&self) -> u64 {
        let begin = Instant::now();
        loop {
            let served = self.runtime.block_on(ask::served(&self.host.gateway)).unwrap_or_default();
            let last = served.iter().map(|s| s.slot).max();
            if let Some(slot) = last.filter(|slot| *slot >= self.rig.slot_now() + FAR) {
                return slot;
            }
            assert!(begin.elapsed() < Duration::from_secs(90), "the last served slot is {last:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The host's answer to one and the same request.
    pub fn ask(&self, request: &alloy_primitives::Bytes) -> Answer {
        self.runtime.block_on(ask::send(&self.host.gateway, request, PATIENCE))
    }
}

/// A connection to the gateway on which something was begun.
fn begun(gateway: &str, text: &str) -> TcpStream {
    let address = gateway.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(text.replace("HERE", address).as_bytes()).unwrap();
    stream
}

/// Waits until the gateway has so many connections beside the one that asks. Whatever was sent on one before is with the
/// host then.
fn until_connected(world: &World, connections: u64) {
    let (url, begin) = (format!("{}/metrics", world.host.gateway), Instant::now());
    loop {
        let all = world.runtime.block_on(http::get(&url, PATIENCE)).unwrap();
        let all = String::from_utf8_lossy(&all.body).into_owned();
        let line = all.lines().find_map(|l| l.strip_prefix("tandem_gateway_connections "));
        let now: u64 = line.unwrap_or_else(|| panic!("no connections in\n{all}")).trim().parse().unwrap();
        if now > connections {
            return;
        }
        assert!(begin.elapsed() < DEADLINE, "{now} connections");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const LISTENER: &str = "GET /events HTTP/1.1\r\nhost: HERE\r\n\r\n";
const HALF: &str = "POST / HTTP/1.1\r\nhost: HERE\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";

/// Nobody but its user reads what a host keeps: private promises are in it. How many files there are.
fn private_files(dir: &Path) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let (path, about) = (entry.path(), entry.metadata().unwrap());
        if about.is_dir() {
            files += private_files(&path);
        } else {
            assert_eq!(about.permissions().mode() & 0o077, 0, "{}", path.display());
            files += 1;
        }
    }
    files
}

#[test]
fn a_host_ends_in_order_at_a_signal_and_knows_its_promises_when_it_starts_again() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let world = World::new();
    let mut host = world.ready(&["--first-use"]);
    world.runtime.block_on(world.rig.connect(&world.host)).unwrap();
    let slot = world.far_slot();
    let wallet = Wallet::nth(1, world.rig.chain_id()).unwrap();
    let (asked, _) = ask::ask(&wallet, 1, 0, slot, 1, Fees::default()).unwrap();
    let promise = world.ask(&asked.request);
    assert!(matches!(promise, Answer::Promise(_)), "{promise:?}");
    assert!(private_files(&world.host.dir.join("data")) > 3, "journal, ledger, the module's store");

    for (to, signal) in [(To::Group, Signal::INT), (To::Program, Signal::TERM)] {
        let ports = host.ports();
        assert_eq!(ports.len(), 2, "gateway and Builder API: {ports:?}");
        // Somebody listens to events, and somebody never finishes what he asks.
        let mut listener = begun(&world.host.gateway, LISTENER);
        let _half = begun(&world.host.gateway, HALF);
        let mut head = [0; 15];
        listener.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        host.signal(to, signal);
        assert!(host.ends_within(DEADLINE).success(), "{}", host.err());
        assert!(
            host.err().contains("stopped with open promises") && host.err().contains("promises=1"),
            "{}",
            host.err()
        );
        // Its streams have an end, and are not only broken off.
        listener.read_to_end(&mut Vec::new()).unwrap();
        host.assert_nothing_is_left(&ports);
        host = world.ready(&[]);
        world.runtime.block_on(ask::wait_until_served(&world.host.gateway, Duration::from_secs(60))).unwrap();
        assert_eq!(world.ask(&asked.request), promise, "the same promise, byte for byte");
    }

    // The second time it does not wait for who never finishes; the promise is as safe as before.
    let (ports, _half) = (host.ports(), begun(&world.host.gateway, HALF));
    until_connected(&world, 1);
    std::thread::sleep(Duration::from_millis(200));
    host.signal(To::Program, Signal::INT);
    host.until("the first is heard", DEADLINE, |f| f.err().contains("stopping; nothing new is promised"));
    std::thread::sleep(Duration::from_millis(300));
    assert!(host.runs(), "it did not wait for a request that is under way:\n{}", host.err());
    // One more ends the waiting for promises, if that is not over yet, and then one ends it all: had it waited for the
    // request, it would end in order.
    for _ in 0..2 {
        if host.runs() {
            host.signal(To::Program, Signal::INT);
            std::thread::sleep(Duration::from_secs(2));
        }
    }
    assert_eq!(host.ends_within(DEADLINE).signal(), Some(9), "{}", host.err());
    host.assert_nothing_is_left(&ports);
    let again = world.ready(&[]);
    world.runtime.block_on(ask::wait_until_served(&world.host.gateway, Duration::from_secs(60))).unwrap();
    assert_eq!(world.ask(&asked.request), promise);
    drop(again);
    world.runtime.block_on(world.rig.stop());
}

/// A moment of a start.
#[derive(Clone, Copy, Debug)]
enum When {
    After(u64),
    Says(usize),
}

#[test]
fn a_host_that_is_still_starting_ends_at_a_signal_and_starts_again() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let world = World::new();
    let mut first = world.ready(&["--first-use"]);
    first.signal(To::Program, Signal::TERM);
    assert!(first.ends_within(DEADLINE).success());
    // Before it does anything, while it reads its files, and at each of its first words: from the first of them on it
    // hears signals, however slow the machine is.
    let moments = [When::After(0), When::After(20), When::After(50), When::Says(1), When::Says(2), When::Says(3)];
    for (n, when) in moments.into_iter().enumerate() {
        let signal = if n % 2 == 0 { Signal::TERM } else { Signal::INT };
        let mut host = world.start(&[]);
        match when {
            When::After(millis) => std::thread::sleep(Duration::from_millis(millis)),
            When::Says(lines) => host.until("its words", DEADLINE, |f| f.err().lines().count() >= lines),
        }
        let ports = host.ports();
        host.signal(To::Program, signal);
        let status = host.ends_within(DEADLINE);
        // Before it hears signals, the system ends it; while it looks for a node, it says that it did not find one.
        let stopped = status.code() == Some(1) && host.err().contains("stopped before a node answered");
        let unheard = matches!(when, When::After(_)) && status.signal() == Some(signal.as_raw());
        assert!(status.success() || stopped || unheard, "{status} at {when:?}\n{}", host.err());
        host.assert_nothing_is_left(&ports);
    }
    let mut last = world.ready(&[]);
    last.signal(To::Program, Signal::INT);
    assert!(last.ends_within(DEADLINE).success());

    // Where no node answers it waits for one, unless it knows the chain from before; a signal ends both.
    let World { runtime, rig, host } = world;
    let dir = tempfile::tempdir().unwrap();
    let config = std::fs::read_to_string(host.dir.join("tandem.toml")).unwrap();
    assert!(config.contains(rig.beacon()), "{config}");
    let config = config.replace(rig.beacon(), "http://127.0.0.1:9").replace(rig.execution(), "http://127.0.0.1:9");
    std::fs::write(host.dir.join("tandem.toml"), config).unwrap();
    let file = host.dir.join("tandem.toml");
    let pin = host.dir.join("data/chain.json");
    for (signal, pinned) in [(Signal::INT, true), (Signal::TERM, true), (Signal::INT, false), (Signal::TERM, false)] {
        if !pinned && pin.exists() {
            std::fs::remove_file(&pin).unwrap();
        }
        let mut lost = Family::start_in(&["run", "--config", file.to_str().unwrap()], Some(dir.path()));
        lost.until("its first words", DEADLINE, |f| !f.err().is_empty());
        std::thread::sleep(Duration::from_secs(1));
        assert!(lost.runs(), "{}", lost.err());
        lost.signal(To::Program, signal);
        assert_eq!(lost.ends_within(DEADLINE).code(), Some(i32::from(!pinned)), "{}", lost.err());
        let said = if pinned { "no promise is open" } else { "stopped before a node answered" };
        assert!(lost.err().contains(said), "{}", lost.err());
        lost.assert_nothing_is_left(&std::collections::BTreeSet::new());
    }
    runtime.block_on(rig.stop());
}
