// Picture shared by the views: dropped, pasted, chosen, taken by a camera, or a sample of the model.

import { send } from "./api.js";
import { button, h } from "./dom.js";
import { prepareInk } from "./prepare.js";
import { change, onChange, state } from "./state.js";
import { T } from "./text.js";

let original = null; // unprepared picture: {blob, name, isSample}
let preparing = false;
let report = () => {};

/** Set the picture from a file or blob. Samples are never prepared, because they are training-like already. */
export function take(blob, name, isSample = false) {
  original = { blob, name: name || T.picture.unnamed, isSample };
  return show();
}

/** Show the picture, prepared if the option is on. */
async function show() {
  if (!original) return;
  const given = original;
  if (!preparing || given.isSample) {
    put(given.blob, given.name);
    report("");
    return;
  }
  const prepared = await prepareInk(given.blob).catch(() => undefined); // a format that this browser cannot display
  if (given !== original) return;
  put(prepared?.blob ?? given.blob, prepared ? `prepared-${given.name.replace(/\.\w+$/, "")}.png` : given.name);
  report(prepared ? T.picture.signs(prepared.signs) : prepared === null ? T.picture.notPrepared : "");
}

function put(blob, name) {
  if (state.picture) URL.revokeObjectURL(state.picture.url);
  change({ picture: { blob, name, url: URL.createObjectURL(blob) } });
}

const size = (bytes) => (bytes < 1000 ? `${bytes} B` : `${(bytes / 1000).toFixed(bytes < 10_000 ? 1 : 0)} kB`);

/** Return the panel, which accepts drops and pastes anywhere on the page. */
export function picturePanel() {
  const input = h("input", { type: "file", accept: "image/*", hidden: true, onchange: () => takeFirst(input.files) });
  const stage = button(h("span", { class: "prompt" }, h("strong", {}, T.picture.drop), T.picture.formats), () => input.click(), {
    class: "drop",
  });
  const said = h("p", { class: "about", role: "status" });
  const samples = h("div", { class: "samples", role: "group", "aria-label": T.picture.samples });
  const note = h("p", { class: "note" });
  const option = h("div", { class: "option" });
  report = (sentence) => note.replaceChildren(sentence && h("strong", {}, sentence), " ", state.facts?.about ?? "");

  function takeFirst(files) {
    const [file] = files ?? [];
    if (file) take(file, file.name);
    input.value = "";
  }

  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    stage.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? stage.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    stage.classList.remove("over");
    takeFirst(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
    if (files.length) takeFirst(files);
  });

  onChange((parts) => {
    if ("picture" in parts) draw();
    if ("facts" in parts) drawModel();
  });

  function draw() {
    const { blob, name, url } = state.picture;
    const save = h("a", { href: url, download: name }, T.picture.save);
    const tell = (pixels) => said.replaceChildren(T.picture.about(name, pixels, size(blob.size)), " ", save);
    const image = h("img", { src: url, alt: T.picture.alt(name) });
    image.addEventListener("load", () => {
      image.classList.toggle("tiny", image.naturalWidth < 100);
      tell(`${image.naturalWidth} × ${image.naturalHeight}`);
    });
    image.addEventListener("error", () => {
      stage.replaceChildren(h("span", { class: "prompt" }, T.picture.noPreview));
      tell(null);
    });
    stage.replaceChildren(image);
    stage.setAttribute("aria-label", T.picture.replace);
  }

  function drawOption(isOffered) {
    if (!isOffered) preparing = false;
    const toggle = (event) => {
      preparing = event.target.checked;
      show();
    };
    const box = h("input", { type: "checkbox", checked: preparing, onchange: toggle });
    option.replaceChildren(...(isOffered ? [h("label", { class: "check" }, box, h("span", {}, T.picture.prepare, h("small", {}, T.picture.prepareHint)))] : []));
  }

  async function drawModel() {
    const { facts } = state;
    report("");
    drawOption(facts?.preparation === "ink");
    const names = facts?.samples ?? [];
    const places = names.map((name) => button("", null, { "aria-label": T.picture.sample(name), disabled: true }));
    samples.replaceChildren(...places);
    for (const [index, name] of names.entries()) {
      const path = `v1/models/${facts.model}/variants/${facts.variant}/samples/${encodeURIComponent(name)}`;
      const blob = await send(path).then((response) => response.blob(), () => null);
      if (blob === null || state.facts !== facts) return;
      const image = h("img", { src: URL.createObjectURL(blob), alt: "" });
      places[index].replaceWith(button(image, () => take(blob, name, true), { "aria-label": T.picture.sample(name) }));
    }
  }

  return h(
    "aside",
    { class: "picture", "aria-label": T.picture.label },
    stage,
    input,
    h(
      "div",
      { class: "row" },
      button(T.picture.choose, () => input.click()),
      navigator.clipboard?.read && button(T.picture.paste, () => paste(said), { class: "quiet" }),
      navigator.mediaDevices && button(T.picture.camera, () => openCamera(said), { class: "quiet" }),
    ),
    said,
    samples,
    option,
    note,
  );
}

async function paste(said) {
  try {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find((name) => name.startsWith("image/"));
      if (type) {
        take(await item.getType(type), T.picture.pasted);
        return;
      }
    }
    said.textContent = T.picture.nothingToPaste;
  } catch (error) {
    said.textContent = T.picture.cannotPaste(error.message);
  }
}

async function openCamera(said) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    said.textContent = T.picture.noCamera(error.message);
    return;
  }
  const video = h("video", { autoplay: true, playsinline: true, muted: true });
  video.addEventListener("loadeddata", () => trigger.removeAttribute("disabled"));
  const trigger = button(T.picture.shoot, shoot, { class: "primary", disabled: true });
  video.srcObject = stream;
  const dialog = h(
    "dialog",
    { class: "camera", "aria-label": T.picture.camera },
    video,
    h("div", { class: "row" }, trigger, button(T.cancel, () => dialog.close())),
  );
  dialog.addEventListener("close", () => {
    for (const track of stream.getTracks()) track.stop();
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();

  function shoot() {
    const canvas = h("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => {
      take(blob, "camera.png");
      dialog.close();
    }, "image/png");
  }
}
