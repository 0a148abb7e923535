// The page: header, views by URL fragment, models, and API key.

import { forgetKey, get, hasKey, whenKeyNeeded } from "./api.js";
import { classifyView } from "./classify.js";
import { compareView } from "./compare.js";
import { button, field, h, select } from "./dom.js";
import { encodingsView } from "./encodings.js";
import { latencyView } from "./latency.js";
import { problemBox } from "./parts.js";
import { picturePanel } from "./picture.js";
import { change, chosenModel, onChange, state } from "./state.js";
import { T } from "./text.js";

const AGAIN_MS = 2000;
const VIEWS = { classify: classifyView, compare: compareView, encodings: encodingsView, latency: latencyView };

const main = document.getElementById("main");
const trouble = h("div", { class: "trouble" });
const links = Object.keys(VIEWS).map((name) => h("a", { href: `#${name}`, "data-view": name }, T.views[name]));
const modelPlace = h("div", { class: "model" });
const keyPlace = h("div", { class: "key" });

document.getElementById("header").append(
  h("a", { class: "skip", href: "#main", onclick: (event) => { event.preventDefault(); main.focus(); } }, T.skip),
  h("p", { class: "name" }, "posbake"),
  h("nav", { "aria-label": T.navigation }, links),
  modelPlace,
  keyPlace,
  h("a", { class: "api", href: "docs" }, T.api),
);

whenKeyNeeded(askForKey);
const views = Object.fromEntries(Object.entries(VIEWS).map(([name, make]) => [name, make()]));
const panel = picturePanel();
const layout = h("div", { class: "layout" }, panel);
main.append(trouble, layout);

let current = null;

function showView() {
  const name = location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "classify";
  if (name === current) return;
  if (current) {
    views[current].hide();
    views[current].element.remove();
  }
  current = name;
  for (const link of links) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = T.title(T.views[name]);
  panel.hidden = Boolean(views[name].whole);
  main.classList.toggle("whole", panel.hidden);
  layout.append(views[name].element);
  views[name].show();
}

/** Show the first view after everything above it is drawn, to avoid layout shifts. */
function begin() {
  if (current) return;
  showView();
  addEventListener("hashchange", showView);
}

onChange((parts) => {
  if (!("list" in parts) && !("model" in parts)) return;
  const names = state.list?.models.map(({ model }) => model) ?? [];
  if (names.length > 1) modelPlace.replaceChildren(field(T.model, select(names, state.model, chooseModel)));
  else modelPlace.replaceChildren(...names.map((name) => h("span", {}, name)));
  keyPlace.replaceChildren(...(hasKey() ? [button(T.key.forget, forget, { class: "quiet" })] : []));
});

function forget() {
  forgetKey();
  keyPlace.replaceChildren();
}

async function chooseModel(name) {
  change({ model: name, facts: null });
  const model = chosenModel();
  try {
    const { versions, ...names } = await get(`v1/models/${name}/variants/${model.default_variant}`);
    if (state.model === name) change({ facts: { ...names, ...versions.at(-1) } });
  } catch (error) {
    trouble.replaceChildren(problemBox(error));
  }
}

async function load() {
  try {
    const list = await get("v1/models");
    change({ list });
    trouble.replaceChildren();
    if (!list.models.length) trouble.replaceChildren(problemBox({ title: T.noModels.title, message: T.noModels.detail }));
    else await chooseModel(list.default_model ?? list.models[0].model);
    begin();
  } catch (error) {
    begin();
    if (error.status === 401) {
      trouble.replaceChildren(problemBox(error, load));
      return;
    }
    if (!trouble.textContent.includes(error.message)) trouble.replaceChildren(problemBox(error));
    setTimeout(load, AGAIN_MS);
  }
}

/** Ask for an API key in a dialog. Returns it, or null if the dialog is closed without one. */
function askForKey(sentence, wasWrong) {
  return new Promise((resolve) => {
    const input = h("input", { type: "password", autocomplete: "off", required: true, spellcheck: "false" });
    const form = h(
      "form",
      { method: "dialog" },
      h("h2", {}, wasWrong ? T.key.wrong : T.key.title),
      h("p", {}, sentence),
      field(T.key.label, input, T.key.memory),
      h("div", { class: "row" }, h("button", { class: "primary", value: "use" }, T.key.use), button(T.cancel, () => dialog.close())),
    );
    const dialog = h("dialog", { "aria-label": T.key.title }, form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "use" && input.value ? input.value : null);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

load();
