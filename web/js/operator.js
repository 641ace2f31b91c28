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
  const tried = await fetch("/api/v1/status", { headers: { authorization: `Bearer ${token}` }, cache: "no-store" });
  // Callers' keys open the host as well, and give no orders.
  const admin = tried.ok && (await tried.json()).admin === true;
  state.admin = admin ? token : null;
  $("admin-say").textContent = admin ? "In use until this page is closed."
    : tried.ok ? "That is a caller's key, and not the admin token: it gives no orders."
    : "That token is not known.";
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
