"use strict";
(() => {
  const specs = JSON.parse(document.getElementById("specs").textContent);
  const boxes = [...document.querySelectorAll(".switches input")];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let views = [];

  /** What charts look like, in the page's present colours; `blank`: the one of what has no value. */
  function theme(blank) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const series = [];
    for (let n = 0; colour(`series-${n}`); n++) series.push(colour(`series-${n}`));
    const words = { labelColor: colour("ink"), titleColor: colour("soft"), titleFontWeight: 500 };
    return {
      aria: false, // the page names each chart and has its numbers in a table
      background: "transparent",
      font: getComputedStyle(document.body).fontFamily,
      range: { category: series },
      view: { stroke: colour("line"), fill: blank ? colour(blank) : null },
      axis: { ...words, gridColor: colour("line"), domainColor: colour("line"), tickColor: colour("line"), labelFontSize: 12, titleFontSize: 12 },
    };
  }

  /** What hovering over a datum shows, as markup; `escaped` makes text of whatever it is given. */
  const hovered = (titles) => (datum, escaped) => {
    const row = ([field, title]) => `<tr><td class="key">${escaped(title)}</td><td class="value">${escaped(String(datum[field]))}</td></tr>`;
    const known = Object.entries(titles).filter(([field]) => field in datum);
    return `<strong>${escaped(datum.series)}</strong><table>${known.map(row).join("")}</table>`;
  };

  /** `ast`: without eval, which viewers of artifacts may forbid. */
  function options(spec) {
    const { hover, blank } = spec.usermeta;
    return { renderer: "svg", actions: false, ast: true, config: theme(blank), tooltip: { formatTooltip: hovered(hover) } };
  }

  async function draw() {
    views.forEach((view) => view.finalize());
    views = await Promise.all(specs.map(async (spec, n) => (await vegaEmbed(`#chart-${n}`, spec, options(spec))).view));
    await show();
  }

  /** Show what is switched on, in charts, tables and lists alike. */
  async function show() {
    const off = new Set(boxes.filter((box) => !box.checked).map((box) => box.value));
    for (const element of document.querySelectorAll("[data-series]")) element.classList.toggle("off", off.has(element.dataset.series));
    window.dispatchEvent(new Event("resize")); // charts that were hidden have no width yet
    const named = (n) => specs[n].params[0].value.filter((name) => !off.has(name));
    await Promise.all(views.map((view, n) => view.signal("shown", named(n)).runAsync()));
    const status = document.querySelector(".switches [role=status]");
    if (status) status.textContent = `${boxes.length - off.size} of ${boxes.length} shown`;
    document.documentElement.dataset.ready = "yes";
  }

  /** Without charts the page falls back on its figures. */
  function failed(error) {
    document.documentElement.classList.remove("scripted");
    console.error(error);
  }

  boxes.forEach((box) => box.addEventListener("change", () => show().catch(failed)));
  document.querySelector(".switches button")?.addEventListener("click", () => {
    boxes.forEach((box) => (box.checked = true));
    show().catch(failed);
  });
  dark.addEventListener("change", () => draw().catch(failed));
  draw().catch(failed);
})();
