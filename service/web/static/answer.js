// Common part of Classify and Compare: posts the picture, and shows the response or the error.

import { curl, post } from "./api.js";
import { h } from "./dom.js";
import { curlLine, problemBox } from "./parts.js";
import { onChange, state } from "./state.js";

/**
 * Return a view of the response for the picture; a new picture or model sends a new request.
 *
 * @param title    title of the view
 * @param controls element above the response
 * @param text     {empty, running, done}: sentences; `done` is called with the response
 * @param request  returns the URL, or {missing: reason}
 * @param draw     returns the elements of a response, whose `path` is the URL
 */
export function answerView({ title, controls, text, request, draw }) {
  const result = h("div", { class: "result" }, h("p", { class: "empty" }, text.empty));
  const said = h("p", { class: "unseen", role: "status" });
  let running = null;
  let isShown = false;
  let isOutdated = true;
  let asked = null; // URL of the last request
  let answer = null;

  function refresh() {
    isOutdated = true;
    if (isShown) run();
  }

  async function run() {
    if (!state.picture || !state.model) return;
    isOutdated = false;
    running?.abort();
    const path = request();
    asked = path;
    if (path.missing) {
      result.replaceChildren(h("p", { class: "empty" }, path.missing));
      result.removeAttribute("aria-busy");
      return;
    }
    running = new AbortController();
    said.textContent = text.running;
    result.setAttribute("aria-busy", "true");
    try {
      answer = { ...(await post(path, state.picture, running.signal)), path };
      redraw();
      said.textContent = text.done(answer);
    } catch (error) {
      if (error.name === "AbortError") return;
      result.replaceChildren(problemBox(error, run), curlLine(curl(path, state.picture)));
      said.textContent = "";
    }
    result.removeAttribute("aria-busy");
  }

  const redraw = () => result.replaceChildren(...draw(answer), curlLine(curl(answer.path, state.picture)));

  onChange((parts) => {
    if ("picture" in parts || "model" in parts) refresh();
  });

  return {
    element: h("div", { class: "view" }, h("h1", { class: "unseen" }, title), controls, said, result),
    /** Repeat the request, now or when the view is shown. */
    refresh,
    /** Send a request if the URL has changed. */
    settle: () => request() !== asked && refresh(),
    /** Draw the last response again, in another order. */
    redraw,
    show() {
      isShown = true;
      if (isOutdated) run();
    },
    hide: () => (isShown = false),
  };
}
