// How the page looks: what sticks out of it, its colours, and whether they can be told apart.

/** How far the page is wider than the window, and what sticks out. */
export const overflow = (page) => page.evaluate(() => {
  const width = document.documentElement.clientWidth;
  const inScroller = (node) => node.parentElement?.closest(".table") !== null;
  const wide = [...document.querySelectorAll("body *")].filter((n) =>
    n.checkVisibility() && !inScroller(n) && !n.matches(".hidden, .skip") && n.getBoundingClientRect().right > width + 1);
  return { by: document.documentElement.scrollWidth - width, wide: wide.slice(0, 5).map((n) => `${n.tagName}.${n.className}#${n.id}`) };
});

/** Tables that can be scrolled sideways only: what is in them would be missed. */
export const scrolledTables = (page) => page.evaluate(() =>
  [...document.querySelectorAll(".table")].filter((n) => n.scrollWidth > n.clientWidth + 1).map((n) => n.getAttribute("aria-labelledby")));

/** Widths of slot cards that cut off, or break, an index of seven digits, which real proposers have. */
export const cutIndices = (page) => page.evaluate(() => {
  const cut = [];
  for (const who of document.querySelectorAll("#slots .who")) {
    const had = who.textContent, word = "ours ";
    who.textContent = `${word}#1234567`;
    const index = document.createRange();
    index.setStart(who.firstChild, word.length);
    index.setEnd(who.firstChild, who.firstChild.length);
    const box = who.getBoundingClientRect(), card = who.parentElement.getBoundingClientRect(), lines = index.getClientRects();
    const inside = lines.length === 1 && lines[0].right <= box.right + 0.5 && lines[0].bottom <= card.bottom;
    if (!inside) cut.push(card.width);
    who.textContent = had;
  }
  return cut;
});

/** 0 for black, 1 for white: the page's ground. */
export const luminance = (page) => page.evaluate(() => {
  const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g).map(Number);
  return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
});

/**
 * Puts `contrasts` into the page: the contrast of a colour in a node with what is seen behind it, through
 * whatever is transparent.
 */
export const teachContrast = (page) => page.evaluate(() => {
  const parse = (c) => {
    const [r, g, b, a = 1] = c.match(/[\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const over = (top, under, opacity = top[3]) => under.map((u, i) => (i < 3 ? opacity * top[i] + (1 - opacity) * u : 1));
  const light = (c) => c.slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const paint = (chain, color, under) => {
    const [node, ...inner] = chain;
    const style = getComputedStyle(node), opacity = Number(style.opacity);
    const ground = over(parse(style.backgroundColor), under);
    const seen = inner.length ? paint(inner, color, ground) : { ground, text: over(parse(color), ground) };
    return { ground: over(seen.ground, under, opacity), text: over(seen.text, under, opacity) };
  };
  window.contrasts = (node, color) => {
    const chain = [];
    for (let n = node; n; n = n.parentElement) chain.unshift(n);
    const { ground, text } = paint(chain, color, [255, 255, 255, 1]);
    const [a, b] = [light(ground), light(text)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
});

/** Texts whose contrast is below WCAG AA's 4.5, and fields whose edge is below its 3. */
export const poorContrast = (page) => page.evaluate(() => {
  const poor = [];
  const judge = (node, what, ratio, least) => {
    if (ratio < least) poor.push(`${what} of ${node.tagName}.${node.className} "${node.textContent.trim().slice(0, 20)}" ${ratio.toFixed(2)}`);
  };
  for (const node of document.querySelectorAll("body *")) {
    if (!node.checkVisibility() || node.closest(".hidden, .skip, :disabled")) continue;
    const text = [...node.childNodes].some((c) => c.nodeType === 3 && c.textContent.trim());
    if (text) judge(node, "text", window.contrasts(node, getComputedStyle(node).color), 4.5);
    if (node.placeholder) judge(node, "placeholder", window.contrasts(node, getComputedStyle(node, "::placeholder").color), 4.5);
    if (node.matches("input, textarea")) judge(node, "edge", window.contrasts(node.parentElement, getComputedStyle(node).borderTopColor), 3);
  }
  return [...new Set(poor)].slice(0, 5);
});

/** White on white must be found, and so must a text that is faint only because it is transparent. */
export const findsPoorContrast = async (page) => {
  const found = [];
  for (const style of ["color: #ddd; background: #fff", "opacity: .3"]) {
    await page.evaluate((css) => {
      const p = document.createElement("p");
      p.id = "planted";
      p.textContent = "planted";
      // The page's policy allows no style attribute, but scripts may set properties.
      for (const part of css.split(";")) p.style.setProperty(...part.split(":").map((s) => s.trim()));
      document.querySelector("main").prepend(p);
    }, style);
    found.push((await poorContrast(page)).some((p) => p.includes("planted")));
    await page.evaluate(() => document.getElementById("planted").remove());
  }
  return found.every(Boolean);
};
