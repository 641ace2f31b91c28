//! Nonces that several transactions are asked for with: one of them must win.

use super::{Answer, Asked, Kill};
use alloy_primitives::Bytes;
use std::collections::{BTreeMap, HashMap};

/// Answers of one nonce that are told.
const MOST_OF_A_STORY: usize = 40;

/// A sender and a nonce.
type Scope = (u32, u64);

/// The last refusal for another.
#[derive(Clone, Copy, Debug, Default)]
struct Refused {
    /// When its request began. A host that was killed after that, and answered, answered before it was killed, however
    /// late the answer was read.
    begun_ms: u64,
    /// When it was read.
    read_ms: u64,
}

/// What came for contested nonces.
#[derive(Debug, Default)]
pub(super) struct Contested {
    /// Nonces for which something was refused since something else is promised: what, must be known in the end.
    taken: BTreeMap<Scope, Refused>,
    /// Requests that are under way, by when they began.
    begun: HashMap<Bytes, u64>,
    /// When those began that were answered.
    answered: HashMap<Bytes, u64>,
    /// From when to when a request of the nonce went without an answer.
    silent: HashMap<Scope, Vec<(u64, u64)>>,
    /// What came for each, in order: a contradiction about it is told with its story.
    stories: HashMap<Scope, Vec<String>>,
}

impl Contested {
    /// Takes down an answer that came at some time, in unix milliseconds.
    pub fn note(&mut self, asked: &Asked, answer: &Answer, at_ms: u64) {
        if !asked.contested {
            return;
        }
        let scope = (asked.sender, asked.nonce);
        let begun = self.begun.remove(&asked.request);
        if matches!(answer, Answer::Refused(_)) {
            self.answered.insert(asked.request.clone(), begun.unwrap_or(at_ms));
        }
        let what = match answer {
            Answer::Promise(_) => "promised",
            Answer::WasPromised => "expired, and was promised",
            Answer::Refused(code) => code,
            Answer::Nothing => {
                self.silent.entry(scope).or_default().extend(begun.map(|begun| (begun, at_ms)));
                "no answer"
            }
        };
        let story = self.stories.entry(scope).or_default();
        if story.len() < MOST_OF_A_STORY {
            story.push(format!("{at_ms} slot {} tx {}: {what}", asked.slot, asked.tx_hash));
        }
    }

    /// A request was refused since something else of its nonce is promised.
    pub fn take(&mut self, asked: &Asked, at_ms: u64) {
        let begun_ms = self.answered.get(&asked.request).copied().unwrap_or(at_ms);
        let last = self.taken.entry((asked.sender, asked.nonce)).or_default();
        *last = Refused { begun_ms: begun_ms.max(last.begun_ms), read_ms: at_ms.max(last.read_ms) };
    }

    /// A request is sent.
    pub fn begin(&mut self, asked: &Asked, at_ms: u64) {
        if asked.contested {
            self.begun.insert(asked.request.clone(), at_ms);
        }
    }

    /// What was refused for another although none is promised, with its story.
    ///
    /// A host may refuse for one that it has decided and not written yet. If a kill takes that one, nobody holds
    /// the nonce: so a refusal is excused that was said while another request was under way, whose answer a kill
    /// took. It must have been said before that kill: after it only what is written counts. When that was nobody
    /// sees; but a connection does not outlive its host, so what was asked before a kill was answered before it.
    pub fn unwon(&self, kills: &[Kill], promised: impl Fn(&Scope) -> bool) -> Vec<String> {
        let took = |(from, to): &(u64, u64), said: Refused| {
            *from <= said.read_ms && kills.iter().any(|k| k.is_between(*from, *to) && said.begun_ms <= k.gone_ms)
        };
        let lost = |scope: &Scope, said: Refused| {
            self.silent.get(scope).is_some_and(|all| all.iter().any(|window| took(window, said)))
        };
        let open = self.taken.iter().filter(|(scope, said)| !promised(scope) && !lost(scope, **said));
        open.map(|(scope, _)| {
            let story = self.stories.get(scope).map(|all| all.join("; ")).unwrap_or_default();
            let (sender, nonce) = scope;
            format!("sender {sender} nonce {nonce}: all were refused for another, and none is promised ({story})")
        })
        .collect()
    }
}
