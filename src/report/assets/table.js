// The table of classes: sorted by a heading, filtered by text and group; a name opens its class.

{
  const table = document.getElementById("class-table");
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  const find = document.getElementById("find-class");
  const group = document.getElementById("pick-group");
  const status = document.getElementById("shown-classes");

  function compare(a, b, column, sign) {
    const [left, right] = [a, b].map((row) => row.cells[column].dataset.value);
    if (column === 0) return sign * left.localeCompare(right);
    const [x, y] = [Number(left), Number(right)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return sign * (x - y);
  }

  function sort(column) {
    const before = headings[column].getAttribute("aria-sort");
    const first = column < 2 ? "ascending" : "descending";
    const next = before === null ? first : before === "ascending" ? "descending" : "ascending";
    for (const heading of headings) heading.removeAttribute("aria-sort");
    headings[column].setAttribute("aria-sort", next);
    const sign = next === "ascending" ? 1 : -1;
    body.append(...[...body.rows].sort((a, b) => compare(a, b, column, sign)));
  }

  function filter() {
    const text = find.value.trim().toLowerCase();
    let shown = 0;
    for (const row of body.rows) {
      const fits = row.cells[0].dataset.value.includes(text) && (!group.value || row.dataset.group === group.value);
      row.hidden = !fits;
      shown += fits;
    }
    status.textContent = `${shown} of ${body.rows.length} classes`;
  }

  headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => sort(column)));
  find.addEventListener("input", filter);
  group.addEventListener("change", filter);
  for (const link of document.querySelectorAll("[data-open-class]")) {
    link.addEventListener("click", () => openClass(Number(link.dataset.openClass)));
  }
  const f1 = headings.findIndex((heading) => heading.dataset.key === "f1");
  sort(f1);
  sort(f1);
  openClass(Number(document.getElementById("one-class").dataset.first));

  // Paper shows what a click would open.
  addEventListener("beforeprint", () => { for (const box of document.querySelectorAll("details")) box.open = true; });
}
