//! The feed against a fake node that reorgs, loses events, lags and lies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use fake::Fake;
use serde_json::json;
use std::time::Duration;
use tandem_feed::{Change, Config, Cursor, Diverged, Entry, Feed, FeedError, Resume, Subscription};
use tandem_node::{BeaconNode, ExecutionNode, Limits, NodeError};
use tandem_types::{BlockId, Slot};

const SOON: Duration = Duration::from_secs(20);

fn feed_with(fake: &Fake, config: Config, record: Option<std::path::PathBuf>) -> Feed {
    let beacon = BeaconNode::new(&fake.url, Limits::default()).unwrap();
    let execution = ExecutionNode::new(&fake.url, Limits::default()).unwrap();
    Feed::start(vec![beacon], execution, fake.spec(), config, record).unwrap()
}
fn feed(fake: &Fake) -> Feed {
    feed_with(fake, Config::default(), None)
}
async fn next(s: &mut Subscription) -> Entry {
    tokio::time::timeout(SOON, s.next()).await.expect("an entry in time").unwrap()
}
/// Waits until the reader is at a block, and gives what it was told on the way.
async fn until(s: &mut Subscription, id: BlockId) -> Vec<Entry> {
    let mut out = Vec::new();
    while s.cursor().is_none_or(|c| c.at != id) {
        out.push(next(s).await);
    }
    out
}
async fn wait_status(feed: &Feed, mut f: impl FnMut(&tandem_feed::FeedStatus) -> bool) -> tandem_feed::FeedStatus {
    let mut status = feed.status();
    tokio::time::timeout(SOON, status.wait_for(|s| f(s))).await.expect("a status in time").unwrap().clone()
}
fn words(entries: &[Entry]) -> Vec<(char, u64)> {
    let word = |e: &Entry| match &e.change {
        Change::Apply(b) => ('+', b.id().number),
        Change::Undo(b) => ('-', b.id().number),
        Change::Final(id) => ('f', id.number),
        Change::Gap { to, .. } => ('g', *to),
    };
    entries.iter().map(word).collect()
}
fn genesis(fake: &Fake) -> Cursor {
    let at = BlockId { number: 0, hash: fake.genesis };
    Cursor { seq: 0, at, finalized: at }
}

#[tokio::test]
async fn blocks_come_in_order_with_slot_sender_and_receipts() {
    let fake = Fake::start().await;
    fake.grow(3, 0);
    let feed = feed(&fake);
    let mut s = feed.subscribe(Resume::At(genesis(&fake)));
    let entries = until(&mut s, fake.head()).await;
    assert_eq!(words(&entries), [('+', 1), ('+', 2), ('+', 3)]);
    assert_eq!(entries.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3]);
    let Change::Apply(block) = &entries[1].change else { panic!() };
    assert_eq!(block.slot, Some(Slot::new(2)));
    assert_eq!((block.txs().len(), block.chain.receipts.len(), block.chain.gas_used(0)), (1, 1, Some(21_000)));
    let key = alloy_signer_local::PrivateKeySigner::from_bytes(&alloy_primitives::B256::with_last_byte(1)).unwrap();
    assert_eq!(block.txs()[0].sender, key.address());
}

#[tokio::test]
async fn a_reorg_is_undone_newest_first_and_applied_oldest_first() {
    let fake = Fake::start().await;
    fake.grow(5, 0);
    let feed = feed(&fake);
    let mut s = feed.subscribe(Resume::At(genesis(&fake)));
    until(&mut s, fake.head()).await;
    let old = fake.canonical();
    fake.reorg(3, 4, 1);
    fake.say_head();
    let entries = until(&mut s, fake.head()).await;
    assert_eq!(words(&entries), [('-', 5), ('-', 4), ('-', 3), ('+', 3), ('+', 4), ('+', 5), ('+', 6)]);
    let undone: Vec<_> =
        entries.iter().filter_map(|e| if let Change::Undo(b) = &e.change { Some(b.id()) } else { None }).collect();
    assert_eq!(undone, [old[5], old[4], old[3]]);
    assert_eq!(feed.status().borrow().reorgs, 1);
}

#[tokio::test]
async fn a_head_that_moves_back_to_an_ancestor_is_undone_too() {
    let fake = Fake::start().await;
    fake.grow(4, 0);
    let feed = feed(&fake);
    let mut s = feed.subscribe(Resume::At(genesis(&fake)));
    until(&mut s, fake.head()).await;
    fake.reorg(2, 0, 0);
    assert_eq!(words(&until(&mut s, fake.head()).await), [('-', 4), ('-', 3)]);
}

#[tokio::test]
async fn blocks_of_lost_events_are_filled_in_by_their_parents() {
    let fake = Fake::start().await;
    fake.grow(1, 0);
    let feed = feed(&fake);
    let mut s = feed.subscribe(Resume::Tip);
    wait_status(&feed, |s| s.live && s.head.is_some()).await;
    tokio::time::timeout(Duration::from_millis(50), s.next()).await.expect_err("nothing is after the tip");
    // The stream breaks; four blocks come while nobody listens.
    fake.events.send(("end".into(), String::new())).unwrap();
    fake.grow(4, 0);
    assert_eq!(words(&until(&mut s, fake.head()).await), [('+', 2), ('+', 3), ('+', 4), ('+', 5)]);
    // And it is opened again.
    wait_status(&feed, |s| s.live).await;
}

#[tokio::test]
async fn an_execution_client_behind_its_beacon_node_is_waited_for() {
    let fake = Fake::start().await;
    let feed = feed(&fake);
    let mut s = feed.subscribe(Resume::At(genesis(&fake)));
    wait_status(&feed, |s| s.head.is_some()).await;
    let id = fake.grow(1, 0)[0];
    fake.world.lock().unwrap().lagging.insert(id.hash);
    fake.say_head();
    wait_status(&feed, |s| matches!(s.error, Some(FeedError::Node(NodeError::NotFound { .. })))).await;
    fake.world.lock().unwrap().lagging.clear();
    assert_eq!(words(&until(&mut s, id).await), [('+', 1)]);
    wait_status(&feed, |s| s.error.is_none()).await;
}

#[tokio::test]
async fn content_that_does_not_hash_to_what_was_asked_for_is_never_delivered() {
    let changes: [fn(&mut serde_json::Value, &mut serde_json::Value); 6] = [
        |b, _| b["stateRoot"] = json!("0x1111111111111111111111111111111111111111111111111111111111111111"),
        |b, _| b["timestamp"] = json!("0x1"),
        |b, _| b["transactions"] = json!([]),
        |b, _| b["transactions"][0]["value"] = json!("0x7777"),
        |b, _| b["transactions"][0]["from"] = json!("0x1111111111111111111111111111111111111111"),
        |_, r| r[0]["status"] = json!("0x0"),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let fake = Fake::start().await;
        let feed = feed(&fake);
        let mut s = feed.subscribe(Resume::At(genesis(&fake)));
        wait_status(&feed, |s| s.head.is_some()).await;
        let id = {
            let mut w = fake.world.lock().unwrap();
            let id = w.grow(0);
            let (mut b, mut r) = (w.blocks[&id.hash].json.clone(), w.blocks[&id.hash].receipts.clone());
            change(&mut b, &mut r);
            w.lies.insert(id.hash, (b, r));
            id
        };
        fake.say_head();
        let lied = |s: &tandem_feed::FeedStatus| matches!(s.error, Some(FeedError::Node(NodeError::Untrue { .. })));
        assert_eq!(wait_status(&feed, lied).await.head.unwrap().number, 0, "lie {i}");
        // Negative control: the same block told truly is delivered.
        fake.world.lock().unwrap().lies.clear();
        assert_eq!(words(&until(&mut s, id).await), [('+', 1)], "lie {i}");
    }
}

#[tokio::test]
async fn since_when_nothing_succeeds_is_told_until_something_does() {
    let fake = Fake::start().await;
    let feed = feed(&fake);
    let well = wait_status(&feed, |s| s.head.is_some() && s.error.is_none()).await;
    assert_eq!(well.failing_since, None);
    fake.world.lock().unwrap().optimistic = true;
    fake.grow(1, 0);
    fake.say_head();
    let since = wait_status(&feed, |s| s.error.is_some()).await.failing_since;
    assert!(since.is_some());
    fake.world.lock().unwrap().optimistic = false;
    let well = wait_status(&feed, |s| s.error.is_none()).await;
    assert_eq!(well.failing_since, None);
}

#[tokio::test]
async fn an_optimistic_head_is_not_followed_until_it_is_validated() {
    let fake = Fake::start().await;
    let feed = feed(&fake);
    let mut s = feed.subscribe(Resume::At(genesis(&fake)));
    wait_status(&feed, |s| s.head.is_some()).await;
    fake.world.lock().unwrap().optimistic = true;
    let id = fake.grow(1, 0)[0];
    fake.say_head();
    let status = wait_status(&feed, |s| s.error == Some(FeedError::Optimistic)).await;
    assert_eq!(status.head.unwrap().number, 0);
    fake.world.lock().unwrap().optimistic = false;
    assert_eq!(words(&until(&mut s, id).await), [('+', 1)]);
}

#[tokio::test]
async fn finality_is_said_once_after_its_block_and_never_moves_back() {
    let fake = Fake::start().await;
    fake.grow(6, 0);
    fake.finalize(4);
    let feed = feed(&fake);
    let mut s = feed.subscribe(Resume::At(genesis(&fake)));
    let entries = until(&mut s, fake.head()).await;
    assert_eq!(words(&entries), [('+', 1), ('+', 2), ('+', 3), ('+', 4), ('f', 4), ('+', 5), ('+', 6)]);
    // A head that leaves the final block out is refused, and so is another final block.
    let truth = fake.canonical();
    fake.reorg(4, 6, 1);
    fake.say_head();
    let refused = wait_status(&feed, |s| matches!(s.error, Some(FeedError::Diverged(Diverged::Head { .. })))).await;
    assert_eq!((refused.head, refused.finalized), (Some(truth[6]), Some(truth[4])));
    fake.finalize(4);
    wait_status(&feed, |s| matches!(s.error, Some(FeedError::Diverged(_)))).await;
    {
        let mut w = fake.world.lock().unwrap();
        w.canonical = truth.iter().map(|id| id.hash).collect();
        w.finalized = truth[5].hash;
    }
    assert_eq!(words(&[next(&mut s).await]), [('f', 5)]);
}

#[tokio::test]
async fn finality_is_found_by_asking_while_heads_come_faster_than_the_poll() {
    let fake = Fake::start().await;
    let feed = feed(&fake);
    wait_status(&feed, |s| s.live && s.head.is_some()).await;
    fake.grow(1, 0);
    let final_one = fake.finalize(1);
    // 20 ms a head, 200 ms a poll.
    let heads = fake.clone();
    let task = tokio::spawn(async move {
        loop {
            heads.grow(1, 0);
            heads.say_head();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    wait_status(&feed, |s| s.finalized == Some(final_one)).await;
    task.abort();
}

#[tokio::test]
async fn a_restart_goes_on_after_the_readers_own_block_and_undoes_what_left_meanwhile() {
    let fake = Fake::start().await;
    fake.grow(5, 0);
    let cursor = {
        let feed = feed(&fake);
        let mut s = feed.subscribe(Resume::At(genesis(&fake)));
        until(&mut s, fake.head()).await;
        s.cursor().unwrap()
    };
    fake.reorg(2, 3, 1);
    let feed = feed(&fake);
    let mut s = feed.subscribe(Resume::At(cursor));
    let entries = until(&mut s, fake.head()).await;
    assert_eq!(words(&entries), [('-', 5), ('-', 4), ('+', 4), ('+', 5), ('+', 6)]);
    assert_eq!(entries.iter().map(|e| e.seq).collect::<Vec<_>>(), [6, 7, 8, 9, 10]);
}

#[tokio::test]
async fn a_reader_that_was_away_past_finality_is_led_through_every_block() {
    let fake = Fake::start().await;
    fake.grow(40, 0);
    fake.finalize(35);
    // A reader on a branch that has long been replaced.
    let mut cursor = genesis(&fake);
    let orphan = {
        let mut w = fake.world.lock().unwrap();
        let parent = w.blocks[&w.canonical[2]].clone();
        let b = fake::make(Some(&parent), 50, 3);
        let id = b.id;
        w.blocks.insert(id.hash, b);
        id
    };
    cursor.at = orphan;
    let feed = feed(&fake);
    let mut s = feed.subscribe(Resume::At(cursor));
    let entries = until(&mut s, fake.head()).await;
    let mut want = vec![('-', 3)];
    want.extend((3..=35).map(|n| ('+', n)));
    want.push(('f', 35));
    want.extend((36..=40).map(|n| ('+', n)));
    assert_eq!(words(&entries), want);
}

#[tokio::test]
async fn more_than_the_bound_is_an_explicit_gap() {
    let fake = Fake::start().await;
    fake.grow(100, 0);
    fake.finalize(95);
    let feed = feed_with(&fake, Config { max_blocks: 64, ..Config::default() }, None);
    let mut s = feed.subscribe(Resume::At(genesis(&fake)));
    let entries = until(&mut s, fake.head()).await;
    assert_eq!(entries[0].change, Change::Gap { from: 1, to: 95 });
    assert_eq!(words(&entries[1..]), [('f', 95), ('+', 96), ('+', 97), ('+', 98), ('+', 99), ('+', 100)]);
}

#[tokio::test]
async fn what_was_final_before_a_restart_stays_final_after_it() {
    let fake = Fake::start().await;
    fake.grow(6, 0);
    let dir = tempfile::tempdir().unwrap();
    let record = Some(dir.path().join("final.json"));
    let truth = {
        let feed = feed_with(&fake, Config::default(), record.clone());
        wait_status(&feed, |s| s.head.is_some()).await;
        let id = fake.finalize(4);
        wait_status(&feed, |s| s.finalized == Some(id)).await;
        fake.canonical()
    };
    // The chain comes back without the final block, and with later finality of its own.
    fake.reorg(4, 6, 1);
    fake.finalize(6);
    let feed = feed_with(&fake, Config::default(), record.clone());
    let refused = wait_status(&feed, |s| matches!(s.error, Some(FeedError::Diverged(Diverged::Final { .. })))).await;
    assert_eq!((refused.head, refused.finalized), (None, Some(truth[4])));
    drop(feed);
    // Negative control: without the record nothing is known, and it is followed.
    let feed = feed_with(&fake, Config::default(), None);
    wait_status(&feed, |s| s.head.is_some()).await;
}

#[tokio::test]
async fn a_node_of_another_chain_is_named_and_not_followed() {
    let fake = Fake::start().await;
    fake.world.lock().unwrap().chain_id = 8;
    let feed = feed(&fake);
    let status = wait_status(&feed, |s| matches!(s.error, Some(FeedError::Node(NodeError::WrongChain { .. })))).await;
    assert!(status.error.unwrap().to_string().contains("chain id is 8, expected 7"));
    // However often it is asked.
    let calls = fake.world.lock().unwrap().calls;
    while fake.world.lock().unwrap().calls < calls + 5 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(feed.status().borrow().head, None);
    // Negative control: the right chain is.
    fake.world.lock().unwrap().chain_id = 7;
    wait_status(&feed, |s| s.head.is_some()).await;
}

#[tokio::test]
async fn beacon_nodes_stand_in_for_each_other_and_without_any_the_feed_stands_still() {
    let first = Fake::start().await;
    // The execution client has an address of its own, and stays.
    let (second, execution) = (first.beside().await, first.beside().await);
    first.grow(2, 0);
    let node = |fake: &Fake| BeaconNode::new(&fake.url, Limits::default()).unwrap();
    let client = ExecutionNode::new(&execution.url, Limits::default()).unwrap();
    let beacons = vec![node(&first), node(&second)];
    let feed = Feed::start(beacons, client, first.spec(), Config::default(), None).unwrap();
    let at = |id: BlockId| move |s: &tandem_feed::FeedStatus| s.head == Some(id);
    wait_status(&feed, at(first.head())).await;

    // The one that is followed goes, while it is connected and at rest; then the other, once the first is back.
    let down = |fake: &Fake, is| fake.down.store(is, std::sync::atomic::Ordering::SeqCst);
    for (gone, left) in [(&first, &second), (&second, &first)] {
        down(left, false);
        down(gone, true);
        gone.events.send(("end".into(), String::new())).ok();
        left.grow(1, 1);
        wait_status(&feed, |s| s.head == Some(left.head()) && s.live && s.error.is_none()).await;
    }

    // Negative control: with both gone there is no news, and the status says whose fault it is.
    down(&first, true);
    let before = first.head();
    first.events.send(("end".into(), String::new())).ok();
    let status = wait_status(&feed, |s| s.error.is_some()).await;
    assert!(matches!(status.error, Some(FeedError::Node(NodeError::Status { status: 503, .. }))), "{status:?}");
    first.grow(1, 2);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(feed.status().borrow().head, Some(before));
    down(&second, false);
    wait_status(&feed, at(first.head())).await;
}

/// Random growth, reorgs and finality, with readers that come, go and resume: replaying what each was
/// told gives the canonical chain, and nothing ever comes twice or out of order.
#[tokio::test]
async fn any_history_replayed_by_any_reader_gives_the_canonical_chain() {
    use rand::{Rng, SeedableRng};
    for seed in 0..6u64 {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let fake = Fake::start().await;
        let feed = feed(&fake);
        let mut readers: Vec<(Subscription, Vec<BlockId>)> = Vec::new();
        for step in 0..25 {
            if rng.random_bool(0.2) || readers.is_empty() {
                readers.push((feed.subscribe(Resume::At(genesis(&fake))), vec![genesis(&fake).at]));
            }
            let length = fake.canonical().len();
            let finalized = {
                let w = fake.world.lock().unwrap();
                w.canonical.iter().position(|h| *h == w.finalized).unwrap()
            };
            match rng.random_range(0..10) {
                0..5 => drop(fake.grow(rng.random_range(1..4), step)),
                5..8 => {
                    let depth = rng.random_range(0..=(length - 1 - finalized).min(5));
                    fake.reorg(depth, depth + rng.random_range(1..3), step);
                }
                _ => drop(fake.finalize(rng.random_range(finalized..length))),
            }
            if rng.random_bool(0.7) {
                fake.say_head();
            }
            for (reader, chain) in &mut readers {
                if rng.random_bool(0.2) {
                    // A restart: only the cursor is left.
                    *reader = feed.subscribe(Resume::At(reader.cursor().unwrap_or(genesis(&fake))));
                }
                for _ in 0..rng.random_range(0..6) {
                    let Ok(e) = tokio::time::timeout(Duration::from_millis(20), reader.next()).await else { break };
                    replay(chain, &e.unwrap(), seed);
                }
            }
        }
        for (reader, chain) in &mut readers {
            while chain.last() != Some(&fake.head()) {
                replay(chain, &next(reader).await, seed);
            }
            assert_eq!(*chain, fake.canonical(), "seed {seed}");
        }
    }
}

fn replay(chain: &mut Vec<BlockId>, e: &Entry, seed: u64) {
    match &e.change {
        Change::Apply(b) => {
            assert_eq!(chain.last().map(|l| l.hash), Some(b.parent()), "seed {seed}");
            chain.push(b.id());
        }
        Change::Undo(b) => assert_eq!(chain.pop(), Some(b.id()), "seed {seed}"),
        Change::Final(id) => assert!(chain.contains(id), "seed {seed}"),
        Change::Gap { .. } => panic!("seed {seed}: nothing is missing"),
    }
    assert_eq!(chain.last(), Some(&e.cursor.at), "seed {seed}");
}
