// An example shop. Data becomes text nodes, never markup.
const $ = (id) => document.getElementById(id);
const cart = new Map();
const names = new Map();
let user = sessionStorage.getItem("user");
let turn = 0;

function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

async function ask(path, content) {
  const more = content === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(content) };
  const answer = await fetch(path, more);
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error?.message || "the node does not answer");
  return answer.json();
}

async function item(id) {
  if (!names.has(id)) names.set(id, await ask(`/api/items/${encodeURIComponent(id)}`));
  return names.get(id);
}

const say = (text) => { $("said").textContent = text; };
const safely = (work) => async (...given) => {
  try { await work(...given); } catch (error) { say(`That did not work: ${error.message}.`); }
};

// One event; the id makes a repeated delivery harmless.
const event = (type, id, price) => ({ event_id: crypto.randomUUID(), user_id: user, item_id: id, event_type: type, ...(price === null ? {} : { price }) });

function product(found) {
  const price = found.price === null ? "" : found.price.toFixed(2);
  return el("li", {}, el("strong", {}, found.text || found.item_id), el("span", { class: "soft" }, [found.category, price].filter(Boolean).join(" · ")),
    el("button", { type: "button", "data-item": found.item_id, onclick: safely(() => add(found)) }, "Add to cart"));
}

async function shelf(title, path, content) {
  const answer = await ask(path, content);
  const found = await Promise.all(answer.items.map((entry) => item(entry.item_id)));
  if (!found.length) return null;
  return el("section", { "aria-label": title }, el("h2", {}, title), el("ul", { class: "shelf" }, ...found.map(product)));
}

async function browse() {
  const mine = (turn += 1);
  const who = user === null ? null : encodeURIComponent(user);
  const q = $("q").value.trim();
  $("main").setAttribute("aria-busy", "true");
  const shelves = [];
  if (q) shelves.push(shelf(`Found for “${q}”`, `/api/search?n=6&q=${encodeURIComponent(q)}${who ? `&user_id=${who}` : ""}`));
  if (who) {
    shelves.push(shelf("For you", `/api/recommend/${who}?n=6`), shelf("Discover", `/api/recommend/${who}?surface=discover&n=6`),
      shelf("Buy again", `/api/recommend/${who}?surface=buy-again&n=6`));
  } else shelves.push(shelf("Popular", "/api/popular?n=6"), shelf("New", "/api/latest?n=6"));
  const made = await Promise.all(shelves);
  if (mine !== turn) return;
  $("main").replaceChildren(...made.filter((one) => one !== null));
  $("main").setAttribute("aria-busy", "false");
}

async function add(found) {
  cart.set(found.item_id, found);
  say(`${found.text || found.item_id} is in the cart.`);
  if (user !== null) await ask("/api/feedback", [event("cart", found.item_id, found.price)]);
  await showCart();
}

async function showCart() {
  $("cart").replaceChildren(...[...cart.values()].map((found) => el("li", {}, found.text || found.item_id, " ",
    el("button", { type: "button", class: "plain", onclick: safely(() => { cart.delete(found.item_id); return showCart(); }) }, "Remove"))));
  $("empty").hidden = cart.size > 0;
  $("buy").disabled = cart.size === 0;
  const goes = cart.size ? await shelf("Goes with it", "/api/session/recommend", { items: [...cart.keys()], n: 4, ...(user === null ? {} : { user_id: user }) }) : null;
  $("with-it").replaceChildren(...(goes ? [goes] : []));
}

async function buy() {
  if (user === null) { say("Sign in to buy."); $("user").focus(); return; }
  await ask("/api/feedback", [...cart.values()].map((found) => event("purchase", found.item_id, found.price)));
  say(`Thank you, ${user}. What you see below knows it already.`);
  cart.clear();
  await Promise.all([showCart(), browse()]);
}

async function sign(name) {
  user = name;
  if (name === null) sessionStorage.removeItem("user"); else sessionStorage.setItem("user", name);
  $("sign-in").hidden = name !== null;
  $("who").hidden = name === null;
  $("who").firstElementChild.textContent = `Signed in as ${name}`;
  await browse();
}

$("find").addEventListener("submit", safely((e) => { e.preventDefault(); return browse(); }));
$("sign-in").addEventListener("submit", safely((e) => { e.preventDefault(); return sign($("user").value.trim()); }));
$("who").lastElementChild.addEventListener("click", safely(() => sign(null)));
$("buy").addEventListener("click", safely(buy));
safely(() => sign(user))();
