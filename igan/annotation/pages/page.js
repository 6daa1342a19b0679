// The page of questions. It also works without this file, where no time limit is set: everything here goes through the
// same form. Which image is real is not known here before the answer is stored.

const find = (id) => document.getElementById(id);
const main = document.querySelector("main");
const [stage, form, verdict, next, check, trouble, show] =
  ["stage", "answer", "verdict", "next", "check", "trouble", "show"].map(find);
const two = main.dataset.mode === "side_by_side";
const total = Number(main.dataset.total);
const [width, height] = [Number(main.dataset.width), Number(main.dataset.height)];
const GUARD = 250; // Milliseconds in which a second press of the same key or a double tap is not meant.
const MASK = 120; // Milliseconds of noise after a timed image.

let limit = Number(main.dataset.limit) || 0; // Seconds.
let following = null; // The question after this one, once it is known.
let open = false; // Whether an answer is wanted.
let since = 0; // When the image was shown.
let shown = 0; // Milliseconds for which it was shown.
let ready = 0; // When the page began to listen.

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
const pictures = () => [...stage.querySelectorAll("img")];

function fit() {
  // Whole device pixels for each pixel, so that none is wider than its neighbour; an image with more of them than the
  // screen has room for is made smaller.
  const ratio = window.devicePixelRatio || 1;
  const across = Math.min(document.documentElement.clientWidth - 40, 640) / (two ? 2 : 1) - (two ? 12 : 0);
  const down = Math.max(160, window.innerHeight - 330);
  const most = Math.min(across / width, down / height, 448 / Math.max(width, height));
  const factor = most * ratio < 1 ? most : Math.floor(most * ratio) / ratio;
  for (const picture of pictures()) {
    picture.classList.toggle("reduced", most * ratio < 1);
    picture.width = width * factor;
    picture.height = height * factor;
  }
}

function listen(wanted) {
  open = wanted;
  main.toggleAttribute("data-open", wanted); // For who answers by a program, as the tests do.
  for (const button of form.elements) button.disabled = button.tagName === "BUTTON" && !wanted;
  ready = performance.now();
}

function say(text) {
  trouble.textContent = text;
  trouble.hidden = !text;
}

async function load(images) {
  for (let wait = 500; ; wait = Math.min(wait * 2, 8000)) {
    const loaded = images.map((source) => Object.assign(new Image(width, height), { src: source }));
    try {
      await Promise.all(loaded.map((picture) => picture.decode()));
      say("");
      return loaded;
    } catch {
      if (navigator.onLine && wait > 4000) {
        say("The image cannot be loaded. Please reload this page.");
      } else {
        say("The connection is lost. Trying again …");
      }
      await pause(wait);
    }
  }
}

function cover() {
  for (const picture of pictures()) {
    const noise = document.createElement("canvas");
    [noise.width, noise.height] = [width, height];
    const context = noise.getContext("2d");
    const pixels = context.createImageData(width, height);
    for (let place = 0; place < pixels.data.length; place += 4) {
      const [red, green, blue] = [0, 0, 0].map(() => Math.random() * 256);
      pixels.data.set([red, green, blue, 255], place);
    }
    context.putImageData(pixels, 0, 0);
    Object.assign(noise.style, {
      left: `${picture.offsetLeft + 1}px`, top: `${picture.offsetTop + 1}px`,
      width: `${picture.width}px`, height: `${picture.height}px`,
    });
    stage.append(noise);
  }
}

async function expose() {
  // A timed image: shown for whole frames, then noise, then nothing. The time in the middle is measured.
  await pause(500);
  for (const picture of pictures()) picture.classList.remove("covered");
  const begin = await frame();
  since = performance.now();
  let now = begin;
  while (now - begin < limit * 1000 - 8) now = await frame();
  for (const picture of pictures()) picture.classList.add("covered");
  shown = now - begin;
  cover();
  await pause(MASK);
  for (const noise of stage.querySelectorAll("canvas")) noise.remove();
}

async function begin(first) {
  const images = pictures();
  try {
    await Promise.all(images.map((picture) => picture.decode()));
  } catch {
    say(limit ? "This image was shown before. Please answer from memory." : "The image cannot be loaded. Please reload this page.");
    if (limit) { since = performance.now(); listen(true); }
    return;
  }
  fit();
  if (limit) {
    listen(false);
    if (first) {
      show.hidden = false;
      show.focus();
      await new Promise((resolve) => show.addEventListener("click", resolve, { once: true }));
      show.hidden = true;
    }
    await expose();
  } else {
    since = performance.now();
  }
  listen(true);
}

async function advance() {
  if (!following) {
    location.assign("/end");
    return;
  }
  const question = following;
  next.hidden = true; // A second click would go too far.
  const loaded = await question.loading;
  following = null;
  loaded.forEach((picture, place) => {
    picture.alt = question.alts[place];
    if (question.limit) picture.classList.add("covered");
  });
  stage.replaceChildren(...loaded);
  limit = question.limit || 0;
  form.elements.question.value = question.question;
  find("where").textContent = `${two ? "Pair" : "Image"} ${question.position + 1} of ${total}`;
  find("progress").value = question.position;
  check.hidden = question.check === null;
  check.querySelector("strong").textContent = question.check || "";
  verdict.textContent = verdict.className = "";
  form.hidden = false;
  find("where").focus({ preventScroll: true });
  await begin(false);
}

async function send(body) {
  // Again and again, until the server says that the answer is stored. The same answer twice is stored once.
  for (let wait = 500; ; wait = Math.min(wait * 2, 8000)) {
    try {
      const reply = await fetch("/answer", {
        method: "POST", body, headers: { accept: "application/json" }, redirect: "error",
      });
      if (reply.ok || reply.status === 409) {
        say("");
        return await reply.json();
      }
      if (![408, 429, 500, 502, 503, 504].includes(reply.status)) break;
    } catch { /* No connection. */ }
    say("Your answer could not be stored yet. Trying again …");
    await pause(wait);
  }
  location.assign("/question"); // Whatever it was, the server knows which question is next.
  return new Promise(() => {});
}

async function answer(said) {
  const now = performance.now();
  if (!open || now - ready < GUARD) return;
  listen(false);
  const body = new URLSearchParams({ question: form.elements.question.value, said });
  body.set("milliseconds", Math.round(now - since));
  if (limit) body.set("shown", Math.round(shown));
  const reply = await send(body);
  following = reply.next;
  if (following) following.loading = load(following.images);
  const remark = reply.conflict ? "This question was answered before, in another tab perhaps. The first answer counts." : "";
  if (!reply.verdict) {
    await advance();
    say(remark);
    return;
  }
  say(remark);
  for (const picture of pictures()) picture.classList.remove("covered");
  verdict.textContent = reply.verdict.text;
  verdict.className = reply.verdict.right ? "right" : "wrong";
  form.hidden = true;
  next.hidden = false;
  find("progress").value += 1;
  ready = performance.now();
  next.firstElementChild.focus({ preventScroll: true });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (event.submitter) answer(event.submitter.value);
});
next.addEventListener("click", (event) => {
  event.preventDefault();
  if (main.dataset.answered) location.assign("/question");
  else if (performance.now() - ready > GUARD && !next.hidden) advance();
});
document.addEventListener("keydown", (event) => {
  const key = { ArrowLeft: 0, ArrowRight: 1 }[event.key];
  if (key === undefined || event.repeat || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  answer(form.querySelectorAll("button")[key].value);
});
window.addEventListener("resize", fit);
window.addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  listen(false);
  location.reload(); // Back and forward: what is shown may be answered already.
});
fit();
if (!main.dataset.answered) begin(true);
