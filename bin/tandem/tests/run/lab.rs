//! `tandem devnet` and `tandem lab`, which start hosts and make folders.

use crate::family::{DEADLINE, Family, To, text};
use rustix::process::{Signal, kill_process};
use std::{
    os::unix::process::ExitStatusExt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// One at a time: the machine is small, and a demo wants it all.
pub static TURN: Mutex<()> = Mutex::new(());

/// What the program exits with where a signal ended its work, as shells know it.
fn code(signal: Signal) -> i32 {
    128 + signal.as_raw()
}

#[test]
fn a_devnet_ends_at_a_signal_whenever_it_comes() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for (n, moment) in [Some(0), Some(10), Some(30), Some(60), None, None].into_iter().enumerate() {
        let signal = if n % 2 == 0 { Signal::INT } else { Signal::TERM };
        let mut devnet = Family::start(&["devnet", "--slot-ms", "500"]);
        match moment {
            Some(millis) => std::thread::sleep(Duration::from_millis(millis)),
            // It listens, and has printed nothing yet: it hears signals.
            None => devnet.until("its port", DEADLINE, |f| !f.ports().is_empty()),
        }
        let ports = devnet.ports();
        devnet.signal(To::Program, signal);
        let status = devnet.ends_within(DEADLINE);
        // Before it hears signals, the system ends it.
        let unheard = moment.is_some() && status.signal() == Some(signal.as_raw());
        assert!(status.success() || unheard, "{status} at {moment:?}");
        devnet.assert_nothing_is_left(&ports);
    }
    for (to, signal) in [(To::Group, Signal::INT), (To::Program, Signal::TERM)] {
        let mut devnet = Family::start(&["devnet", "--slot-ms", "500"]);
        devnet.says("Ctrl-C ends it.");
        let ports = devnet.ports();
        assert_eq!(ports.len(), 2, "execution and beacon: {ports:?}");
        let said = devnet.said();
        assert!(
            said.contains("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266") && said.contains("EVERYBODY KNOWS"),
            "{said}"
        );
        devnet.signal(to, signal);
        // It was to run until then: that is no fault.
        assert!(devnet.ends_within(DEADLINE).success());
        devnet.assert_nothing_is_left(&ports);
    }
}

#[test]
fn a_demo_that_is_stopped_leaves_nothing_behind_and_tells_the_signal() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let moments = [
        ("an Ethereum L1 with", To::Group, Signal::INT),
        ("three relays run", To::Program, Signal::TERM),
        ("host west", To::Group, Signal::TERM),
        ("asking for promises", To::Program, Signal::INT),
        ("is back", To::Group, Signal::INT),
    ];
    for (words, to, signal) in moments {
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("report.json");
        let report = report.to_str().unwrap();
        let mut demo = Family::start(&["lab", "demo", "--slot-ms", "1000", "--report", report]);
        demo.says(words);
        let ports = demo.ports();
        assert!(ports.len() >= 2, "{ports:?}");
        demo.signal(to, signal);
        let status = demo.ends_within(DEADLINE);
        assert_eq!(status.code(), Some(code(signal)), "at {words:?}: {status}\n{}", demo.err());
        assert!(demo.err().contains("stopped by SIG"), "{}", demo.err());
        demo.assert_nothing_is_left(&ports);
        // Who reads the report learns that it came to no table.
        let checks: serde_json::Value = serde_json::from_str(&text(report)).unwrap();
        assert_eq!(checks["checks"][0]["ok"], false, "{checks}");
    }
}

#[test]
fn other_lab_commands_leave_nothing_behind_either() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let commands: [(&[&str], To, Signal); 2] = [
        (&["lab", "kill-loop", "--rounds", "1000", "--seed", "1"], To::Group, Signal::INT),
        (&["lab", "bench", "start.ready"], To::Program, Signal::TERM),
    ];
    for (args, to, signal) in commands {
        let mut lab = Family::start(args);
        lab.until("a host of it", Duration::from_secs(120), |f| f.ports().len() > 2);
        let ports = lab.ports();
        lab.signal(to, signal);
        let status = lab.ends_within(DEADLINE);
        assert_eq!(status.code(), Some(code(signal)), "{args:?}: {status}\n{}", lab.err());
        lab.assert_nothing_is_left(&ports);
    }
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_hosts_that_do_not_end() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut demo = Family::start(&["lab", "demo", "--keep", "--slot-ms", "1000"]);
    demo.until("the end of the table", Duration::from_secs(300), |f| f.said().contains("left running until Ctrl-C"));
    let (hosts, ports) = (demo.children(), demo.ports());
    assert_eq!(hosts.len(), 3, "{hosts:?}");
    // They hear nothing any more, and are given five seconds each.
    hosts.iter().for_each(|host| kill_process(*host, Signal::STOP).unwrap());
    demo.signal(To::Program, Signal::INT);
    std::thread::sleep(Duration::from_secs(2));
    assert!(demo.runs(), "it did not wait for its hosts");
    // Three hosts that do not hear are waited for 15 seconds. Two signals that come before it is awake are one to it.
    let begin = Instant::now();
    while demo.runs() && begin.elapsed() < Duration::from_secs(8) {
        demo.signal(To::Program, Signal::INT);
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(demo.ends_within(Duration::from_secs(1)).signal(), Some(9));
    demo.assert_nothing_is_left(&ports);
}
