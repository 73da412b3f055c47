// What the A/B test and each surface show.
import { card, el, number, rate, table } from "./elements.js";

export function abCard(online) {
  const rows = online.surfaces;
  if (!rows.length) return card("By surface and variant", el("p", {}, "Nothing was recommended to a known user yet."));
  return card("By surface and variant", el("p", { class: "soft" }, "A surface is a place on the site. “fused” uses what other shops taught, “local” this shop's own data alone; the table under this one compares both where an A/B test runs."),
    table(rows.flatMap((row) => [row, ...Object.entries(row.signals).map(([signal, found]) => ({ ...found, signal }))]), [
    ["Surface", (row) => row.surface || ""], ["Variant", (row) => row.variant || ""],
    ["Led by signal", (row) => row.signal || "all"],
    ["Impressions", (row) => number(row.impressions), true],
    ["Clicked", (row) => rate(row.click_rate), true], ["Bought", (row) => rate(row.purchase_rate), true]], "By surface and variant"),
    ...compared(online.comparisons));
}

// What the A/B switch found: how far the global model lies above the shop's own signals.
function compared(comparisons) {
  if (!comparisons.length) return [el("p", { class: "soft" }, "No A/B test runs, so nothing tells what federation adds here; --local-share starts one.")];
  return [el("h3", {}, "Fused against local"), table(comparisons, [["Surface", (row) => row.surface],
    ["Clicked more, in points", (row) => rate(row.click_rate), true], ["Bought more, in points", (row) => rate(row.purchase_rate), true]], "Fused against local")];
}
