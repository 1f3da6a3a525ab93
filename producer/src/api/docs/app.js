// The API's document as a page that can be tried out. Text from the document is only ever set as text.
"use strict";

const el = (tag, attributes, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null));
  return node;
};

// Paragraphs, tables and `code`: all that the document's descriptions have of Markdown.
const words = (text) => text.split(/(`[^`]+`)/).map((part) => part.startsWith("`") && part.length > 2 ? el("code", {}, part.slice(1, -1)) : part);
const prose = (text) => (text || "").split(/\n\s*\n/).filter((part) => part.trim()).map((part) => {
  const lines = part.trim().split("\n");
  if (!lines.every((line) => line.startsWith("|"))) return el("p", {}, words(lines.join(" ")));
  const cells = (line) => line.replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  const rows = lines.filter((line) => !/^\|[\s|:-]+$/.test(line)).map(cells);
  const table = el("table", {}, rows.map((row, n) => el("tr", {}, row.map((cell) => el(n ? "td" : "th", {}, words(cell))))));
  return rows.length > 8 ? el("details", {}, el("summary", {}, `Types of errors: ${rows.length - 1}`), table) : table;
});

const title = (op, otherwise) => (op.summary || otherwise).replace(/\.$/, "");

let spec;
const resolve = (schema) => schema && schema.$ref ? schema.$ref.slice(2).split("/").reduce((at, key) => at[key], spec) : schema || {};

const typeName = (schema) => {
  if (schema.$ref) return schema.$ref.split("/").pop();
  const one = schema.oneOf || schema.anyOf || schema.allOf;
  if (one) return one.map(typeName).filter((name) => name !== "null").join(" or ");
  const type = [].concat(schema.type || (schema.enum ? "string" : "any")).filter((name) => name !== "null").join(" or ");
  return type === "array" ? `list of ${typeName(schema.items || {})}` : type;
};

// What a schema says beyond its type.
const limits = (schema) => {
  const real = resolve(schema);
  const said = [];
  if (real.enum) said.push(real.enum.join(" | "));
  if (real.format && !/^u?int|^double$/.test(real.format)) said.push(real.format);
  if (real.minimum !== undefined && real.maximum !== undefined) said.push(`${real.minimum} to ${real.maximum}`);
  if (real.maxItems !== undefined) said.push(`at most ${real.maxItems}`);
  if (real.maxLength !== undefined) said.push(`at most ${real.maxLength} characters`);
  return said.length ? ` (${said.join("; ")})` : "";
};

const fields = (schema, depth) => {
  const real = resolve(schema);
  const parts = real.allOf || real.oneOf || real.anyOf;
  if (parts) return parts.map((part) => fields(part, depth)).filter(Boolean);
  if (real.items) return fields(real.items, depth);
  if (!real.properties || depth > 3) return null;
  return el("ul", { class: "schema" }, Object.entries(real.properties).map(([name, property]) => {
    const inner = fields(property, depth + 1);
    const needed = (real.required || []).includes(name) ? "" : " · optional";
    const about = property.description || resolve(property).description || "";
    const line = [el("code", {}, name), el("span", { class: "dim" }, ` ${typeName(property)}${limits(property)}${needed} `), words(about.split("\n\n")[0])];
    const holds = inner && (!Array.isArray(inner) || inner.length);
    return el("li", {}, line, holds ? el("details", {}, el("summary", {}, "fields"), inner) : null);
  }));
};

const SCENE = 'from manim import *\n\nclass Hello(Scene):\n    def construct(self):\n        self.play(Write(Text("Hello")))\n';
const EXAMPLES = {
  submitJob: { input: { kind: "code", source: SCENE, scene: "Hello" }, output: { quality: "low" }, tags: ["docs"] },
  submitBatch: { jobs: [{ input: { kind: "code", source: SCENE }, output: { quality: "low" } }], all_or_nothing: false },
  rerunJob: { output: { quality: "medium" } },
  validateSource: { source: SCENE },
};

const quoted = (text) => `'${text.replace(/'/g, "'\\''")}'`;

const operation = (method, path, op) => {
  const parameters = op.parameters || [];
  const inputs = new Map();
  const rows = parameters.map((parameter) => {
    const input = el("input", { "aria-label": parameter.name, spellcheck: "false", autocomplete: "off" });
    inputs.set(parameter, input);
    const about = [words(parameter.description || ""), el("span", { class: "dim" }, limits(parameter.schema || {}))];
    const name = [el("code", {}, parameter.name), el("div", { class: "dim" }, `${parameter.in}${parameter.required ? "" : " · optional"}`)];
    return el("tr", {}, el("td", {}, name), el("td", {}, about), el("td", {}, input));
  });
  const bodySchema = op.requestBody && op.requestBody.content && op.requestBody.content["application/json"];
  const body = bodySchema && el("textarea", { "aria-label": "Body", spellcheck: "false" });
  if (body) body.value = JSON.stringify(EXAMPLES[op.operationId] || {}, null, 2);
  const output = el("div", { "aria-live": "polite" });

  const request = () => {
    let url = path;
    const query = new URLSearchParams();
    const headers = {};
    for (const [parameter, input] of inputs) {
      const value = input.value.trim();
      if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(value));
      else if (!value) continue;
      else if (parameter.in === "query") query.append(parameter.name, value);
      else if (parameter.in === "header") headers[parameter.name] = value;
    }
    const key = document.getElementById("key").value.trim();
    if (key) headers.Authorization = `Bearer ${key}`;
    if (body) headers["Content-Type"] = "application/json";
    const tail = query.toString();
    return { url: tail ? `${url}?${tail}` : url, method: method.toUpperCase(), headers, body: body ? body.value : undefined };
  };

  const send = async () => {
    const call = request();
    const stop = new AbortController();
    const cancel = el("button", { type: "button", class: "plain", onclick: () => stop.abort() }, "Stop");
    const text = el("pre", {}, "…");
    output.replaceChildren(el("div", { class: "row" }, cancel), text);
    const began = performance.now();
    try {
      const answer = await fetch(call.url, { ...call, redirect: "manual", signal: stop.signal });
      const shown = ["content-type", "location", "etag", "link", "retry-after", "ratelimit", "ratelimit-policy", "x-request-id"];
      const head = shown.filter((name) => answer.headers.get(name)).map((name) => `${name}: ${answer.headers.get(name)}`);
      const status = answer.type === "opaqueredirect" ? "302, leads to a file" : `${answer.status} ${answer.statusText}`;
      const reader = answer.body && answer.body.getReader();
      const decoder = new TextDecoder();
      let content = "";
      const show = (end) => {
        const ms = Math.round(performance.now() - began);
        let pretty = content;
        if (end && /json/.test(answer.headers.get("content-type") || "")) {
          try { pretty = JSON.stringify(JSON.parse(content), null, 2); } catch { /* shown as it came */ }
        }
        text.textContent = [`${status}   ${ms} ms`, ...head, "", pretty.slice(-200000)].join("\n");
      };
      while (reader) {
        const { value, done } = await reader.read();
        if (done) break;
        content += decoder.decode(value, { stream: true });
        show(false);
      }
      show(true);
    } catch (error) {
      text.textContent += `\n${stop.signal.aborted ? "stopped" : error}`;
    }
    cancel.remove();
  };

  const curl = () => {
    const call = request();
    // The key is not shown: a screen may be shared.
    const headers = Object.entries(call.headers).map(([name, value]) => `-H ${quoted(`${name}: ${name === "Authorization" ? "Bearer $MANIMQ_API_KEY" : value}`).replace("$MANIMQ_API_KEY", "'\"$MANIMQ_API_KEY\"'")}`);
    const parts = [`curl -sS -X ${call.method} ${quoted(location.origin + call.url)}`, ...headers];
    if (call.body) parts.push(`-d ${quoted(call.body)}`);
    output.replaceChildren(el("pre", {}, parts.join(" \\\n  ")));
  };

  const answers = Object.entries(op.responses || {}).map(([status, answer]) => {
    const real = resolve(answer);
    const schema = real.content && Object.values(real.content)[0] && Object.values(real.content)[0].schema;
    const inner = schema && status < "300" ? fields(schema, 0) : null;
    return el("tr", {}, el("td", {}, el("code", {}, status)), el("td", {}, words(real.description || ""), inner ? el("details", {}, el("summary", {}, typeName(schema)), inner) : null));
  });

  return el("section", { class: "op", id: op.operationId },
    el("h2", {}, title(op, op.operationId)),
    el("div", { class: "where" }, el("span", { class: `m ${method}` }, method.toUpperCase()), path),
    prose(op.description),
    rows.length ? [el("h3", {}, "Parameters"), el("table", {}, rows)] : null,
    body ? [el("h3", {}, "Body"), el("details", {}, el("summary", {}, typeName(bodySchema.schema)), fields(bodySchema.schema, 0)), body] : null,
    el("div", { class: "row" }, el("button", { type: "button", onclick: send }, "Send"), el("button", { type: "button", class: "plain", onclick: curl }, "As curl")),
    output,
    el("details", {}, el("summary", {}, "Answers"), el("table", {}, answers)));
};

const start = async () => {
  const main = document.getElementById("main");
  try {
    const answer = await fetch("/openapi.json");
    if (!answer.ok) throw new Error(`/openapi.json answered ${answer.status}`);
    spec = await answer.json();
  } catch (error) {
    main.replaceChildren(el("p", {}, `The document could not be fetched: ${error}. Reload the page to try again.`));
    return;
  }
  const groups = new Map((spec.tags || []).map((tag) => [tag.name, { about: tag.description, all: [] }]));
  // Whoever reads from the top wants to submit a job; the prototype's calls are for those who know them.
  const rank = ([method, path]) => path.startsWith("/api/") ? 3 : path !== "/v1/jobs" ? 2 : method === "post" ? 0 : 1;
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const [method, op] of Object.entries(methods)) {
      const name = (op.tags || ["other"])[0];
      if (!groups.has(name)) groups.set(name, { all: [] });
      groups.get(name).all.push([method, path, op]);
    }
  }
  const nav = document.getElementById("list");
  main.replaceChildren(el("h1", {}, `${spec.info.title} ${spec.info.version}`), ...prose(spec.info.description));
  for (const [name, group] of groups) {
    group.all.sort((one, other) => rank(one) - rank(other));
    nav.append(el("h2", { title: group.about }, name));
    for (const [method, path, op] of group.all) {
      nav.append(el("a", { href: `#${op.operationId}` }, el("span", { class: `m ${method}` }, method.toUpperCase()), title(op, path)));
      main.append(operation(method, path, op));
    }
  }
  if (location.hash) {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target) target.scrollIntoView();
  }
};

start();
