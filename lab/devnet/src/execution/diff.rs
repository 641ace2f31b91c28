//! The prestate tracer in diff mode, as geth answers it: accounts that were empty before are not in
//! `pre`, unchanged fields are not in `post`, codes come with their hashes.

use super::{StateView, ViewError};
use alloy_primitives::{Address, B256, U256, map::HashMap};
use revm::{
    DatabaseRef,
    database::State as EvmState,
    database_interface::bal::EvmDatabaseError,
    state::{Account, AccountInfo, EvmState as Changes},
};
use serde_json::{Map, Value, json};

type Db = EvmState<StateView>;
type Error = EvmDatabaseError<ViewError>;

/// What of an account is shown beside nonce, balance and the code's hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) code: bool,
    pub(super) storage: bool,
}

/// What a transaction changes, before it is committed to `db`. `looked` are the accounts at which geth
/// looks whatever happens: sender, receiver and fee recipient.
pub(super) fn state_diff(changes: &Changes, db: &Db, looked: &[Address], shown: Shown) -> Result<Value, Error> {
    let (mut pre, mut post) = (Map::new(), Map::new());
    let seen = |(address, account): &(&Address, &Account)| account.is_touched() || looked.contains(address);
    for (address, account) in changes.iter().filter(seen) {
        let before = db.basic_ref(*address)?.unwrap_or_default();
        let gone = account.is_selfdestructed();
        if !gone && before.is_empty() && account.info.is_empty() {
            // geth looked at it, and tells that it is still not there by a zero code hash.
            post.insert(key(address), json!({ "codeHash": B256::ZERO }));
            continue;
        }
        let slots = if shown.storage { changed_slots(account) } else { HashMap::default() };
        let mut after = if gone { Map::new() } else { changed(&before, account, &slots, db)? };
        // Where slots were only cleared, geth shows an account without fields.
        if !gone && after.is_empty() && slots.is_empty() {
            continue;
        }
        let mut whole = whole(&before, &slots, db)?;
        if !shown.code {
            for of in [&mut whole, &mut after] {
                of.remove("code");
            }
        }
        if !before.is_empty() {
            pre.insert(key(address), whole.into());
        }
        if !gone {
            post.insert(key(address), after.into());
        }
    }
    Ok(json!({ "post": post, "pre": pre }))
}

fn key(address: &Address) -> String {
    format!("{address:#x}")
}

/// Slots with their values before and after.
fn changed_slots(account: &Account) -> HashMap<B256, (U256, U256)> {
    let changed = account.storage.iter().filter(|(_, s)| s.original_value != s.present_value);
    changed.map(|(slot, s)| (B256::from(*slot), (s.original_value, s.present_value))).collect()
}

fn code_of(info: &AccountInfo, db: &Db) -> Result<(Value, Value), Error> {
    let code = match &info.code {
        Some(code) => code.clone(),
        None => db.code_by_hash_ref(info.code_hash)?,
    };
    Ok((json!(code.original_bytes()), json!(info.code_hash)))
}

/// An account as it was, with the slots that change.
fn whole(info: &AccountInfo, slots: &HashMap<B256, (U256, U256)>, db: &Db) -> Result<Map<String, Value>, Error> {
    let mut out = Map::from_iter([("balance".to_owned(), json!(info.balance))]);
    if info.nonce != 0 {
        out.insert("nonce".to_owned(), json!(info.nonce));
    }
    if !info.is_empty_code_hash() {
        let (code, hash) = code_of(info, db)?;
        out.insert("code".to_owned(), code);
        out.insert("codeHash".to_owned(), hash);
    }
    put_slots(&mut out, slots.iter().map(|(slot, (before, _))| (slot, before)));
    Ok(out)
}

/// Only what is otherwise now; nothing at all if nothing is.
fn changed(
    before: &AccountInfo,
    account: &Account,
    slots: &HashMap<B256, (U256, U256)>,
    db: &Db,
) -> Result<Map<String, Value>, Error> {
    let now = &account.info;
    let mut out = Map::new();
    if now.balance != before.balance {
        out.insert("balance".to_owned(), json!(now.balance));
    }
    if now.nonce != before.nonce {
        out.insert("nonce".to_owned(), json!(now.nonce));
    }
    // An account that was not there has a zero hash in some databases: both mean no code.
    let same_code = now.code_hash == before.code_hash || (now.is_empty_code_hash() && before.is_empty_code_hash());
    if !same_code {
        let (code, hash) = code_of(now, db)?;
        out.insert("code".to_owned(), code);
        out.insert("codeHash".to_owned(), hash);
    }
    put_slots(&mut out, slots.iter().map(|(slot, (_, after))| (slot, after)));
    Ok(out)
}

fn put_slots<'a>(out: &mut Map<String, Value>, slots: impl Iterator<Item = (&'a B256, &'a U256)>) {
    let shown: Map<String, Value> =
        slots.filter(|(_, v)| !v.is_zero()).map(|(k, v)| (format!("{k:#x}"), json!(B256::from(*v)))).collect();
    if !shown.is_empty() {
        out.insert("storage".to_owned(), shown.into());
    }
}
