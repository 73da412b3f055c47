// For who runs the node: health, what is loaded, latency, and how signals are mixed.
import { get, getText } from "./api.js";
import { card, el, figures, number, table } from "./elements.js";
import { latencies } from "./latency.js";

export async function technical() {
  const ready = get("/health/ready").catch((error) => ({ ready: false, reason: error.message }));
  const [status, health, metrics, privacy] = await Promise.all([
    get("/api/status"), ready, getText("/metrics"), get("/api/privacy").catch(() => null)]);
  return {
    title: "Technical",
    parts: [
      el("div", { class: "grid" }, healthCard(health), adapterCard(status, privacy), dataCard(status)),
      latencyCard(metrics), weightsCard(status)],
  };
}

function healthCard(health) {
  const words = health.ready ? "Ready" : `Not ready: ${health.reason || "see the log"}`;
  return card("Health",
    el("p", { class: `state ${health.ready ? "good" : "fault"}` }, words),
    el("p", { class: "soft" }, health.ready ? `Up for ${span(health.uptime_seconds)}.` : "Recommendations may fail."));
}

function span(seconds) {
  if (seconds < 120) return `${number(seconds)} seconds`;
  if (seconds < 7200) return `${number(seconds / 60)} minutes`;
  return `${number(seconds / 3600, 1)} hours`;
}

function adapterCard(status, privacy) {
  const last = privacy?.rounds?.at(-1);
  const next = status.next_adapter;
  const words = {
    encoding: `Next: ${next.adapter}, ${number(next.done)} of ${number(next.total)} items encoded.`,
    learning: `Next: ${next.adapter}, learning how to mix its signal.`,
    refused: `Refused: ${next.adapter}. ${next.problem}`,
    "in place": `${next.adapter} was taken while answers went on.`,
  }[next.state];
  return card("Adapter",
    el("p", { class: "state" }, status.adapter || "None: the shop's own signals alone"),
    words ? el("p", { class: next.state === "refused" ? "fault" : "soft" }, words) : null,
    last ? el("p", { class: "soft" }, `This shop last took part in round ${last.round} of run ${last.run}.`) : null);
}

const dataCard = (status) => card("Data", figures([
  ["Users", number(status.users)], ["Items", number(status.items)], ["Events", number(status.events)],
  ["Not yet in co-purchase", number(status.events_since_refresh)]]));

function latencyCard(metrics) {
  const rows = latencies(metrics).slice(0, 8);
  if (!rows.length) return card("Latency", el("p", {}, "No request was answered yet."));
  const within = (one) => (one === Infinity ? "over 5 s" : `≤ ${number(1000 * one)} ms`);
  return card("Latency since the start", table(rows, [
    ["Route", (row) => row.route], ["Requests", (row) => number(row.count), true],
    ["Mean", (row) => `${number(1000 * row.mean, 1)} ms`, true],
    ["Half within", (row) => within(row.half), true], ["99% within", (row) => within(row.most), true]]));
}

function weightsCard(status) {
  const rows = Object.entries(status.weights).flatMap(([surface, mix]) =>
    Object.entries(mix.fused).filter(([, weight]) => weight > 0)
      .map(([signal, weight]) => ({ surface, signal, weight, ndcg: mix.ndcg[signal] })));
  return card("How signals are mixed",
    el("p", { class: "soft" }, "Learned on the shop's own latest events; NDCG@10 of each signal alone."),
    table(rows, [["Surface", (row) => row.surface], ["Signal", (row) => row.signal],
      ["Weight", (row) => number(row.weight, 3), true], ["NDCG@10", (row) => number(row.ndcg, 4), true]]));
}
