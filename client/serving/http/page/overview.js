// For who answers for the shop: what recommendations bring, what they leave out, what privacy costs.
import { get } from "./api.js";
import { abCard } from "./ab_test.js";
import { card, el, figures, itemLink, number, percent, rate, table } from "./elements.js";

export async function overview() {
  const [found, online, privacy] = await Promise.all([
    get("/api/outcomes"), get("/api/online"), get("/api/privacy").catch((error) => ({ fault: error.message }))]);
  return { title: "Overview", parts: [
    broughtCard(found), weeksCard(found.weeks), abCard(online),
    el("div", { class: "grid" }, coverageCard(found.coverage), privacyCard(privacy)),
    neverCard(found.coverage), extremesCard(found)] };
}

const money = (row) => {
  const range = row.low === null ? "" : ` (${number(row.low)} to ${number(row.high)})`;
  return `${number(row.value)}${row.currency ? ` ${row.currency}` : ""}${range}`;
};
const revenue = (rows) => (rows.length ? rows.map(money).join(" + ") : "–");

function broughtCard(found) {
  const { total } = found;
  if (!total.impressions) {
    return card("What recommendations bring", el("p", {}, "Nothing is counted yet. Counting begins when the shop's site asks for recommendations of a known user."));
  }
  const few = found.enough ? null : el("p", { class: "warning" },
    `Too little for a judgement: below ${found.min_clicks} clicks the rates may be chance.`);
  const bare = total.revenue.some((row) => row.low === null) || !total.revenue.length;
  return card("What recommendations bring", el("p", { class: "soft" }, `Counted since the week of ${found.since}.`),
    figures([["Shown", number(total.impressions)], ["Clicked", number(total.clicks)],
      ["Bought", number(total.purchases)], ["Revenue", revenue(total.revenue.map((row) => ({ ...row, low: null })))]]),
    few, el("ul", { class: "plainlist" },
      el("li", {}, `Of what was shown, ${rate(total.click_rate)} was clicked and ${rate(total.purchase_rate)} was bought.`),
      el("li", {}, bare ? "Revenue has no range yet: it needs ten purchases with a price." : `Revenue with its range: ${revenue(total.revenue)}.`)),
    el("p", { class: "soft" }, "“Shown” is each item in an answer to a known user. “Bought” is a purchase of an item after it was shown; some would have been bought anyway. The A/B test below compares with this shop's own signals, not with no recommendations. In brackets: where the true value lies in 95 of 100 cases."));
}

function weeksCard(weeks) {
  if (!weeks.length) return null;
  return card("Week by week", el("p", { class: "soft" },
    "A click or purchase counts for the week in which the item was shown, so the last week is still filling."),
  table(weeks, [["Week of", (row) => row.week], ["Shown", (row) => number(row.impressions), true],
    ["Clicked", (row) => rate(row.click_rate), true], ["Bought", (row) => rate(row.purchase_rate), true],
    ["Revenue", (row) => revenue(row.revenue), true]], "Week by week"));
}

function coverageCard(found) {
  const share = found.showable ? found.shown / found.showable : 0;
  return card("How much of the range is shown",
    el("p", { class: "state" }, `${percent(share)} % of the items that may be shown`),
    el("p", { class: "soft" }, `${number(found.shown)} of ${number(found.showable)} were recommended to somebody; ${number(found.never_shown)} never were. Hidden, denied and sold-out items do not count.`));
}

function privacyCard(found) {
  const more = el("p", {}, el("a", { href: "#/privacy" }, "The whole account"));
  if (!found.configured) {
    return card("Privacy budget", el("p", {}, found.fault ? `The account cannot be read: ${found.fault}.` : "This node keeps no privacy account: no ledger is configured."), more);
  }
  const { status } = found;
  const left = status.rounds_left === null ? "" : ` About ${number(status.rounds_left)} more rounds of training with other shops fit into the rest.`;
  return card("Privacy budget", el("p", { class: "state" }, `${number(status.percent)} % is spent`),
    el("p", {}, `It has paid for ${number(status.releases)} releases, noisy sums with which shops train together.${left}`),
    el("p", { class: "soft" }, `Epsilon, the measure of what anybody could learn of one customer, is ${number(status.budget_epsilon, 2)} of at most ${number(status.limit, 2)}.`), more);
}

function neverCard(found) {
  if (!found.never.length) return null;
  return card("Never shown", el("p", { class: "soft" }, "Those that most customers took without a recommendation come first."),
    table(found.never, [["Item", itemLink], ["Customers", (row) => number(row.users), true]], "Items never shown"));
}

function extremesCard(found) {
  const words = el("p", { class: "soft" }, `Compared are the ${number(found.compared)} items that were shown at least ${found.min_shown} times, by the share of showings that were clicked. Among many items the first and the last are in part chance.`);
  if (!found.best.length) return card("Best and worst items", words, el("p", {}, "Too few items were shown often enough."));
  const list = (title, rows) => [el("h3", {}, title), table(rows, [["Item", itemLink],
    ["Shown", (row) => number(row.impressions), true], ["Clicked", (row) => rate(row.click_rate), true],
    ["Bought", (row) => rate(row.purchase_rate), true]], title)];
  return card("Best and worst items", words, ...list("Best", found.best), ...list("Worst", found.worst));
}
