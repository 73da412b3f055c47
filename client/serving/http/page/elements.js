// Builds elements. Data becomes text nodes, never markup.
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

export const card = (title, ...children) =>
  el("section", { class: "card" }, el("h2", {}, title), ...children);

export const number = (value, digits = 0) =>
  value === null || value === undefined
    ? "–"
    : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

export const figures = (pairs) =>
  el("dl", { class: "figures" }, pairs.map(([name, value]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, value))));

export const percent = (share) => number(100 * share, 1);

// A share with its 95% interval.
export const rate = (found) =>
  (found ? `${percent(found.value)} % (${percent(found.low)} to ${percent(found.high)})` : "–");

const LONGEST_NAME = 80;

// A name for people, not a whole description.
export function nameOf(found) {
  const name = (found.title || found.text || found.item_id).trim();
  if (name.length <= LONGEST_NAME) return name || found.item_id;
  return `${name.slice(0, LONGEST_NAME).replace(/\s+\S*$/, "")} …`;
}

// Only a table that is wider than its place is a stop of the keyboard and says that it scrolls.
const widths = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const wide = target.scrollWidth > target.clientWidth + 1;
    target.classList.toggle("wide", wide);
    if (wide) target.setAttribute("tabindex", "0"); else target.removeAttribute("tabindex");
  }
});

// Columns are [title, cell of a row, whether it is a number].
export function table(rows, columns, name = columns[0][0]) {
  const cls = (isNumber) => (isNumber ? "number" : null);
  const head = columns.map(([title, , isNumber]) => el("th", { scope: "col", class: cls(isNumber) }, title));
  const body = rows.map((row) => el("tr", {}, columns.map(([, cell, isNumber]) =>
    el("td", { class: cls(isNumber) }, cell(row)))));
  const made = el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, body));
  const scroll = el("div", { class: "scroll", role: "region", "aria-label": `Table: ${name}` }, made);
  widths.observe(scroll);
  return el("div", {}, scroll, el("p", { class: "hint", "aria-hidden": "true" }, "Swipe for more columns →"));
}

const link = (kind, id, text) => el("a", { href: `#/${kind}/${encodeURIComponent(id)}` }, text || id);
export const userLink = (id) => link("users", id);
export const itemLink = (found) => link("items", found.item_id, nameOf(found));

export const day = (time) => (typeof time === "string" ? time.slice(0, 16).replace("T", " ") : number(time));

function bar(from, to, cls) {
  const made = el("i", { class: cls });
  made.style.left = `${100 * Math.min(from, to)}%`;
  made.style.width = `${100 * Math.abs(to - from)}%`;
  return el("div", { class: "track", "aria-hidden": "true" }, made);
}

// Bars that begin where the one before ended: what signals add ends at the score.
export function addingUp(signals, score) {
  const parts = Object.entries(signals).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  const ends = [0];
  for (const [, value] of parts) ends.push(ends.at(-1) + value);
  const low = Math.min(...ends, score);
  const width = Math.max(...ends, score) - low || 1;
  const at = (value) => (value - low) / width;
  const rows = parts.map(([name, value], place) => [
    el("span", {}, name),
    bar(at(ends[place]), at(ends[place + 1]), value < 0 ? "minus" : "plus"),
    el("span", { class: "number" }, (value < 0 ? "−" : "+") + number(Math.abs(value), 3)),
  ]);
  const total = [el("span", { class: "total" }, "score"), bar(at(0), at(score), "sum"),
    el("span", { class: "number total" }, number(score, 3))];
  return el("div", { class: "bars" }, ...rows, ...total);
}

// Bars of shares, 0 to 1.
export const shares = (pairs) => el("div", { class: "bars" }, pairs.map(([name, share]) => [
  el("span", {}, name), bar(0, share, "plus"), el("span", { class: "number" }, `${number(100 * share)} %`)]));
