// Plotly in the page's own colours, one function per shape of chart. `Plotly` is global: its file is no module.

const CONFIG = { displayModeBar: false, responsive: true };

const HUES = ["accent", "warn", "good", "bad", "muted"];
const DASHES = ["solid", "dash", "dot", "dashdot"];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function layout(title, x, y, more = {}) {
  const axis = { gridcolor: colour("line"), zerolinecolor: colour("line"), linecolor: colour("line"), automargin: true };
  return {
    title: { text: title, font: { size: 13 }, x: 0.02, xanchor: "left" },
    font: { family: "system-ui, sans-serif", size: 11, color: colour("ink") },
    paper_bgcolor: "transparent",
    plot_bgcolor: "transparent",
    margin: { l: 48, r: 12, t: 34, b: 40 },
    showlegend: false,
    bargap: 0.08,
    xaxis: { ...axis, title: { text: x }, ...more.xaxis },
    yaxis: { ...axis, title: { text: y }, ...more.yaxis },
  };
}

/** Bars over values on a number line: `bins` of {from, to, n}. */
export function histogram(node, title, unit, bins) {
  const bars = {
    type: "bar",
    x: bins.map((bin) => (bin.from + bin.to) / 2),
    y: bins.map((bin) => bin.n),
    width: bins.map((bin) => (bin.to - bin.from) * 0.94),
    marker: { color: colour("accent") },
    hovertemplate: "%{y} at about %{x:.2f}<extra></extra>",
  };
  void Plotly.react(node, [bars], layout(title, unit, "how many"), CONFIG);
}

/** Horizontal bars, the longest on top. */
export function ranking(node, title, what, names, values) {
  const bars = {
    type: "bar", orientation: "h", x: values.toReversed(), y: names.toReversed(), marker: { color: colour("accent") },
    hovertemplate: "%{y}: %{x:.3f}<extra></extra>",
  };
  void Plotly.react(node, [bars], layout(title, what, ""), CONFIG);
}

/** A line over categories in order; `range` of its values, from zero on where there is none. */
export function line(node, title, x, y, points, range) {
  const drawn = {
    type: "scatter", mode: "lines+markers", x: points.map((point) => point.x), y: points.map((point) => point.y),
    line: { color: colour("accent"), width: 2 },
  };
  const heading = points.length > 0 ? title : `${title}: nothing is known yet`;
  const scale = range ? { range } : { rangemode: "tozero" };
  void Plotly.react(node, [drawn], layout(heading, x, y, { xaxis: { type: "category", nticks: 6 }, yaxis: scale }), CONFIG);
}

/** Several lines over categories in order: `series` of {what, version, points: [{x, y, n}]}; a colour each `what`, a dash each version. */
export function lines(node, title, categories, series) {
  const [whats, versions] = ["what", "version"].map((name) => [...new Set(series.map((each) => each[name]))]);
  const drawn = series.map(({ what, version, points }) => ({
    type: "scatter", mode: "lines+markers", name: `${what} ${version}`,
    x: points.map((point) => point.x), y: points.map((point) => point.y), text: points.map((point) => point.n),
    line: { color: colour(HUES[whats.indexOf(what) % HUES.length]), width: 2, dash: DASHES[versions.indexOf(version) % DASHES.length] },
    hovertemplate: "%{x}: %{y:.3f} over %{text}<extra>%{fullData.name}</extra>",
  }));
  const more = { xaxis: { type: "category", categoryorder: "array", categoryarray: categories, nticks: 6, tickangle: 0 }, yaxis: { rangemode: "tozero" } };
  void Plotly.react(node, drawn, { ...layout(title, "", "", more), showlegend: true, legend: { orientation: "h", y: -0.12 } }, CONFIG);
}

/** Means with their 95 % intervals about zero: below it is better. `points` of {x, mean, low, high, n}, and a `name` to show for x. */
export function intervals(node, title, x, y, points) {
  const known = points.filter((point) => point.mean !== null);
  const sure = (point) => (point.high < 0 ? "good" : point.low > 0 ? "bad" : "muted");
  const drawn = {
    type: "scatter", mode: "markers", x: known.map((point) => point.x), y: known.map((point) => point.mean),
    marker: { size: 7, color: known.map((point) => colour(sure(point))) },
    error_y: {
      type: "data", symmetric: false, color: colour("muted"), thickness: 1.2, width: 2,
      array: known.map((point) => point.high - point.mean), arrayminus: known.map((point) => point.mean - point.low),
    },
    text: known.map((point) => `${point.name ?? point.x}: ${point.mean.toFixed(3)} over ${point.n}`), hovertemplate: "%{text}<extra></extra>",
  };
  const heading = known.length > 0 ? `${title}, change of the error: below zero is better` : `${title}: too few outcomes yet`;
  void Plotly.react(node, [drawn], layout(heading, x, y, { xaxis: { type: "category" }, yaxis: { rangemode: "tozero" } }), CONFIG);
}
