"use strict";
const byId = (id) => document.getElementById(id);
const frames = [...byId("frames").children].map((element) => ({
  element,
  x: parseFloat(element.getAttribute("x")),
  width: parseFloat(element.getAttribute("width")),
  y: parseFloat(element.getAttribute("y")),
  title: element.querySelector("title").textContent,
  name: element.querySelector("text").textContent,
}));
// What is drawn is rounded: two edges are the same when they are this close, in percent.
const CLOSE = 0.00002;
const contains = (outer, inner) =>
  outer.x <= inner.x + CLOSE && inner.x + inner.width <= outer.x + outer.width + CLOSE;

let zoomed = frames[0];
let found = null;

function zoom(to) {
  zoomed = to;
  for (const frame of frames) {
    const below = frame.y > to.y && contains(frame, to);
    const visible = below || (frame.y <= to.y && contains(to, frame));
    frame.element.style.display = visible ? "" : "none";
    frame.element.classList.toggle("below", below);
    if (visible) {
      const x = below ? 0 : (frame.x - to.x) / to.width * 100;
      const width = below ? 100 : frame.width / to.width * 100;
      frame.element.setAttribute("x", x + "%");
      frame.element.setAttribute("width", width + "%");
    }
  }
  byId("reset").style.visibility = to === frames[0] ? "hidden" : "visible";
  count();
}

function search(text) {
  found = null;
  if (text) {
    try {
      found = new RegExp(text);
    } catch (error) {
      byId("matched").textContent = String(error.message);
      return;
    }
  }
  for (const frame of frames) {
    frame.element.classList.toggle("found", found !== null && found.test(frame.name));
  }
  byId("search").textContent = found ? "clear search" : "search";
  count();
}

// The share of what is shown that is in a frame that was found; one in another counts once.
function count() {
  let [sum, end] = [0, -1];
  const inside = frames.filter((frame) =>
    found && frame.element.classList.contains("found") && contains(zoomed, frame));
  inside.sort((one, other) => one.x - other.x || other.width - one.width);
  for (const frame of inside) {
    if (frame.x + frame.width > end + CLOSE) {
      sum += frame.x + frame.width - Math.max(frame.x, end);
      end = frame.x + frame.width;
    }
  }
  byId("matched").textContent = found ? `matched: ${(sum / zoomed.width * 100).toFixed(1)}%` : "";
}

function ask() {
  const text = prompt("Search for functions (a regular expression):", found ? found.source : "");
  if (text !== null) search(text);
}

for (const frame of frames) {
  frame.element.addEventListener("click", () => zoom(frame));
  frame.element.addEventListener("mouseover", () => byId("details").textContent = frame.title);
  frame.element.addEventListener("mouseout", () => byId("details").textContent = "");
}
byId("reset").addEventListener("click", () => zoom(frames[0]));
byId("search").addEventListener("click", () => found ? search("") : ask());
addEventListener("keydown", (event) => {
  if (event.key === "/" || ((event.ctrlKey || event.metaKey) && event.key === "f")) {
    event.preventDefault();
    ask();
  } else if (event.key === "Escape") {
    search("");
    zoom(frames[0]);
  }
});
