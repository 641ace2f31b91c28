//! What became of promises, and when promising stops.

use super::{fakes::*, world::*};
use crate::{Holds, due::AccountView, ports::ProposerDuty};
use alloy_primitives::U256;
use tandem_module::Slots;
use tandem_types::{BlockId, Cause, Fate, SlotKey};

fn account(nonce: u64, balance: u64, has_code: bool) -> AccountView {
    AccountView { nonce, balance: U256::from(balance), has_code, ..AccountView::default() }
}
fn cause(f: Option<(Fate, bool)>) -> Option<Cause> {
    match f {
        Some((Fate::Excused { cause, .. } | Fate::Broken { cause, .. }, _)) => Some(cause),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voided_nonce_a_short_balance_and_code_excuse_and_so_are_successors() {
    let world = World::new();
    let host = world.start_registered().await;
    let mut seqs = Vec::new();
    for tx in [transfer(1, 0, 1), transfer(1, 1, 1), transfer(2, 0, 1), transfer(3, 0, 1), transfer(4, 0, 1)] {
        seqs.push(host.promise(&world, &tx).await.unwrap().seq);
    }
    for (n, view) in [(1, account(1, u64::MAX, false)), (2, account(0, 5, false)), (3, account(0, u64::MAX, true))] {
        world.node.accounts.lock().insert((world.head().hash, sender(n).address()), view);
    }
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    let payload = host.blocks.core.offers.payload(bid.message.header.block_hash).unwrap().unwrap();
    assert_eq!(payload.execution_payload.transactions.len(), 1, "only the last one is due");
    let id = BlockId { number: SLOT.get(), hash: bid.message.header.block_hash };
    world.at(SLOT.get(), 3_000);
    host.blocks.on_apply(chain_block(id, world.head().hash, SLOT.get(), &[*transfer(4, 0, 1).tx_hash()])).await;
    let fates: Vec<_> = seqs.iter().map(|s| host.blocks.fate(*s)).collect();
    let causes: Vec<_> = fates.iter().cloned().map(cause).collect();
    use Cause::*;
    assert_eq!(causes, [Some(NonceUsed), Some(Predecessor), Some(BalanceShort), Some(CodeAppeared), None]);
    assert!(fates[..4].iter().all(|f| matches!(f, Some((Fate::Excused { .. }, false)))), "{fates:?}");
    assert_eq!(fates[4], Some((Fate::Kept { block: id }, false)));
    assert!(host.blocks.status().closed.is_none(), "an offered block is no reason to stop");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promise_that_another_proposer_includes_early_is_early_until_a_reorg_takes_it_back() {
    let world = World::new();
    let host = world.start_registered().await;
    let tx = transfer(1, 0, 1);
    let seq = host.promise(&world, &tx).await.unwrap().seq;
    let early = world.add_block(39, 1, 0, 39, &[*tx.tx_hash()]);
    host.blocks.on_undo(hash(39, 0)).await;
    host.blocks.on_apply(early.clone()).await;
    assert_eq!(host.blocks.fate(seq), Some((Fate::Early { block: early.id }, false)));
    // On this parent nothing is due any more.
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(early.id));
    let answer = host.ask(early.id).await;
    assert!(matches!(answer, crate::HeaderAnswer::NoBid(crate::NoBid::NothingBetter)), "{answer:?}");
    // The late block is reorged out: on its parent the promise is due again.
    let mut fates = host.blocks.fates();
    host.blocks.on_undo(early.id.hash).await;
    assert_eq!(host.blocks.fate(seq), None);
    let told = fates.try_recv().expect("whoever shows or books it is told");
    assert_eq!((told.seq, told.holds, told.fate), (seq, Holds::NoMore, Fate::Early { block: early.id }));
    assert!(fates.try_recv().is_err(), "once");
    let parent = BlockId { number: 38, hash: hash(38, 0) };
    host.blocks.on_attributes(world.attributes(parent));
    let bid = host.bid(parent).await;
    assert_eq!(bid.message.header.parent_hash, parent.hash);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_block_breaks_the_promise_and_stops_promising_until_the_operator_looks() {
    let world = World::new();
    let host = world.start_registered().await;
    let seq = host.promise(&world, &transfer(1, 0, 1)).await.unwrap().seq;
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    host.bid(world.head()).await;
    world.at(SLOT.get(), 3_000);
    let foreign = world.add_block(40, 9, 0, 40, &[]);
    host.blocks.on_apply(foreign).await;
    assert!(matches!(host.blocks.fate(seq), Some((Fate::Broken { cause: Cause::LeftOut, .. }, false))));
    assert_eq!(host.blocks.why_closed(None).code, "promising-stopped");
    host.kill().await;
    // A restart does not forget it.
    *world.node.head.lock() = hash(40, 9);
    let host = world.start().await;
    assert_eq!(host.blocks.why_closed(None).code, "promising-stopped");
    host.blocks.resume().unwrap();
    assert_ne!(host.blocks.why_closed(None).code, "promising-stopped");
    host.kill().await;
    let host = world.start().await;
    assert_ne!(host.blocks.why_closed(None).code, "promising-stopped");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_block_that_keeps_what_was_due_stops_promising_only_if_a_header_was_served() {
    // Not asked for; asked for, and answered when the call was given up; asked for and answered.
    for (asked, served) in [(false, false), (true, false), (true, true)] {
        let world = World::new();
        let host = world.start_registered().await;
        let tx = transfer(1, 0, 1);
        let seq = host.promise(&world, &tx).await.unwrap().seq;
        world.at_cutoff();
        host.blocks.on_attributes(world.attributes(world.head()));
        if asked {
            let hash = host.bid(world.head()).await.message.header.block_hash;
            host.blocks.core.header_left(hash, served);
            eventually("the mark is written", || files(world.dir.path(), "served") == 1).await;
            eventually("and what became of it", || files(world.dir.path(), "withheld") == usize::from(!served)).await;
        } else {
            eventually("an own block is there, unasked", || files(world.dir.path(), "offer") == 1).await;
        }
        host.kill().await;
        world.at(SLOT.get(), 3_000);
        let host = world.start().await;
        let local = world.add_block(40, 9, 0, 40, &[*tx.tx_hash()]);
        host.blocks.on_apply(local.clone()).await;
        assert_eq!(host.blocks.fate(seq), Some((Fate::Kept { block: local.id }, false)));
        assert_eq!(host.blocks.core.stopped.read().is_some(), served);
        host.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_slot_excuses_and_does_not_stop_promising() {
    let world = World::new();
    let host = world.start_registered().await;
    let seq = host.promise(&world, &transfer(1, 0, 1)).await.unwrap().seq;
    world.at(SLOT.get() + 1, 4_000);
    let next = world.add_block(40, 1, 0, 41, &[]);
    host.blocks.on_apply(next.clone()).await;
    let Some((Fate::Excused { cause: Cause::Missed, evidence }, false)) = host.blocks.fate(seq) else {
        panic!("{:?}", host.blocks.fate(seq))
    };
    // Between it and its child there is no block.
    assert_eq!((evidence.parent, evidence.block), (Some(world.head()), None));
    assert!(host.blocks.core.stopped.read().is_none());
    // Final: it is settled, and the sender's nonce is free again.
    host.blocks.on_final(next.id).await;
    assert!(matches!(host.blocks.fate(seq), Some((Fate::Excused { cause: Cause::Missed, .. }, true))));
    assert!(host.blocks.pledged(sender(1).address()).is_empty());
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offered_block_that_is_reorged_out_is_an_orphaned_slot() {
    let world = World::new();
    let host = world.start_registered().await;
    let tx = transfer(1, 0, 1);
    let seq = host.promise(&world, &tx).await.unwrap().seq;
    let id = host.served_block(&world).await;
    world.at(SLOT.get(), 3_000);
    host.blocks.on_apply(chain_block(id, world.head().hash, 40, &[*tx.tx_hash()])).await;
    assert!(matches!(host.blocks.fate(seq), Some((Fate::Kept { .. }, false))));
    world.at(SLOT.get() + 1, 3_000);
    host.blocks.on_undo(id.hash).await;
    let fate = host.blocks.fate(seq);
    let Some((Fate::Excused { cause: Cause::Orphaned, evidence }, false)) = &fate else { panic!("{fate:?}") };
    assert_eq!((evidence.parent, evidence.block), (Some(world.head()), Some(id)));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_in_a_block_that_is_undone_while_its_slot_runs_is_told_no_more() {
    let world = World::new();
    let host = world.start_registered().await;
    let tx = transfer(1, 0, 1);
    let seq = host.promise(&world, &tx).await.unwrap().seq;
    let id = host.served_block(&world).await;
    world.at(SLOT.get(), 3_000);
    host.blocks.on_apply(chain_block(id, world.head().hash, 40, &[*tx.tx_hash()])).await;
    let mut fates = host.blocks.fates();
    host.blocks.on_undo(id.hash).await;
    assert_eq!(host.blocks.fate(seq), None);
    let told = fates.try_recv().expect("whoever shows or books it is told");
    assert_eq!((told.seq, told.holds, told.fate), (seq, Holds::NoMore, Fate::Kept { block: id }));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_block_is_told_also_where_promising_is_stopped_already() {
    let world = World::new();
    let host = world.start_registered().await;
    let tx = transfer(1, 0, 1);
    host.promise(&world, &tx).await.unwrap();
    host.served_block(&world).await;
    host.blocks.stop_promising("maintenance").unwrap();
    world.at(SLOT.get(), 3_000);
    // It keeps what is due, so nothing else tells of it.
    let foreign = world.add_block(40, 9, 0, 40, &[*tx.tx_hash()]);
    let left = host.blocks.core.offers.of_slot(SLOT)[0].block_hash();
    host.blocks.core.header_left(left, true);
    host.blocks.on_apply(foreign.clone()).await;
    let why = host.blocks.core.stopped.read().clone().unwrap();
    assert!(why.contains("maintenance") && why.contains(&foreign.id.hash.to_string()), "{why}");
    let file = std::fs::read_to_string(world.dir.path().join("blocks/promising-stopped")).unwrap();
    assert_eq!(file, why);
    let told = host.blocks.status().critical;
    assert!(told.iter().any(|c| c.code == "promising-stopped" && c.slot == Some(SLOT)), "{told:?}");
    // Judged again it is not told twice.
    host.blocks.core.judge_all().await;
    assert_eq!(host.blocks.core.stopped.read().as_deref(), Some(why.as_str()));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_promised_before_registration_or_while_the_node_is_not_synced() {
    let world = World::new();
    let host = world.start().await;
    assert!(host.blocks.open().is_empty());
    assert_eq!(host.blocks.why_closed(Some(SLOT)).code, "proposer-not-registered");
    host.register(&world).await;
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    world.at(SLOT.get() - 2, 50);
    assert_eq!(host.blocks.open().len(), 1);
    world.beacon.health.lock().synced = false;
    host.blocks.core.refresh().await;
    world.at(SLOT.get() - 2, 100);
    assert!(host.blocks.open().is_empty());
    assert_eq!(host.blocks.why_closed(Some(SLOT)).code, "node-not-synced");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_holds_until_its_file_is_taken_away_and_without_a_file_until_a_restart() {
    let world = World::new();
    let host = world.start_registered().await;
    host.blocks.stop_promising("maintenance").unwrap();
    let code = || host.blocks.why_closed(None).code;
    host.blocks.core.on_slot(SLOT).await;
    assert_eq!(code(), "promising-stopped");
    let file = world.dir.path().join("blocks/promising-stopped");
    std::fs::remove_file(&file).unwrap();
    host.blocks.core.on_slot(SLOT).await;
    assert_ne!(code(), "promising-stopped");
    // The file can not be written: nobody has taken it away.
    std::fs::create_dir(&file).unwrap();
    assert!(host.blocks.stop_promising("maintenance").is_err());
    std::fs::remove_dir(&file).unwrap();
    host.blocks.core.on_slot(SLOT).await;
    assert_eq!(code(), "promising-stopped");
    host.kill().await;
}

/// One sender's next two transactions, each promised for a slot of its own.
async fn chained(world: &World) -> (Host, [u64; 2]) {
    let later = SLOT.saturating_add(1);
    world.beacon.duties.lock().push(ProposerDuty { slot: later, pubkey: validator().public_key(), index: INDEX });
    let host = world.start_registered().await;
    let next = SlotKey { slot: later, ..world.key() };
    eventually("both slots open", || host.blocks.core.duties(&next).delegation.is_some()).await;
    let first = host.promise(world, &transfer(1, 0, 1)).await.unwrap().seq;
    let second = host.promise_in(world, later, &transfer(1, 1, 1)).await.unwrap().seq;
    (host, [first, second])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promise_behind_one_that_we_broke_is_broken_with_it_also_once_that_one_is_settled() {
    let world = World::new();
    let (host, seqs) = chained(&world).await;
    world.at(SLOT.get(), 3_000);
    let foreign = world.add_block(40, 9, 0, 40, &[]);
    host.blocks.on_apply(foreign.clone()).await;
    world.at(SLOT.get() + 1, 3_000);
    let next = world.add_block(41, 9, 9, 41, &[]);
    host.blocks.on_apply(next.clone()).await;
    let broken = |seq: u64, is_final| match host.blocks.fate(seq) {
        Some((Fate::Broken { cause: Cause::LeftOut, evidence }, f)) => f == is_final && evidence.block.is_some(),
        _ => false,
    };
    assert!(broken(seqs[0], false) && broken(seqs[1], false), "{:?}", host.blocks.fate(seqs[1]));
    // The first one's slot is final before the other's: what it was is still known then.
    host.blocks.on_final(foreign.id).await;
    assert!(broken(seqs[0], true) && broken(seqs[1], false));
    host.blocks.on_final(next.id).await;
    assert!(broken(seqs[1], true), "{:?}", host.blocks.fate(seqs[1]));
    let Some((Fate::Broken { evidence, .. }, _)) = host.blocks.fate(seqs[1]) else { panic!("broken") };
    assert_eq!((evidence.follows, evidence.nonce), (Some(*transfer(1, 0, 1).tx_hash()), Some(0)));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promise_behind_one_that_is_excused_is_excused_and_names_it() {
    let world = World::new();
    let (host, seqs) = chained(&world).await;
    // The first one's slot is missed.
    world.at(SLOT.get() + 1, 3_000);
    let next = world.add_block(40, 9, 0, 41, &[]);
    host.blocks.on_apply(next.clone()).await;
    assert!(matches!(host.blocks.fate(seqs[0]), Some((Fate::Excused { cause: Cause::Missed, .. }, false))));
    host.blocks.on_final(next.id).await;
    let Some((Fate::Excused { cause, evidence }, true)) = host.blocks.fate(seqs[1]) else {
        panic!("{:?}", host.blocks.fate(seqs[1]))
    };
    assert_eq!((cause, evidence.follows), (Cause::Predecessor, Some(*transfer(1, 0, 1).tx_hash())));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promise_behind_what_was_never_promised_is_excused_and_follows_nothing() {
    let world = World::new();
    let host = world.start_registered().await;
    // The head that it was promised on had the nonce below it; the block that counts builds on another.
    let seq = host.promise_seen(&world, &transfer(1, 1, 1), 1).await.unwrap().seq;
    world.at(SLOT.get(), 3_000);
    let block = world.add_block(40, 9, 0, 40, &[]);
    host.blocks.on_apply(block).await;
    let fate = host.blocks.fate(seq);
    let Some((Fate::Excused { cause: Cause::Predecessor, evidence }, false)) = fate else { panic!("{fate:?}") };
    assert_eq!((evidence.follows, evidence.nonce), (None, Some(0)));
    host.kill().await;
}
