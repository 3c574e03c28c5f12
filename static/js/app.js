// Progressive extras: live logs over a WebSocket, polling where none gets through. Pages work without it.
"use strict";

const MAX_LINES = 5000;

function isAtEnd(log) {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 40;
}

function appendLine(log, text, className) {
  const wasAtEnd = isAtEnd(log);
  log.querySelector("[data-placeholder]")?.remove();
  const line = document.createElement("span");
  line.className = className ? `line ${className}` : "line";
  line.textContent = `${text}\n`;
  log.append(line);
  while (log.childElementCount > MAX_LINES) log.firstElementChild.remove();
  const follow = document.querySelector("[data-follow]");
  if (follow ? follow.checked : wasAtEnd) log.scrollTop = log.scrollHeight;
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

// Which deployment serves stands in the overview, which HTMX renews: so new versions and restarts are followed too.
function followApp(log) {
  const state = document.querySelector("[data-stream-state]");
  let socket = null;
  let followed = "";
  const connect = () => {
    const serving = document.getElementById("overview").dataset.serving;
    if (!serving || (socket && serving === followed)) return;
    // The same containers' last lines come again after a break; another version's lines go below what is there.
    let isRepeated = serving === followed;
    socket?.close();
    const opened = socket = new WebSocket(socketUrl(log.dataset.appLog));
    followed = serving;
    opened.onopen = () => {
      state.textContent = "live";
      const placeholder = log.querySelector("[data-placeholder]");
      if (placeholder) placeholder.textContent = "Waiting for the first line…";
    };
    opened.onmessage = (event) => {
      if (isRepeated) log.replaceChildren();
      isRepeated = false;
      const message = JSON.parse(event.data);
      appendLine(log, message.line, message.stream);
    };
    opened.onclose = () => {
      if (socket !== opened) return;
      socket = null;
      state.textContent = "ended";
    };
  };
  document.body.addEventListener("htmx:afterSettle", connect);
  connect();
}

// A look at what is new must not take away what somebody is about to copy; the next look shows it.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { requestConfig, target, xhr } = event.detail;
  const selection = getSelection();
  const isHeld = !selection.isCollapsed && target.contains(selection.anchorNode);
  if (requestConfig.verb === "get" && xhr.status === 200 && isHeld) event.detail.shouldSwap = false;
});

// A part marked so is asked for anew only while somebody can see it.
function isSeen(part) {
  const box = part.getBoundingClientRect();
  return !document.hidden && box.bottom > 0 && box.top < innerHeight;
}

// What the reader has opened stays open when its part is replaced.
function keepOpen(event) {
  const open = [...event.detail.target.querySelectorAll("details[id][open]")].map((details) => details.id);
  if (event.detail.shouldSwap && open.length) {
    document.body.addEventListener("htmx:afterSwap", () => {
      open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
    }, { once: true });
  }
}

// After the listener above, which may have called the swap off.
document.addEventListener("htmx:beforeSwap", keepOpen);

document.addEventListener("DOMContentLoaded", () => {
  document.body.addEventListener("htmx:beforeRequest", (event) => {
    if ("whenSeen" in event.target.dataset && !isSeen(event.target)) event.preventDefault();
  });
  const deployment = document.querySelector("[data-deployment-log]");
  if (deployment) {
    deployment.scrollTop = deployment.scrollHeight;
    // Whoever scrolls up wants to read, not to be taken to the end by the next line.
    const follow = document.querySelector("[data-follow]");
    deployment.addEventListener("scroll", () => { if (follow) follow.checked = isAtEnd(deployment); });
    if (!("final" in deployment.dataset)) followDeployment(deployment);
  }
  const app = document.querySelector("[data-app-log]");
  if (app) followApp(app);
});
