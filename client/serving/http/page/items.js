import { get, item, part } from "./api.js";
import { card, el, figures, itemLink, number, table } from "./elements.js";

function searchBox(go, q) {
  const input = el("input", { name: "q", id: "q", type: "search", value: q, maxlength: "500", required: true });
  const submit = (event) => { event.preventDefault(); go(`#/items?q=${part(input.value.trim())}`); };
  return el("form", { role: "search", onsubmit: submit },
    el("label", { for: "q" }, "Search items by words or meaning", input), el("button", {}, "Search"));
}

export async function items(go, _id, query) {
  const q = query.get("q") || "";
  const box = searchBox(go, q);
  if (q) {
    const found = await get(`/api/search?n=20&q=${part(q)}`);
    return { title: "Items", parts: [box, await listCard(`Found for “${q}”`, found.items, "Score")] };
  }
  const [popular, latest] = await Promise.all([get("/api/popular?n=10"), get("/api/latest?n=10")]);
  return { title: "Items", parts: [box, el("div", { class: "grid" },
    await listCard("Taken by most users", popular.items, "Users"), await listCard("Came last", latest.items))] };
}

async function listCard(title, entries, score) {
  const known = await Promise.all(entries.map((entry) => item(entry.item_id)));
  const rows = entries.map((entry, place) => ({ ...entry, found: known[place] }));
  const columns = [["Item", (row) => itemLink(row.found)], ["Category", (row) => row.found.category]];
  if (score) columns.push([score, (row) => number(row.score, score === "Users" ? 0 : 3), true]);
  return card(title, rows.length ? table(rows, columns, title) : el("p", {}, "Nothing."));
}

export async function itemView(go, id) {
  const found = await get(`/api/items/${part(id)}`);
  const similar = await get(`/api/items/${part(id)}/similar?n=10`);
  const yes = (value) => (value ? "yes" : "no");
  const about = card("About", el("p", {}, found.text || "Without text."), figures([
    ["Id", found.item_id], ["Category", found.category || "–"], ["Brand", found.brand || "–"],
    ["Price", number(found.price, 2)], ["In stock", yes(found.in_stock)], ["Hidden", yes(found.hidden)]]));
  return { title: `Item ${id}`, parts: [searchBox(go, ""), about, await listCard("Goes with it", similar.items, "Score")] };
}
