// Follows the testbed by server-sent events and sends forms without leaving
// the page. Everything here is an extra: the page works without it.
"use strict";

const statuses = ["todo", "running", "done", "failed"];
const connection = document.getElementById("connection");

function apply({sections = {}, states = {}}) {
  for (const [id, {html, version}] of Object.entries(sections)) {
    const element = document.getElementById(id);
    if (!element || element.dataset.version === version) continue;
    const open = [...element.querySelectorAll("details")].map(d => d.open).reverse();
    element.innerHTML = html;
    element.dataset.version = version;
    // New e-mails come on top: count from the bottom.
    [...element.querySelectorAll("details")].reverse().forEach((d, i) => { d.open = Boolean(open[i]); });
  }
  for (const [workflow, of] of Object.entries(states)) {
    for (const shape of document.querySelectorAll(`[data-workflow="${workflow}"] [data-state]`)) {
      shape.classList.remove(...statuses);
      shape.classList.add(of[shape.dataset.state] ?? "todo");
    }
  }
}

const events = new EventSource("/events");
events.onopen = () => { connection.textContent = "This page follows what happens."; };
events.onmessage = event => apply(JSON.parse(event.data));
events.onerror = () => { connection.textContent = "The testbed does not answer. Is make local still running?"; };

for (const form of document.forms) {
  form.addEventListener("submit", async event => {
    event.preventDefault();
    const button = form.querySelector("button");
    if (button.ariaBusy === "true") return;
    button.ariaBusy = "true"; // not disabled, which would lose the focus
    try {
      await fetch(form.action, {method: "POST", body: new URLSearchParams(new FormData(form)), redirect: "manual"});
    } catch {
      connection.textContent = "The testbed does not answer. Is make local still running?";
    } finally {
      button.ariaBusy = null;
    }
  });
}
