// The dashboard in a real browser, against the hosts of a running demo.
//
//   node web/test/browser.mjs --url http://127.0.0.1:18650 --token-file FILE --raw 0x02f8… --hash 0x…
//        --raw-api 0x02f8… --execution URL --beacon URL --validators 0-15 [--other URL …] [--out DIR]
//        [--timeout SECONDS] [--chromium FILE] [--playwright DIR]
//
// --raw is pasted into the page and must be promised and then kept, also by the word of the execution node;
// --hash is its hash. --raw-api is sent by JSON-RPC instead and must appear on the page as it is promised and
// kept. Both are signed transactions for the host's chain. --validators are the host's. --token-file has the
// operator's token. Others are looked at only. --playwright is the folder that has
// node_modules/playwright-core (default: the current one). Exits with 1 and names the check that failed.

import { createRequire } from "node:module";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { faults as keyFaults, focusedId, focusedText, tabTo, walk } from "./keys.mjs";
import { cutIndices, findsPoorContrast, luminance, overflow, poorContrast, scrolledTables, teachContrast } from "./look.mjs";
import {
  areAmong, follows, get, included, ledgerRows, miswritten, moduleCards, pause, promiseRows, proposers, rpc, sameJson, sameModules,
  shownEarnings, shownModules, shownPromises, until,
} from "./truth.mjs";

const { values: args } = parseArgs({
  options: {
    url: { type: "string" }, "token-file": { type: "string" }, raw: { type: "string" }, hash: { type: "string" }, "raw-api": { type: "string" },
    execution: { type: "string" }, beacon: { type: "string" }, validators: { type: "string" }, other: { type: "string", multiple: true, default: [] },
    out: { type: "string", default: "screenshots" }, timeout: { type: "string", default: "120" }, chromium: { type: "string" },
    playwright: { type: "string", default: process.cwd() },
  },
});
const missing = ["url", "token-file", "raw", "hash", "raw-api", "execution", "beacon", "validators"].filter((name) => !args[name]);
if (missing.length) {
  console.error(`give ${missing.map((m) => `--${m}`).join(", ")}; see the head of this file`);
  process.exit(2);
}
const url = args.url.replace(/\/$/, "");
const [first, last] = args.validators.split("-").map(Number);
const timeout = 1000 * Number(args.timeout);
const out = resolve(args.out);
const NAMES = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
const executablePath = args.chromium ?? (process.env.PATH ?? "").split(delimiter).flatMap((d) => NAMES.map((n) => join(d, n))).find((f) => existsSync(f));
const require = createRequire(join(resolve(args.playwright), "package.json"));
const { chromium } = require("playwright-core");

const done = [];
function check(name, ok, detail = "") {
  if (!ok) throw new Error(`${name}${detail ? `: ${detail}` : ""}`);
  done.push(name);
  console.log(`ok    ${name}`);
}

const profile = await mkdtemp(join(tmpdir(), "tandem-browser-"));
await mkdir(out, { recursive: true });
const browser = await chromium.launchPersistentContext(profile, {
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  viewport: { width: 1280, height: 900 },
  colorScheme: "light",
});
const page = browser.pages()[0] ?? (await browser.newPage());
page.setDefaultTimeout(timeout);
const shot = (name, fullPage = true) => page.screenshot({ path: join(out, `${name}.png`), fullPage });
const wrong = [];
page.on("pageerror", (e) => wrong.push(`exception: ${e.message}`));
// Refused requests are told to the console too, and some are refused here on purpose.
page.on("console", (m) => m.type() === "error" && !m.text().includes("status of 4") && wrong.push(`console: ${m.text()}`));
page.on("request", (r) => [url, ...args.other].some((u) => r.url().startsWith(u)) || wrong.push(`asked elsewhere: ${r.url()}`));

async function open(at) {
  await page.goto(at);
  await page.locator("#live.on").waitFor();
  // The first snapshot is drawn.
  await page.locator("#slots li[aria-current]").waitFor();
  await teachContrast(page);
}

async function slots() {
  check("it says that the devnet is simulated", await page.locator("#simulated").isVisible());
  const slot = await page.locator("#slot-now").textContent();
  await page.waitForFunction((s) => document.querySelector("#slot-now").textContent !== s, slot);
  check("the slot clock goes on", true);
  await page.locator("#slots li.ours").first().waitFor();
  // The page may be drawn between two looks at a slot's beginning.
  let seen = null;
  for (let i = 0; i < 5; i++) {
    seen = await proposers(page, args.beacon, first, last);
    if (seen.coming >= 8 && seen.wrong.length === 0) break;
    await pause(1_000);
  }
  check("current and coming proposers are those of the beacon node", seen.coming >= 8 && seen.wrong.length === 0, JSON.stringify(seen));
}

/** Sends a transaction from the page, by keyboard alone, and follows it. */
async function send() {
  await tabTo(page, "the field", () => document.activeElement?.id === "send-raw");
  // A refusal is said, with its code.
  await page.keyboard.insertText("0x00");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.locator("#send-refused").waitFor();
  check("a refusal is said with its code", /\(([a-z-]+)\)/.test(await page.locator("#send-refused").textContent()));
  await shot("refused", false);
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Control+A");
  await page.keyboard.insertText(args.raw.trim());
  await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  await page.locator("#step-promised.done").waitFor();
  check("the transaction is promised", true);
  check("no refusal is shown", await page.locator("#send-refused").isHidden());
  const promise = (await get(`${url}/api/v1/promises?limit=500`)).find((p) => p.tx_hash === args.hash);
  check("and the host says so too", promise !== undefined);
  check("it was not on the chain yet", (await rpc(args.execution, "eth_getTransactionReceipt", [args.hash])) === null);
  await shot("promised", false);
  const byApi = await rpc(url, "eth_sendRawTransaction", [args["raw-api"].trim()]);
  await page.locator(`#promises tr[data-tx="${byApi}"]`).waitFor();
  check("a transaction sent by JSON-RPC appears", true);
  await page.locator("#step-sealed.done").waitFor();
  check("its slot is sealed", true);
  await page.locator("#step-kept.done").waitFor();
  check("the transaction is kept", (await page.locator("#fate-word").textContent()) === "Kept");
  const { clock } = await get(`${url}/api/v1/status`);
  const found = await included(args.execution, args.hash, clock);
  const said = await page.locator("#step-kept .say").textContent();
  check("it is on the chain, in the block of its slot", found?.ok && found.slot === Number(promise.slot), JSON.stringify([found, promise]));
  check("and in the block that the page names", said.startsWith(`in block ${found.number.toLocaleString("en")}`), said);
  const other = await until(async () => (await get(`${url}/api/v1/promises?limit=500`)).find((p) => p.tx_hash === byApi && p.fate), timeout);
  check("the one sent by JSON-RPC is kept too", other?.fate.name === "kept", JSON.stringify(other));
  await shot("kept", false);
  await page.waitForFunction((n) => [...document.querySelectorAll("#blocks tr")].some((tr) => tr.cells[1].textContent === n), found.number.toLocaleString("en"));
  const block = await page.locator("#blocks tr").filter({ has: page.locator(`td:nth-child(2):text-is("${found.number.toLocaleString("en")}")`) }).first().locator("td").allTextContents();
  check("its block is listed, with where it came from and what it holds", block[2] === "own block" && Number(block[3]) >= 1, JSON.stringify(block));
}

async function figures(at, name, times) {
  const promises = await follows({ shown: () => shownPromises(page), told: () => promiseRows(at), same: areAmong, times });
  check(`${name}: promises have the slot, latency and fate that the API tells`, promises.ok, promises.detail);
  check(`${name}: some are kept`, promises.shown.some((p) => p[3] === "✓ kept" && /^[\d.]+ (µs|ms|s)$/.test(p[2])), JSON.stringify(promises.shown));
  const modules = await follows({ shown: () => shownModules(page), told: () => moduleCards(at), same: sameModules, times });
  check(`${name}: modules have the health and load that the API tells`, modules.ok && modules.shown.length > 0, modules.detail);
  check(`${name}: the module runs and has answered`, modules.shown[0].state === "● running" && modules.shown[0].Answered !== "0" && modules.shown[0].p50 !== null, JSON.stringify(modules.shown));
  const earnings = await follows({ shown: () => shownEarnings(page), told: () => ledgerRows(at), same: sameJson, times });
  check(`${name}: earnings are those of the ledger`, earnings.ok && earnings.shown.some((r) => r[0] === "all"), earnings.detail);
  const all = earnings.shown.find((r) => r[0] === "all");
  check(`${name}: something was charged`, BigInt(all[2]) > 0n, JSON.stringify(earnings.shown));
  const off = await miswritten(page);
  check(`${name}: amounts are written to the gwei`, off.length === 0, off.join("; "));
}

async function keyboard() {
  const problems = keyFaults(await walk(page));
  check("Tab reaches everything in the page's order, and every focus is seen", problems.length === 0, problems.join("; "));
  await page.evaluate(() => document.querySelector(".skip").focus());
  await page.keyboard.press("Enter");
  check("the first stop skips to the content", (await focusedId(page)) === "main");
  await page.keyboard.press("Tab");
  check("and Tab goes on from there", (await focusedId(page)) === "send-raw");
  await page.keyboard.press("Shift+Tab");
  check("Shift+Tab goes back", (await focusedId(page)) === "theme");
  for (const [key, word] of [["Enter", "Light"], ["Space", "Dark"]]) {
    await page.keyboard.press(key);
    check(`${key} makes the colours ${word}`, (await page.locator("#theme").textContent()) === word);
  }
  check("the button makes it dark on a light system", (await luminance(page)) < 0.3);
  const dark = keyFaults(await walk(page));
  check("every focus is seen in the dark too", dark.length === 0, dark.join("; "));
  await page.reload();
  await page.locator("#live.on").waitFor();
  await teachContrast(page);
  check("a reload keeps it so", (await luminance(page)) < 0.3);
  await tabTo(page, "the colours' button", () => document.activeElement?.id === "theme");
  await page.keyboard.press("Space");
  check("and once more is as the system has it", (await page.locator("#theme").textContent()) === "Auto" && (await luminance(page)) > 0.7);
}

/** The operator, by keyboard alone: gives the token, switches the module off and on, stops and resumes promising. */
async function operator() {
  const token = (await readFile(args["token-file"], "utf8")).trim();
  await tabTo(page, "the operator's part", () => document.activeElement?.tagName === "SUMMARY");
  await page.keyboard.press("Space");
  await page.keyboard.press("Tab");
  check("Space opens the operator's part", (await focusedId(page)) === "admin-token");
  await page.keyboard.insertText("no-such-token");
  await page.keyboard.press("Enter");
  await page.locator("#admin-say", { hasText: "not known" }).waitFor();
  check("a wrong token is refused, and shows no switch", (await page.locator("#modules button:visible").count()) === 0);
  // What the host answers to a key that is known and is no operator's is what it answers to no key at all.
  const asCaller = async (route) => route.request().headers().authorization === "Bearer a-callers-key"
    ? route.fulfill({ json: await get(`${url}/api/v1/status`) }) : route.continue();
  await page.route("**/api/v1/status", asCaller);
  await page.keyboard.insertText("a-callers-key");
  await page.keyboard.press("Enter");
  await page.locator("#admin-say", { hasText: "not the admin token" }).waitFor();
  await page.unroute("**/api/v1/status", asCaller);
  check("a caller's key is not taken for the operator's token", (await page.locator("#modules button:visible, #admin-orders:visible").count()) === 0);
  await page.keyboard.insertText(token);
  await page.keyboard.press("Enter");
  await page.locator("#modules button:visible").first().waitFor();
  check("the right one shows the modules' switches", true);
  const problems = keyFaults(await walk(page));
  check("Tab reaches the switches too", problems.length === 0, problems.join("; "));
  await tabTo(page, "the switch", () => document.activeElement?.textContent === "Switch preconf off", "Shift+Tab");
  await shot("switch", false);
  const state = async () => (await get(`${url}/api/v1/modules`)).find((m) => m.id === "preconf")?.state;
  await page.keyboard.press("Enter");
  await page.locator("#modules li[data-id=preconf] .tag", { hasText: "disabled" }).waitFor();
  check("Enter switches the module off, and it stays listed as that", (await state()) === "disabled");
  await page.locator("#modules button", { hasText: "Switch preconf on" }).waitFor();
  check("the focus stays at the switch", (await focusedText(page)) === "Switch preconf on");
  await follows({ shown: () => shownModules(page), told: () => moduleCards(url), same: sameModules });
  await shot("module-off");
  await page.keyboard.press("Space");
  await page.locator("#modules li[data-id=preconf] .tag", { hasText: "running" }).waitFor();
  check("Space switches it on again", (await state()) === "running" && (await focusedText(page)) === "Switch preconf off");
  const order = (name) => tabTo(page, name, `document.activeElement?.textContent === ${JSON.stringify(name)}`);
  await order("Stop promising");
  await page.keyboard.press("Enter");
  await page.locator("#trouble", { hasText: "Not promising" }).waitFor();
  check("promising stops at the operator's word", !(await get(`${url}/api/v1/status`)).promising.ok);
  await shot("not-promising", false);
  await tabTo(page, "Resume promising", () => document.activeElement?.textContent === "Resume promising", "Shift+Tab");
  await page.keyboard.press("Space");
  await page.locator("#trouble").waitFor({ state: "hidden" });
  check("and goes on at it", (await get(`${url}/api/v1/status`)).promising.ok);
}

/** Fates that the host takes back, as the page's own state has them. It is put back as it was. */
async function takenBack() {
  const seen = await page.evaluate(async () => {
    const { state, takeFate, takePromise } = await import("/js/state.js");
    const kept = { promises: state.promises, sent: state.sent };
    const promise = (fate) => ({ seq: 1, tx_hash: "0x1", slot: "1", sealed: true, detail: null, latency_us: null, recorded_ms: 0, fate });
    const early = { name: "early", cause: null, block: null, is_final: false };
    const fate = () => [state.promises.get(1).fate?.name ?? null, state.sent.fate?.name ?? null];
    state.promises = new Map();
    state.sent = { hash: "0x1", took: 1, promise: null, fate: null };
    const asked = performance.now() - 1, all = [];
    takePromise(promise(early));
    all.push(fate());
    takePromise(promise(null));
    all.push(fate());
    takeFate({ seq: 1, tx_hash: "0x1", fate: early });
    takePromise(promise(null), asked);
    all.push(fate());
    takePromise(promise(null), performance.now() + 1);
    all.push(fate());
    Object.assign(state, kept);
    return all;
  });
  const [told, gone, newer, again] = seen.map(String);
  check("a fate that the host takes back is gone from the page", told === "early,early" && gone === "," && again === ",", JSON.stringify(seen));
  check("and an answer that is older than an event changes nothing", newer === "early,early", JSON.stringify(seen));
}

/** Each width in each scheme, with everything open that can be. */
async function looks() {
  check("a text that can not be read would be found", await findsPoorContrast(page));
  for (const [name, width] of [["wide", 1280], ["tablet", 768], ["phone", 390], ["narrow phone", 375], ["small phone", 320]]) {
    for (const scheme of ["light", "dark"]) {
      await page.setViewportSize({ width, height: width < 700 ? 844 : 900 });
      await page.emulateMedia({ colorScheme: scheme });
      await page.waitForTimeout(250);
      const over = await overflow(page), tables = await scrolledTables(page);
      check(`${name}, ${scheme}: nothing sticks out`, over.by <= 0 && over.wide.length === 0, JSON.stringify(over));
      const cut = await cutIndices(page);
      check(`${name}, ${scheme}: no slot cuts its proposer's index off`, cut.length === 0, cut.join(" "));
      check(`${name}, ${scheme}: no table must be scrolled sideways`, tables.length === 0, tables.join(" "));
      check(`${name}, ${scheme}: the colours are ${scheme}`, scheme === "dark" ? (await luminance(page)) < 0.3 : (await luminance(page)) > 0.7);
      const poor = await poorContrast(page);
      check(`${name}, ${scheme}: every text has contrast`, poor.length === 0, poor.join("; "));
      await shot(`${name.replace(" ", "-")}-${scheme}`);
    }
  }
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.emulateMedia({ colorScheme: "light" });
}

let failed = null;
try {
  await open(url);
  check("the page is live", true);
  await slots();
  await keyboard();
  await send();
  await figures(url, "this host", 2);
  await operator();
  await takenBack();
  await looks();
  for (const [i, other] of args.other.entries()) {
    await open(other);
    await page.locator("#blocks tr").first().waitFor();
    await figures(other, `host ${i + 2}`, 1);
    await shot(`host-${i + 2}`);
  }
  check("nothing went wrong in the page", wrong.length === 0, wrong.join("; "));
} catch (error) {
  failed = error;
  await shot("failed").catch(() => {});
} finally {
  await browser.close().catch(() => {});
  await rm(profile, { recursive: true, force: true }).catch(() => {});
}
if (failed) {
  console.error(`FAILED ${failed.message}`);
  process.exit(1);
}
console.log(`${done.length} checks; screenshots in ${out}`);
