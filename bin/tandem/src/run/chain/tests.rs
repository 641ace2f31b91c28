#![allow(clippy::unwrap_used)]

use super::*;
use std::time::Instant;
use tandem_devnet::Devnet;
use tandem_types::SlotClock;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

#[test]
fn a_folder_stays_with_its_chain_and_only_the_fork_moves_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chain.json");
    let spec = ChainSpec {
        chain_id: 7,
        genesis_hash: Default::default(),
        genesis_validators_root: Default::default(),
        genesis_fork_version: [0; 4],
        fork_version: [6, 0, 0, 0],
        clock: SlotClock::real(1_700_000_000, 12),
        devnet: true,
    };
    pin(&path, &spec).unwrap();
    pin(&path, &ChainSpec { fork_version: [7, 0, 0, 0], ..spec }).unwrap();
    let other = pin(&path, &ChainSpec { chain_id: 8, ..spec }).unwrap_err().to_string();
    assert!(other.contains("Remedy"), "{other}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing half-written stays");
}

/// The deadline of a call: no start that waits for a silent node is over before.
const DEADLINE_MS: u64 = 60_000;
/// What else a start and an answer may take on a loaded machine.
const HALF: Duration = Duration::from_millis(DEADLINE_MS / 2);

/// A server that accepts and stays silent until it is opened; then it passes on to another.
async fn silent(to: &str) -> (String, watch::Sender<bool>) {
    let to = to.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (open, is_open) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (to, mut is_open) = (to.clone(), is_open.clone());
            tokio::spawn(async move {
                if is_open.wait_for(|open| *open).await.is_ok() {
                    let mut server = TcpStream::connect(to).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    (url, open)
}

fn node(execution: &str, beacon: &str) -> NodeConfig {
    NodeConfig { execution: execution.parse().unwrap(), beacon: beacon.parse().unwrap(), engine: None, jwt: None }
}

async fn devnet(chain_id: u64) -> Devnet {
    let config = tandem_devnet::Config { chain_id, validators: 32, ..Default::default() };
    Devnet::start(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_holds_no_pinned_start_up_and_is_heard_when_it_speaks_of_another_chain() {
    let (ours, other) = (devnet(7).await, devnet(8).await);
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.paths.data = dir.path().to_owned();
    config.limits.deadline_ms = DEADLINE_MS;
    let good = || node(&ours.execution_url(), &ours.beacon_url());
    config.nodes = vec![good()];
    Chain::find(&config).await.unwrap();
    assert!(dir.path().join(PIN).exists());
    for first in [true, false] {
        let ((execution, opens), (beacon, _)) =
            (silent(&other.execution_url()).await, silent(&other.beacon_url()).await);
        config.nodes = vec![good(), node(&execution, &beacon)];
        if first {
            config.nodes.reverse();
        }
        let begin = Instant::now();
        let mut chain = Chain::find(&config).await.unwrap();
        assert!(begin.elapsed() < HALF, "{:?}", begin.elapsed());
        assert_eq!(chain.spec.chain_id, 7);
        assert!(tokio::time::timeout(Duration::from_millis(50), chain.unheard.wrong()).await.is_err());
        opens.send_replace(true);
        let wrong = tokio::time::timeout(Duration::from_secs(60), chain.unheard.wrong()).await.unwrap();
        assert!(matches!(wrong, NodeError::WrongChain { .. }), "{wrong}");
    }
    ours.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_pair_holds_no_pinned_start_up_whichever_half_of_it_is_silent_and_both() {
    let ours = devnet(7).await;
    let dir = tempfile::tempdir().unwrap();
    let (mut config, file) = (Config::default(), dir.path().join(PIN));
    config.paths.data = dir.path().to_owned();
    config.limits.deadline_ms = DEADLINE_MS;
    config.nodes = vec![node(&ours.execution_url(), &ours.beacon_url())];
    let spec = Chain::find(&config).await.unwrap().spec;
    // The last start was before a fork.
    let stale = ChainSpec { fork_version: [9; 4], ..spec };
    let (execution, opens) = silent(&ours.execution_url()).await;
    let (beacon, _stays) = silent(&ours.beacon_url()).await;
    let (good_execution, good_beacon) = (ours.execution_url(), ours.beacon_url());
    for (pair, fork) in [
        (node(&execution, &good_beacon), spec.fork_version),
        (node(&good_execution, &beacon), stale.fork_version),
        (node(&execution, &beacon), stale.fork_version),
    ] {
        config.nodes = vec![pair];
        let mut tries = 0;
        let mut chain = loop {
            std::fs::write(&file, serde_json::to_vec(&stale).unwrap()).unwrap();
            let begin = Instant::now();
            let chain = Chain::find(&config).await.unwrap();
            assert!(begin.elapsed() < HALF, "{:?}", begin.elapsed());
            tries += 1;
            // A beacon node that speaks has a second for it, which a loaded machine may not give it.
            if chain.spec.fork_version == fork || tries == 4 {
                break chain;
            }
        };
        assert_eq!((chain.spec, chain.unheard.found().is_none()), (ChainSpec { fork_version: fork, ..spec }, true));
        assert_eq!(read_pin(&file).unwrap(), Some(chain.spec), "what is told is there at the next start");
    }
    // It speaks at last, and of our chain.
    config.nodes = vec![node(&execution, &good_beacon)];
    let mut chain = Chain::find(&config).await.unwrap();
    assert!(!chain.unheard.asked.is_empty(), "it is still asked");
    opens.send_replace(true);
    let begin = Instant::now();
    while !chain.unheard.asked.is_empty() {
        assert!(begin.elapsed() < HALF, "it was never heard");
        assert!(tokio::time::timeout(Duration::from_millis(50), chain.unheard.wrong()).await.is_err());
    }
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_chains_node_is_found_by_a_pinned_start_and_its_chain_not_taken() {
    let (ours, other) = (devnet(7).await, devnet(8).await);
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.paths.data = dir.path().to_owned();
    config.nodes = vec![node(&ours.execution_url(), &ours.beacon_url())];
    let spec = Chain::find(&config).await.unwrap().spec;
    for execution in [true, false] {
        config.nodes = vec![if execution {
            node(&other.execution_url(), &ours.beacon_url())
        } else {
            node(&ours.execution_url(), &other.beacon_url())
        }];
        let mut chain = Chain::find(&config).await.unwrap();
        assert_eq!(chain.spec, spec);
        // At once, or on a loaded machine a moment after a good beacon node's word.
        let wrong = tokio::time::timeout(Duration::from_secs(60), chain.unheard.wrong()).await.unwrap();
        assert!(matches!(wrong, NodeError::WrongChain { .. }), "{wrong}");
        assert!(other_chain(wrong).to_string().contains("Remedy"));
        assert_eq!(read_pin(&dir.path().join(PIN)).unwrap(), Some(spec));
    }
    ours.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unpinned_start_waits_for_each_node_and_pins_nothing_while_two_differ() {
    let (ours, other) = (devnet(7).await, devnet(8).await);
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.paths.data = dir.path().to_owned();
    let (beacon, opens) = silent(&other.beacon_url()).await;
    config.nodes = vec![node(&ours.execution_url(), &ours.beacon_url()), node(&other.execution_url(), &beacon)];
    opens.send_replace(true);
    let wrong = Chain::find(&config).await.err().unwrap();
    assert!(format!("{wrong:#}").contains("another chain"), "{wrong:#}");
    assert!(!dir.path().join(PIN).exists());
    // One that gives no answer within a call's time is no fault of the others.
    let (execution, _silent) = silent(&ours.execution_url()).await;
    config.nodes[1] = node(&execution, &ours.beacon_url());
    let begin = Instant::now();
    config.limits.deadline_ms = 1_500;
    Chain::find(&config).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(1_500), "{:?}", begin.elapsed());
    assert!(dir.path().join(PIN).exists());
    ours.stop().await;
    other.stop().await;
}

#[test]
fn mainnets_forks_are_taken_for_mainnet_and_the_devnet_alone() {
    let spec = |chain_id, devnet| ChainSpec {
        chain_id,
        genesis_hash: Default::default(),
        genesis_validators_root: Default::default(),
        genesis_fork_version: [0; 4],
        fork_version: [0; 4],
        clock: SlotClock::real(0, 12),
        devnet,
    };
    let mut config = Config::default();
    assert!(forks_fit(&config, &spec(1, false)).is_ok());
    assert!(forks_fit(&config, &spec(560_048, true)).is_ok());
    assert!(forks_fit(&config, &spec(560_048, false)).unwrap_err().to_string().contains("[state.forks]"));
    config.state.forks.osaka = 1;
    assert!(forks_fit(&config, &spec(560_048, false)).is_ok());
}
