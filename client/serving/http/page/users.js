import { get, part } from "./api.js";
import { card, el, userLink } from "./elements.js";

export function find(go) {
  const input = el("input", { name: "user", id: "user", autocomplete: "off", required: true, maxlength: "200" });
  const submit = (event) => { event.preventDefault(); go(`#/users/${part(input.value.trim())}`); };
  return el("form", { role: "search", onsubmit: submit },
    el("label", { for: "user" }, "User id", input), el("button", {}, "Show user"));
}

export async function users(go) {
  const list = el("ul", { class: "choices" });
  const more = el("button", { class: "plain", type: "button" }, "More users");
  let cursor = null;
  const load = async () => {
    const found = await get(`/api/users?n=100${cursor ? `&cursor=${part(cursor)}` : ""}`);
    list.append(...found.users.map((user) => el("li", {}, userLink(user.user_id))));
    cursor = found.next_cursor;
    more.hidden = cursor === null;
  };
  more.addEventListener("click", () => load().catch((error) => { more.textContent = error.message; }));
  await load();
  const none = list.children.length ? null : el("p", {}, "No user is stored yet.");
  return { title: "Users", parts: [find(go), card("Users in order of arrival", none, list, more)] };
}
