// The head of a row: the decision as a pill, and beside it whether it was revised or lacks a figure.

import { el, setData, setText } from "./dom.js";

export const WORDS = {
  quote: "quote", confirm: "confirm first", keep: "keep", review: "review", remove: "remove",
  allow: "allow", block: "block",
};

export function verdict() {
  const revision = el("span", { class: "tag", hidden: "" });
  const missing = el("span", { class: "tag", hidden: "" });
  const pill = el("span", { class: "pill" });

  function render(decision) {
    setText(pill, decision ? (WORDS[decision.action] ?? decision.action) : "deciding");
    setData(pill, "action", decision?.action ?? null);
    revision.hidden = !decision?.revision;
    setText(revision, decision?.revision ? `revision ${decision.revision}` : "");
    missing.hidden = !decision?.missing.length;
    setText(missing, decision?.missing.length ? `without ${decision.missing.join(", ")}` : "");
  }

  return { elements: [revision, missing, pill], render };
}
