// The form: what is asked for, and of which recording.
import { ask } from "./api.js";
import { Card } from "./card.js";
import { decoded, drawWave, unlock, wavOf } from "./sound.js";
import { examples, words } from "./words.js";

const find = (name) => document.querySelector(name);
const number = (name) => (find(name).value === "" ? undefined : Number(find(name).value));

function say(root) {
  for (const part of root.querySelectorAll("[data-words]")) part.textContent = words[part.dataset.words];
  for (const part of root.querySelectorAll("[data-placeholder]")) part.placeholder = words[part.dataset.placeholder];
  for (const part of root.querySelectorAll("[data-label]")) part.ariaLabel = words[part.dataset.label];
}
say(document);
say(find("#card").content);

const way = () => find("[name=way]:checked").value;
let given = null; // {id, name, seconds, samples}

function problem(line = "") {
  find("#problem").textContent = line;
}

function showWay() {
  find("#sound-given").hidden = ["music", "story"].includes(way());
  find("#one").hidden = way() === "story";
  find("#story").hidden = way() !== "story";
  find("#values").hidden = ["story", "inpaint"].includes(way());
  find("#seconds-label").hidden = way() === "inpaint";
  problem();
  showGiven();
}

// --- the recording ---------------------------------------------------------------------------------------------

function region() {
  return [number("#from") ?? 0, number("#to") ?? 0];
}

function showGiven() {
  const wave = find("#given-wave");
  wave.hidden = !given?.samples;
  find("#region").hidden = way() !== "inpaint" || !given;
  if (!given) return;
  find("#given").textContent = words.given(given.name, given.seconds);
  const [from, to] = region();
  const marked = way() === "inpaint" && to > from ? [[from / given.seconds, to / given.seconds]] : [];
  if (given.samples) drawWave(wave, given.samples, given.samples.length, 0, marked);
}

async function take(blob, name, sound) {
  given = null;
  find("#given").textContent = words.reading;
  try {
    const taken = await (await ask("POST", "v1/recordings", blob)).json();
    const samples = sound?.samples ?? (await decoded(blob).catch(() => null))?.samples;
    given = { id: taken.recording, name, seconds: taken.seconds, samples };
    problem(taken.notices.join(" "));
  } catch (error) {
    find("#given").textContent = "";
    problem(error.message);
  }
  showGiven();
}

let recorder = null;
find("#hum").onclick = async () => {
  if (recorder) return recorder.stop();
  let microphone;
  try {
    microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch {
    return problem(words.no_microphone);
  }
  const pieces = [];
  recorder = new MediaRecorder(microphone);
  recorder.ondataavailable = (event) => pieces.push(event.data);
  recorder.onstop = async () => {
    recorder = null;
    find("#hum").textContent = words.hum;
    for (const track of microphone.getTracks()) track.stop();
    const sound = await decoded(new Blob(pieces)); // what the service reads for certain is WAV
    await take(wavOf(sound), words.way_melody, sound);
  };
  recorder.start();
  find("#hum").textContent = words.stop_humming;
  find("#given").textContent = words.humming;
};

find("#file").onchange = (event) => event.target.files[0] && take(event.target.files[0], event.target.files[0].name);
const drop = find("#drop");
drop.ondragover = (event) => {
  event.preventDefault();
  drop.classList.add("over");
};
drop.ondragleave = () => drop.classList.remove("over");
drop.ondrop = (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) take(file, file.name);
};

const wave = find("#given-wave");
let dragging = null;
const second = (event) => Math.min(Math.max(event.offsetX / wave.clientWidth, 0), 1) * given.seconds;
wave.onpointerdown = (event) => {
  if (way() !== "inpaint" || !given) return;
  dragging = second(event);
  wave.setPointerCapture(event.pointerId);
};
wave.onpointermove = (event) => {
  if (dragging === null) return;
  const ends = [dragging, second(event)].sort((a, b) => a - b);
  [find("#from").value, find("#to").value] = ends.map((end) => end.toFixed(1));
  showGiven();
};
wave.onpointerup = () => (dragging = null);
find("#from").oninput = find("#to").oninput = showGiven;
addEventListener("resize", showGiven);

// --- the story -------------------------------------------------------------------------------------------------

function addSection(at, text) {
  const item = document.createElement("li");
  item.className = "section";
  const row = Object.assign(document.createElement("div"), { className: "row" });
  const when = Object.assign(document.createElement("input"), { type: "number", min: 0, step: 0.1, value: at });
  when.ariaLabel = words.section_at;
  const what = Object.assign(document.createElement("input"), { type: "text", value: text, maxLength: 2000 });
  what.ariaLabel = words.section_words;
  const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "✕" });
  remove.ariaLabel = words.section_remove;
  remove.onclick = () => {
    item.remove();
    showStory();
  };
  when.oninput = showStory;
  row.append(when, what, remove);
  item.append(row);
  find("#sections").append(item);
  showStory();
}

function sections() {
  const all = [...document.querySelectorAll(".section")].map((item) => {
    const [when, what] = item.querySelectorAll("input");
    return { at: Number(when.value), prompt: what.value };
  });
  return all.sort((a, b) => a.at - b.at);
}

// The sections' lengths, as blocks on a line.
function showStory() {
  const starts = sections().map((section) => section.at);
  const end = Math.max(number("#seconds") ?? 0, (starts.at(-1) ?? 0) + 1);
  const blocks = starts.map((start, n) => {
    const block = document.createElement("span");
    block.style.flex = String((starts[n + 1] ?? end) - start);
    return block;
  });
  find("#line").replaceChildren(...blocks);
}
find("#seconds").oninput = showStory;
find("#more").onclick = () => addSection((sections().at(-1)?.at ?? -10) + 10, drawn());

// --- asking ----------------------------------------------------------------------------------------------------

const drawn = () => examples[Math.floor(Math.random() * examples.length)];
find("#die").onclick = () => (find("#prompt").value = drawn());
find("#prompt").value = examples[0];
addSection(0, examples[0]);
addSection(10, examples[1]);

function values() {
  const said = { bpm: number("#bpm"), meter: find("#meter").value, key: find("#key").value.trim(), chords: find("#chords").value.trim() };
  const drums = find("#drums").value;
  const all = Object.entries({ ...said, drums: drums === "" ? "" : drums === "yes" });
  return Object.fromEntries(all.filter(([, value]) => value !== "" && value !== undefined));
}

// Address and body of what the form says.
function asked() {
  const piece = { prompt: find("#prompt").value.trim(), takes: number("#takes"), seed: number("#seed") };
  const seconds = number("#seconds");
  if (way() === "music") return ["v1/music", { ...piece, seconds, values: values() }];
  if (way() === "story") {
    const last = sections().at(-1)?.at ?? 0;
    return ["v1/music", { ...piece, prompt: "", story: sections(), seconds: Math.max(seconds ?? 0, last + 10) }];
  }
  if (!given) throw new Error(words.no_recording);
  if (way() === "inpaint") {
    const [from, to] = region();
    if (!(to > from)) throw new Error(words.no_region);
    return ["v1/music/inpaint", { ...piece, recording: given.id, regions: [[from, to]] }];
  }
  return [`v1/music/${way()}`, { ...piece, seconds, recording: given.id, values: values() }];
}

async function make([address, body], heard) {
  problem();
  try {
    const { jobs } = await (await ask("POST", address, body)).json();
    const cards = jobs.map((job) => new Card(find("#card"), job, [address, { ...body, seed: undefined, takes: 1 }], { again: (same) => make(same, true), use }));
    if (heard) cards[0].hear();
    find("#results").prepend(...cards.map((card) => card.element));
    for (const card of cards) card.draw();
  } catch (error) {
    problem(error.message);
  }
}

// A piece becomes the recording of the form.
function use(to, card) {
  const { player, job } = card;
  given = { id: job.id, name: job.title, seconds: job.seconds, samples: player.samples };
  find(`[name=way][value=${to}]`).checked = true;
  find("#from").value = find("#to").value = 0;
  showWay();
  find("#prompt").focus();
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  find("#ask").scrollIntoView({ behavior: still ? "auto" : "smooth" });
}

find("#ask").onsubmit = (event) => {
  event.preventDefault();
  unlock();
  try {
    make(asked(), true);
  } catch (error) {
    problem(error.message);
  }
};
for (const radio of document.querySelectorAll("[name=way]")) radio.onchange = showWay;
showWay();

ask("GET", "v1/models")
  .then((answer) => answer.json())
  .then(({ limits }) => (find("#seconds").max = limits.seconds))
  .catch((error) => problem(error.message));
