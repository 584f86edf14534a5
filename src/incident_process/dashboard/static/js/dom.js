// Elements from code, and new content into old elements: text is always set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** Return an HTML element. Properties that begin with "on" are listeners; null and false leave an attribute out. */
export function h(name, properties, ...children) {
  return fill(document.createElement(name), properties, children);
}

/** Return an SVG element, in the same manner. */
export function s(name, properties, ...children) {
  return fill(document.createElementNS(SVG, name), properties, children);
}

function fill(element, properties, children) {
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (key.startsWith("on")) {
      (element.listeners ??= {})[key] = value;
      element[key] = value;
    } else if (key === "style") {
      // One property at a time through the object model: the page's policy forbids style attributes in markup.
      for (const [part, to] of Object.entries(value)) element.style.setProperty(part, to);
    } else if (key === "value" || key === "checked" || key === "indeterminate") {
      element[key] = value;
    } else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(key, value === true ? "" : value);
    }
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) {
      element.append(child instanceof Node ? child : String(child));
    }
  }
}

/**
 * Make `old` show what `fresh` shows, and keep every element that can stay: focus, selection and the reader's place
 * survive a page that renews itself every few seconds.
 */
export function renew(old, fresh) {
  if (old.classList?.contains("tip")) return; // what the reader points at
  attributes(old, fresh);
  const before = [...old.childNodes];
  const after = [...fresh.childNodes];
  after.forEach((node, place) => {
    const there = before[place];
    if (!there) old.append(node);
    else if (!alike(there, node)) there.replaceWith(node);
    else if (node.nodeType === Node.TEXT_NODE) {
      if (there.data !== node.data) there.data = node.data;
    } else renew(there, node);
  });
  before.slice(after.length).forEach((node) => node.remove());
}

function alike(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && one.dataset?.key === other.dataset?.key;
}

function attributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !kept(old, name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) === value || kept(old, name)) continue;
    if (name === "style") old.style.cssText = value; // as an attribute, the page's policy would forbid it
    else old.setAttribute(name, value);
  }
  for (const key of Object.keys(old.listeners ?? {})) if (!fresh.listeners?.[key]) old[key] = null;
  Object.assign(old, fresh.listeners ?? {});
  old.listeners = fresh.listeners;
  if (old instanceof HTMLInputElement && old.type === "checkbox") {
    old.checked = fresh.checked;
    old.indeterminate = fresh.indeterminate;
  } else if (old instanceof HTMLSelectElement && old !== document.activeElement) {
    queueMicrotask(() => (old.value = fresh.value));
  }
}

// What the reader has opened, and where the keyboard stands in a chart, is the reader's.
function kept(element, name) {
  return (element.nodeName === "DETAILS" && name === "open") || (element.classList.contains("bar") && name === "tabindex");
}

/** Say something to readers who do not see the page. */
export function announce(text) {
  document.getElementById("live").textContent = text;
}
