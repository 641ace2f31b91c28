// What is known of the host: snapshots from /api/v1, changed by what /events tells.

export const state = {
  status: null, slots: [], modules: [], ledger: null,
  promises: new Map(), blocks: new Map(),
  /** The host's clock less ours, in ms. */
  skew: 0,
  /** The operator's token, in this page's memory only. */
  admin: null,
  /** The transaction that was sent from this page. */
  sent: null,
};
const MOST_PROMISES = 150, MOST_BLOCKS = 24;

const listeners = [];
/** Calls `listener` after each change. */
export const onChange = (listener) => listeners.push(listener);
export const changed = () => listeners.forEach((l) => l());
export const now = () => Date.now() + state.skew;

export function headers() {
  return state.admin ? { authorization: `Bearer ${state.admin}` } : {};
}
export async function ask(path) {
  const response = await fetch(`/api/v1/${path}`, { headers: headers(), cache: "no-store" });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

function trim(map, most) {
  // Keys rise with age, so that the oldest are the smallest.
  if (map.size <= most) return;
  const keys = [...map.keys()].sort((a, b) => a - b);
  for (const key of keys.slice(0, map.size - most)) map.delete(key);
}
/** Whether it is about the transaction that was sent here, in the last slot that it was promised for. */
const isSent = ({ tx_hash, seq }) => state.sent?.hash === tx_hash && seq >= (state.sent.promise?.seq ?? 0);
/**
 * What the host says of a promise takes the place of all that was known of it: a reorg takes fates back, too. Only
 * what was asked for before the latest event came is older than that.
 */
export function takePromise(promise, asked = performance.now()) {
  if (state.promises.get(promise.seq)?.told > asked) return;
  const taken = { ...promise, told: asked };
  state.promises.set(promise.seq, taken);
  trim(state.promises, MOST_PROMISES);
  if (isSent(taken)) Object.assign(state.sent, { promise: taken, fate: taken.fate });
}
export function takeFate(change) {
  const news = { fate: change.fate ?? null, told: performance.now() };
  const known = state.promises.get(change.seq);
  if (known) Object.assign(known, news);
  if (isSent(change)) state.sent.fate = news.fate;
}
export function takeBlock(block) {
  state.blocks.set(`${block.slot}:${block.block.hash}`, block);
  const all = [...state.blocks.entries()].sort(([, a], [, b]) => b.slot - a.slot || b.block.number - a.block.number);
  state.blocks = new Map(all.slice(0, MOST_BLOCKS));
}
export function takeSlot(slot) {
  state.slots = state.slots.filter((s) => s.slot !== slot.slot).concat([slot]).sort((a, b) => a.slot - b.slot);
}
export function takeModule(module) {
  state.modules = state.modules.filter((m) => m.id !== module.id).concat([module]).sort((a, b) => a.id.localeCompare(b.id));
}
export function takeStatus(status) {
  state.status = status;
  state.skew = status.now_ms - Date.now();
}

/** Asks for everything again. With `fresh`, forgets what it had: the host may have been started anew. */
export async function refresh(fresh = false) {
  const asked = performance.now();
  const [status, slots, promises, blocks, modules, ledger] = await Promise.all([
    ask("status"), ask("slots"), ask(`promises?limit=${MOST_PROMISES}`), ask(`blocks?limit=${MOST_BLOCKS}`), ask("modules"), ask("ledger?days=7"),
  ]);
  takeStatus(status);
  Object.assign(state, { slots, modules, ledger });
  if (fresh) {
    state.promises = new Map();
    state.blocks = new Map();
  }
  for (const promise of promises) takePromise(promise, asked);
  blocks.forEach(takeBlock);
  changed();
}
