// Asks for the node's API key.
import { forgetKey, hasKey, setKey } from "./api.js";
import { card, el } from "./elements.js";

export function askKey(then) {
  const wrong = hasKey() ? el("p", { role: "alert", class: "fault" }, "The node refused this key.") : null;
  forgetKey();
  const input = el("input", { id: "key", type: "password", autocomplete: "off", required: true, "data-first": true });
  const submit = (event) => { event.preventDefault(); setKey(input.value); then(); };
  return { title: "API key", parts: [card("This node asks for its API key", wrong,
    el("p", { class: "soft" }, "It stays in this tab and is forgotten when you close it."),
    el("form", { onsubmit: submit }, el("label", { for: "key" }, "Key", input), el("button", {}, "Use the key")))] };
}
