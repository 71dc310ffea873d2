// Building DOM from text alone: what comes over the wire is only ever a text node, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** The element with this id; a page without it is a programming error. */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element #${id}`);
  return found;
}

/** An element with attributes and children; a string child becomes a text node. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** Set text only where it differs: most frames change a few cells of many. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setData(node, name, value) {
  if (value === null) delete node.dataset[name];
  else if (node.dataset[name] !== String(value)) node.dataset[name] = String(value);
}

/** The rows of a table's body; where there are none, one across all its columns that says so. */
export function rowsOrNone(rows, columns, none) {
  if (rows.length > 0) return rows;
  return [el("tr", {}, el("td", { colspan: columns, class: "muted" }, el("div", { class: "said" }, none)))];
}
