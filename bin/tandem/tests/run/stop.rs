//! What an orderly stop does for promises, and what a start with a watermark does for a lost journal.

use crate::{
    family::{DEADLINE, To},
    host::{PATIENCE, World},
    lab::TURN,
};
use rustix::process::Signal;
use serde_json::json;
use std::{path::Path, sync::PoisonError, time::Duration};
use tandem_demo::{
    ask, http,
    kill::oracle::{Answer, Asked},
    wallet::{Fees, Wallet},
};

impl World {
    fn edit(&self, from: &str, to: &str) {
        let file = self.host.dir.join("tandem.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from} is not in\n{text}");
        std::fs::write(file, text.replace(from, to)).unwrap();
    }

    fn served(&self) -> Vec<u64> {
        self.far_slot();
        let slots = self.runtime.block_on(ask::served(&self.host.gateway)).unwrap();
        slots.iter().map(|s| s.slot).collect()
    }

    fn asked(&self, sender: u32, slot: u64) -> Asked {
        let wallet = Wallet::nth(sender, self.rig.chain_id()).unwrap();
        ask::ask(&wallet, sender, 0, slot, 1, Fees::default()).unwrap().0
    }

    fn has_receipt(&self, asked: &Asked) -> bool {
        let receipt = http::rpc(self.rig.execution(), "eth_getTransactionReceipt", json!([asked.tx_hash]), PATIENCE);
        !self.runtime.block_on(receipt).unwrap().is_null()
    }
}

#[test]
fn a_host_that_is_told_to_end_keeps_what_comes_soon_and_promises_nothing_more() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let world = World::new();
    world.edit("waits_ms = 0", "waits_ms = 60000");
    let mut host = world.ready(&["--first-use"]);
    world.runtime.block_on(world.rig.connect(&world.host)).unwrap();
    let (slots, now) = (world.served(), world.rig.slot_now());
    let slot = *slots.iter().find(|s| **s >= now + 3).unwrap();
    let held = world.asked(1, slot);
    assert!(matches!(world.ask(&held.request), Answer::Promise(_)));

    host.signal(To::Program, Signal::TERM);
    host.until("the stop is heard", DEADLINE, |f| f.err().contains("what is promised is kept first"));
    let late = world.asked(2, *slots.last().unwrap());
    assert_eq!(world.ask(&late.request), Answer::Refused("host-stopping".into()));
    assert!(matches!(world.ask(&held.request), Answer::Promise(_)), "what it promised it goes on telling");
    assert!(host.runs() && !world.has_receipt(&held), "it ended before the slot");
    assert!(host.ends_within(Duration::from_secs(60)).success(), "{}", host.err());
    assert!(host.err().contains("stopped; no promise is open"), "{}", host.err());
    assert!(world.has_receipt(&held), "{}", host.err());
    assert!(world.rig.slot_now() <= slot + 1, "it waited for nothing else");

    // What is too far off is told, and not waited for; nor is what is near, at the second signal.
    for (waits, signals, ahead) in [("1000", 1, 12), ("60000", 2, 8)] {
        let last = if waits == "1000" { "60000" } else { "1000" };
        world.edit(&format!("waits_ms = {last}"), &format!("waits_ms = {waits}"));
        let mut host = world.ready(&[]);
        let (slots, now) = (world.served(), world.rig.slot_now());
        let slot = *slots.iter().find(|s| **s >= now + ahead).unwrap();
        assert!(matches!(world.ask(&world.asked(2 + signals, slot).request), Answer::Promise(_)));
        host.signal(To::Program, Signal::TERM);
        if signals == 2 {
            host.until("the stop is heard", DEADLINE, |f| f.err().contains("what is promised is kept first"));
            host.signal(To::Program, Signal::TERM);
        }
        assert!(host.ends_within(DEADLINE).success(), "{}", host.err());
        assert!(world.rig.slot_now() < slot, "it ended before the slot");
        assert!(host.err().contains("stopped with open promises"), "{}", host.err());
    }
    world.runtime.block_on(world.rig.stop());
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn an_older_copy_of_the_journal_is_taken_only_with_a_watermark_above_all_that_may_be_promised() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let world = World::new();
    let (journal, older) = (world.host.dir.join("data/journal"), world.host.dir.join("older"));
    let mut host = world.ready(&["--first-use"]);
    host.signal(To::Program, Signal::TERM);
    assert!(host.ends_within(DEADLINE).success());
    copy(&journal, &older);
    // It goes on, so that the copy is an older one.
    let mut host = world.ready(&[]);
    world.runtime.block_on(world.rig.connect(&world.host)).unwrap();
    let far = *world.served().last().unwrap();
    assert!(matches!(world.ask(&world.asked(1, far).request), Answer::Promise(_)));
    host.signal(To::Program, Signal::TERM);
    assert!(host.ends_within(DEADLINE).success());

    copy(&older, &journal);
    for flags in [&[][..], &["--watermark", "1"], &["--watermark", &far.to_string()]] {
        let mut refused = world.start(flags);
        assert_eq!(refused.ends_within(DEADLINE).code(), Some(1), "{flags:?}\n{}", refused.err());
        assert!(refused.err().contains("--watermark"), "{}", refused.err());
        assert_eq!(refused.err().contains("does not lie above"), !flags.is_empty(), "{}", refused.err());
    }
    // Above the look-ahead it is taken.
    let mark = (world.rig.slot_now() / 32 + 3) * 32;
    let mut host = world.start(&["--watermark", &mark.to_string()]);
    host.until("it is up", Duration::from_secs(60), |f| f.err().contains("the host is up"));
    // Below the mark, and that is all of the look-ahead, a slot counts as over.
    host.until("it refuses what lies below", Duration::from_secs(60), |_| {
        let slot = world.rig.slot_now() + 8;
        world.ask(&world.asked(2, slot).request) == Answer::Refused("expired".into())
    });
    assert!(world.runtime.block_on(ask::served(&world.host.gateway)).unwrap().is_empty());
    host.signal(To::Program, Signal::TERM);
    assert!(host.ends_within(DEADLINE).success());
    // From then on this is the journal, and the flag is needed no more; nor does it do harm.
    for flags in [&[][..], &["--watermark", "1"]] {
        let mut host = world.start(flags);
        host.until("it is up", Duration::from_secs(60), |f| f.err().contains("the host is up"));
        assert_eq!(host.err().contains("it is taken as not given"), !flags.is_empty(), "{}", host.err());
        host.signal(To::Program, Signal::TERM);
        assert!(host.ends_within(DEADLINE).success());
    }
    world.runtime.block_on(world.rig.stop());
}
