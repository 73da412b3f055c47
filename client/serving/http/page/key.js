// Asks for the node's API key.
import { signIn } from "./api.js";
import { card, el } from "./elements.js";

export function askKey(then) {
  const fault = el("p", { role: "alert", class: "fault" });
  const input = el("input", { id: "key", type: "password", autocomplete: "off", required: true, "data-first": true });
  const submit = async (event) => {
    event.preventDefault();
    try {
      await signIn(input.value);
    } catch (error) {
      fault.textContent = error.status === 401 ? "The node refused this key." : `${error.message}.`;
      input.focus();
      return;
    }
    then();
  };
  return { title: "API key", parts: [card("This node asks for its API key", fault,
    el("p", { class: "soft" }, "It was shown when the node first started. The page keeps no copy; this browser stays signed in for 12 hours."),
    el("form", { onsubmit: submit }, el("label", { for: "key" }, "Key", input), el("button", {}, "Use the key")))] };
}
