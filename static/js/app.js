// Progressive extras: live logs over a WebSocket, polling where none gets through. Pages work without it.
"use strict";

const MAX_LINES = 5000;

function appendLine(log, text, className) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.querySelector("[data-placeholder]")?.remove();
  const line = document.createElement("span");
  line.className = className ? `line ${className}` : "line";
  line.textContent = `${text}\n`;
  log.append(line);
  while (log.childElementCount > MAX_LINES) log.firstElementChild.remove();
  const follow = document.querySelector("[data-follow]");
  if (follow ? follow.checked : atEnd) log.scrollTop = log.scrollHeight;
}

function socketUrl(path) {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
}

function followDeployment(log) {
  let last = Number(log.dataset.last);
  let over = false;
  const take = (message) => {
    if (message.status) {
      over = true;
      document.body.dispatchEvent(new Event("over"));
    } else if (message.id > last) {
      last = message.id;
      appendLine(log, message.line);
    }
  };
  const poll = async () => {
    try {
      const answer = await fetch(`${log.dataset.poll}?after=${last}`);
      const page = await answer.json();
      page.items.forEach(take);
      if (page.status) return take(page);
    } catch { /* the server is away for a moment; the next look tells */ }
    setTimeout(poll, 1000);
  };
  const socket = new WebSocket(socketUrl(log.dataset.deploymentLog));
  socket.onmessage = (event) => take(JSON.parse(event.data));
  socket.onclose = () => { if (!over) poll(); };
}

function followApp(log) {
  const state = document.querySelector("[data-stream-state]");
  const socket = new WebSocket(socketUrl(log.dataset.appLog));
  socket.onopen = () => { if (state) state.textContent = "live"; };
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    appendLine(log, message.line, message.stream);
  };
  socket.onclose = () => { if (state) state.textContent = "ended"; };
}

// A part marked so is asked for anew only while somebody can see it.
function isSeen(part) {
  const box = part.getBoundingClientRect();
  return !document.hidden && box.bottom > 0 && box.top < innerHeight;
}

// What the reader has opened stays open when its part is replaced.
function keepOpen(event) {
  const open = [...event.detail.target.querySelectorAll("details[id][open]")].map((details) => details.id);
  if (open.length) {
    document.body.addEventListener("htmx:afterSwap", () => {
      open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
    }, { once: true });
  }
}

document.addEventListener("DOMContentLoaded", () => {
  document.body.addEventListener("htmx:beforeRequest", (event) => {
    if ("whenSeen" in event.target.dataset && !isSeen(event.target)) event.preventDefault();
  });
  document.body.addEventListener("htmx:beforeSwap", keepOpen);
  const deployment = document.querySelector("[data-deployment-log]");
  if (deployment) {
    deployment.scrollTop = deployment.scrollHeight;
    if (!("final" in deployment.dataset)) followDeployment(deployment);
  }
  const app = document.querySelector("[data-app-log]");
  if (app) followApp(app);
});
