import { forgetItems, signedIn, signOut } from "./api.js";
import { card, el } from "./elements.js";
import { itemView, items } from "./items.js";
import { askKey } from "./key.js";
import { overview } from "./overview.js";
import { privacy } from "./privacy.js";
import { technical } from "./technical.js";
import { user } from "./user.js";
import { find, users } from "./users.js";

const VIEWS = { "": [overview], users: [users, user], items: [items, itemView], privacy: [privacy],
  technical: [technical] };
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
    found = error.status === 401 ? askKey(show) : problem(error, view);
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
  const forget = signedIn() ? el("button", { class: "plain", type: "button",
    onclick: async () => { await signOut(); show(); } }, "Sign out") : null;
  main.replaceChildren(title, ...found.parts.filter(Boolean), ...(forget ? [forget] : []));
  main.setAttribute("aria-busy", "false");
  if (turn > 1) (main.querySelector("[data-first]") || title).focus();
}

function problem(error, view) {
  const text = el("p", { role: "alert", class: "state fault" }, `${error.message}.`);
  const made = card("That did not work", text, error.remedy ? el("p", {}, `What helps: ${error.remedy}.`) : null);
  made.classList.add("problem");
  return { title: error.status === 404 ? "Not found" : "Problem", parts: view === "users" ? [find(go), made] : [made] };
}

document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
addEventListener("hashchange", show);
show();
