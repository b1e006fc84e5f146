// Sections fold; the list of questions is decoded, filtered and shown a page at a time. All text is
// set as text: what a model wrote is never read as HTML.
(() => {
  const parts = [...document.querySelectorAll("details.part")];
  const unfold = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (target) target.scrollIntoView();
  };
  document.querySelectorAll("[data-fold]").forEach(button => button.addEventListener("click", () =>
    parts.forEach(part => part.open = !!button.dataset.fold)));
  if (matchMedia("(max-width: 640px)").matches) parts.slice(2).forEach(part => part.open = part.id === "questions");
  addEventListener("hashchange", unfold);
  document.querySelectorAll('a[href^="#"]').forEach(link => link.addEventListener("click", () => setTimeout(unfold)));
  unfold();
})();

(async () => {
  const PAGE = 25;
  const WORDS = {c: "right", w: "wrong", u: "no answer", t: "timeout", f: "failed", n: "not graded", p: "partly right", "-": "not asked"};
  const KIND = {c: "good", w: "bad", f: "bad"};
  const SIGN = {c: "✓", w: "✕", f: "✕", "-": "–"};
  const SECOND = {check: "drawn anew, then asked to check the answer", peer: "drawn anew, then told a wrong answer by a confident peer"};
  const by = id => document.getElementById(id);
  const make = (tag, className, ...inside) => {
    const found = document.createElement(tag);
    if (className) found.className = className;
    found.append(...inside.filter(one => one !== null && one !== undefined));
    return found;
  };
  const count = n => n.toLocaleString("en-US");
  const mark = code => make("span", "mark " + (KIND[code] || "warn"), `${SIGN[code] || "!"} ${WORDS[code]}`);
  const told_ = told("questions-told"), columns = told_.columns;
  const fail = text => { by("question-count").textContent = text; };
  if (!("DecompressionStream" in window))
    return fail("This browser is too old for the list: it needs DecompressionStream (Chrome 80, Firefox 113, Safari 16.4).");
  const list = JSON.parse(await inflate("question-list"));
  const n = list.keys.length;
  const blocks = new Map();
  let haystack, group = "", shown = [], page = 0;

  const sets = told_.sets;
  const tests = [
    ["any", () => true], ["right", code => code === "c"], ["not right", code => code !== "c" && code !== "-"],
    ["wrong", code => code === "w"], ["partly right", code => code === "p"],
    ["no answer", code => "utn".includes(code)], ["failed", code => code === "f"],
  ];
  const selects = columns.map((column, at) => {
    const there = new Set(list.codes.map(codes => codes[at]));
    const select = make("select");
    tests.forEach(([word, fits], number) => {
      if (number < 3 || [...there].some(fits)) select.append(new Option(word, number));
    });
    by("question-columns").append(make("label", "", make("span", "", column.label), select));
    return select;
  });
  const setSelect = make("select");
  if (sets.length > 1) {
    [["all", ""], ...sets.map(name => [name, name])].forEach(([word, value]) => setSelect.append(new Option(word, value)));
    by("question-columns").append(make("label", "", make("span", "", "Set"), setSelect));
  }

  const groups = told_.groups.map((one, at) => [one.title, row => list.groups[row] === at]);
  const flips = list.flipped.some(found => found.length) ? [["Right, but wrong when changed", row => list.flipped[row].length > 0]] : [];
  const choices = [["All", () => true], ...groups, ...flips].map(([title, fits]) => {
    let total = 0;
    for (let row = 0; row < n; row++) total += fits(row);
    return {title, fits, total};
  }).filter(choice => choice.total || choice.title === "All");
  for (const choice of choices) {
    choice.button = make("button", "chip", `${choice.title} `, make("b", "", count(choice.total)));
    choice.button.type = "button";
    choice.button.addEventListener("click", () => { group = choice.title; filter(); });
    by("question-groups").append(choice.button);
  }

  const filter = () => {
    const words = by("question-search").value.trim().toLowerCase();
    if (words && !haystack)
      haystack = list.keys.map((key, row) =>
        [key, list.texts[row], list.golds[row], ...list.answers.map(of => of[row])].join("\n").toLowerCase());
    const choice = choices.find(one => one.title === group) || choices[0];
    for (const one of choices) one.button.setAttribute("aria-pressed", one === choice);
    const asked = selects.map(select => tests[select.value || 0][1]);
    shown = [];
    for (let row = 0; row < n; row++) {
      if (!choice.fits(row) || (setSelect.value && list.sets[row] !== setSelect.value)) continue;
      if (!asked.every((fits, at) => fits(list.codes[row][at]))) continue;
      if (words && !haystack[row].includes(words)) continue;
      shown.push(row);
    }
    page = 0;
    show();
  };

  const show = () => {
    const start = page * PAGE, rows = shown.slice(start, start + PAGE);
    by("question-rows").replaceChildren(...rows.map(head));
    by("question-count").textContent = shown.length
      ? `${count(start + 1)} to ${count(start + rows.length)} of ${count(shown.length)} questions`
      : "No question fits.";
    by("question-pager").hidden = shown.length <= PAGE;
    const pages = Math.ceil(shown.length / PAGE);
    by("question-pager").querySelector("span").textContent = `page ${page + 1} of ${pages}`;
    const [previous, next] = by("question-pager").querySelectorAll("button");
    previous.disabled = page === 0;
    next.disabled = page >= pages - 1;
  };

  const head = row => {
    const cells = columns.map((column, at) => {
      const code = list.codes[row][at], answer = list.answers[at][row];
      const cell = make("span", "cell " + (KIND[code] || (code === "-" ? "" : "warn")),
        make("b", "", SIGN[code] || "!"), ` ${answer || WORDS[code]}`);
      cell.dataset.label = column.label;
      cell.title = `${column.label}: ${WORDS[code]}`;
      return cell;
    });
    const button = make("button", "question-head",
      make("span", "text", list.texts[row]), make("span", "gold", list.golds[row]), ...cells);
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    const item = make("li", "", button);
    button.addEventListener("click", async () => {
      const open = button.getAttribute("aria-expanded") === "true";
      button.setAttribute("aria-expanded", String(!open));
      if (open) return item.lastChild.remove();
      const body = make("div", "question-body", make("p", "quiet", "…"));
      item.append(body);
      body.replaceChildren(...await details(row));
    });
    return item;
  };

  const words = async row => {
    if (row >= told_.worded) return null;
    let block = told_.starts.length - 1;
    while (told_.starts[block] > row) block--;
    if (!blocks.has(block)) blocks.set(block, inflate(`question-words-${block}`).then(JSON.parse));
    return (await blocks.get(block))[row - told_.starts[block]];
  };

  const details = async row => {
    const found = await words(row);
    const key = list.keys[row];
    const where = [...new Set(columns.map(column => column.command))].flatMap((one, at) => [at ? " or " : "", make("code", "", one)]);
    const foot = make("p", "foot", `Question ${key}`, list.sets[row] === sets[0] ? "" : `, set ${list.sets[row]}`, ". A transcript with its prompts: ", ...where);
    if (!found) return [make("p", "", list.texts[row]), make("p", "quiet", "The transcripts of this question are left out of this file; they are in the run folder."), foot];
    const question = make("div", "question", make("p", "", found.question),
      make("p", "outcome", make("span", "", "Right answer ", make("strong", "", found.gold))));
    const changed = found.rows.filter(one => one.kind === "changed");
    const asIs = found.rows.filter(one => one.kind !== "changed");
    return [question, ...asIs.map(answer), ...changes(changed), foot];
  };

  const answer = one => {
    const column = columns[one.at];
    const title = column.label + (one.replica ? `, answer ${one.replica + 1}` : "") + (SECOND[one.kind] ? `, ${SECOND[one.kind]}` : "");
    const line = make("h4", "", title, make("span", "", make("strong", "", one.answer ?? "no answer"), " ", mark(one.code)),
      make("span", "quiet", `${count(one.tokens)} tokens, `, make("code", "", one.id)));
    const box = make("div", "answer-box", line);
    if (one.error) box.append(make("p", "error", one.error));
    if (one.turns.length === 1) return box.append(said(one.turns[0])), box;
    const rounds = new Map();
    for (const turn of one.turns) rounds.set(turn.round, [...(rounds.get(turn.round) || []), turn]);
    const before = new Map();
    for (const [number, turns] of rounds) {
      const vote = one.votes.find(found => found.round === number);
      if (rounds.size > 1 || turns.length > 1)
        box.append(make("h5", "", `Round ${number + 1}`, vote && turns.length > 1
          ? make("span", "", `: ${vote.count} of ${vote.agents} for ${vote.answer ?? "no answer"} `, mark(vote.code)) : null));
      box.append(make("div", "scroll", make("div", "turns", ...turns.map(turn => card(turn, before, turns.length)))));
      turns.forEach(turn => before.set(turn.agent, turn));
    }
    if (one.hidden) box.append(make("p", "foot", `${count(one.hidden)} more turns are not in this file.`));
    return box;
  };

  const said = turn => {
    const found = make("div", "said", turn.text);
    found.tabIndex = 0;
    return found;
  };

  const card = (turn, before, of) => {
    const last = before.get(turn.agent);
    const moved = last && last.answer !== turn.answer && !(last.code === "c" && turn.code === "c");
    const who = turn.role === "agent" || !turn.role ? `Agent ${turn.agent + 1}` : `${turn.role} ${turn.agent + 1}`;
    const given = make("p", "answer", moved ? make("del", "", last.answer ?? "none") : null, moved ? " → " : null,
      make("strong", "", turn.answer ?? "no answer"));
    return make("article", "turn" + (moved ? " changed" : ""),
      make("header", "", make("b", "", of > 1 || last ? who : ""), mark(turn.code)), given, said(turn),
      make("footer", "", `${count(turn.tokens)} tokens${turn.limit ? ", cut at the limit" : ""}`));
  };

  const changes = rows => {
    if (!rows.length) return [];
    const kinds = new Map();
    for (const one of rows) kinds.set(one.change, [...(kinds.get(one.change) || []), one]);
    const items = [...kinds].map(([change, of]) => make("div", "change",
      make("p", "", make("b", "", change), ` ${of[0].question}`),
      make("p", "outcome", ...of.map(one => make("span", "", `${columns[one.at].label}: `, make("strong", "", one.answer ?? "no answer"), " ", mark(one.code))))));
    return [make("div", "answer-box", make("h4", "", "When the question is changed"), ...items)];
  };

  by("question-search").addEventListener("input", filter);
  [...selects, setSelect].forEach(select => select.addEventListener("change", filter));
  by("question-filters").addEventListener("submit", event => event.preventDefault());
  by("question-pager").querySelectorAll("button").forEach(button => button.addEventListener("click", () => {
    page += Number(button.dataset.step);
    show();
    by("question-filters").scrollIntoView();
  }));
  by("question-head").append(make("span", "text", "Question"), make("span", "gold", "Right answer"), ...columns.map(column => make("span", "", column.label)));
  by("questions").style.setProperty("--columns", columns.length);
  by("questions").classList.toggle("many", columns.length > 6);
  by("question-filters").hidden = false;
  filter();
  document.documentElement.dataset.ready = String(Math.round(performance.now()));  // ms, for who measures
})();
