// The operator's token and orders.

import { reconnect } from "./events.js";
import { headers, refresh, state } from "./state.js";
import { $ } from "./tools.js";

export async function give(order) {
  const response = await fetch(`/api/v1/${order}`, { method: "POST", headers: headers() });
  $("admin-say").textContent = response.ok ? "Done." : (await response.json().catch(() => ({}))).message ?? `Refused: ${response.status}`;
  await refresh().catch(() => {});
}
export async function useToken(event) {
  event.preventDefault();
  const token = $("admin-token").value;
  $("admin-token").value = "";
  const tried = await fetch("/api/v1/status", { headers: { authorization: `Bearer ${token}` } });
  if (tried.ok && token) {
    state.admin = token;
    $("admin-say").textContent = "In use until this page is closed.";
  } else {
    state.admin = null;
    $("admin-say").textContent = "That token is not known.";
  }
  operatorChanged();
}
/** Who we are towards the host has changed: the stream is opened again as that. */
function operatorChanged() {
  $("admin-forget").hidden = !state.admin;
  $("admin-orders").hidden = !state.admin;
  reconnect();
}

export function forgetToken() {
  state.admin = null;
  $("admin-say").textContent = "The token is forgotten.";
  operatorChanged();
}
