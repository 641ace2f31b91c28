//! A sender with code whose transaction another one's can void, by calling that code (EIP-7702).

use crate::world::{GWEI, Held, PATIENCE, Plan, VALIDATORS, World, until};
use alloy_primitives::{Address, Bytes, U256, hex};
use serde_json::json;
use tandem_demo::{ask, kill::oracle::Answer};
use tandem_devnet::execution::dev_account;
use tandem_testkit::{Ask, SignedTx, Wallet};

/// Whoever calls this has the account that runs it create a contract, which uses up its nonce.
const CREATES: [u8; 5] = hex!("5f5f5ff000");

fn wallet(world: &World, index: u32) -> Wallet {
    Wallet::new(dev_account(index), world.rig.chain_id()).unwrap()
}

fn terms(nonce: u64, to: Address) -> Ask {
    Ask {
        gas_limit: 200_000,
        max_fee_per_gas: 3_000 * GWEI,
        max_priority_fee_per_gas: 500 * GWEI,
        ..Ask::transfer(nonce, to, U256::ZERO)
    }
}

/// Deploys the code, and gives it to both senders.
async fn with_code(world: &World, senders: [&Wallet; 2]) {
    // The constructor copies what follows its own nine bytes, and returns it.
    let init = [&hex!("60058060095f395ff3")[..], &CREATES].concat();
    let stranger = Wallet::dev(0, world.rig.chain_id()).unwrap();
    let deploy = stranger.dynamic(&Ask { to: None, input: Bytes::from(init), ..terms(0, Address::ZERO) }).unwrap();
    world.publish(&deploy.network).await;
    let code = stranger.address().create(0);
    let authorizations = senders.map(|w| w.authorize(code, 0).unwrap()).to_vec();
    let give = stranger.set_code(&terms(1, stranger.address()), authorizations).unwrap();
    world.publish(&give.network).await;
    until("both senders to have code", async || {
        let mut all =
            vec![world.execution("eth_getCode", json!([code, "latest"])).await == json!(Bytes::from(CREATES.to_vec()))];
        for w in senders {
            let have = world.execution("eth_getCode", json!([w.address(), "latest"])).await;
            all.push(have == json!(format!("0xef0100{code:x}")));
        }
        all.iter().all(|is| *is).then_some(())
    })
    .await;
}

async fn try_promise(world: &World, slot: u64, tx: &SignedTx) -> Result<Held, String> {
    let request = ask::commitment_request(slot, &tx.network).unwrap();
    let answer = until("an answer", async || {
        let answer = ask::send(&world.hosts[0].gateway, &request, PATIENCE).await;
        (answer != Answer::Nothing).then_some(answer)
    });
    match answer.await {
        Answer::Promise(answer) => Ok(Held { slot, hash: tx.hash, raw: tx.network.clone(), request, answer }),
        other => Err(format!("{other:?}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_senders_with_code_are_not_promised_in_one_slot_where_the_first_could_void_the_second() {
    let world = World::start(1_500, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let (first, second) = (wallet(&world, 21), wallet(&world, 22));
    with_code(&world, [&first, &second]).await;
    // The first one's promise calls the second one's code; each has used its nonce 0 for the authorization.
    let attack = first.dynamic(&terms(1, second.address())).unwrap();
    let victim = second.dynamic(&terms(1, Address::repeat_byte(0x77))).unwrap();
    let slot = world.open_slot_with_top(0, 4).await;
    // Nobody here has a deposit: of the slots between they get no top.
    let odd = try_promise(&world, slot + 1, &attack).await.unwrap_err();
    assert_eq!(odd, "Refused(\"exhausted\")");
    let held = try_promise(&world, slot, &attack).await.unwrap();
    let refused = try_promise(&world, slot, &victim).await.unwrap_err();
    assert_eq!(refused, "Refused(\"exhausted\")", "there is gas enough, and no second top");
    // Another slot has a top of its own. What the attack voids before it is excused, and broken by nobody.
    let later = world.open_slot_with_top(0, slot + 1 - world.rig.slot_now()).await;
    let promised = try_promise(&world, later, &victim).await.unwrap();
    // Whoever has no code is promised beside it.
    let beside = world.promise(0, 23, 0, slot).await;
    for held in [&held, &beside] {
        world.assert_kept(0, held).await;
    }
    let nonce = world.execution("eth_getTransactionCount", json!([second.address(), "latest"])).await;
    assert_eq!(nonce, "0x2", "the attack was made");
    let fate = world.fate(0, &promised, "excused").await;
    assert_eq!(fate["cause"], "nonce_used", "{fate}");
    world.stop().await;
}
