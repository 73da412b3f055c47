import { forgetItems, forgetKey, hasKey, setKey } from "./api.js";
import { card, el } from "./elements.js";
import { itemView, items } from "./items.js";
import { overview } from "./overview.js";
import { privacy } from "./privacy.js";
import { find, user, users } from "./users.js";

const VIEWS = { "": [overview], users: [users, user], items: [items, itemView], privacy: [privacy] };
const main = document.getElementById("main");
let turn = 0;

const go = (hash) => { if (location.hash === hash) show(); else location.hash = hash; };

function route() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [view, ...rest] = path.split("/");
  const id = rest.length ? decodeURIComponent(rest.join("/")) : null;
  return { view, id, query: new URLSearchParams(query) };
}

async function show() {
  const mine = (turn += 1);
  main.setAttribute("aria-busy", "true");
  let found;
  let view = "";
  try {
    const asked = route();
    view = asked.view;
    const [list, one] = VIEWS[view] || [];
    const make = asked.id ? one : list;
    if (!make) throw Object.assign(new Error("there is no such view"), { remedy: "choose one above" });
    forgetItems();
    found = await make(go, asked.id, asked.query);
  } catch (error) {
    found = error.status === 401 ? askKey() : problem(error, view);
  }
  if (mine === turn) put(found, view);
}

function put(found, view) {
  document.title = `${found.title} – fedprofile node`;
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.getAttribute("href") === `#/${view}`;
    if (here) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  const title = el("h1", { tabindex: "-1" }, found.title);
  const forget = hasKey() ? el("button", { class: "plain", type: "button",
    onclick: () => { forgetKey(); show(); } }, "Forget the API key") : null;
  main.replaceChildren(title, ...found.parts, ...(forget ? [forget] : []));
  main.setAttribute("aria-busy", "false");
  if (turn > 1) (main.querySelector("[data-first]") || title).focus();
}

function problem(error, view) {
  const text = el("p", { role: "alert", class: "state fault" }, `${error.message}.`);
  const made = card("That did not work", text, error.remedy ? el("p", {}, `What helps: ${error.remedy}.`) : null);
  made.classList.add("problem");
  return { title: error.status === 404 ? "Not found" : "Problem", parts: view === "users" ? [find(go), made] : [made] };
}

function askKey() {
  const wrong = hasKey() ? el("p", { role: "alert", class: "fault" }, "The node refused this key.") : null;
  forgetKey();
  const input = el("input", { id: "key", type: "password", autocomplete: "off", required: true, "data-first": true });
  const submit = (event) => { event.preventDefault(); setKey(input.value); show(); };
  return { title: "API key", parts: [card("This node asks for its API key", wrong,
    el("p", { class: "soft" }, "It stays in this tab and is forgotten when you close it."),
    el("form", { onsubmit: submit }, el("label", { for: "key" }, "Key", input), el("button", {}, "Use the key")))] };
}

document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
addEventListener("hashchange", show);
show();
