// One threshold for all classes.

{
  const slider = document.getElementById("threshold");
  const dial = document.getElementById("threshold-value");
  const buttons = [...document.querySelectorAll("[data-go]")];
  const numbers = document.getElementById("overall-numbers");
  const counts = document.getElementById("overall-counts");
  const svg = document.getElementById("overall-chart");
  const liveCells = [...document.querySelectorAll("[data-live]")];
  const classOfCell = liveCells.map((cell) => Number(cell.closest("tr").dataset.class));
  const rows = gridRows(overallScores);
  const lines = [
    ["precision_micro", "precision", "precision (micro)"], ["recall_micro", "recall", "recall (micro)"],
    ["f1_macro", "f1-macro", "macro-F1"], ["f1_micro", "f1-micro", "micro-F1"],
  ];
  const fitted = { threshold: content.globalThreshold, scores: overallScores(GLOBAL_ROW) };
  const chart = thresholdChart(svg, rows, lines, fitted);

  function show(row, threshold, words, button) {
    const scores = overallScores(row);
    dial.textContent = words;
    dial.parentElement.classList.toggle("words", threshold === null);
    slider.setAttribute("aria-valuetext", `${words}: micro-F1 ${asScore(scores.f1_micro)}, macro-F1 ${asScore(scores.f1_macro)}`);
    showNumbers(numbers, scores);
    const [tp, fp, fn] = [scores.tp, scores.fp, scores.fn].map((count) => count.toLocaleString("en-US"));
    counts.textContent = `${tp} labels found, ${fn} missed, ${fp} wrongly named.`;
    chart.move(threshold, scores);
    liveCells.forEach((cell, position) => {
      const own = classScores(row, classOfCell[position]);
      const known = content.positives[classOfCell[position]] > 0;
      cell.textContent = known ? asScore(own.f1) : "–";
      cell.dataset.value = known ? String(own.f1) : "nan";
    });
    press(buttons, button);
  }

  const showGrid = (row, button) => show(row, row / grid, asScore(row / grid), button);
  const goes = {
    half: (button) => { slider.value = grid / 2; showGrid(grid / 2, button); },
    global: (button) => {
      slider.value = Math.round(content.globalThreshold * grid);
      show(GLOBAL_ROW, content.globalThreshold, asScore(content.globalThreshold), button);
    },
    classes: (button) => show(CLASSES_ROW, null, "each class its own", button),
    best: (button) => { const row = rowOfBest(rows, "f1_micro"); slider.value = row; showGrid(row, button); },
  };
  for (const button of buttons) button.addEventListener("click", () => goes[button.dataset.go](button));
  slider.addEventListener("input", () => showGrid(Number(slider.value), null));
  chartMovesSlider(svg, slider);
  goes.global(buttons.find((button) => button.dataset.go === "global"));
}
