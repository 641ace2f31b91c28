//! The module: events and methods.

use crate::{
    admit::{self, Candidate},
    answer,
    ask::{self, Ask, FeePayload, gwei_up, json},
    config::PreconfConfig,
    offers::{Offers, Terms},
    price::{LogCurve, Pricing},
    view, wallet,
};
use alloy_primitives::keccak256;
use async_trait::async_trait;
use serde_json::{Value, json};
use tandem_module::{
    Account, Context, Delivery, Event, Fault, Limits, Manifest, Module, ModuleTx, Permission, Refusal, Reply, Request,
    ServedSlot, Trigger,
};
use tandem_types::{Body, Draft, Fate, InclusionPromise, Signed, SignerRef, body::SeenSender, fabric::INCLUSION};

/// The methods that it answers.
pub const METHODS: [&str; 7] = [
    "commitmentRequest",
    "commitmentResult",
    "slots",
    "fee",
    "eth_sendRawTransaction",
    "tandem_promise",
    "tandem_fees",
];
/// Where new promises are told, by their hashes only.
pub const CHANNEL: &str = "promises";

/// Preconf-Boost: inclusion promises.
pub struct Preconf {
    config: PreconfConfig,
    curve: Box<dyn Pricing>,
    offers: Offers,
}

impl Preconf {
    /// With the logarithmic curve.
    pub fn new(config: PreconfConfig) -> Self {
        Self::with_curve(config, Box::new(LogCurve::default()))
    }
    /// With a curve of one's own.
    pub fn with_curve(config: PreconfConfig, curve: Box<dyn Pricing>) -> Self {
        let offers = Offers::new(config.offers);
        Self { config, curve, offers }
    }

    /// Decodes and checks what needs no state, under the rules of the slot's fork.
    async fn candidate(&self, cx: &Context, ask: Ask, slot: tandem_types::Slot) -> Result<Candidate, Refusal> {
        admit::slasher(cx, &self.config, ask.slasher).await?;
        let tx = cx.state.check(ask.raw.clone(), cx.chain.clock.timestamp(slot)).await?;
        Ok(Candidate { ask, tx })
    }

    /// The promise that this asks for, if it is made already: in whatever dialect it was asked for, and
    /// also after the seal.
    async fn made(&self, cx: &Context, c: &Candidate) -> Result<Option<Signed>, Refusal> {
        cx.slots.promise(c.tx.facts.hash, c.ask.slot).await
    }

    /// The same, told by the bytes alone, for a slot that takes no more: recovering who signed them costs more
    /// than all that is looked up, and is done for nobody whose slot is not open.
    async fn made_before(&self, cx: &Context, ask: &Ask) -> Result<Option<Signed>, Refusal> {
        match ask.tx_hash() {
            Some(hash) => cx.slots.promise(hash, ask.slot).await,
            None => Ok(None),
        }
    }

    /// Everything about a slot that can refuse, with the price.
    async fn admit(
        &self,
        cx: &Context,
        c: &Candidate,
        slot: &ServedSlot,
    ) -> Result<(alloy_primitives::U256, Account), Refusal> {
        let (f, number) = (&c.tx.facts, slot.key.slot);
        let deposited = self.config.deposits.contains(&f.sender);
        admit::room(slot, f, deposited)?;
        let worst = admit::worst(cx, number).await?;
        admit::fees(number, f, &worst)?;
        let now = admit::priced(self.curve.as_ref(), slot, &c.tx, &worst, self.config.min_tip, deposited)?;
        let price = self.offers.honoured(&Terms::of(number, c), now, cx.clock.now_ms());
        admit::tip(price, &c.tx, &worst)?;
        let account = cx.state.account(f.sender).await?;
        let running = cx.chain.clock.slot_at(cx.clock.now_ms());
        admit::sender(number, running, f, &account, &cx.slots.pledged(f.sender))?;
        admit::authorities(cx, f).await?;
        admit::top(slot, f, account.has_code, deposited)?;
        Ok((price, account))
    }

    async fn promise(&self, cx: &Context, c: &Candidate, slot: &ServedSlot) -> Result<Signed, Refusal> {
        let (price, account) = self.admit(cx, c, slot).await?;
        let f = &c.tx.facts;
        let body = InclusionPromise {
            key: slot.key,
            tx: c.tx.canonical.clone(),
            sidecar: c.tx.pooled.as_ref().map(keccak256),
            request_hash: c.ask.hash_for(slot.key.slot),
            slasher: c.ask.slasher,
            price,
            deposited: self.config.deposits.contains(&f.sender),
            private: c.ask.private,
            seen: SeenSender {
                at: account.at,
                nonce: account.nonce,
                balance: account.balance,
                has_code: account.has_code,
            },
        };
        let attachments = c.tx.pooled.iter().cloned().collect();
        let draft = Draft { signer: SignerRef::Committer(slot.key), body: Body::Inclusion(body), attachments };
        let signed = cx.commit.commit(draft).await?;
        // By the record's number, so that the same promise is booked once however often it is asked for.
        cx.meter.charged(signed.seq, ask::promise_of(&signed)?.price);
        Ok(signed)
    }

    async fn commitment_request(&self, cx: &Context, params: &[u8]) -> Result<Reply, Refusal> {
        let ask = ask::commitment_request(params)?;
        let private = ask.private;
        let signed = self.committed(cx, ask).await?;
        answer::as_asked(&signed, private)?;
        json(&ask::signed_commitment(&signed)?)
    }

    async fn committed(&self, cx: &Context, ask: Ask) -> Result<Signed, Refusal> {
        let slot = ask.slot.unwrap_or_default();
        let request = ask.hash_for(slot);
        if let Some(signed) = cx.slots.promise_by_request(request).await? {
            return Ok(signed);
        }
        admit::listed(cx, &self.config, ask.slasher)?;
        if let Err(closed) = admit::open_slot(cx, &self.config, slot) {
            let made = self.made_before(cx, &ask).await?;
            return made
                .ok_or_else(|| answer::with_fate(cx, closed, slot, &[request, ask.tx_hash().unwrap_or(request)]));
        }
        let c = self.candidate(cx, ask, slot).await?;
        if let Some(signed) = self.made(cx, &c).await? {
            return Ok(signed);
        }
        let refused = match self.promise_in(cx, &c, slot).await {
            Ok(signed) => return Ok(signed),
            Err(refused) => answer::with_fate(cx, refused, slot, &[request, c.tx.facts.hash]),
        };
        self.made(cx, &c).await?.ok_or(refused)
    }

    /// A refusal of this may come of the same request, which another call was promised meanwhile: its room
    /// is taken and its price has risen. So the caller looks again before it refuses.
    async fn promise_in(&self, cx: &Context, c: &Candidate, slot: tandem_types::Slot) -> Result<Signed, Refusal> {
        let served = admit::open_slot(cx, &self.config, slot)?;
        self.promise(cx, c, &served).await
    }

    /// A plain wallet's transaction: the next slot that is served here, and nothing is kept otherwise.
    async fn send_raw(&self, cx: &Context, params: &[u8]) -> Result<Reply, Refusal> {
        let ask = ask::raw_transaction(params)?;
        let now = cx.clock.now_ms();
        let mut open = cx.slots.open().into_iter().filter(|s| !admit::is_closing(s, &self.config, now)).peekable();
        let Some(at) = open.peek().map(|s| s.key.slot) else {
            return match self.made_before(cx, &ask).await?.filter(|signed| !has_failed(cx, signed)) {
                Some(_) => json(&ask.tx_hash()),
                None => Err(cx.slots.why_closed(None)),
            };
        };
        // Its form is judged by the rules of the next slot.
        let c = self.candidate(cx, ask, at).await?;
        let hash = json!(c.tx.facts.hash);
        if let Some(signed) = self.made(cx, &c).await?
            && !has_failed(cx, &signed)
        {
            return json(&hash);
        }
        let mut full = None;
        for slot in open {
            // A later slot may be of another fork, with other rules.
            let c =
                if slot.key.slot == at { c.clone() } else { self.candidate(cx, c.ask.clone(), slot.key.slot).await? };
            let refused = match self.promise(cx, &c, &slot).await {
                Ok(_) => return json(&hash),
                Err(refused) => refused,
            };
            // Another call may have been promised the same meanwhile.
            if let Some(signed) = self.made(cx, &c).await?
                && !has_failed(cx, &signed)
            {
                return json(&hash);
            }
            match refused {
                // Only for want of room, or because it closed meanwhile, is the next slot tried.
                r if matches!(
                    r.code.as_str(),
                    "slot-full" | "slot-closing" | "slot-closed" | "closed" | "exhausted"
                ) =>
                {
                    full = full.or(Some(r))
                }
                r => return Err(r),
            }
        }
        Err(full.unwrap_or_else(|| cx.slots.why_closed(None)))
    }

    async fn fee(&self, cx: &Context, params: &[u8]) -> Result<Reply, Refusal> {
        let ask = ask::commitment_request(params)?;
        let slot = ask.slot.unwrap_or_default();
        admit::listed(cx, &self.config, ask.slasher)?;
        admit::open_slot(cx, &self.config, slot)?;
        let c = self.candidate(cx, ask, slot).await?;
        // Again, since the check of blobs takes its time: what is priced is what is left now.
        let served = admit::open_slot(cx, &self.config, slot)?;
        let deposited = self.config.deposits.contains(&c.tx.facts.sender);
        admit::room(&served, &c.tx.facts, deposited)?;
        admit::top_unread(cx, &served, &c.tx.facts, deposited).await?;
        let worst = admit::worst(cx, slot).await?;
        let price = admit::priced(self.curve.as_ref(), &served, &c.tx, &worst, self.config.min_tip, deposited)?;
        let now = cx.clock.now_ms();
        let (terms, until) = (Terms::of(slot, &c), now.saturating_add(self.config.offer_ms));
        let (price, until) = self.offers.offer(terms, price, until, now);
        let tip = admit::tip_for(price, &c.tx);
        let payload = FeePayload {
            requestHash: c.ask.hash_for(slot),
            priceGwei: gwei_up(price),
            priceWei: price,
            tipPerGas: tip,
            maxFeePerGas: tip.saturating_add(alloy_primitives::U256::from(worst.base_fee)),
            validUntilMs: until.min(served.cutoff_ms),
        };
        json(&ask::fee_info(&payload))
    }

    async fn commitment_result(&self, cx: &Context, params: &[u8]) -> Result<Reply, Refusal> {
        let hash = ask::request_hash(params)?;
        match cx.slots.promise_by_request(hash).await? {
            Some(signed) => json(&ask::signed_commitment(&signed)?),
            None => Err(answer::forgotten(cx, hash)
                .unwrap_or_else(|| answer::unknown(&format!("no commitment was made for the request {hash}")))),
        }
    }
}

/// Whether a promise met its end without its transaction: a wallet that sends it again asks anew.
fn has_failed(cx: &Context, signed: &Signed) -> bool {
    matches!(cx.slots.fate(signed.seq), Some((Fate::Excused { .. } | Fate::Broken { .. }, _)))
}

/// Fabric's `SlotInfoResponse`, and whether promised transactions become public when the slot is sealed.
fn slots(cx: &Context, config: &PreconfConfig) -> Value {
    let now = cx.clock.now_ms();
    let open: Vec<_> = (cx.slots.open().iter().filter(|s| !admit::is_closing(s, config, now)))
        .map(|s| {
            let offering = json!({ "chain_id": cx.chain.chain_id, "commitment_types": [INCLUSION] });
            json!({ "slot": s.key.slot.get(), "offerings": [offering], "public_at_seal": s.public_at_seal })
        })
        .collect();
    json!({ "slots": open })
}

#[async_trait]
impl Module for Preconf {
    fn manifest(&self) -> Manifest {
        let mut triggers: Vec<_> = METHODS.iter().map(|m| Trigger::Request((*m).to_owned())).collect();
        triggers.push(Trigger::Fate);
        Manifest {
            name: "preconf".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            triggers,
            permissions: vec![Permission::State, Permission::Inclusion, Permission::Publish],
            limits: Limits::default(),
        }
    }

    async fn event(&self, _cx: &Context, delivery: Delivery, tx: &mut dyn ModuleTx) -> Result<(), Fault> {
        match delivery.event {
            Event::Bound { result: Ok(signed), .. } => {
                if let Body::Inclusion(promise) = &signed.body {
                    // Canonical bytes hash to the transaction's hash, whatever their type.
                    let tx_hash = keccak256(&promise.tx);
                    view::bound(tx, &signed, promise, tx_hash, self.config.remember);
                    let told = json!({ "seq": signed.seq, "slot": promise.key.slot, "tx_hash": tx_hash, "recorded_ms": signed.recorded_ms });
                    tx.publish(CHANNEL, told.to_string().into());
                }
            }
            Event::Fate { seq, fate, is_final } => view::fate(tx, seq, fate, is_final),
            // Duties, seal and blocks are the house's: the boost keeps nothing that a promise needs.
            _ => {}
        }
        Ok(())
    }

    async fn request(&self, cx: &Context, request: Request) -> Result<Reply, Refusal> {
        let params = request.params.as_ref();
        let answer = match request.method.as_str() {
            "commitmentRequest" => self.commitment_request(cx, params).await,
            "commitmentResult" => self.commitment_result(cx, params).await,
            "slots" => ask::nothing(params).and_then(|()| json(&slots(cx, &self.config))),
            "fee" => self.fee(cx, params).await,
            "eth_sendRawTransaction" => self.send_raw(cx, params).await,
            "tandem_promise" => answer::promise(cx, ask::which(params)?).await,
            "tandem_fees" => {
                ask::nothing(params)?;
                wallet::fees(cx, &self.config, self.curve.as_ref()).await
            }
            other => Err(Refusal::new("unknown-method", format!("{other} is not answered here"))),
        };
        cx.meter.count(if answer.is_ok() { "answered" } else { "refused" }, 1);
        answer
    }
}
