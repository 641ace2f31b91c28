//! Asking many, and asking again.

use super::oracle::{Asked, Kind, Oracle};
use anyhow::Result;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::Mutex, task::JoinSet};

/// Questions at once.
const AT_ONCE: usize = 8;

/// Asks for what is open until everything is answered or the time is over; gives back what never was.
pub(super) async fn until_answered<F: Future<Output = Result<Vec<Asked>>>>(
    mut open: Vec<Asked>,
    within: Duration,
    ask: impl Fn(Vec<Asked>) -> F,
) -> Result<Vec<Asked>> {
    let begin = Instant::now();
    loop {
        open = ask(open).await?;
        if open.is_empty() || begin.elapsed() >= within {
            return Ok(open);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(super) fn note_silent(oracle: &mut Oracle, silent: &[Asked], when: &str) {
    for a in silent {
        let what = format!("slot {} tx {}: promised, and not answered {when}", a.slot, a.tx_hash);
        oracle.fault(Kind::Silent, what);
    }
}

/// Does something with all, [`AT_ONCE`] at a time.
pub(super) async fn at_once<T, R, F>(items: Vec<T>, f: impl Fn(T) -> F + Clone + Send + 'static) -> Vec<R>
where
    T: Send + 'static,
    R: Send + 'static,
    F: Future<Output = R> + Send,
{
    let items = Arc::new(Mutex::new(items.into_iter()));
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (items, f) = (Arc::clone(&items), f.clone());
        tasks.spawn(async move {
            let mut done = Vec::new();
            loop {
                let Some(item) = items.lock().await.next() else { return done };
                done.push(f(item).await);
            }
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kill::oracle::tests::asked;
    use std::{
        collections::BTreeMap,
        sync::atomic::{AtomicU32, Ordering},
    };

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_promise_that_is_not_answered_is_asked_for_again_and_one_that_never_is_is_a_fault() {
        let (kept, slow, lost) = (asked(1, 0, 9, 1), asked(2, 0, 9, 2), asked(3, 0, 9, 3));
        let asks = AtomicU32::new(0);
        // The second is answered when it is asked for the third time, the third never.
        let ask = |open: Vec<Asked>| {
            let ask = asks.fetch_add(1, Ordering::SeqCst);
            let is_silent = move |a: &Asked| a.sender == 3 || (a.sender == 2 && ask < 2);
            let silent: Vec<Asked> = open.into_iter().filter(is_silent).collect();
            async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                Ok(silent)
            }
        };
        let open = vec![kept.clone(), slow.clone()];
        assert!(until_answered(open, LIMIT, &ask).await.unwrap().is_empty());
        assert_eq!(asks.load(Ordering::SeqCst), 3);
        let silent = until_answered(vec![kept, slow, lost], Duration::from_millis(100), &ask).await.unwrap();
        assert_eq!(silent.iter().map(|a| a.sender).collect::<Vec<_>>(), [3]);
        let mut oracle = Oracle::default();
        note_silent(&mut oracle, &silent, "once its slot was over");
        assert_eq!(oracle.kinds(), &BTreeMap::from([(Kind::Silent, 1)]));
        assert!(oracle.faults()[0].contains("slot 9") && oracle.faults()[0].contains("over"), "{:?}", oracle.faults());
    }
}
