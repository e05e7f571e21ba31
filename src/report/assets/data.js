"use strict";
// The counts behind every number on the page, and the scores that follow from them.
// Conventions as in src/metrics/functional.py: 0 / 0 is 0; macro means run over classes with a positive.

const content = JSON.parse(document.getElementById("report-data").textContent);
const numClasses = content.classes.length;
const grid = content.grid;
const GLOBAL_ROW = grid + 1;
const CLASSES_ROW = grid + 2;
const tpOf = unpack(content.tp);
const fpOf = unpack(content.fp);

function unpack(text) {
  const raw = atob(text);
  const bytes = Uint8Array.from(raw, (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const read = content.bytes === 2 ? (i) => view.getUint16(2 * i, true) : (i) => view.getUint32(4 * i, true);
  return Array.from({ length: raw.length / content.bytes }, (_, i) => read(i));
}

function ratio(part, whole) {
  return whole > 0 ? part / whole : 0;
}

function scoresOf(tp, fp, positives) {
  return {
    tp, fp, fn: positives - tp,
    precision: ratio(tp, tp + fp),
    recall: ratio(tp, positives),
    f1: ratio(2 * tp, tp + fp + positives),
  };
}

function classScores(row, c) {
  return scoresOf(tpOf[row * numClasses + c], fpOf[row * numClasses + c], content.positives[c]);
}

function overallScores(row) {
  let tp = 0, fp = 0, positives = 0, present = 0;
  const sums = { precision: 0, recall: 0, f1: 0 };
  for (let c = 0; c < numClasses; c += 1) {
    const own = classScores(row, c);
    tp += own.tp;
    fp += own.fp;
    positives += content.positives[c];
    if (content.positives[c] > 0) {
      present += 1;
      for (const name of Object.keys(sums)) sums[name] += own[name];
    }
  }
  const micro = scoresOf(tp, fp, positives);
  return {
    tp, fp, fn: micro.fn,
    precision_micro: micro.precision, recall_micro: micro.recall, f1_micro: micro.f1,
    precision_macro: ratio(sums.precision, present), recall_macro: ratio(sums.recall, present),
    f1_macro: ratio(sums.f1, present),
  };
}

function gridRows(scoresAt) {
  return Array.from({ length: grid + 1 }, (_, row) => scoresAt(row));
}

function rowOfBest(rows, name) {
  let best = 0;
  rows.forEach((scores, row) => { if (scores[name] >= rows[best][name]) best = row; });
  return best;
}

function asScore(value) {
  return value.toFixed(3);
}

function showNumbers(table, scores) {
  for (const cell of table.querySelectorAll("[data-number]")) {
    const name = cell.dataset.number;
    const whole = name === "tp" || name === "fp" || name === "fn";
    cell.textContent = whole ? scores[name].toLocaleString("en-US") : asScore(scores[name]);
    cell.dataset.value = String(scores[name]);
  }
}

function press(buttons, chosen) {
  for (const button of buttons) button.setAttribute("aria-pressed", String(button === chosen));
}
