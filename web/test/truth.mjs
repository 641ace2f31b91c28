// What the page must show, asked of the host's API and of the chain's own nodes, and not of the page.

export async function get(url) {
  const response = await fetch(url, { signal: AbortSignal.timeout(10_000) });
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response.json();
}
export async function rpc(url, method, params) {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
  const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body, signal: AbortSignal.timeout(10_000) });
  const answer = await response.json();
  if (answer.error) throw new Error(`${method}: ${JSON.stringify(answer.error)}`);
  return answer.result;
}
export const pause = (ms) => new Promise((r) => setTimeout(r, ms));

const MONEY = ["received", "charged", "forgone", "cost"];
const total = (account, field) => {
  const booked = [account.provisional[field], account.settled[field]].filter((wei) => wei !== null);
  return booked.length ? booked.reduce((all, wei) => all + BigInt(wei), 0n).toString() : "none is booked yet";
};

/** The rows of the earnings, as the ledger has them: names, and amounts in wei. */
export async function ledgerRows(url) {
  const ledger = await get(`${url}/api/v1/ledger?days=7`);
  const row = (name, account) => [name, ...MONEY.map((f) => total(account, f))];
  return [...Object.entries(ledger.modules).map(([name, a]) => row(name, a)), row("all", ledger.total), ...ledger.days.map((d) => row(d.date, d.total))];
}
/** The same, as the page shows them: the exact amounts are in the titles. */
export const shownEarnings = (page) => page.evaluate(() => [...document.querySelectorAll("#earnings tr")].map((tr) => [
  tr.querySelector("th").textContent,
  ...[...tr.querySelectorAll("td > span")].map((s) => s.title.replace(" wei", "")),
]));
/** Amounts that are written otherwise than their titles say. */
export const miswritten = (page) => page.evaluate(() => [...document.querySelectorAll("#earnings td > span")].filter((s) => {
  if (!s.title.endsWith(" wei")) return s.textContent !== "none booked";
  const wei = BigInt(s.title.replace(" wei", "")), gwei = wei / 10n ** 9n;
  if (wei > 0n && gwei === 0n) return !s.textContent.startsWith("<");
  const [whole, rest = ""] = s.textContent.replaceAll(",", "").split(".");
  return BigInt(whole) * 10n ** 9n + BigInt(rest.padEnd(9, "0")) !== gwei;
}).map((s) => `${s.textContent} for ${s.title}`));

const WORDS = { running: "● running", restarting: "◌ restarting", disabled: "○ disabled", banned: "✕ banned" };
const number = (n) => Number(n).toLocaleString("en");
/** Health and load of each module, as the API has them. */
export async function moduleCards(url) {
  const modules = await get(`${url}/api/v1/modules`);
  return modules.map((m) => ({
    id: m.id, state: WORDS[m.state], Answered: number(m.answered), Refused: number(m.refused), Late: number(m.late), "Under way": number(m.in_flight),
    "Waiting events": number(m.backlog), "Panics, hangs": `${number(m.panics)}, ${number(m.hangs)}`, Restarts: number(m.restarts),
    p50: m.p50_us, p99: m.p99_us,
  }));
}
/** The same, as the page shows them. */
export const shownModules = (page) => page.evaluate(() => {
  const micros = (text) => {
    const [n, unit] = text.split(" ");
    return text === "–" ? null : Number(n) * { µs: 1, ms: 1e3, s: 1e6 }[unit];
  };
  return [...document.querySelectorAll("#modules > li")].map((li) => {
    const pairs = Object.fromEntries([...li.querySelectorAll("dl > div")].map((d) => [d.querySelector("dt").textContent, d.querySelector("dd").textContent]));
    return { id: li.dataset.id, state: li.querySelector(".tag").textContent, ...pairs, p50: micros(pairs.p50), p99: micros(pairs.p99) };
  });
});
/** Times are rounded on the page; everything else must be the same. */
export const sameModules = (a, b) => {
  const near = (x, y) => x === y || (x !== null && y !== null && Math.abs(x - y) <= 0.06 * Math.max(x, y) + 50);
  const rest = (m) => JSON.stringify({ ...m, p50: 0, p99: 0 }, Object.keys(m).sort());
  return a.length === b.length && a.every((m, i) => rest(m) === rest(b[i]) && near(m.p50, b[i].p50) && near(m.p99, b[i].p99));
};

const CAUSES = { missed: "slot missed", orphaned: "block orphaned", nonce_used: "nonce used", balance_short: "balance short", code_appeared: "code appeared", predecessor: "follows an excused one", left_out: "left out" };
const FATES = { kept: "✓ kept", early: "✓ early", excused: "⊘ excused", broken: "✕ broken" };
const took = (us) => (us === null ? "–" : us < 1_000 ? `${us} µs` : us < 100_000 ? `${(us / 1e3).toFixed(1)} ms` : us < 1e6 ? `${Math.round(us / 1e3)} ms` : `${(us / 1e6).toFixed(1)} s`);
const fateWords = (p) => (!p.fate ? (p.sealed ? "sealed" : "promised") : FATES[p.fate.name] + (p.fate.cause ? ` · ${CAUSES[p.fate.cause]}` : ""));
/** The promises: hash, slot, latency and fate, as the API has them. */
export async function promiseRows(url) {
  const promises = await get(`${url}/api/v1/promises?limit=500`);
  return promises.map((p) => [p.tx_hash, number(p.slot), took(p.latency_us), fateWords(p)]);
}
/** The same, as the page shows them. */
export const shownPromises = (page) => page.evaluate(() => [...document.querySelectorAll("#promises tr")].map((tr) => [
  tr.dataset.tx, tr.cells[1].textContent, tr.cells[2].textContent, tr.cells[3].firstChild.firstChild.textContent,
]));
/** The page shows the newest only. */
export const areAmong = (shown, told) => {
  const all = new Set(told.map((t) => JSON.stringify(t)));
  return shown.length > 0 && shown.every((s) => all.has(JSON.stringify(s)));
};

/** Asks until there is an answer. */
export async function until(question, timeout) {
  for (const end = Date.now() + timeout; Date.now() < end; await pause(300)) {
    const answer = await question();
    if (answer) return answer;
  }
  return null;
}

/**
 * Waits until what the page shows is what the host said within the last seconds, `times` different times:
 * the page looks every three seconds, and a demo goes on meanwhile.
 */
export async function follows({ shown, told, same, times = 1, timeout = 45_000 }) {
  const end = Date.now() + timeout, seen = new Set();
  let recent = [], last = null;
  while (Date.now() < end) {
    recent.push([Date.now(), await told()]);
    recent = recent.filter(([at]) => Date.now() - at < 8_000);
    last = await shown();
    if (recent.some(([, t]) => same(last, t))) seen.add(JSON.stringify(last));
    if (seen.size >= times) return { ok: true, shown: last, detail: "" };
    await pause(200);
  }
  return { ok: false, shown: last, detail: `${seen.size} of ${times} times; shown ${JSON.stringify(last)}; told ${JSON.stringify(recent.at(-1)?.[1])}` };
}
export const sameJson = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** The proposers of the slots on the page, against the beacon node's duties. */
export async function proposers(page, beacon, first, last) {
  const shown = await page.evaluate(() => [...document.querySelectorAll("#slots li")].map((li) => ({
    slot: Number(li.querySelector(".n").firstChild.textContent), who: li.querySelector(".who").textContent,
    now: li.hasAttribute("aria-current"), ours: li.classList.contains("ours"),
  })));
  const epochs = new Set(shown.map((s) => Math.floor(s.slot / 32)));
  const duties = new Map();
  for (const epoch of epochs) {
    // One that lies too far ahead is not told.
    const all = await get(`${beacon}/eth/v1/validator/duties/proposer/${epoch}`).catch(() => ({ data: [] }));
    for (const d of all.data) duties.set(Number(d.slot), Number(d.validator_index));
  }
  const running = shown.find((s) => s.now)?.slot;
  const known = shown.filter((s) => duties.has(s.slot));
  const wrong = known.filter((s) => {
    const index = duties.get(s.slot), ours = index >= first && index <= last;
    return ours !== s.ours || s.who !== `${ours ? "ours " : ""}#${index}`;
  });
  return { running, coming: known.filter((s) => s.slot > running).length, wrong };
}

/** The block that has a transaction, and its slot, by the execution node alone. */
export async function included(execution, hash, clock) {
  const receipt = await rpc(execution, "eth_getTransactionReceipt", [hash]);
  if (!receipt) return null;
  const block = await rpc(execution, "eth_getBlockByNumber", [receipt.blockNumber, false]);
  return { number: Number(receipt.blockNumber), slot: (Number(block.timestamp) - Number(clock.genesis_time)) / Number(clock.slot_seconds), ok: receipt.status === "0x1" };
}
