// The page by keyboard alone: what Tab reaches, in which order, and whether the focus is seen.

/** Where the focus is, and how it is shown. */
const focused = (page) => page.evaluate(() => {
  const node = document.activeElement;
  if (!node || node === document.body) return null;
  const style = getComputedStyle(node), box = node.getBoundingClientRect();
  return {
    index: window.stops().indexOf(node),
    name: node.id || node.textContent.trim().slice(0, 30) || node.className || node.tagName,
    ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    contrast: window.contrasts(node.parentElement, style.outlineColor),
    inView: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
  };
});

/** Puts `stops` into the page: everything that can be operated, in the document's order. */
const teachStops = (page) => page.evaluate(() => {
  const which = "a[href], button:not(:disabled), input, textarea, summary, [tabindex='0']";
  window.stops = () => [...document.querySelectorAll(which)].filter((n) => n.checkVisibility({ visibilityProperty: true }));
});

/** Goes once through the whole page by Tab, from its top. */
export async function walk(page) {
  await teachStops(page);
  const wanted = await page.evaluate(() => {
    // From the top, wherever the focus was.
    document.body.tabIndex = -1;
    document.body.focus();
    document.body.removeAttribute("tabindex");
    scrollTo(0, 0);
    return window.stops().length;
  });
  const visited = [];
  for (let i = 0; i < wanted + 5; i++) {
    await page.keyboard.press("Tab");
    const at = await focused(page);
    // After the last stop the focus leaves the page, or begins anew.
    if (!at || (at.index === 0 && visited.length)) break;
    visited.push(at);
  }
  return { wanted, visited };
}

/** What is wrong with such a walk. */
export function faults({ wanted, visited }) {
  const found = [];
  if (visited.length !== wanted) found.push(`${visited.length} of ${wanted} stops: ${visited.map((v) => v.name).join(" | ")}`);
  visited.forEach((v, i) => v.index === i || found.push(`${v.name} comes at ${i} and is ${v.index} in the page`));
  for (const v of visited) {
    if (!v.ring) found.push(`${v.name} has the focus, and nothing shows it`);
    else if (v.contrast < 3) found.push(`the ring at ${v.name} has a contrast of ${v.contrast.toFixed(2)}`);
    if (!v.inView) found.push(`${v.name} has the focus out of sight`);
  }
  return found;
}

/** Presses Tab (or Shift+Tab) until something is focused that `is` so. */
export async function tabTo(page, what, is, key = "Tab") {
  for (let i = 0; i < 60; i++) {
    if (await page.evaluate(is)) return;
    await page.keyboard.press(key);
  }
  throw new Error(`the keyboard does not reach ${what}`);
}

/** The id, and the text, of what has the focus. */
export const focusedId = (page) => page.evaluate(() => document.activeElement?.id ?? "");
export const focusedText = (page) => page.evaluate(() => document.activeElement?.textContent ?? "");
