// Creation of HTML and SVG elements in one expression. Children are nodes or text, which is never parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Return an HTML element. Properties are attributes, or listeners if they begin with `on`. */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** Return an SVG element. */
export function s(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

/** Return a table with a caption for screen readers. Cells are text or nodes; the first of a row is its header. */
export function table(caption, heads, rows, properties = {}) {
  const cell = (content, column) => h(column === 0 ? "th" : "td", column === 0 ? { scope: "row" } : {}, content);
  return h(
    "table",
    properties,
    h("caption", { class: "unseen" }, caption),
    h("thead", {}, h("tr", {}, heads.map((head) => (head instanceof Node ? head : h("th", { scope: "col" }, head))))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map(cell)))),
  );
}

/** Return a button. */
export function button(label, onclick, properties = {}) {
  return h("button", { type: "button", onclick, ...properties }, label);
}

/** Return a labelled control. */
export function field(label, control, hint = null) {
  return h("label", { class: "field" }, h("span", {}, label), control, hint && h("small", {}, hint));
}

/** Return a select; options are values, or [value, label]. */
export function select(options, chosen, onchange, properties = {}) {
  const made = options.map((option) => {
    const [value, label] = Array.isArray(option) ? option : [option, option];
    return h("option", { value, selected: value === chosen }, label);
  });
  return h("select", { onchange: (event) => onchange(event.target.value), ...properties }, made);
}

let numbers = 0;

/** Return a new unique id. */
export const newId = () => `n${(numbers += 1)}`;
