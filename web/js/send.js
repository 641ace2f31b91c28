// The small tool that sends a transaction and follows it: promised, sealed, kept.

import { CAUSES } from "./draw.js";
import { ask, changed, headers, state, takePromise } from "./state.js";
import { $, count, duration, short } from "./tools.js";

let question = 0;
async function rpc(method, params) {
  const response = await fetch("/", {
    method: "POST", headers: { "content-type": "application/json", ...headers() },
    body: JSON.stringify({ jsonrpc: "2.0", id: ++question, method, params }),
  });
  const answer = await response.json();
  if (answer.error) throw answer.error;
  return answer.result;
}

export async function send(event) {
  event.preventDefault();
  const raw = $("send-raw").value.trim();
  const started = performance.now();
  $("send-button").disabled = true;
  $("send-refused").hidden = true;
  $("send-steps").hidden = true;
  state.sent = null;
  try {
    const hash = await rpc("eth_sendRawTransaction", [raw]);
    const known = [...state.promises.values()].find((p) => p.tx_hash === hash);
    state.sent = { hash, took: performance.now() - started, promise: known ?? null, fate: known?.fate ?? null };
  } catch (error) {
    const accept = error.data?.accept ? ` What would be accepted: ${JSON.stringify(error.data.accept)}` : "";
    $("send-refused").textContent = `${error.message ?? "The host does not answer."} (${error.data?.reason ?? error.code ?? "network"})${accept}`;
    $("send-refused").hidden = false;
  }
  $("send-button").disabled = false;
  changed();
  // What is missed here comes with the next look or event.
  await followSent().catch(() => {});
}

/** Looks the sent transaction up, for whatever the event stream missed. */
export async function followSent() {
  if (!state.sent || state.sent.fate?.is_final) return;
  const asked = performance.now();
  const found = (await ask("promises?limit=500")).find((p) => p.tx_hash === state.sent?.hash);
  if (!found) return;
  takePromise(found, asked);
  changed();
}

function step(id, kind, text) {
  const node = $(id);
  const say = node.querySelector(".say");
  // A live region is read out when it changes: leave it alone while it does not.
  if (node.className !== kind) node.className = kind;
  if (say.textContent !== text) say.textContent = text;
}

export function drawSent() {
  const sent = state.sent;
  $("send-steps").hidden = !sent;
  if (!sent) return;
  const promise = sent.promise;
  step("step-promised", "done", `${short(sent.hash)}${promise ? ` for slot ${count(promise.slot)}` : ""}, answered here in ${Math.round(sent.took)} ms${promise?.latency_us ? `, ${duration(promise.latency_us)} in the host` : ""}`);
  const slot = promise ? state.slots.find((s) => s.slot === promise.slot) : null;
  const fate = sent.fate;
  const sealed = fate || promise?.sealed || ["sealed", "proposed", "missed", "unknown"].includes(slot?.state);
  step("step-sealed", sealed ? "done" : "busy", sealed ? "no promise can be added to or taken from the slot" : "when the slot takes no more promises");
  $("fate-word").textContent = fate && fate.name !== "kept" ? fate.name[0].toUpperCase() + fate.name.slice(1) : "Kept";
  const good = fate && ["kept", "early"].includes(fate.name);
  const text = !fate ? "when the block is there" : good ? `in block ${count(fate.block?.number)}${fate.is_final ? ", final" : ""}` : CAUSES[fate.cause] ?? "";
  step("step-kept", fate ? (good ? "done" : "failed") : "busy", text);
}
