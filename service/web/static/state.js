// State shared by the views, in memory only.

export const state = {
  /** Document of /v1/models; null until loaded. */
  list: null,
  /** Name of the chosen model. */
  model: null,
  /** Facts of the chosen model's default variant; null until loaded. */
  facts: null,
  /** Picture: {blob, name, url}, or null. */
  picture: null,
};

const listeners = new Set();

/** Change parts of the state, and call the listeners with them. */
export function change(parts) {
  Object.assign(state, parts);
  for (const listener of [...listeners]) listener(parts);
}

/** Call a listener at each change; return a function that removes it. */
export function onChange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Return the chosen model's entry of /v1/models, or null. */
export function chosenModel() {
  return state.list?.models.find((model) => model.model === state.model) ?? null;
}
