// State that the views share. It is in memory only: nothing is stored in the browser.

export const state = {
  /** The answer of /v1/models; null until it is there. */
  list: null,
  /** Name of the chosen model. */
  model: null,
  /** Facts of the chosen model's default variant; null until they are there. */
  facts: null,
  /** The picture: {blob, name, url}, or null. */
  picture: null,
};

const listeners = new Set();

/** Change parts of the state and call each listener with them. */
export function change(parts) {
  Object.assign(state, parts);
  for (const listener of [...listeners]) listener(parts);
}

/** Call a listener at each change; returns a function that ends this. */
export function onChange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Return the chosen model's entry of /v1/models, or null. */
export function chosenModel() {
  return state.list?.models.find((model) => model.model === state.model) ?? null;
}
