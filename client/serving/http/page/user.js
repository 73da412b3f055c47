import { get, item, part } from "./api.js";
import { card, day, el, figures, itemLink, number, shares, table, userLink } from "./elements.js";
import { recommendations, SURFACES } from "./recommended.js";
import { find } from "./users.js";

const PAGE = 1000;
const PAGES = 3;
const SHOWN = 30;

export async function user(go, id, query) {
  const surface = SURFACES.some(([name]) => name === query.get("surface")) ? query.get("surface") : "for-you";
  const who = part(id);
  const profile = await get(`/api/users/${who}/profile`);
  const [answer, alike, history] = await Promise.all([
    get(`/api/recommend/${who}?surface=${surface}&n=10&explain=true&preview=true`),
    get(`/api/users/${who}/similar?n=8`), events(who)]);
  const recommended = await recommendations(answer, who, surface);
  return {
    title: `User ${id}`,
    parts: [find(go), el("div", { class: "grid" }, await profileCard(profile), interestsCard(profile)),
      recommended, await historyCard(history), similarCard(alike.users)],
  };
}

// What is folded is no stop of the keyboard until it is asked for.
const folded = (words, ...children) => el("details", {}, el("summary", {}, words), ...children);

async function events(who) {
  const found = { rows: [], whole: false };
  let cursor = null;
  for (let page = 0; page < PAGES; page += 1) {
    const answer = await get(`/api/feedback?user_id=${who}&n=${PAGE}${cursor ? `&cursor=${part(cursor)}` : ""}`);
    found.rows.push(...answer.events);
    cursor = answer.next_cursor;
    if (cursor === null) { found.whole = true; break; }
  }
  return found;
}

async function profileCard(profile) {
  const carriers = await Promise.all(profile.carried_by.map((event) => item(event.item_id)));
  const rows = profile.carried_by.map((event, place) => ({ ...event, found: carriers[place] }));
  const times = profile.times;
  return card("Profile", el("p", {}, profile.words),
    figures([["Events", number(profile.events)], ["Different items", number(profile.different_items)],
      ["Segment", profile.segment],
      ["Price level", profile.price_level === null ? "–" : `${number(100 * profile.price_level)} of 100`]]),
    times ? el("p", { class: "soft" }, `Mostly on ${times.day}, in the ${times.part_of_day} (UTC). Last event: ${day(profile.last)}.`) : null,
    rows.length ? folded("Events that carry the profile most", table(rows, [["Item", (row) => itemLink(row.found)], ["Event", (row) => row.event_type],
      ["Weight", (row) => `${number(100 * row.weight, 1)} %`, true]],
    "Events that carry the profile most")) : null);
}

function interestsCard(profile) {
  const part = (title, rows) => [el("h3", {}, title),
    rows.length ? shares(rows.map((row) => [row.name, row.weight])) : el("p", { class: "soft" }, "None known.")];
  return card("Interests", part("Categories", profile.categories), part("Brands", profile.brands));
}

async function historyCard(history) {
  const latest = history.rows.map((row, place) => ({ ...row, place }))
    .sort((a, b) => (a.time < b.time ? 1 : a.time > b.time ? -1 : b.place - a.place)).slice(0, SHOWN);
  const found = await Promise.all(latest.map((event) => item(event.item_id)));
  const rows = latest.map((event, place) => ({ ...event, found: found[place] }));
  const all = `${number(history.rows.length)}${history.whole ? "" : " that came first"}`;
  return card("History", el("p", { class: "soft" }, `The latest ${number(rows.length)} of ${all}.`),
    folded("Show them", table(rows, [["Time", (row) => day(row.time)], ["Event", (row) => row.event_type],
      ["Item", (row) => itemLink(row.found)], ["Category", (row) => row.found.category],
      ["Quantity", (row) => number(row.quantity), true]], "History")));
}

const similarCard = (alike) => card("Users of like taste", alike.length
  ? folded("Show them", table(alike, [["User", (row) => userLink(row.user_id)], ["Likeness", (row) => number(row.score, 3), true]], "Users of like taste"))
  : el("p", {}, "Nobody is alike yet."));
