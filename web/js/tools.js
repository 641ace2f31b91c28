// Elements and formats. Data becomes text nodes only, never markup.

export const $ = (id) => document.getElementById(id);

/** An element with text, attributes and children. Strings become text. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "class") node.className = value;
    else if (name === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
}
export const short = (hex, n = 6) => (hex && hex.length > 2 * n + 4 ? `${hex.slice(0, n + 2)}…${hex.slice(-4)}` : hex ?? "");
export const count = (n) => Number(n ?? 0).toLocaleString("en");

/** Wei, as a decimal string, in the unit that shows it best. The exact amount is in the title. */
export function money(wei) {
  if (wei === null || wei === undefined) return el("span", { class: "muted" }, "–");
  const w = BigInt(wei);
  const scaled = (digits, unit, places) => {
    const base = 10n ** BigInt(digits);
    const rest = String(w % base).padStart(digits, "0").slice(0, places).replace(/0+$/, "");
    return `${(w / base).toLocaleString("en")}${rest ? "." + rest : ""} ${unit}`;
  };
  const text = w >= 10n ** 14n ? scaled(18, "ETH", 6) : w >= 10n ** 6n ? scaled(9, "gwei", 3) : w === 0n ? "0" : `${w} wei`;
  return el("span", { title: `${wei} wei` }, text);
}
/** Wei in ETH to the gwei, so that the rows of a column compare. The exact amount is in the title. */
export function ether(wei) {
  if (wei === null || wei === undefined) return el("span", { class: "muted" }, "–");
  const gwei = BigInt(wei) / 10n ** 9n;
  const rest = String(gwei % 10n ** 9n).padStart(9, "0").replace(/0+$/, "");
  const text = BigInt(wei) > 0n && gwei === 0n ? "< 0.000000001" : `${(gwei / 10n ** 9n).toLocaleString("en")}${rest ? "." + rest : ""}`;
  return el("span", { title: `${wei} wei` }, text);
}
export function duration(us) {
  if (us === null || us === undefined) return "–";
  return us < 1000 ? `${us} µs` : us < 100_000 ? `${(us / 1000).toFixed(1)} ms` : us < 1_000_000 ? `${Math.round(us / 1000)} ms` : `${(us / 1e6).toFixed(1)} s`;
}
export const seconds = (ms) => (Math.abs(ms) < 10_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`);
export const clockTime = (ms) => new Date(ms).toLocaleTimeString("en", { hour12: false });
/** What can still change and what can not, together; null where none of it was booked. */
export function sum(account, field) {
  const booked = [account.provisional[field], account.settled[field]].filter((wei) => wei !== null);
  return booked.length ? booked.reduce((all, wei) => all + BigInt(wei), 0n) : null;
}
