// One class: its curves, its threshold, its failures.

const openClass = (() => {
  const pick = document.getElementById("pick-class");
  const slider = document.getElementById("class-threshold");
  const dial = document.getElementById("class-threshold-value");
  const buttons = [...document.querySelectorAll("[data-class-go]")];
  const numbers = document.getElementById("class-numbers");
  const facts = document.getElementById("class-facts");
  const failures = document.getElementById("class-failures");
  const svg = document.getElementById("class-f1-chart");
  const prSvg = document.getElementById("class-pr-chart");
  const lines = [["precision", "precision", "precision"], ["recall", "recall", "recall"], ["f1", "f1", "F1"]];
  const sources = [document, ...[...document.querySelectorAll("template.more-failures")].map((more) => more.content)];
  let chosen = 0, rows = [], chart = null, pr = null;

  function show(row, threshold, button) {
    const own = classScores(row, chosen);
    dial.textContent = asScore(threshold);
    slider.setAttribute("aria-valuetext", `${asScore(threshold)}: F1 ${asScore(own.f1)}`);
    showNumbers(numbers, own);
    chart.move(threshold, own);
    pr.move(own);
    press(buttons, button);
  }

  function showFailures() {
    failures.replaceChildren();
    for (const [kind, title] of [["false_negative", "Missed"], ["false_positive", "Wrongly named"]]) {
      const wanted = `.failure[data-kind="${kind}"][data-class="${chosen}"]`;
      const found = sources.flatMap((source) => [...source.querySelectorAll(wanted)]);
      if (!found.length) continue;
      const heading = document.createElement("h4");
      heading.textContent = `${title}: ${content.classes[chosen]}`;
      const gallery = document.createElement("div");
      gallery.className = "gallery";
      gallery.append(...found.map((figure) => figure.cloneNode(true)));
      failures.append(heading, gallery);
    }
  }

  const goes = {
    half: (button) => { slider.value = grid / 2; show(grid / 2, 0.5, button); },
    fitted: (button) => {
      slider.value = Math.round(content.classThresholds[chosen] * grid);
      show(CLASSES_ROW, content.classThresholds[chosen], button);
    },
    best: (button) => { const row = rowOfBest(rows, "f1"); slider.value = row; show(row, row / grid, button); },
  };

  function open(c) {
    chosen = c;
    pick.value = String(c);
    rows = gridRows((row) => classScores(row, c));
    const fitted = classScores(CLASSES_ROW, c);
    chart = thresholdChart(svg, rows, lines, { threshold: content.classThresholds[c], scores: fitted });
    pr = prChart(prSvg, rows, fitted);
    const images = content.positives[c].toLocaleString("en-US");
    facts.textContent = `${images} of ${content.images.toLocaleString("en-US")} images have it; fitted threshold ${asScore(content.classThresholds[c])}.`;
    goes.fitted(buttons.find((button) => button.dataset.classGo === "fitted"));
    showFailures();
  }

  pick.addEventListener("change", () => open(Number(pick.value)));
  slider.addEventListener("input", () => show(Number(slider.value), Number(slider.value) / grid, null));
  for (const button of buttons) button.addEventListener("click", () => goes[button.dataset.classGo](button));
  chartMovesSlider(svg, slider);
  return open;
})();
