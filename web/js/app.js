// The dashboard's start: colours, buttons, clocks, and the stream of events.

import { draw, tick } from "./draw.js";
import { keepListening } from "./events.js";
import { forgetToken, give, useToken } from "./operator.js";
import { followSent, send } from "./send.js";
import { onChange, refresh } from "./state.js";
import { $ } from "./tools.js";

const THEMES = [["auto", "Auto", "as the system has them"], ["light", "Light", "light"], ["dark", "Dark", "dark"]];
function theme(name) {
  const [key, text, words] = THEMES.find(([k]) => k === name) ?? THEMES[0];
  if (key === "auto") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.dataset.theme = key;
  $("theme").textContent = text;
  $("theme").setAttribute("aria-label", `Colours: ${words}`);
  try {
    localStorage.setItem("theme", key);
  } catch {
    // Private windows may forbid it; then it is forgotten.
  }
}
function nextTheme() {
  const at = THEMES.findIndex(([, text]) => text === $("theme").textContent);
  theme(THEMES[(at + 1) % THEMES.length][0]);
}

let stored = "auto";
try {
  stored = localStorage.getItem("theme") ?? "auto";
} catch {
  // As above.
}
theme(stored);
$("theme").addEventListener("click", nextTheme);
$("send-form").addEventListener("submit", send);
$("admin-form").addEventListener("submit", useToken);
$("admin-forget").addEventListener("click", forgetToken);
for (const button of document.querySelectorAll("[data-order]")) button.addEventListener("click", () => give(button.dataset.order));
onChange(draw);
setInterval(tick, 100);
// Figures that no event carries: money, modules' load, the coming slots.
setInterval(() => document.hidden || refresh().then(followSent).catch(() => {}), 3000);
keepListening();
