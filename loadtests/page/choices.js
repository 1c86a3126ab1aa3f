// The choice of a scenario, above the fields of Locust's form. It is a field of that form like any other.

import { element, prose } from "./dom.js";

let choices = null;

export async function offerChoices() {
  const form = document.querySelector("form:has(input[name=userCount])");
  if (!form || !form.querySelector("input[name=host]") || form.querySelector(".scenarios")) return;
  if (choices === null) {
    choices = []; // asked for once
    choices = await (await fetch("./service/choices")).json();
  }
  if (!choices.length || form.querySelector(".scenarios")) return;
  const chosen = element("input", { type: "hidden", name: "scenario", value: choices[0].key });
  const list = element("fieldset", { class: "scenarios" }, element("legend", {}, "What to run"), chosen);
  choices.forEach((choice, at) => list.append(offer(form, chosen, choice, at === 0)));
  form.prepend(list);
}

function offer(form, chosen, { key, title, text, users }, isFirst) {
  const radio = element("input", { type: "radio", id: `scenario-${key}` });
  radio.checked = isFirst;
  radio.addEventListener("change", () => {
    for (const other of form.querySelectorAll(".scenarios input[type=radio]")) other.checked = other === radio;
    chosen.value = key;
    if (users !== null) setField(form.querySelector("input[name=userCount]"), users);
  });
  const label = element("label", { for: `scenario-${key}` }, ...prose(title));
  return element("div", {}, radio, label, element("p", {}, ...prose(text)));
}

/** As if it had been typed: React looks at the event, not at the property. */
function setField(field, value) {
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(field, value);
  field.dispatchEvent(new Event("input", { bubbles: true }));
}
