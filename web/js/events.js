// Events as they come, with a new connection whenever one ends.

import { forgetToken } from "./operator.js";
import { changed, headers, refresh, state, takeBlock, takeFate, takeModule, takePromise, takeSlot, takeStatus } from "./state.js";
import { $ } from "./tools.js";

const HANDLERS = {
  promise: takePromise, fate: takeFate, slot: takeSlot, block: takeBlock, module: takeModule, status: takeStatus,
};
let connection = null;

/** Ends the stream, so that a new one begins. */
export const reconnect = () => connection?.abort();

function live(on, text) {
  $("live").className = `live ${on ? "on" : "off"}`;
  $("live-text").textContent = text;
}
/** Reads one stream of events until it ends. EventSource can not send the operator's token. */
async function stream() {
  connection = new AbortController();
  const response = await fetch("/events", { headers: headers(), signal: connection.signal, cache: "no-store" });
  // Another host may listen here now, with another token.
  if (response.status === 401 && state.admin) forgetToken();
  if (!response.ok || !response.body) throw new Error(`events: ${response.status}`);
  // Snapshots after the stream is open: what happens in between comes twice, and is never missed.
  await refresh(true);
  live(true, "live");
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    let end;
    while ((end = buffer.indexOf("\n\n")) >= 0) {
      handle(buffer.slice(0, end));
      buffer = buffer.slice(end + 2);
    }
  }
}
function handle(text) {
  let name = "message", data = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    else if (line.startsWith("data: ")) data += line.slice(6);
  }
  if (name === "lagged") return void refresh().catch(() => {});
  const take = HANDLERS[name];
  if (!take) return;
  take(JSON.parse(data));
  changed();
}
export async function keepListening() {
  let wait = 500;
  for (;;) {
    const started = Date.now();
    try {
      await stream();
    } catch {
      // Said below; tried again.
    }
    if (connection?.signal.aborted) {
      wait = 0;
    } else {
      live(false, "reconnecting");
      wait = Date.now() - started > 10_000 ? 500 : Math.min(10_000, Math.max(500, wait * 2));
    }
    await new Promise((r) => setTimeout(r, wait * (0.75 + Math.random() / 2)));
  }
}
