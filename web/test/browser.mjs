// The dashboard in a real browser, against a running host.
//
//   node web/test/browser.mjs --url http://127.0.0.1:18650 --raw 0x02f8… [--raw-file FILE]
//        [--raw-api 0x02f8…] [--out DIR] [--timeout SECONDS] [--simulated yes|no]
//        [--chromium /usr/bin/chromium] [--playwright DIR]
//
// --raw is pasted into the page and must be promised and then kept. --raw-api, if given, is sent by
// JSON-RPC instead and must appear on the page as it is promised and kept. Both are signed
// transactions for the host's chain. --playwright is the folder that has node_modules/playwright-core
// (default: the current one). Exits with 1 and names the check that failed.

import { createRequire } from "node:module";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

const { values: args } = parseArgs({
  options: {
    url: { type: "string" }, raw: { type: "string" }, "raw-file": { type: "string" }, "raw-api": { type: "string" },
    out: { type: "string", default: "screenshots" }, timeout: { type: "string", default: "120" },
    simulated: { type: "string", default: "yes" }, chromium: { type: "string", default: "/usr/bin/chromium" },
    playwright: { type: "string", default: process.cwd() },
  },
});
if (!args.url || !(args.raw || args["raw-file"])) {
  console.error("give --url and --raw or --raw-file; see the head of this file");
  process.exit(2);
}
const raw = (args.raw ?? (await readFile(args["raw-file"], "utf8"))).trim();
const timeout = 1000 * Number(args.timeout);
const out = resolve(args.out);
const require = createRequire(join(resolve(args.playwright), "package.json"));
const { chromium } = require("playwright-core");

const done = [];
function check(name, ok, detail = "") {
  if (!ok) throw new Error(`${name}${detail ? `: ${detail}` : ""}`);
  done.push(name);
  console.log(`ok    ${name}`);
}

async function sendByApi(rawTransaction) {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "eth_sendRawTransaction", params: [rawTransaction] });
  const response = await fetch(args.url, { method: "POST", headers: { "content-type": "application/json" }, body });
  const answer = await response.json();
  if (answer.error) throw new Error(`eth_sendRawTransaction: ${JSON.stringify(answer.error)}`);
  return answer.result;
}

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

const profile = await mkdtemp(join(tmpdir(), "tandem-browser-"));
await mkdir(out, { recursive: true });
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: args.chromium,
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
  const simulated = await page.locator("#simulated").isVisible();
  check(args.simulated === "yes" ? "it says that the devnet is simulated" : "it does not say simulated", simulated === (args.simulated === "yes"));
  const slot = await page.locator("#slot-now").textContent();
  await page.waitForFunction((s) => document.querySelector("#slot-now").textContent !== s, slot);
  check("the slot clock goes on", true);
  await page.locator("#slots li.ours").first().waitFor();
  check("slots of ours are marked", true);
  await page.locator("#modules li").first().waitFor();
  check("modules are shown", true);

  // Keyboard: from the top of the page to the field, paste, on to the button, and press it.
  await page.evaluate(() => document.activeElement?.blur());
  const visited = [];
  for (let i = 0; i < 20; i++) {
    await page.keyboard.press("Tab");
    const id = await page.evaluate(() => {
      const node = document.activeElement;
      const ring = getComputedStyle(node).outlineStyle;
      return { id: node.id || node.className || node.tagName, seen: ring !== "none" };
    });
    visited.push(id);
    if (id.id === "send-raw") break;
  }
  check("the keyboard reaches the field", visited.at(-1).id === "send-raw", visited.map((v) => v.id).join(" "));
  check("every focus is seen", visited.every((v) => v.seen), visited.filter((v) => !v.seen).map((v) => v.id).join(" "));
  check("the first stop skips to the content", visited[0].id === "skip");

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
  await page.screenshot({ path: join(out, "promised.png") });
  const viaApi = args["raw-api"] ? await sendByApi(args["raw-api"].trim()) : null;
  if (viaApi) {
    await page.locator(`#promises tr[data-tx="${viaApi}"]`).waitFor();
    check("a transaction sent by JSON-RPC appears", true);
  }
  await page.locator("#step-sealed.done").waitFor();
  check("its slot is sealed", true);
  await page.locator("#step-kept.done").waitFor();
  check("the transaction is kept", (await page.locator("#fate-word").textContent()) === "Kept");
  if (viaApi) {
    await page.locator(`#promises tr[data-tx="${viaApi}"] .tag.good`).waitFor();
    check("the one sent by JSON-RPC is kept too", true);
  }
  await page.screenshot({ path: join(out, "kept.png") });
  await page.locator("#blocks tr").first().waitFor();
  check("blocks are shown with where they came from", (await page.locator("#blocks .tag").count()) > 0);
  check("earnings are shown", (await page.locator("#earnings tr").count()) > 0);

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
  await rm(profile, { recursive: true, force: true }).catch(() => {});
}
if (failed) {
  console.error(`FAILED ${failed.message}`);
  process.exit(1);
}
console.log(`${done.length} checks; screenshots in ${out}`);
