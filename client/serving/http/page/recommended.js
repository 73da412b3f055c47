// The recommendations of a user, and how each score came about.
import { item } from "./api.js";
import { addingUp, card, el, itemLink, nameOf, number } from "./elements.js";

export const SURFACES = [["for-you", "For you"], ["discover", "New to the user"], ["buy-again", "Buy again"]];

export async function recommendations(answer, who, surface) {
  const choices = el("ul", { class: "choices", "aria-label": "Surface" }, SURFACES.map(([name, words]) =>
    el("li", {}, el("a", { href: `#/users/${who}?surface=${name}`, "aria-current": name === surface && "true" }, words))));
  const known = await Promise.all(answer.items.map((entry) => item(entry.item_id)));
  const because = await Promise.all(answer.items.map((entry) => reasons(entry.explanation.because)));
  const rows = answer.items.map((entry, place) => el("li", {},
    el("div", { class: "top" },
      el("div", {}, `${place + 1}. `, itemLink(known[place]), el("span", { class: "soft" }, ` ${known[place].category}`)),
      el("strong", { class: "number" }, number(entry.score, 3))),
    el("p", { class: "soft" }, sentence(entry.explanation.sentence, because[place].names)),
    el("details", {}, el("summary", {}, "How the score adds up"),
      addingUp(entry.explanation.signals, entry.score), because[place].list)));
  const none = rows.length ? null : el("p", {}, "Nothing to recommend here.");
  return card(`Recommended now (${answer.variant})`, choices, none, el("ol", { class: "list" }, rows));
}

// The interface names items by id; people know them by text.
function sentence(text, names) {
  return text.split(/(?<=[\s])|(?=[\s.,])/).map((word) => (names.has(word) ? `“${names.get(word)}”` : word)).join("");
}

async function reasons(because) {
  const names = new Map();
  const rows = [];
  for (const [signal, carriers] of Object.entries(because)) {
    const links = [];
    for (const carrier of carriers) {
      const found = await item(carrier.item_id);
      names.set(carrier.item_id, nameOf(found));
      links.push(links.length ? ", " : "", itemLink(found), ` (${number(100 * carrier.share)} %)`);
    }
    rows.push(el("li", {}, `${signal} rests on: `, links));
  }
  return { names, list: el("ul", { class: "soft" }, rows) };
}
