//! Rates, shares and ends of an instance's ports.

use super::*;
use futures::FutureExt;
use std::time::Duration;
use tandem_types::ModuleId;

fn pass(per_second: u32, permissions: &[Permission]) -> Arc<Pass> {
    let permissions = permissions.iter().cloned().collect();
    let grant = Grant { module: ModuleId::house(), permissions, signing_id: B256::ZERO };
    let config = ModuleConfig { commits_per_second: per_second, ..Default::default() };
    let limits = Limits { concurrent_requests: 3, ..Limits::default() };
    Arc::new(Pass::new(grant, Arc::default(), &config, &limits))
}

/// A node that does not answer.
struct Silent;
#[async_trait]
impl State for Silent {
    async fn headers(&self) -> Result<Vec<HeaderInfo>, Refusal> {
        std::future::pending().await
    }
    async fn account(&self, _: Address) -> Result<Account, Refusal> {
        std::future::pending().await
    }
    async fn check(&self, _: alloy_primitives::Bytes, _: u64) -> Result<TxReport, Refusal> {
        std::future::pending().await
    }
    fn blob_params(&self, _: u64) -> BlobParams {
        BlobParams::default()
    }
    async fn included(&self, _: B256) -> Option<BlockId> {
        None
    }
}

#[tokio::test]
async fn a_module_has_no_more_reads_under_way_than_it_may_and_gets_places_back() {
    let house = Handle::current();
    let gate = StateGate(pass(1, &[Permission::State]), Arc::new(Silent), house.clone());
    let mut reads: Vec<_> = (0..6).map(|_| gate.account(Address::ZERO)).collect();
    assert!(reads.iter_mut().all(|r| r.as_mut().now_or_never().is_none()));
    let refused = gate.account(Address::ZERO).now_or_never().unwrap().unwrap_err();
    assert_eq!(refused.code, "busy");
    drop(reads);
    assert!(gate.account(Address::ZERO).now_or_never().is_none());
    let forbidden = StateGate(pass(1, &[]), Arc::new(Silent), house).account(Address::ZERO).now_or_never();
    assert_eq!(forbidden.unwrap().unwrap_err().code, "not-permitted");
}

/// Checks one transaction at a time, whoever asks, each once it is let on; and notes whose it was.
struct OneByOne {
    one: Semaphore,
    on: Semaphore,
    done: Mutex<Vec<u8>>,
}
#[async_trait]
impl State for OneByOne {
    async fn headers(&self) -> Result<Vec<HeaderInfo>, Refusal> {
        Ok(Vec::new())
    }
    async fn account(&self, _: Address) -> Result<Account, Refusal> {
        Ok(Account::default())
    }
    async fn check(&self, raw: alloy_primitives::Bytes, _: u64) -> Result<TxReport, Refusal> {
        let _one = self.one.acquire().await.unwrap();
        self.on.acquire().await.unwrap().forget();
        self.done.lock().push(raw[1]);
        Err(Refusal::new("checked", "no transaction at all"))
    }
    fn blob_params(&self, _: u64) -> BlobParams {
        BlobParams::default()
    }
    async fn included(&self, _: B256) -> Option<BlockId> {
        None
    }
}

#[tokio::test]
async fn a_module_that_floods_the_blob_checks_is_busy_itself_and_a_neighbours_check_comes_next() {
    let all = Arc::new(OneByOne { one: Semaphore::new(1), on: Semaphore::new(0), done: Mutex::default() });
    let gate = || StateGate(pass(1, &[Permission::State]), all.clone(), Handle::current());
    let blob = |of: u8| alloy_primitives::Bytes::from(vec![3, of]);
    let (flooding, neighbour) = (gate(), gate());
    let mut flood: Vec<_> = (0..CHECKS).map(|_| flooding.check(blob(b'f'), 0)).collect();
    assert!(flood.iter_mut().all(|c| c.as_mut().now_or_never().is_none()), "each has its place");
    assert_eq!(flooding.check(blob(b'f'), 0).await.unwrap_err().code, "busy");
    // Long enough for all that may come before the neighbour's to be there.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let mut asked = neighbour.check(blob(b'n'), 0);
    assert!(asked.as_mut().now_or_never().is_none());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    all.on.add_permits(2);
    assert_eq!(asked.await.unwrap_err().code, "checked");
    assert_eq!(*all.done.lock(), [b'f', b'n'], "after the one that was under way, not after the whole flood");
    all.on.add_permits(CHECKS - 1);
    for check in flood {
        assert_eq!(check.await.unwrap_err().code, "checked");
    }
    all.on.add_permits(1);
    assert_eq!(flooding.check(blob(b'f'), 0).await.unwrap_err().code, "checked", "its places are free again");
}

#[tokio::test]
async fn what_an_abandoned_module_still_wanted_checked_is_not_checked() {
    let all = Arc::new(OneByOne { one: Semaphore::new(1), on: Semaphore::new(0), done: Mutex::default() });
    let gate = StateGate(pass(1, &[Permission::State]), all.clone(), Handle::current());
    let mut asked: Vec<_> = (0..2).map(|_| gate.check(vec![3, b'a'].into(), 0)).collect();
    assert!(asked.iter_mut().all(|c| c.as_mut().now_or_never().is_none()));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    gate.0.end();
    all.on.add_permits(2);
    let mut codes = Vec::new();
    for check in asked {
        codes.push(check.await.unwrap_err().code);
    }
    assert_eq!(codes, ["checked", "abandoned"]);
    assert_eq!(all.done.lock().len(), 1);
}

#[derive(Default)]
struct Books(Mutex<Vec<(u64, U256)>>);
impl Meter for Books {
    fn charged(&self, seq: u64, wei: U256) {
        self.0.lock().push((seq, wei));
    }
    fn count(&self, _: &str, n: u64) {
        self.0.lock().push((n, U256::ZERO));
    }
}

#[test]
fn charges_beyond_reason_or_rate_and_those_of_a_life_that_is_over_are_not_booked() {
    let pass = pass(2, &[]);
    let books = Arc::new(Books::default());
    let gate = MeterGate(pass.clone(), books.clone());
    gate.charged(1, U256::MAX);
    gate.charged(2, MOST_WEI);
    gate.charged(3, U256::ONE);
    gate.charged(4, U256::ONE);
    assert_eq!(*books.0.lock(), [(2, MOST_WEI), (3, U256::ONE)]);
    assert_eq!(crate::health::read(&pass.counters.over_rate), 2);
    pass.end();
    gate.charged(5, U256::ONE);
    gate.count("x", 6);
    assert_eq!(books.0.lock().len(), 2);
}

#[test]
fn a_bucket_gives_its_rate_and_no_more() {
    let b = Bucket::new(10);
    let start = b.level.lock().1;
    let taken = |ms| (0..100).filter(|_| b.take_at(start + Duration::from_millis(ms))).count();
    assert_eq!((taken(0), taken(500), taken(10_000)), (10, 5, 10));
}
