// Drawing: at most ten times a second, whatever happens.

import { give } from "./operator.js";
import { drawSent } from "./send.js";
import { now, state } from "./state.js";
import { $, clockTime, count, duration, el, ether, money, seconds, short, sum } from "./tools.js";

let drawing = null;
export function draw() {
  drawing ??= setTimeout(() => {
    drawing = null;
    requestAnimationFrame(drawAll);
  }, 100);
}
function drawAll() {
  if (!state.status) return;
  drawStatus();
  drawSlots();
  drawFigures();
  drawCritical();
  drawPromises();
  drawBlocks();
  drawModules();
  drawEarnings();
  drawSent();
}

/** Says that a list is empty, where it is. Until the first snapshot the page itself says that it is loading. */
function sayEmpty(id, empty) {
  $(id).hidden = !empty;
  $(id).textContent = $(id).dataset.none;
}

function drawStatus() {
  const s = state.status;
  $("chain").textContent = `chain ${s.chain_id}${s.head ? ` · block ${count(s.head.block.number)}` : ""}`;
  $("simulated").hidden = !s.simulated;
  document.title = s.simulated ? "Tandem · simulated devnet" : "Tandem";
  $("version").textContent = `Tandem ${s.version} · ${count(s.validators)} validators · up ${uptime(s.uptime_ms)}`;
  const reasons = [];
  for (const [what, health] of [["Not healthy", s.health], ["Not ready", s.ready], ["Not promising", s.promising]]) {
    if (!health.ok) reasons.push([what, health.reasons]);
  }
  const box = $("trouble");
  const key = JSON.stringify(reasons);
  // An alert that is written again is read out again: only when it changed.
  if (box.dataset.key !== key) {
    box.dataset.key = key;
    box.hidden = reasons.length === 0;
    box.replaceChildren(...reasons.map(([what, list]) =>
      el("div", {}, el("strong", {}, `${what}: `), list.map((r) => r.message).join("; ") || "no reason given")));
  }
}
function uptime(ms) {
  const minutes = Math.floor(ms / 60_000);
  return minutes < 1 ? `${Math.floor(ms / 1000)} s` : minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`;
}

const STATES = { foreign: "", open: "open", closed: "closed", sealed: "sealed", proposed: "✓ block", missed: "missed", unknown: "not known" };
function slotNow() {
  const c = state.status.clock;
  return Math.max(0, Math.floor((now() - c.wall_genesis_ms) / c.wall_slot_ms));
}
function drawSlots() {
  const running = slotNow();
  const around = state.slots.filter((s) => Number(s.slot) >= running - 4 && Number(s.slot) <= running + 19);
  $("slots").replaceChildren(...around.map((s) => {
    const n = Number(s.slot);
    const who = `${s.ours ? "ours" : ""} ${s.validator_index !== null ? `#${s.validator_index}` : s.proposer ? short(s.proposer, 3) : s.ours ? "" : "unknown"}`.trim();
    const what = STATES[s.state] ?? s.state;
    const promised = s.promised ? el("span", { class: "count" }, el("span", { class: "hidden" }, "with "), count(s.promised), el("span", { class: "hidden" }, " promised")) : null;
    const classes = [s.ours ? "ours" : "", n < running ? "past" : ""].join(" ").trim();
    const title = [s.proposer, s.why_closed?.message].filter(Boolean).join("\n");
    return el("li", { class: classes || null, "aria-current": n === running ? "step" : null, title: title || null },
      el("span", { class: "n" }, String(n), promised), el("span", { class: "who" }, who), el("span", { class: "what" }, what || "\u00a0"));
  }));
}
export function tick() {
  if (!state.status) return;
  const c = state.status.clock, t = now(), running = slotNow();
  const into = Math.max(0, t - c.wall_genesis_ms - running * c.wall_slot_ms);
  $("slot-now").textContent = count(running);
  $("slot-progress").value = Math.min(1000, Math.round((1000 * into) / c.wall_slot_ms));
  $("slot-progress-label").textContent = `${seconds(into)} of ${seconds(c.wall_slot_ms)}`;
  const next = state.slots.find((s) => s.ours && s.start_ms > t);
  $("slot-next").textContent = next
    ? `${count(next.slot)} in ${seconds(next.start_ms - t)}${next.cutoff_ms > t ? `, takes promises for ${seconds(next.cutoff_ms - t)}` : ", sealed"}`
    : "none in the look-ahead";
  if (tick.slot !== running) {
    tick.slot = running;
    draw();
  }
}

function drawFigures() {
  const t = state.status.totals;
  const shown = [...state.promises.values()].map((p) => p.latency_us).filter((l) => l !== null).sort((a, b) => a - b);
  const median = shown.length ? duration(shown[Math.floor(shown.length / 2)]) : "–";
  const all = [
    ["Promises", count(t.promises)], ["Kept", count(t.kept)], ["Early", count(t.early)], ["Excused", count(t.excused)],
    ["Broken", count(t.broken), t.broken > 0 ? "bad" : null], ["Median latency", median], ["Received", money(t.received)],
  ];
  $("figures").replaceChildren(...all.map(([name, value, kind]) =>
    el("div", { class: kind, "data-figure": name }, el("dt", {}, name), el("dd", {}, value))));
}

function drawCritical() {
  const all = state.status.critical ?? [];
  $("critical-card").hidden = all.length === 0;
  $("critical").replaceChildren(...all.toReversed().map((c) =>
    el("li", {}, el("span", { class: "muted" }, `${clockTime(c.at_ms)}${c.slot !== null ? `, slot ${count(c.slot)}` : ""} · ${c.code} `), c.message ?? "(the operator's token shows what it is)")));
}

const FATES = {
  kept: ["good", "✓ kept"], early: ["good", "✓ early"], excused: ["warn", "⊘ excused"], broken: ["bad", "✕ broken"],
};
export const CAUSES = {
  missed: "slot missed", orphaned: "block orphaned", nonce_used: "nonce used", balance_short: "balance short",
  code_appeared: "code appeared", predecessor: "follows an excused one", left_out: "left out",
};
function fateTag(promise) {
  const fate = promise.fate;
  if (!fate) return el("span", { class: "tag" }, promise.sealed ? "sealed" : "promised");
  const [kind, word] = FATES[fate.name] ?? ["", fate.name];
  const cause = fate.cause ? ` · ${CAUSES[fate.cause] ?? fate.cause}` : "";
  const block = fate.block ? `\nblock ${fate.block.number}` : "";
  return el("span", { class: `tag ${kind}${fate.is_final ? "" : " provisional"}`, title: `${fate.is_final ? "final" : "can still change"}${block}` }, `${word}${cause}`,
    el("span", { class: "hidden" }, fate.is_final ? " (final)" : " (can still change)"));
}
function hash(hex) {
  return el("span", { class: "mono", title: hex }, short(hex));
}
function drawPromises() {
  const all = [...state.promises.values()].sort((a, b) => b.seq - a.seq);
  sayEmpty("promises-empty", all.length === 0);
  // A busy host has so many under way that fates would never be seen among the newest.
  const [waiting, judged] = [all.filter((p) => !p.fate), all.filter((p) => p.fate)];
  $("promises").replaceChildren(...[...waiting.slice(0, 10), ...judged.slice(0, 10)].map((p) => el("tr", { "data-tx": p.tx_hash },
    el("td", {}, hash(p.tx_hash)),
    el("td", { class: "num" }, count(p.slot)),
    el("td", { class: "num" }, duration(p.latency_us)),
    el("td", {}, fateTag(p)),
    el("td", { class: "roomy" }, p.detail ? hash(p.detail.sender) : el("span", { class: "muted" }, "hidden until the seal")),
    el("td", { class: "num roomy" }, p.detail ? money(p.detail.price) : "–"),
    el("td", { class: "num roomy" }, clockTime(p.recorded_ms)))));
}

function origin(o) {
  const names = { own: ["own", "own block"], relay: ["", /relay/i.test(o.name ?? "") ? o.name : `relay ${o.name ?? ""}`.trim()], local: ["warn", "beacon node's own"], foreign: ["", "another proposer"], unknown: ["", "unknown"] };
  const [kind, word] = names[o.from] ?? ["", o.from];
  return el("span", { class: `tag ${kind}` }, word);
}
function drawBlocks() {
  const all = [...state.blocks.values()];
  sayEmpty("blocks-empty", all.length === 0);
  $("blocks").replaceChildren(...all.slice(0, 12).map((b) => el("tr", { class: b.canonical ? null : "gone", title: b.block.hash },
    el("td", { class: "num" }, count(b.slot), b.canonical ? null : el("span", { class: "hidden" }, " not canonical any more")),
    el("td", { class: "num roomy" }, count(b.block.number)),
    el("td", {}, origin(b.origin)),
    el("td", { class: "num" }, count(b.promised)),
    el("td", { class: "num roomy" }, count(b.txs)),
    el("td", { class: "num roomy" }, b.gas_limit ? `${Math.round((100 * b.gas_used) / b.gas_limit)} %` : "–"),
    el("td", { class: "num" }, ether(b.value)),
    el("td", { class: "num roomy" }, ether(b.forgone)))));
}

const LIVES = { running: ["good", "● running"], restarting: ["warn", "◌ restarting"], disabled: ["", "○ disabled"], banned: ["bad", "✕ banned"] };
/** Cards by module. They stay, and their buttons with them: a button that is made again loses focus and press. */
const cards = new Map();
function drawModules() {
  sayEmpty("modules-empty", state.modules.length === 0);
  const ids = state.modules.map((m) => m.id);
  for (const id of cards.keys()) if (!ids.includes(id)) cards.delete(id);
  for (const id of ids) if (!cards.has(id)) cards.set(id, moduleCard(id));
  const list = $("modules"), wanted = ids.map((id) => cards.get(id));
  // Moving a node takes the focus from it as well.
  if (list.children.length !== wanted.length || wanted.some((c, i) => c !== list.children[i])) list.replaceChildren(...wanted);
  for (const m of state.modules) fillCard(cards.get(m.id), m);
}
const isOff = (m) => m.state === "disabled" || m.state === "banned";
function moduleCard(id) {
  const order = (name) => give(`modules/${encodeURIComponent(id)}/${name}`);
  const now = () => state.modules.find((m) => m.id === id);
  const button = (does, act) => el("button", { type: "button", class: "small", "data-does": does, on: { click: act } });
  return el("li", { "data-id": id }, el("div", { class: "head" }), el("dl"), el("p", { class: "fault" }), el("div", { class: "row" },
    button("switch", () => now() && order(isOff(now()) ? "enable" : "disable")), button("reload", () => order("reload"))));
}
function fillCard(card, m) {
  const [kind, word] = LIVES[m.state] ?? ["", m.state];
  const pairs = [
    ["Answered", count(m.answered)], ["Refused", count(m.refused)], ["Late", count(m.late)], ["Under way", count(m.in_flight)], ["Waiting events", count(m.backlog)],
    ["p50", duration(m.p50_us)], ["p99", duration(m.p99_us)], ["Panics, hangs", `${count(m.panics)}, ${count(m.hangs)}`], ["Restarts", count(m.restarts)],
  ];
  const [head, list, fault, row] = card.children, [toggle, reload] = row.children;
  head.replaceChildren(el("strong", {}, m.id), el("span", { class: `tag ${kind}` }, word), el("span", { class: "muted" }, `${[m.name, m.version].filter(Boolean).join(" ")} · ${m.kind}`));
  list.replaceChildren(...pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  fault.textContent = m.last_fault ? `Last fault: ${m.last_fault}` : "";
  fault.hidden = !m.last_fault;
  row.hidden = !state.admin;
  // What it says is read out where it has the focus: only when it changed.
  const text = `Switch ${m.id} ${isOff(m) ? "on" : "off"}`;
  if (toggle.textContent !== text) toggle.textContent = text;
  if (!reload.textContent) reload.textContent = `Reload ${m.id}`;
  reload.hidden = isOff(m);
}

function drawEarnings() {
  if (!state.ledger) return;
  // On narrow phones the rows are no table's to the browser: the roles say that they are.
  const shown = (amount) => (amount === null ? el("span", { class: "muted", title: "none is booked yet" }, "none booked") : ether(amount));
  const cell = (account, f) => el("td", { class: "num", role: "cell", "data-of": f[0].toUpperCase() + f.slice(1) }, shown(sum(account, f)));
  const row = (name, account, kind) => el("tr", { class: kind, role: "row" },
    el("th", { scope: "row", role: "rowheader" }, name), ...["received", "charged", "forgone", "cost"].map((f) => cell(account, f)));
  $("earnings").replaceChildren(
    ...Object.entries(state.ledger.modules).map(([name, account]) => row(name, account, null)),
    row("all", state.ledger.total, "total"),
    ...state.ledger.days.map((d) => row(d.date, d.total, "day")));
}
