"use strict";
const by = (id) => document.getElementById(id);
const data = JSON.parse(by("data").textContent);
const all = data.utterances;
const list = by("list"), text = by("text"), kind = by("kind"), sort = by("sort");
const CHUNK = 60, UNKNOWN = "(unknown)";
// Which way each order runs until told otherwise: the worst and the longest first.
const DOWNWARD = { errors: true, wer: true, id: false, length: true, duration: true, order: false };
let down = true, only = null, shown = [], drawn = 0, current = -1;

const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};
const count = (number, one) => `${number.toLocaleString("en")} ${one}${number === 1 ? "" : "s"}`;
const errorsOf = ({ n }) => n[0] + n[1] + n[2];
const lengthOf = ({ n }) => n[0] + n[1] + n[3];
const rateOf = (utterance) => {
  const errors = errorsOf(utterance), words = lengthOf(utterance);
  return words ? errors / words : errors ? Infinity : 0;
};
const percent = (rate) => (rate === Infinity ? "∞" : `${(100 * rate).toFixed(1)} %`);
const speakerOf = (utterance) => data.speakers[utterance.s] ?? "";
const partOf = (utterance) => data.parts[utterance.p] ?? "";
const side = (utterance, which) =>
  utterance.a.map((step) => (Array.isArray(step) ? step[which] : step)).filter(Boolean).join(" ");
const haystack = (utterance) => (utterance.text ??= [
  utterance.i, speakerOf(utterance), side(utterance, 0), side(utterance, 1),
].join("\n").toLowerCase());

const KINDS = {
  E: (utterance) => errorsOf(utterance) > 0,
  S: ({ n }) => n[0] > 0,
  D: ({ n }) => n[1] > 0,
  I: ({ n }) => n[2] > 0,
  C: (utterance) => errorsOf(utterance) === 0,
  M: ({ m }) => Boolean(m),
};
const KEYS = {
  errors: errorsOf,
  wer: rateOf,
  length: lengthOf,
  duration: ({ d }) => d ?? -1,
};
const NAMES = new Intl.Collator("en", { numeric: true });

// What a click on a speaker or on a confusion leaves: its name and its test.
const narrow = {
  speaker: (value) => [`speaker ${value}`, (one) => (speakerOf(one) || UNKNOWN) === value],
  part: (value) => [`part ${value}`, (one) => (partOf(one) || UNKNOWN) === value],
  error: (value) => {
    const [said, heard] = JSON.parse(value);
    const label = said === null ? `inserted ${heard}` : heard === null ? `deleted ${said}`
      : `${said} → ${heard}`;
    return [label, ({ a }) => a.some(
      (step) => Array.isArray(step) && step[0] === said && step[1] === heard)];
  },
};

function apply() {
  const wanted = text.value.trim().toLowerCase();
  const [label, test] = only ? narrow[only[0]](only[1]) : ["", null];
  shown = all.filter((utterance) =>
    (!kind.value || KINDS[kind.value](utterance)) && (!test || test(utterance)) &&
    (!wanted || haystack(utterance).includes(wanted)));
  const key = KEYS[sort.value], sign = down ? -1 : 1;
  // Sorting is stable: equals stay in the order of the references.
  if (key) shown.sort((one, other) => sign * Math.sign(key(one) - key(other)) || 0);
  else if (sort.value === "id") shown.sort((one, other) => sign * NAMES.compare(one.i, other.i));
  else if (down) shown.reverse();
  by("direction").textContent = down ? "↓ descending" : "↑ ascending";
  by("direction").setAttribute("aria-label", `Order: ${down ? "descending" : "ascending"}; turn round`);
  by("chip").hidden = !only;
  by("chip").textContent = `${label} ✕`;
  by("chip").setAttribute("aria-label", `Showing only ${label}; show all again`);
  const words = shown.reduce((sum, utterance) => sum + lengthOf(utterance), 0);
  const errors = shown.reduce((sum, utterance) => sum + errorsOf(utterance), 0);
  by("count").textContent = `${shown.length.toLocaleString("en")} of ` +
    `${count(all.length, "utterance")}, ${count(errors, "error")} in ${count(words, "word")}` +
    (words ? `: ${percent(errors / words)}` : "");
  list.replaceChildren();
  drawn = 0;
  current = -1;
  draw();
  remember();
}

function draw(upTo = drawn + CHUNK) {
  const end = Math.min(upTo, shown.length);
  const fresh = document.createDocumentFragment();
  for (; drawn < end; drawn++) fresh.append(article(shown[drawn], drawn));
  list.append(fresh);
}

function article(utterance, place) {
  const { i, n, d, u, m } = utterance;
  const title = make("h3", { textContent: i });
  const words = lengthOf(utterance);
  const facts = [
    words ? `${percent(rateOf(utterance))} of ${count(words, "word")}` : "nothing was said",
    ...["substituted", "deleted", "inserted"].map((name, at) => n[at] && `${n[at]} ${name}`),
    d !== undefined && `${d.toFixed(1)} s`,
    speakerOf(utterance) && `speaker ${speakerOf(utterance)}`,
    partOf(utterance),
  ].filter(Boolean);
  const head = make("header", {}, title, make("b", { textContent: facts[0] }),
    make("span", { textContent: facts.slice(1).join(" · ") }));
  if (m) head.append(make("span", { className: "missing", textContent: "no hypothesis" }));
  const whole = make("article", { tabIndex: place === 0 ? 0 : -1 }, head, alignment(utterance));
  if (u) {
    head.append(make("button", {
      type: "button", textContent: "▶ play", onclick: () => play(whole),
    }));
  }
  // By reference, the name would be lost while the article is off the screen and not laid out.
  whole.setAttribute("aria-label", `${i}, ${facts[0]}`);
  whole.setAttribute("aria-posinset", place + 1);
  whole.setAttribute("aria-setsize", shown.length);
  whole.utterance = utterance;
  whole.place = place;
  return whole;
}

function alignment({ a }) {
  const line = make("p", { className: "alignment", dir: "auto" });
  const aside = (words) => make("span", { className: "hidden", textContent: words });
  if (!a.length) line.append(make("span", { className: "empty", textContent: "silence on both sides" }));
  for (const step of a) {
    if (!Array.isArray(step)) { line.append(`${step} `); continue; }
    const [said, heard] = step;
    const above = said === null ? make("i") : make("del", { textContent: said });
    const below = heard === null ? make("i") : make("ins", { textContent: heard });
    const cell = make("span");
    if (said === null) cell.append(aside("inserted: "), above, below);
    else if (heard === null) cell.append(aside("deleted: "), above, below);
    else cell.append(aside("substituted: "), above, aside(" by "), below);
    cell.className = `cell ${said === null ? "i" : heard === null ? "d" : "s"}`;
    line.append(cell, " ");
  }
  return line;
}

function play(whole, byKey) {
  const there = whole.querySelector("audio");
  if (there) return void (there.paused ? there.play() : there.pause());
  const player = make("audio", { controls: true, preload: "auto", src: whole.utterance.u });
  player.setAttribute("aria-label", `Recording of ${whole.utterance.i}`);
  player.addEventListener("play", () => {
    for (const other of list.querySelectorAll("audio")) if (other !== player) other.pause();
  });
  player.addEventListener("error", () => {
    whole.focus();
    player.replaceWith(make("p", {
      className: "note", role: "alert",
      textContent: `This browser cannot play ${decodeURI(whole.utterance.u)}.`,
    }));
  });
  whole.querySelector("button").replaceWith(player);
  if (!byKey) player.focus();
  player.play().catch(() => {});
}

function go(place) {
  if (place < 0 || place >= shown.length) return;
  if (place >= drawn) draw(place + CHUNK);
  const whole = list.children[place];
  whole.focus({ preventScroll: true });
  whole.scrollIntoView({ block: "nearest" });
}

// The state stands in the address, so that a link shows what its sender saw.
function remember() {
  const state = new URLSearchParams();
  if (text.value) state.set("text", text.value);
  if (kind.value) state.set("kind", kind.value);
  if (sort.value !== "errors") state.set("sort", sort.value);
  if (down !== DOWNWARD[sort.value]) state.set("turned", "1");
  if (only) { state.set("by", only[0]); state.set("only", only[1]); }
  // A page within another's frame may have no address of its own.
  try { history.replaceState(null, "", `#${state}`); } catch { }
}

function recall() {
  const state = new URLSearchParams(location.hash.slice(1));
  text.value = state.get("text") ?? "";
  kind.value = state.get("kind") ?? "";
  sort.value = state.get("sort") ?? "errors";
  if (!sort.value) sort.value = "errors";
  down = DOWNWARD[sort.value] !== state.has("turned");
  only = state.get("by") in narrow ? [state.get("by"), state.get("only")] : null;
  apply();
}

for (const option of kind.options) {
  const number = option.value ? all.filter(KINDS[option.value]).length : all.length;
  option.textContent += ` (${number.toLocaleString("en")})`;
}
let typing;
text.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(apply, 120); });
kind.addEventListener("change", apply);
sort.addEventListener("change", () => { down = DOWNWARD[sort.value]; apply(); });
by("direction").addEventListener("click", () => { down = !down; apply(); });
by("chip").addEventListener("click", () => { only = null; apply(); text.focus(); });
by("controls").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("click", ({ target }) => {
  const chosen = target.closest("[data-by]");
  if (!chosen) return;
  only = [chosen.dataset.by, chosen.dataset.only];
  kind.value = text.value = "";
  apply();
  by("utterances").scrollIntoView();
  by("utterances").focus({ preventScroll: true });
});
list.addEventListener("focusin", ({ target }) => {
  const whole = target.closest("article");
  for (const other of list.querySelectorAll('article[tabindex="0"]')) other.tabIndex = -1;
  whole.tabIndex = 0;
  current = whole.place;
});
document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.altKey || event.metaKey || target.closest("input, select")) return;
  // What is taller than the screen has to be scrolled.
  const inList = target.closest("article") === target && target.offsetHeight < innerHeight;
  const steps = { j: 1, k: -1, PageDown: 1, PageUp: -1, ArrowDown: 1, ArrowUp: -1 };
  const letter = key.length === 1;
  if (letter ? !by("shortcuts").checked : !inList) return;
  if (key in steps) go(current < 0 ? 0 : current + steps[key]);
  else if (key === "p" && shown[current]?.u) play(list.children[current], true);
  else if (key === "/") text.focus();
  else return;
  event.preventDefault();
});
new IntersectionObserver((seen) => {
  if (seen.some((entry) => entry.isIntersecting) && drawn < shown.length) draw();
}, { rootMargin: "1500px" }).observe(by("more"));
addEventListener("beforeprint", () => draw(shown.length));
addEventListener("hashchange", () => { if (location.hash.includes("=")) recall(); });
recall();
