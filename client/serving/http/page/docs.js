// Shows the node's own description of its routes, /openapi.json.
import { askKey } from "./key.js";
import { get } from "./api.js";
import { card, el, table } from "./elements.js";

const main = document.getElementById("main");

function resolve(schema, all) {
  if (schema?.$ref) return all.components.schemas[schema.$ref.split("/").at(-1)];
  return schema || {};
}

function kind(given, all) {
  const schema = resolve(given, all);
  if (schema.anyOf) return schema.anyOf.map((one) => kind(one, all)).filter((one) => one !== "null").join(" or ");
  if (schema.enum) return schema.enum.join(", ");
  if (schema.const !== undefined) return String(schema.const);
  if (schema.type === "array") return `list of ${schema.items ? kind(schema.items, all) : "values"}`;
  return schema.title && schema.properties ? schema.title : schema.format || schema.type || "any";
}

function bounds(given, all) {
  const schema = resolve(given, all);
  const one = schema.anyOf ? resolve(schema.anyOf[0], all) : schema;
  const names = { minimum: "≥ ", maximum: "≤ ", exclusiveMinimum: "> ", minLength: "length ≥ ", maxLength: "length ≤ ", minItems: "entries ≥ ", maxItems: "entries ≤ " };
  return Object.entries(names).filter(([name]) => one[name] !== undefined).map(([name, sign]) => sign + one[name]).join(", ");
}

const fallback = (schema) => (schema?.default === undefined || schema.default === null ? "" : JSON.stringify(schema.default));

function fields(rows, all) {
  return table(rows, [
    ["Name", (row) => el("code", {}, row.name + (row.required ? " *" : ""))],
    ["Where", (row) => row.in], ["Type", (row) => kind(row.schema, all)], ["Default", (row) => fallback(row.schema)],
    ["Bounds", (row) => bounds(row.schema, all)], ["Meaning", (row) => row.description || row.schema?.description || ""]]);
}

function bodyOf(operation, all) {
  const [type, content] = Object.entries(operation.requestBody?.content || {})[0] || [];
  if (!type) return { rows: [], type: null, example: null };
  const schema = resolve(content.schema, all);
  const listed = schema.type === "array";
  const one = resolve(listed ? schema.items : schema, all);
  const needed = one.required || [];
  const rows = Object.entries(one.properties || {}).map(([name, found]) =>
    ({ name, in: listed ? "each entry" : "body", schema: found, required: needed.includes(name) }));
  const sample = {};
  for (const [name, found] of Object.entries(one.properties || {})) {
    if (found.examples) [sample[name]] = found.examples;
  }
  const example = schema.example || (rows.length ? JSON.stringify(listed ? [sample] : sample) : null);
  return { rows, type, example };
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function command(method, path, body) {
  const parts = ["curl", "-s"];
  if (method !== "get") parts.push("-X", method.toUpperCase());
  parts.push(quoted(location.origin + path.replace("{user_id}", "u1").replace("{item_id}", "i1").replace("{event_id}", "order-1001-1")));
  parts.push("-H", '"X-API-Key: $(cat shop.db.key)"');
  if (body.type) parts.push("-H", quoted(`content-type: ${body.type}`), "--data-binary", quoted((body.example || "").trim()));
  return parts.join(" ");
}

function operationCard(path, method, operation, all) {
  const body = bodyOf(operation, all);
  const rows = [...(operation.parameters || []), ...body.rows];
  return el("details", { class: "route", id: operation.operationId },
    el("summary", {}, el("code", { class: `method ${method}` }, method.toUpperCase()), " ", el("code", {}, path), el("span", { class: "soft" }, ` ${operation.summary}`)),
    el("p", {}, (operation.description || "").replace(/\s+/g, " ")), rows.length ? fields(rows, all) : null,
    el("pre", { tabindex: "0", "aria-label": "Example" }, command(method, path, body)));
}

async function show() {
  let all;
  try {
    all = await get("/openapi.json");
  } catch (error) {
    const made = error.status === 401 ? askKey(show)
      : { title: "Problem", parts: [card("That did not work", el("p", { role: "alert", class: "fault" }, `${error.message}.`))] };
    main.replaceChildren(el("h1", {}, made.title), ...made.parts);
    main.setAttribute("aria-busy", "false");
    return;
  }
  const groups = new Map();
  for (const [path, methods] of Object.entries(all.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] || "other";
      groups.set(tag, [...(groups.get(tag) || []), operationCard(path, method, operation, all)]);
    }
  }
  const open = el("button", { class: "plain", type: "button", onclick: () => {
    const routes = [...document.querySelectorAll("details.route")];
    const all = routes.every((one) => one.open);
    for (const one of routes) one.open = !all;
  } }, "Open or close all");
  main.replaceChildren(el("h1", { tabindex: "-1" }, "Routes"),
    el("p", {}, `${all.info.description} Version ${all.info.version}. Send the API key as X-API-Key: its file lies beside the database. Write a slash in an id as %2F. The same for programs: `, el("a", { href: "/openapi.json" }, "/openapi.json"), "."),
    open, ...[...groups].map(([tag, routes]) => card(tag[0].toUpperCase() + tag.slice(1), ...routes)));
  main.setAttribute("aria-busy", "false");
}

show();
