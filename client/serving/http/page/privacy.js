import { get, post } from "./api.js";
import { card, day, el, figures, number, table } from "./elements.js";

export async function privacy() {
  const found = await get("/api/privacy");
  if (!found.configured) {
    return { title: "Privacy", parts: [card("No ledger is configured", el("p", {},
      `This node shows no privacy budget: ${found.remedy}.`))] };
  }
  return { title: "Privacy", parts: [
    budgetCard(found.status), card("The guarantee", el("p", {}, found.guarantee)),
    verifyCard(found), roundsCard(found), runsCard(found.runs)] };
}

function budgetCard(status) {
  const level = status.alerts.includes(95) ? "bad" : status.alerts.includes(80) ? "warn" : "";
  const words = `Epsilon ${number(status.budget_epsilon, 2)} of ${number(status.limit, 2)} is spent, ${number(status.percent)} %.`;
  const fill = el("i");
  fill.style.width = `${Math.min(100, status.percent)}%`;
  const gauge = el("div", { class: `gauge ${level}`, role: "meter", "aria-label": "Privacy budget spent",
    "aria-valuemin": "0", "aria-valuemax": String(status.limit), "aria-valuenow": String(status.budget_epsilon),
    "aria-valuetext": words }, fill);
  const left = status.rounds_left === null ? "–" : `about ${number(status.rounds_left)}`;
  const window = status.window_days === null ? null : el("p", { class: "soft" },
    `Within ${number(status.window_days)} days: ${number(status.window_epsilon, 2)} of ${number(status.window_limit, 2)}.`);
  const renewed = status.renewals === 0 ? null : el("p", { class: "warning" },
    `The budget was renewed ${number(status.renewals)} times: in all epsilon ${number(status.epsilon, 2)} is spent.`);
  return card("Budget", el("p", { class: "state" }, words), gauge, renewed, figures([
    ["Left", number(status.remaining, 2)], ["Rounds that still fit", left],
    ["Paid, not yet run", number(status.rounds_reserved)], ["Releases", number(status.releases)],
    ["Delta", String(status.delta)]]), window,
  status.simulation ? el("p", { class: "warning" }, "The noise came from a seed: a simulation, which protects nobody.") : null,
  status.fault ? el("p", { class: "fault" }, `The ledger does not hold: ${status.fault}`) : null,
  status.torn ? el("p", { class: "fault" }, "The file ends in a torn line, which is left out.") : null,
  el("p", { class: "soft" }, `Accounting: ${status.accountant}. A round counts as spent when it is reserved.`));
}

function verifyCard(found) {
  const result = el("div", { role: "status" });
  const button = el("button", { type: "button" }, "Verify the ledger now");
  button.addEventListener("click", async () => {
    button.disabled = true;
    result.replaceChildren(el("p", {}, "Verifying …"));
    const said = await post("/api/privacy/verify").then(verdict, (error) =>
      [el("p", { class: "state fault" }, `Could not verify: ${error.message}. ${error.remedy}`)]);
    result.replaceChildren(...said);
    button.disabled = false;
  });
  return card("Verification", el("p", { class: "soft" },
    `${found.ledger} has ${number(found.lines)} lines, each signed and chained to the one before.`), button, result);
}

function verdict(found) {
  const words = found.ok ? `All ${number(found.lines)} lines hold.` : `Does not hold: ${found.fault}`;
  const list = (title, texts) => (texts.length
    ? [el("h3", {}, title), el("ul", {}, texts.map((text) => el("li", {}, text)))] : []);
  return [el("p", { class: `state ${found.ok ? "good" : "fault"}` }, words),
    ...list("Sums over shops", found.sums ? [found.sums] : []),
    ...list("On the owner's word alone", found.owner_word ? [found.owner_word] : []),
    ...list("Checked", found.checked), ...list("Not checked", found.unchecked)];
}

function roundsCard(found) {
  const hidden = found.rounds_in_all - found.rounds.length;
  const epsilon = (value) => (value === null ? "–" : number(value, 3));
  const adaptive = found.rounds.some((row) => row.epsilon_after === null)
    ? el("p", { class: "soft" }, "“–”: adaptive rounds have a valid total by run alone.") : null;
  return card("What each round cost", found.rounds.length ? table(found.rounds, [
    ["Run", (row) => row.run], ["Round", (row) => number(row.round), true], ["Released", (row) => row.mechanism],
    ["Noise", (row) => number(row.noise_multiplier, 2), true], ["Cost", (row) => epsilon(row.epsilon_cost), true],
    ["Epsilon after it", (row) => epsilon(row.epsilon_after), true],
    ["State", (row) => (row.released ? "released" : "paid, not released")]]) : el("p", {}, "No round yet."),
  hidden > 0 ? el("p", { class: "soft" }, `${number(hidden)} earlier rounds are not shown.`) : null, adaptive);
}

const runsCard = (runs) => card("Runs", runs.length ? table(runs, [
  ["Reserved", (row) => day(row.time)], ["Run", (row) => row.run], ["Plan", (row) => row.planning],
  ["Rounds", (row) => number(row.rounds), true], ["Cost", (row) => number(row.epsilon_cost, 3), true],
  ["Epsilon after it", (row) => number(row.epsilon_after, 3), true]]) : el("p", {}, "No run yet."));
