// Asks two models the same question at once and shows both answers as they come.
// All text is set as text: nothing that a model says becomes markup.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);
let stopper = null;

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function headers() {
  const key = byId("key").value.trim();
  return { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
}

async function said(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `${response.status} ${response.statusText}`;
  }
}

// One side: what it asks, and where it shows the answer.
class Side {
  constructor(number) {
    this.number = number;
    this.answer = byId(`answer-${number}`);
    this.rounds = byId(`rounds-${number}`);
    this.figures = byId(`figures-${number}`);
  }

  get model() { return byId(`model-${this.number}`).value; }

  clear() {
    byId(`title-${this.number}`).textContent = this.model;
    this.answer.textContent = "";
    this.answer.classList.remove("error");
    this.rounds.replaceChildren();
    this.text = "";
    this.first = null;
    this.usage = null;
    this.arm = null;
    this.told = {};
    this.failed = false;
    this.started = performance.now();
    this.show();
  }

  fail(message) {
    this.failed = true;
    this.answer.textContent = message;
    this.answer.classList.add("error");
  }

  async ask(question, signal) {
    this.clear();
    const body = {
      model: this.model,
      messages: [{ role: "user", content: question }],
      stream: true,
      stream_options: { include_usage: true },
      agentark: { trace: true },
    };
    try {
      const response = await fetch("/v1/chat/completions", {
        method: "POST", headers: headers(), body: JSON.stringify(body), signal,
      });
      if (!response.ok) { this.fail(await said(response)); return; }
      this.arm = response.headers.get("x-agentark-arm");
      await this.read(response.body);
    } catch (error) {
      this.fail(error.name === "AbortError" ? "stopped" : `the connection broke: ${error.message}`);
    } finally {
      this.ended = performance.now();
      this.show();
    }
  }

  async read(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      rest += value;
      const parts = rest.split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        const data = part.replace(/^data: /, "");
        if (data && data !== "[DONE]") this.take(JSON.parse(data));
      }
    }
  }

  take(chunk) {
    if (chunk.error) { this.fail(chunk.error.message); return; }
    if (chunk.usage) this.usage = chunk.usage;
    const event = chunk.agentark;
    if (event) this.hear(event);
    const text = chunk.choices?.[0]?.delta?.content;
    if (text) {
      this.first ??= performance.now();
      this.text += text;
      this.answer.textContent = this.text;
    }
    this.show();
  }

  hear(event) {
    if (event.event === "turn") {
      const details = element("details");
      const line = `${event.role} ${event.agent + 1}: ${event.answer ?? "no answer"}`;
      details.append(element("summary", `${line} (${event.output_tokens} tokens)`));
      details.append(element("pre", event.text ?? ""));
      const item = element("li");
      item.append(details);
      this.round(event.round).querySelector("ul").append(item);
    } else if (event.event === "vote") {
      const head = `Round ${event.round + 1}: ${event.count} of ${event.agents}`;
      this.round(event.round).querySelector("span").textContent =
        `${head} for ${event.answer ?? "no answer"}`;
    } else if (event.event === "handed_over") {
      const sure = event.confidence === undefined ? "failed" : event.confidence.toFixed(3);
      this.rounds.append(element("li", `Student not sure enough (${sure}): the debate is asked`));
    } else if (event.event === "answer") {
      this.told = event;
    }
  }

  round(number) {
    const id = `round-${this.number}-${number}`;
    let item = byId(id);
    if (!item) {
      item = element("li");
      item.id = id;
      item.append(element("span", `Round ${number + 1}`), element("ul"));
      this.rounds.append(item);
    }
    return item;
  }

  show() {
    const rows = [];
    const seconds = (at) => `${((at - this.started) / 1000).toFixed(2)} s`;
    if (this.first) rows.push(["first text", seconds(this.first)]);
    if (this.ended && this.ended > this.started) rows.push(["latency", seconds(this.ended)]);
    if (this.usage) {
      rows.push(["output tokens", this.usage.completion_tokens.toLocaleString()]);
      rows.push(["prompt tokens", this.usage.prompt_tokens.toLocaleString()]);
      const cost = money(this.usage);
      if (cost) rows.push(["cost", cost]);
    }
    const path = this.told.path ?? this.arm;
    if (path) rows.push(["answered by", path]);
    if (this.told.stop_reason) rows.push(["ended", this.told.stop_reason]);
    this.figures.replaceChildren(...rows.map(([name, value]) => {
      const pair = element("div");
      pair.append(element("dt", name), element("dd", value));
      return pair;
    }));
  }
}

let prices = null;

function money(usage) {
  if (!prices) return null;
  const cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
  const sum = (usage.prompt_tokens - cached) * prices.prompt + cached * prices.cached +
    usage.completion_tokens * prices.output;
  return `$${(sum / 1e6).toPrecision(2)}`;
}

const sides = [new Side(0), new Side(1)];

async function ask(event) {
  event.preventDefault();
  if (stopper) return;
  const question = byId("question").value.trim();
  if (!question) return;
  stopper = new AbortController();
  byId("go").disabled = true;
  byId("stop").disabled = false;
  agreement("", "");
  await Promise.all(sides.map((side) => side.ask(question, stopper.signal)));
  stopper = null;
  byId("go").disabled = false;
  byId("stop").disabled = true;
  await agree();
  await recent();
}

function agreement(text, className) {
  const line = byId("agreement");
  line.textContent = text;
  line.className = `agreement ${className}`;
}

async function agree() {
  if (sides.some((side) => side.failed || !side.text)) return;
  const response = await fetch("/v1/agentark/agreement", {
    method: "POST", headers: headers(),
    body: JSON.stringify({ texts: sides.map((side) => side.text) }),
  });
  if (!response.ok) { agreement(await said(response), "no"); return; }
  const found = await response.json();
  const [left, right] = found.answers.map((answer) => answer ?? "no answer");
  agreement(found.agree ? `Both answer ${left}` : `They differ: ${left} and ${right}`,
    found.agree ? "yes" : "no");
}

async function models() {
  const response = await fetch("/v1/models", { headers: headers() });
  if (!response.ok) { byId("rollout").textContent = await said(response); return; }
  const names = (await response.json()).data.map((model) => model.id);
  const wanted = ["student", "debate"];
  sides.forEach((side, number) => {
    const select = byId(`model-${number}`);
    const before = select.value;
    select.replaceChildren(...names.map((name) => element("option", name)));
    const first = names.includes(wanted[number]) ? wanted[number] : names[number % names.length];
    select.value = names.includes(before) ? before : first;
    byId(`title-${number}`).textContent = select.value;
  });
}

async function recent() {
  const response = await fetch("/v1/agentark/recent", { headers: headers() });
  if (!response.ok) return;
  const found = await response.json();
  prices = found.prices;
  const weights = Object.entries(found.rollout.weights)
    .map(([arm, weight]) => `${arm} ${Math.round(weight * 100)} %`).join(", ");
  const shadow = found.rollout.shadow;
  byId("rollout").textContent = `agentark is answered by: ${weights}` +
    (shadow ? `; shadow: ${shadow.arm} ${Math.round(shadow.share * 100)} %` : "");
  latencyChart(found.requests);
  agreeChart(found.requests.filter((one) => one.agreement !== null));
  byId("recent-note").textContent = `${found.requests.length} requests`;
}

function svg(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function latencyChart(requests) {
  const chart = byId("latency");
  chart.replaceChildren();
  if (!requests.length) { chart.append(svg("text", { x: 10, y: 30 }, "nothing yet")); return; }
  const arms = [...new Set(requests.map((one) => one.arm))].sort();
  const logs = requests.map((one) => Math.log10(Math.max(1, one.latency_ms) / 1000));
  const low = Math.floor(Math.min(...logs)), high = Math.max(low + 1, Math.ceil(Math.max(...logs)));
  const y = (log) => 190 - (log - low) / (high - low) * 170;
  for (let power = low; power <= high; power += 1) {
    chart.append(svg("line", { x1: 50, x2: 590, y1: y(power), y2: y(power) }));
    chart.append(svg("text", { x: 4, y: y(power) + 4 }, `${10 ** power}`));
  }
  requests.forEach((one, index) => {
    const x = 55 + index / Math.max(1, requests.length - 1) * 530;
    chart.append(svg("circle",
      { cx: x, cy: y(logs[index]), r: 3, class: `arm-${arms.indexOf(one.arm) % 4}` }));
  });
  arms.forEach((arm, index) => {
    chart.append(svg("circle", { cx: 60 + index * 130, cy: 210, r: 4, class: `arm-${index % 4}` }));
    chart.append(svg("text", { x: 70 + index * 130, y: 214 }, arm));
  });
}

function agreeChart(compared) {
  const chart = byId("agree");
  chart.replaceChildren();
  if (!compared.length) {
    chart.append(svg("text", { x: 10, y: 30 }, "no shadow answers yet"));
    return;
  }
  const points = compared.map((_, index) => {
    const window = compared.slice(Math.max(0, index - 49), index + 1);
    return window.filter((one) => one.agreement).length / window.length;
  });
  for (const share of [0, 0.5, 1]) {
    const y = 190 - share * 170;
    chart.append(svg("line", { x1: 50, x2: 590, y1: y, y2: y }));
    chart.append(svg("text", { x: 4, y: y + 4 }, `${share * 100} %`));
  }
  const path = points.map((share, index) => {
    const x = 55 + index / Math.max(1, points.length - 1) * 530;
    return `${index ? "L" : "M"}${x.toFixed(1)},${(190 - share * 170).toFixed(1)}`;
  }).join("");
  chart.append(svg("path", { d: path, class: "arm-0" }));
  chart.append(svg("text", { x: 55, y: 214 }, `now ${Math.round(points.at(-1) * 100)} %`));
}

byId("ask").addEventListener("submit", ask);
byId("stop").addEventListener("click", () => stopper?.abort());
byId("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("ask").requestSubmit();
});
byId("key").addEventListener("change", () => { models(); recent(); });
for (const select of document.querySelectorAll(".model")) {
  select.addEventListener("change", () => {
    const number = select.id.slice(-1);
    byId(`title-${number}`).textContent = select.value;
  });
}
models();
recent();
