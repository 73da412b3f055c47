// Reads the request histogram of Prometheus' text format.
const LINE = /^fedprofile_request_seconds_(bucket|sum|count)\{(.*)\} (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

// Returns routes with requests: count, mean, and bounds of the median and the 99th percentile, in
// seconds; most asked first.
export function latencies(text) {
  const routes = new Map();
  for (const line of text.split("\n")) {
    const found = LINE.exec(line);
    if (!found) continue;
    const labels = Object.fromEntries([...found[2].matchAll(LABEL)].map((m) => [m[1], m[2]]));
    if (!labels.route.startsWith("/api/")) continue;
    const route = `${labels.method} ${labels.route}`;
    if (!routes.has(route)) routes.set(route, { route, buckets: [] });
    const row = routes.get(route);
    const value = Number(found[3]);
    if (found[1] !== "bucket") row[found[1]] = value;
    else row.buckets.push([labels.le === "+Inf" ? Infinity : Number(labels.le), value]);
  }
  const rows = [...routes.values()].filter((row) => row.count);
  for (const row of rows) {
    row.mean = row.sum / row.count;
    row.half = within(row, 0.5);
    row.most = within(row, 0.99);
  }
  return rows.sort((a, b) => b.count - a.count);
}

const within = (row, share) => row.buckets.find(([, count]) => count >= share * row.count)?.[0] ?? Infinity;
