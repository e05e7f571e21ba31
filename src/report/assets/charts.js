// Line charts over the unit square, drawn once; only the cursor moves afterwards.

const LEFT = 40, RIGHT = 14, TOP = 30, BOTTOM = 46, LEGEND_ROW = 20;

// Size of a chart in units of its viewBox, which is drawn at about one unit a pixel.
function geometry(svg, legendRows) {
  const width = Number(svg.dataset.width), height = Number(svg.dataset.height) + legendRows * LEGEND_ROW;
  const bottom = BOTTOM + legendRows * LEGEND_ROW;
  return {
    width, height,
    xAt: (value) => LEFT + value * (width - LEFT - RIGHT),
    yAt: (value) => height - bottom - value * (height - TOP - bottom),
  };
}

function add(parent, tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

function drawAxes(svg, { width, height, xAt, yAt }, xLabel, yLabel) {
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  add(svg, "text", { class: "name", x: LEFT - 22, y: 14 }, yLabel);
  for (let tick = 0; tick <= 5; tick += 1) {
    const value = tick / 5;
    add(svg, "line", { class: "rule", x1: xAt(0), x2: xAt(1), y1: yAt(value), y2: yAt(value) });
    add(svg, "text", { x: xAt(0) - 7, y: yAt(value) + 4, "text-anchor": "end" }, value.toFixed(1));
    add(svg, "text", { x: xAt(value), y: yAt(0) + 17, "text-anchor": "middle" }, value.toFixed(1));
  }
  add(svg, "line", { class: "axis", x1: xAt(0), x2: xAt(1), y1: yAt(0), y2: yAt(0) });
  add(svg, "text", { class: "name", x: xAt(0.5), y: yAt(0) + 34, "text-anchor": "middle" }, xLabel);
}

function drawCurve(svg, { xAt, yAt }, kind, points) {
  const path = points.map(([x, y]) => `${xAt(x).toFixed(1)},${yAt(y).toFixed(1)}`).join(" ");
  add(svg, "polyline", { class: `curve ${kind}`, points: path });
}

// Two entries a row, below the axis.
function drawLegend(svg, { width, height }, entries) {
  const rows = Math.ceil(entries.length / 2);
  entries.forEach(([kind, label], position) => {
    const x = LEFT + (position % 2) * ((width - LEFT - RIGHT) / 2);
    const y = height - (rows - 1 - Math.floor(position / 2)) * LEGEND_ROW - 10;
    add(svg, "line", { class: `curve ${kind}`, x1: x, x2: x + 26, y1: y, y2: y });
    add(svg, "text", { class: "name", x: x + 33, y: y + 4 }, label);
  });
}

function drawDiamond(svg, { xAt, yAt }, x, y) {
  const [left, top, r] = [xAt(x), yAt(y), 5];
  const points = `${left - r},${top} ${left},${top - r} ${left + r},${top} ${left},${top + r}`;
  add(svg, "polygon", { class: "fitted", points });
}

// A threshold chart: curves over the grid, diamonds at the fitted threshold, a vertical cursor with dots.
function thresholdChart(svg, rows, lines, fitted) {
  const space = geometry(svg, Math.ceil(lines.length / 2));
  const { xAt, yAt } = space;
  drawAxes(svg, space, "threshold", "score");
  for (const [name, kind] of lines) drawCurve(svg, space, kind, rows.map((scores, row) => [row / grid, scores[name]]));
  drawLegend(svg, space, lines.map(([, kind, label]) => [kind, label]));
  const strong = lines.filter(([name]) => name.startsWith("f1")).map(([name]) => name);
  for (const name of strong) drawDiamond(svg, space, fitted.threshold, fitted.scores[name]);
  const cursor = add(svg, "line", { class: "cursor", y1: yAt(0), y2: yAt(1) });
  const dots = strong.map((name) => [name, add(svg, "circle", { class: "dot", r: 8 })]);
  return {
    move(threshold, scores) {
      for (const element of [cursor, ...dots.map(([, dot]) => dot)]) element.style.display = threshold === null ? "none" : "";
      if (threshold === null) return;
      cursor.setAttribute("x1", xAt(threshold));
      cursor.setAttribute("x2", xAt(threshold));
      for (const [name, dot] of dots) {
        dot.setAttribute("cx", xAt(threshold));
        dot.setAttribute("cy", yAt(scores[name]));
      }
    },
  };
}

// Precision against recall; thresholds at which nothing is named have no precision and are left out.
function prChart(svg, rows, fitted) {
  const space = geometry(svg, 0);
  const { xAt, yAt } = space;
  drawAxes(svg, space, "recall", "precision");
  drawCurve(svg, space, "f1", rows.filter((own) => own.tp + own.fp > 0).map((own) => [own.recall, own.precision]));
  if (fitted.tp + fitted.fp > 0) drawDiamond(svg, space, fitted.recall, fitted.precision);
  const dot = add(svg, "circle", { class: "dot", r: 8 });
  return {
    move(own) {
      dot.style.display = own.tp + own.fp > 0 ? "" : "none";
      dot.setAttribute("cx", xAt(own.recall));
      dot.setAttribute("cy", yAt(own.precision));
    },
  };
}

// Clicking or dragging in a threshold chart moves its slider.
function chartMovesSlider(svg, slider) {
  const follow = (event) => {
    if (event.buttons !== 1) return;
    const box = svg.getBoundingClientRect(), width = Number(svg.dataset.width);
    const x = ((event.clientX - box.left) / box.width) * width;
    slider.value = String(Math.round(((x - LEFT) / (width - LEFT - RIGHT)) * grid));
    slider.dispatchEvent(new Event("input"));
  };
  svg.addEventListener("pointerdown", follow);
  svg.addEventListener("pointermove", follow);
}
