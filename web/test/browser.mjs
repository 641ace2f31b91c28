// The dashboard in a real browser, against a running demo (`tandem lab browser-test` starts one).
//
//   node web/test/browser.mjs --url URL --relayed URL --execution URL --beacon URL
//        --raw 0x02f8… --hash 0x… --raw-api 0x02f8… --admin-token-file FILE
//        [--out DIR] [--profile DIR] [--timeout SECONDS] [--chromium FILE] [--playwright DIR]
//
// --url is the page of a host whose blocks are all its own, --relayed that of one with relays.
// --raw, with the hash --hash, is pasted into the page and must be promised and then kept; --raw-api is
// sent by JSON-RPC and must appear on the page as it is promised and kept. Both are signed transactions
// for the demo's chain. What the page shows is compared with the host's API, and with what the chain
// (--execution) and the proposers (--beacon, of the devnet) say. --playwright is the folder that has
// node_modules/playwright-core (default: the current one). Exits with 1 and names the check that failed.

import { createRequire } from "node:module";
import { accessSync, constants } from "node:fs";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { parseArgs } from "node:util";

const needed = ["url", "relayed", "execution", "beacon", "raw", "hash", "raw-api", "admin-token-file"];
const { values: args } = parseArgs({
  options: {
    ...Object.fromEntries(needed.map((name) => [name, { type: "string" }])),
    out: { type: "string", default: "screenshots" }, timeout: { type: "string", default: "120" },
    profile: { type: "string" }, chromium: { type: "string" }, playwright: { type: "string", default: process.cwd() },
  },
});
const missing = needed.filter((name) => !args[name]);
if (missing.length > 0) {
  console.error(`give ${missing.map((name) => `--${name}`).join(", ")}; see the head of this file`);
  process.exit(2);
}
const raw = args.raw.trim();
const timeout = 1000 * Number(args.timeout);
const out = resolve(args.out);
const require = createRequire(join(resolve(args.playwright), "package.json"));
const { chromium } = require("playwright-core");

/** The browser: the one that was named, else the first of the usual ones in the search path. */
function browserFile() {
  if (args.chromium) return args.chromium;
  const names = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    for (const name of names) {
      try {
        accessSync(join(folder, name), constants.X_OK);
        return join(folder, name);
      } catch {
        // Not here.
      }
    }
  }
  console.error(`none of ${names.join(", ")} is in the search path; name one with --chromium`);
  process.exit(2);
}

const done = [];
function check(name, ok, detail = "") {
  if (!ok) throw new Error(`${name}${detail ? `: ${detail}` : ""}`);
  done.push(name);
  console.log(`ok    ${name}`);
}

async function rpc(url, method, params) {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
  const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
  const answer = await response.json();
  if (answer.error) throw new Error(`${method}: ${JSON.stringify(answer.error)}`);
  return answer.result;
}
async function api(path, url = args.url) {
  const response = await fetch(`${url}/api/v1/${path}`);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}
const promiseOf = async (hash) => (await api("promises?limit=500")).find((p) => p.tx_hash === hash);

/** Asks until the answer is there, or time is over. */
async function until(what, question, ms = 20_000) {
  const begin = Date.now();
  let last;
  for (;;) {
    last = await question();
    if (last.ok) return last;
    if (Date.now() - begin > ms) throw new Error(`${what}: ${last.detail}`);
    await new Promise((r) => setTimeout(r, 200));
  }
}

/** As the page writes microseconds. */
const duration = (us) => (us < 1000 ? `${us} µs` : us < 100_000 ? `${(us / 1000).toFixed(1)} ms` : us < 1_000_000 ? `${Math.round(us / 1000)} ms` : `${(us / 1e6).toFixed(1)} s`);

/** How far the page is wider than the window, and what sticks out. */
const overflow = (page) => page.evaluate(() => {
  const width = document.documentElement.clientWidth;
  const inScroller = (node) => node.parentElement?.closest(".table") !== null;
  const wide = [...document.querySelectorAll("body *")].filter((n) =>
    n.checkVisibility() && !inScroller(n) && !n.matches(".hidden, .skip") && n.getBoundingClientRect().right > width + 1);
  return { by: document.documentElement.scrollWidth - width, wide: wide.slice(0, 5).map((n) => `${n.tagName}.${n.className}#${n.id}`) };
});

const luminance = (page) => page.evaluate(() => {
  const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g).map(Number);
  return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
});

/** Contrast of each visible text with what is behind it; WCAG AA wants 4.5. */
const poorContrast = (page) => page.evaluate(() => {
  const parse = (c) => c.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (let n = node; n; n = n.parentElement) {
      const c = parse(getComputedStyle(n).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const node of document.querySelectorAll("body *")) {
    const text = [...node.childNodes].some((c) => c.nodeType === 3 && c.textContent.trim());
    if (!text || !node.checkVisibility() || node.closest(".hidden, .skip, :disabled")) continue;
    const a = light(parse(getComputedStyle(node).color)), b = light(ground(node));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${node.tagName}.${node.className} "${node.textContent.trim().slice(0, 20)}" ${ratio.toFixed(2)}`);
  }
  return [...new Set(poor)].slice(0, 5);
});

/** Everything that the keyboard must reach, and the one that has the focus, by names that last. */
const controls = (page) => page.evaluate(() => {
  const name = (n) => n.id || n.getAttribute("aria-labelledby") || `${n.tagName} ${n.textContent.trim().slice(0, 40)}`;
  const all = [...document.querySelectorAll("a[href], button, input, textarea, select, summary, [tabindex='0']")];
  return all.filter((n) => n.checkVisibility() && !n.disabled).map(name);
});
const focused = (page) => page.evaluate(() => {
  const n = document.activeElement;
  if (!n || n === document.body) return null;
  const name = n.id || n.getAttribute("aria-labelledby") || `${n.tagName} ${n.textContent.trim().slice(0, 40)}`;
  return { name, seen: getComputedStyle(n).outlineStyle !== "none" };
});
/** Presses Tab from the top of the page until `last` has the focus, or everything had it. */
async function tabTo(page, last) {
  await page.evaluate(() => (document.activeElement?.blur(), window.scrollTo(0, 0)));
  await page.locator("body").evaluate((b) => (b.tabIndex = -1, b.focus(), b.removeAttribute("tabindex")));
  const visited = [];
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press("Tab");
    const at = await focused(page);
    if (!at || (i > 0 && at.name === visited[0].name)) break;
    visited.push(at);
    if (at.name === last) break;
  }
  return visited;
}

/** Rows of the page's blocks: slot and words. */
const blockRows = (page) => page.locator("#blocks tr").evaluateAll((rows) => rows.map((r) => (
  { slot: Number(r.children[0].firstChild.textContent.replace(/,/g, "")), from: r.children[2].textContent, hash: r.title })));
/** Where a block came from: the proposer's node knows whether it took the builder's, and the lab's relays sign in the extra data. */
async function truth(hash, decisions) {
  const block = await rpc(args.execution, "eth_getBlockByHash", [hash, false]);
  const relay = Buffer.from(block.extraData.slice(2), "hex").toString().startsWith("simulated relay");
  const decision = decisions.find((d) => Number(d.slot) === slotOf(block, decisions));
  return { relay, chosen: decision?.chosen };
}
let clock = null;
const slotOf = (block) => (Number(block.timestamp) - Number(clock.genesis_time)) / Number(clock.slot_seconds);

/** Each row of the page's blocks against the chain. Answers the words that were seen. */
async function checkOrigins(page, name, ours) {
  const rows = await blockRows(page);
  const decisions = await (await fetch(`${args.beacon}/tandem/v1/devnet/decisions`)).json();
  const words = { "own block": (t) => t.chosen === "builder" && !t.relay, "beacon node's own": (t) => t.chosen === "local" };
  const wrong = [];
  for (const row of rows) {
    const is = words[row.from] ?? (row.from.startsWith("relay ") ? (t) => t.chosen === "builder" && t.relay : null);
    const t = await truth(row.hash, decisions);
    if (is && !is(t)) wrong.push(`slot ${row.slot}: "${row.from}", but ${JSON.stringify(t)}`);
  }
  check(`${name}: every block's origin is true`, rows.length > 0 && wrong.length === 0, wrong.join("; ") || "no blocks");
  const seen = new Set(rows.map((r) => r.from.split(" ")[0]));
  check(`${name}: blocks are marked as ${ours}`, seen.has(ours), [...seen].join(", "));
}

const executablePath = browserFile();
const profile = args.profile ?? (await mkdtemp(join(tmpdir(), "tandem-browser-")));
await mkdir(out, { recursive: true });
const browser = await chromium.launchPersistentContext(profile, {
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  viewport: { width: 1280, height: 900 },
  colorScheme: "light",
});
let failed = null;
const page = browser.pages()[0] ?? (await browser.newPage());
try {
  const faults = [];
  page.on("pageerror", (e) => faults.push(`exception: ${e.message}`));
  page.on("console", (m) => m.type() === "error" && faults.push(`console: ${m.text()}`));
  page.on("request", (r) => r.url().startsWith(args.url.replace(/\/$/, "")) || faults.push(`asked elsewhere: ${r.url()}`));
  page.setDefaultTimeout(timeout);

  await page.goto(args.url);
  await page.locator("#live.on").waitFor();
  check("the page is live", true);
  // The first snapshot is drawn.
  await page.locator("#slots li[aria-current]").waitFor();
  check("it says that the devnet is simulated", await page.locator("#simulated").isVisible());
  clock = (await api("status")).clock;
  const slot = await page.locator("#slot-now").textContent();
  await page.waitForFunction((s) => document.querySelector("#slot-now").textContent !== s, slot);
  check("the slot clock goes on", true);
  await page.locator("#slots li.ours").first().waitFor();
  check("slots of ours are marked", true);

  // Keyboard: from the top of the page to the field, paste, on to the button, and press it.
  const visited = await tabTo(page, "send-raw");
  check("the keyboard reaches the field", visited.at(-1)?.name === "send-raw", visited.map((v) => v.name).join(", "));
  check("the first stop skips to the content", visited[0].name.includes("Skip to the content"), visited[0].name);

  // A refusal is said, with its code.
  await page.keyboard.insertText("0x00");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.locator("#send-refused").waitFor();
  check("a refusal is said with its code", /\(([a-z-]+)\)/.test(await page.locator("#send-refused").textContent()));
  await page.locator("#send-raw").fill("");
  await page.locator("#send-raw").focus();
  await page.keyboard.insertText(raw);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");

  await page.locator("#step-promised.done").waitFor();
  check("the transaction is promised", true);
  check("no refusal is shown", await page.locator("#send-refused").isHidden());
  const row = page.locator(`#promises tr[data-tx="${args.hash}"]`);
  await row.waitFor();
  await until("the row shows the promise's slot and latency", async () => {
    const promise = await promiseOf(args.hash);
    const [slot, took] = await Promise.all([2, 3].map((n) => row.locator(`td:nth-child(${n})`).textContent()));
    const want = [Number(promise?.slot).toLocaleString("en"), promise?.latency_us ? duration(promise.latency_us) : "nothing"];
    return { ok: slot === want[0] && took === want[1] && promise.latency_us < 1_000_000, detail: `${slot}, ${took}; the host says ${want}` };
  });
  check("the row shows the promise's slot and latency", true);
  await page.screenshot({ path: join(out, "promised.png") });
  const viaApi = await rpc(args.url, "eth_sendRawTransaction", [args["raw-api"].trim()]);
  await page.locator(`#promises tr[data-tx="${viaApi}"]`).waitFor();
  check("a transaction sent by JSON-RPC appears", true);
  await page.locator("#step-sealed.done").waitFor();
  check("its slot is sealed", (await promiseOf(args.hash)).sealed);
  await page.locator("#step-kept.done").waitFor();
  check("the transaction is kept", (await page.locator("#fate-word").textContent()) === "Kept");
  const [receipt, kept] = [await rpc(args.execution, "eth_getTransactionReceipt", [args.hash]), await promiseOf(args.hash)];
  const inBlock = `in block ${Number(receipt.blockNumber).toLocaleString("en")}`;
  check("in the block that the chain has it in", (await page.locator("#step-kept .say").textContent()).startsWith(inBlock), inBlock);
  const mined = slotOf(await rpc(args.execution, "eth_getBlockByHash", [receipt.blockHash, false]));
  check("which is its slot's", kept.fate.name === "kept" && mined === Number(kept.slot), `${mined}: ${JSON.stringify(kept)}`);
  await row.locator(".tag.good").waitFor();
  check("its row says so", (await row.locator(".tag").textContent()) === "✓ kept");
  const other = page.locator(`#promises tr[data-tx="${viaApi}"] .tag.good`);
  await other.waitFor();
  check("the one sent by JSON-RPC is kept too", (await other.textContent()) === "✓ kept" && (await promiseOf(viaApi)).fate.name === "kept");
  await page.screenshot({ path: join(out, "kept.png") });
  await page.locator(`#blocks tr[title="${receipt.blockHash}"]`).waitFor();
  await checkOrigins(page, "own blocks", "own");

  // Modules and money, as the API has them.
  await until("modules are shown with their health and load", async () => {
    const [m] = await api("modules");
    const shown = await page.locator(`#modules li[data-id="${m.id}"]`).innerText().catch(() => "");
    const answered = shown.match(/Answered\s+([\d,]+)/i)?.[1];
    const faults = shown.match(/Panics, hangs\s+(\d+), (\d+)/i);
    const ok = shown.includes("● running") && m.state === "running" && m.answered > 0 && answered === m.answered.toLocaleString("en") && faults?.[1] === String(m.panics) && faults?.[2] === String(m.hangs);
    return { ok, detail: `${JSON.stringify(shown)}; the host says ${JSON.stringify(m)}` };
  });
  check("modules are shown with their health and load", true);
  await until("earnings are shown to the wei", async () => {
    const { total } = await api("ledger?days=7");
    const want = ["received", "charged", "forgone", "cost"].map((f) => `${BigInt(total.provisional[f]) + BigInt(total.settled[f])} wei`);
    const shown = await page.locator("#earnings tr.total td span").evaluateAll((all) => all.map((n) => n.title));
    return { ok: JSON.stringify(shown) === JSON.stringify(want) && want[0] !== "0 wei", detail: `${shown}; the host says ${want}` };
  });
  check("earnings are shown to the wei, and a tip was received", true);

  // The operator's part, by keyboard alone.
  const steps = await tabTo(page, "SUMMARY Operator");
  check("the keyboard reaches the operator's part", steps.at(-1)?.name === "SUMMARY Operator", steps.map((v) => v.name).join(", "));
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.insertText((await readFile(args["admin-token-file"], "utf8")).trim());
  await page.keyboard.press("Enter");
  await page.locator("#admin-orders").waitFor();
  await page.locator("#modules button").first().waitFor();
  check("the operator's token is taken", true);
  const all = await controls(page), reached = await tabTo(page, null);
  const lost = all.filter((name) => !reached.some((v) => v.name === name));
  check("the keyboard reaches every control", lost.length === 0 && reached.length >= 12, lost.join(", ") || String(reached.length));
  check("every focus is seen", reached.every((v) => v.seen), reached.filter((v) => !v.seen).map((v) => v.name).join(", "));
  await page.screenshot({ path: join(out, "operator.png"), fullPage: true });

  // Where relays are: theirs are named, and the truth.
  const relayed = await browser.newPage();
  await relayed.goto(args.relayed);
  await until("a relay's block is shown", async () => {
    const rows = await blockRows(relayed);
    return { ok: rows.some((r) => r.from.startsWith("relay ")), detail: rows.map((r) => r.from).join(", ") };
  }, timeout);
  await checkOrigins(relayed, "a host with relays", "relay");
  await relayed.close();

  for (const [name, width] of [["wide", 1280], ["tablet", 768], ["phone", 390], ["small phone", 320]]) {
    for (const scheme of ["light", "dark"]) {
      await page.setViewportSize({ width, height: width < 700 ? 844 : 900 });
      await page.emulateMedia({ colorScheme: scheme });
      await page.waitForTimeout(250);
      const over = await overflow(page);
      check(`${name}, ${scheme}: nothing sticks out`, over.by <= 0 && over.wide.length === 0, JSON.stringify(over));
      check(`${name}, ${scheme}: the colours are ${scheme}`, scheme === "dark" ? (await luminance(page)) < 0.3 : (await luminance(page)) > 0.7);
      const poor = await poorContrast(page);
      check(`${name}, ${scheme}: every text has contrast`, poor.length === 0, poor.join("; "));
      await page.screenshot({ path: join(out, `${name.replace(" ", "-")}-${scheme}.png`), fullPage: true });
    }
  }

  // The button wins over the system.
  await page.emulateMedia({ colorScheme: "light" });
  while ((await page.locator("#theme").textContent()) !== "Dark") await page.locator("#theme").click();
  check("the button makes it dark on a light system", (await luminance(page)) < 0.3);
  await page.reload();
  await page.locator("#live.on").waitFor();
  check("and a reload keeps it so", (await luminance(page)) < 0.3);
  check("nothing went wrong in the page", faults.filter((f) => !f.includes("status of 4")).length === 0, faults.join("; "));
} catch (error) {
  failed = error;
  await page.screenshot({ path: join(out, "failed.png"), fullPage: true }).catch(() => {});
} finally {
  await browser.close().catch(() => {});
  // A folder that was given is its giver's.
  if (!args.profile) await rm(profile, { recursive: true, force: true }).catch(() => {});
}
if (failed) {
  console.error(`FAILED ${failed.message}`);
  process.exit(1);
}
console.log(`${done.length} checks; screenshots in ${out}`);
