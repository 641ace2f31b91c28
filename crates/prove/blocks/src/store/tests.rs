//! What a restart reads back of offers, and what outlasts what.

use super::*;

fn offer(slot: u64, id: u8) -> Offer {
    let mut bid = BuilderBid::default();
    bid.header.block_hash = B256::repeat_byte(id);
    let meta = OfferMeta {
        slot: Slot::new(slot),
        proposer: BlsPublicKey::default(),
        proposer_index: ValidatorIndex::new(3),
        parent: BlockId::default(),
        source: Source::Own(Made::Client),
        value: U256::from(7),
        due: 1,
    };
    Offer { meta, bid }
}

#[test]
fn an_offer_is_read_back_after_a_restart_with_its_payload() {
    let dir = tempfile::tempdir().unwrap();
    let payload = UnblindedPayload::default();
    OfferStore::open(dir.path()).unwrap().put(offer(5, 1), Some(&payload)).unwrap();
    let store = OfferStore::open(dir.path()).unwrap();
    assert_eq!(*store.get(B256::repeat_byte(1)).unwrap(), offer(5, 1));
    assert_eq!(store.payload(B256::repeat_byte(1)).unwrap(), Some(payload));
}

#[test]
fn a_relays_offer_is_there_after_a_kill_also_before_it_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let mut relays = offer(5, 1);
    relays.meta.source = Source::Relay("a".into());
    let before = OfferStore::open(dir.path()).unwrap();
    before.put_relays(relays.clone()).unwrap();
    assert!(!before.was_served(Slot::new(5)), "whoever asked may have given up meanwhile");
    assert!(before.note_served(B256::repeat_byte(1)) && before.was_served(Slot::new(5)));
    let store = OfferStore::open(dir.path()).unwrap();
    assert_eq!(*store.get(B256::repeat_byte(1)).unwrap(), relays);
    assert_eq!(store.payload(B256::repeat_byte(1)).unwrap(), None);
    assert!(store.was_served(Slot::new(5)), "it is written for an answer and for nothing else");
    store.prune(Slot::new(6));
    assert!(!store.was_served(Slot::new(5)) && fs::read_dir(dir.path()).unwrap().count() == 0);
}

#[test]
fn a_relays_offer_of_an_own_block_takes_nothing_from_it_whichever_comes_first_and_after_a_restart() {
    for own_first in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (hash, payload) = (B256::repeat_byte(1), UnblindedPayload::default());
        let mut relays = offer(5, 1);
        relays.meta.source = Source::Relay("a".into());
        let store = OfferStore::open(dir.path()).unwrap();
        if own_first {
            store.put(offer(5, 1), Some(&payload)).unwrap();
            assert_eq!(*store.put_relays(relays).unwrap(), offer(5, 1));
        } else {
            assert_eq!(*store.put_relays(relays.clone()).unwrap(), relays);
            store.put(offer(5, 1), Some(&payload)).unwrap();
        }
        store.note_served(hash);
        store.mark_served(hash);
        store.sync(hash);
        for store in [store, OfferStore::open(dir.path()).unwrap()] {
            assert_eq!(*store.get(hash).unwrap(), offer(5, 1));
            assert_eq!(store.payload(hash).unwrap().as_ref(), Some(&payload));
            assert_eq!(store.also_of(hash).as_deref(), Some("a"));
        }
        let store = OfferStore::open(dir.path()).unwrap();
        store.prune(Slot::new(6));
        assert!(store.get(hash).is_none() && store.also_of(hash).is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_half_written_file_is_no_offer_and_a_flipped_bit_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    OfferStore::open(dir.path()).unwrap().put(offer(5, 1), None).unwrap();
    fs::write(dir.path().join("x.offer.tmp"), b"half").unwrap();
    let path = dir.path().join(format!("{:x}.offer", B256::repeat_byte(1)));
    let mut raw = fs::read(&path).unwrap();
    raw[20] ^= 1;
    fs::write(&path, raw).unwrap();
    let store = OfferStore::open(dir.path()).unwrap();
    assert!(store.get(B256::repeat_byte(1)).is_none());
    assert!(!path.exists() && !dir.path().join("x.offer.tmp").exists());
}

#[test]
fn writes_of_one_name_at_once_all_succeed_and_leave_one_whole_file() {
    let dir = tempfile::tempdir().unwrap();
    let write = |n: u8| write_atomic(dir.path(), "x.json", &vec![n; 10_000]);
    std::thread::scope(|s| {
        let all: Vec<_> = (0..8).map(|n| s.spawn(move || write(n))).collect();
        all.into_iter().for_each(|t| t.join().unwrap().unwrap());
    });
    let got = fs::read(dir.path().join("x.json")).unwrap();
    assert!(got.len() == 10_000 && got.iter().all(|b| *b == got[0]));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    fs::write(dir.path().join("x.json.9.tmp"), b"half").unwrap();
    remove_half_written(dir.path());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn what_is_final_is_removed_with_its_blinded_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let store = OfferStore::open(dir.path()).unwrap();
    store.put(offer(5, 1), None).unwrap();
    store.put(offer(6, 2), None).unwrap();
    assert!(store.note_served(B256::repeat_byte(1)) && !store.note_served(B256::repeat_byte(1)));
    store.mark_served(B256::repeat_byte(1));
    store.sync(B256::repeat_byte(1));
    assert!(OfferStore::open(dir.path()).unwrap().was_served(Slot::new(5)));
    assert!(!store.was_served(Slot::new(6)));
    let mut block = SignedBlindedBeaconBlock::default();
    block.message.slot = Slot::new(5);
    store.put_blinded(B256::repeat_byte(9), &block).unwrap();
    assert_eq!(store.blinded(B256::repeat_byte(9)).unwrap(), block);
    store.prune(Slot::new(6));
    assert!(store.of_slot(Slot::new(5)).is_empty() && !store.was_served(Slot::new(5)));
    assert_eq!(store.of_slot(Slot::new(6)).len(), 1);
    assert!(store.blinded(B256::repeat_byte(9)).is_err());
}

/// A store with an own offer and a relay's, of slots 5 and 6, both chosen for an answer.
fn chosen(dir: &Path) -> (OfferStore, [(B256, Slot); 2]) {
    let (own, mut relays) = (offer(5, 1), offer(6, 2));
    relays.meta.source = Source::Relay("a".into());
    let store = OfferStore::open(dir).unwrap();
    store.put(own, None).unwrap();
    store.put_relays(relays).unwrap();
    let both = [1, 2].map(|id| (B256::repeat_byte(id), Slot::new(4 + u64::from(id))));
    both.iter().for_each(|(hash, _)| assert!(store.note_served(*hash)));
    store.mark_served(both[0].0);
    (store, both)
}

fn leave(store: &OfferStore, hash: B256, left: bool) {
    if store.note_left(hash, left) {
        store.settle_left(hash);
    }
}

#[test]
fn a_header_whose_answer_never_left_was_not_served_after_a_restart_too() {
    let dir = tempfile::tempdir().unwrap();
    let (store, both) = chosen(dir.path());
    for (hash, slot) in both {
        assert!(store.was_served(slot), "it may leave yet");
        leave(&store, hash, false);
    }
    for store in [&store, &OfferStore::open(dir.path()).unwrap()] {
        assert!(both.iter().all(|(_, slot)| !store.was_served(*slot)));
    }
    store.prune(Slot::new(7));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_header_that_left_once_was_served_whatever_comes_of_other_calls_answers() {
    for leaves in [vec![true], vec![true, false], vec![false, true], vec![false, true, false]] {
        let dir = tempfile::tempdir().unwrap();
        let (store, both) = chosen(dir.path());
        for (hash, _) in both {
            leaves.iter().for_each(|left| leave(&store, hash, *left));
        }
        for store in [&store, &OfferStore::open(dir.path()).unwrap()] {
            assert!(both.iter().all(|(_, slot)| store.was_served(*slot)), "{leaves:?}");
        }
        store.prune(Slot::new(7));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{leaves:?}");
    }
}

#[test]
fn a_header_that_is_chosen_again_counts_as_served_until_it_is_known_not_to_have_left() {
    let dir = tempfile::tempdir().unwrap();
    let (store, both) = chosen(dir.path());
    for (hash, slot) in both {
        leave(&store, hash, false);
        store.note_served(hash);
        assert!(store.was_served(slot));
        leave(&store, hash, false);
        assert!(!store.was_served(slot));
        store.note_served(hash);
        leave(&store, hash, true);
        assert!(store.was_served(slot));
    }
    let store = OfferStore::open(dir.path()).unwrap();
    assert!(both.iter().all(|(_, slot)| store.was_served(*slot)), "in the end it left");
}
